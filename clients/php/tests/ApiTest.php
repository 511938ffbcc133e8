<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\Connection;
use Websock\RefusedException;
use Websock\Rest2WebSocket;

/**
 * Every action of the control API, against the real server: the program that WEBSOCK_BIN names, started for each test
 * with settings of its own.
 */
final class ApiTest extends TestCase
{
    /** Seconds for what must happen. */
    private const AMPLE = 10.0;

    /** Seconds in which what must not happen would have. */
    private const MOMENT = 0.2;

    private const RESOURCES = "[resources]\n/web = relay\n/php = relay\n/webntf = webntf\n";

    /** @var resource|null */
    private $server = null;
    private string $folder;
    private string $url;

    public static function setUpBeforeClass(): void
    {
        if ((string) getenv('WEBSOCK_BIN') === '') {
            $notice = 'WEBSOCK_BIN is not set: the control API was not tested against the real server';
            fwrite(STDERR, "\n{$notice}\n");
            self::markTestSkipped($notice);
        }
    }

    protected function setUp(): void
    {
        $this->folder = sys_get_temp_dir() . '/websock-test-' . bin2hex(random_bytes(8));
        mkdir($this->folder);
    }

    protected function tearDown(): void
    {
        $this->stop();
        array_map(unlink(...), glob("{$this->folder}/*"));
        rmdir($this->folder);
    }

    public function testFeedback(): void
    {
        $api = $this->start();
        [$page, $uuid] = $this->page();
        [$named] = $this->page(['Ident' => 'desk']);
        $data = ['uuid' => $uuid, 'message' => ['progress' => 40, 'text' => "G\u{FC}\u{DF}e"], 'job' => 7];
        self::assertSame(1, self::result($api->call('relay', 'feedback', $data)));
        self::assertEquals(['opcode' => 'feedback'] + $data, self::packet($page));
        self::assertSame(1, self::result($api->call('relay', 'feedback', ['ident' => 'desk', 'message' => []])));
        self::assertEquals(['opcode' => 'feedback', 'ident' => 'desk', 'message' => []], self::packet($named));
        self::assertSame(0, self::result($api->call('relay', 'feedback', ['ident' => 'nobody', 'message' => 1])));
        self::assertNull($page->receive(self::MOMENT));
    }

    public function testWhatBecameOfAMessage(): void
    {
        $api = $this->start();
        [$held, $uuid] = $this->page();
        self::assertTrue($held->isOpen());
        $response = $api->call('relay', 'feedback', ['uuid' => $uuid, 'message' => 1, 'wait' => 10_000]);
        self::assertSame([['uuid' => $uuid, 'fate' => 'received']], $response['targets']);
        $known = self::result($api->call('relay', 'why', ['id' => $response['id']]));
        self::assertSame(['pushed', 'handed'], array_column($known['events'], 'event'));
        // The time to wait comes on top of the budget, which it is longer than.
        [$page, $uuid] = $this->page();
        $page->sendText('{"opcode":"acks"}');
        $response = $api->call('relay', 'feedback', (object) ['uuid' => $uuid, 'message' => 1, 'wait' => 600]);
        self::assertSame([['uuid' => $uuid, 'fate' => 'received']], $response['targets'] ?? $response);
    }

    public function testBroadcast(): void
    {
        $api = $this->start();
        self::assertSame(0, self::result($api->call('relay', 'broadcast', ['message' => 'nobody hears this'])));
        $pages = [$this->page()[0], $this->page()[0]];
        // As much as a message may have by default, nearly.
        $text = str_repeat('x', 5_000_000);
        self::assertSame(2, self::result($api->call('relay', 'broadcast', ['message' => $text])));
        foreach ($pages as $page) {
            self::assertSame($text, self::packet($page)['message']);
        }
    }

    public function testClients(): void
    {
        $api = $this->start();
        self::assertSame([], self::result($api->call('relay', 'clients')));
        [, $uuid] = $page = $this->page(['Ident' => 'desk']);
        [$row] = self::result($api->call('relay', 'clients'));
        self::assertSame([$uuid, 'desk', '/web', 'browser'], [$row['uuid'], $row['ident'], $row['resource'], $row['type']]);
        self::assertStringStartsWith('127.0.0.1:', $row['address']);
        self::assertEqualsWithDelta(time(), $row['connected'], self::AMPLE);
        // An answer of many pieces.
        $more = array_map(fn () => $this->page(['Ident' => str_repeat('x', 250)]), range(1, 300));
        self::assertCount(301, self::result($api->call('relay', 'clients')));
        unset($page, $more);
    }

    public function testBatch(): void
    {
        $api = $this->start();
        [$page, $uuid] = $this->page();
        $response = $api->batch('relay', [
            ['action' => 'feedback', 'data' => ['uuid' => $uuid, 'message' => 1]],
            ['action' => 'feedback', 'data' => []],
            ['action' => 'clients', 'data' => []],
            ['action' => 'broadcast', 'data' => ['message' => 2]],
        ]);
        $results = self::result($response);
        self::assertSame(['OK', 'ERROR', 'OK', 'OK'], array_column($results, 'status'));
        self::assertSame([1, $uuid, 1], [$results[0]['result'], $results[2]['result'][0]['uuid'], $results[3]['result']]);
        self::assertNotSame('', $results[1]['error']);
        self::assertSame([1, 2], [self::packet($page)['message'], self::packet($page)['message']]);
        self::assertSame([], self::result($api->batch('relay', [])));
    }

    public function testNotifications(): void
    {
        $api = $this->start();
        $kim = $this->listener(['domain' => 'shop', 'token' => 'kim', 'channels' => ['news', 'sport']]);
        $lee = $this->listener(['domain' => 'shop', 'token' => 'lee', 'channels' => ['news']]);
        $away = $this->listener(['domain' => 'other', 'token' => 'kim', 'channels' => ['news']]);

        $message = ['title' => 'New', 'tags' => []];
        $data = ['domain' => 'shop', 'target' => 'news', 'message' => $message];
        self::assertSame(2, self::result($api->call('webntf', 'send.to.channel', $data)));
        foreach ([$kim, $lee] as $page) {
            self::assertSame(['header' => ['type' => 'message'], 'body' => $message], self::packet($page));
        }
        $data = ['domain' => 'shop', 'target' => 'kim', 'message' => 'Paid'];
        self::assertSame(1, self::result($api->call('webntf', 'send.to.token', $data)));
        self::assertSame('Paid', self::packet($kim)['body']);

        $shop = [
            ['key' => 'news', 'domain' => 'shop', 'clients' => 2],
            ['key' => 'sport', 'domain' => 'shop', 'clients' => 1],
        ];
        self::assertSame($shop, self::result($api->call('webntf', 'list.active.channels', ['domain' => 'shop'])));
        self::assertCount(3, self::result($api->call('webntf', 'list.active.channels')));
        $both = $api->batch('webntf', [
            ['action' => 'list.active.channels', 'data' => ['domain' => 'nowhere']],
            ['action' => 'send.to.token', 'data' => ['domain' => 'other', 'target' => 'kim', 'message' => null]],
        ]);
        self::assertSame([[], 1], array_column(self::result($both), 'result'));
        self::assertNull(self::packet($away)['body']);
        foreach ([$kim, $lee, $away] as $page) {
            self::assertNull($page->receive(self::MOMENT));
        }
    }

    public function testTheExample(): void
    {
        $this->start();
        $page = $this->listener(['domain' => 'shop', 'token' => 'kim', 'channels' => ['news']]);
        self::assertSame([0, "sent to 1 pages\n"], $this->notify('shop', 'channel', 'news', 'Open late'));
        self::assertSame([0, "sent to 1 pages\n"], $this->notify('shop', 'user', 'kim', 'Paid'));
        self::assertSame(['Open late', 'Paid'], [self::packet($page)['body'], self::packet($page)['body']]);
        self::assertSame([0, "sent to 0 pages\n"], $this->notify('shop', 'user', 'nobody', 'x'));
        self::assertSame(1, $this->notify('shop', 'user', '', 'x')[0]);
        self::assertSame(2, $this->notify('shop', 'nobody', 'x', 'x')[0]);
        $this->stop();
        self::assertSame(1, $this->notify('shop', 'user', 'kim', 'x')[0]);
    }

    public function testWhatCanNotBeDoneIsSaidAndTheConnectionStays(): void
    {
        $api = $this->start();
        foreach ([
            ['nobody', 'feedback', [], 404],
            ['relay', 'nothing', [], 404],
            ['relay', 'nothing?', [], 404],
            ['relay', 'feedback', [], 400],
            ['relay', 'feedback', ['message' => 1], 400],
            ['relay', 'broadcast', [1], 400],
            ['relay', 'broadcast', ['message' => 1, 'opcode' => 'quit'], 400],
            ['relay', 'batch', ['action' => 'clients'], 400],
            ['webntf', 'send.to.token', ['message' => 1], 400],
        ] as [$service, $action, $data, $status]) {
            $response = $api->call($service, $action, $data);
            self::assertSame(['ERROR', $status], [$response['status'], $api->httpStatus()], "{$service}/{$action}");
            self::assertSame(['status', 'time', 'error'], array_keys($response), 'as the server said it');
        }
        self::assertSame([], self::result($api->call('relay', 'clients')));
        $response = $api->call('relay', 'broadcast', ['message' => str_repeat('x', 8_000_000)]);
        self::assertSame('ERROR', $response['status']);
        self::assertSame([], self::result($api->call('relay', 'clients')), 'on a new connection');
    }

    public function testKeys(): void
    {
        $api = $this->start("[api]\nkeys = \${WEBSOCK_TEST_KEY}\n", ['WEBSOCK_TEST_KEY' => 'first-key, second-key']);
        self::assertSame([], self::result($api->call('relay', 'clients')));
        foreach ([null, 'first-ke', 'first-key2'] as $key) {
            $stranger = new Rest2WebSocket(['address' => $this->url, 'key' => $key], budget: self::AMPLE);
            self::assertSame('ERROR', $stranger->call('relay', 'clients')['status']);
            self::assertSame(401, $stranger->httpStatus());
        }
        $second = ['address' => $this->url, 'api' => ['keys' => 'second-key']];
        self::assertSame([], self::result((new Rest2WebSocket($second, budget: self::AMPLE))->call('relay', 'clients')));
        try {
            (new Rest2WebSocket(['address' => $this->url], budget: self::AMPLE, throw: true))->call('relay', 'clients');
            self::fail('nothing thrown');
        } catch (RefusedException $refusal) {
            self::assertSame([401, 'a key is needed: Authorization: Bearer KEY'], [$refusal->status, $refusal->getMessage()]);
        }
    }

    /** @requires extension openssl */
    public function testTls(): void
    {
        $key = openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1']);
        $request = openssl_csr_new(['commonName' => 'localhost'], $key);
        $pem = "{$this->folder}/pem";
        openssl_x509_export_to_file(openssl_csr_sign($request, null, $key, 1, ['digest_alg' => 'sha256']), $pem);
        openssl_pkey_export_to_file($key, "{$this->folder}/key");
        $this->start(flat: "certFile = {$pem}\npkFile = {$this->folder}/key\n", scheme: 'wss');
        $address = ['address' => str_replace('127.0.0.1', 'localhost', $this->url)];
        $api = new Rest2WebSocket($address, budget: self::AMPLE, caFile: $pem);
        foreach ([1, 2] as $_) {
            self::assertSame([], self::result($api->call('relay', 'clients')));
            $large = ['message' => str_repeat('x', 2_000_000)];
            self::assertSame(0, self::result($api->call('relay', 'broadcast', $large)));
        }
        $api = new Rest2WebSocket($address, budget: self::AMPLE);
        self::assertStringContainsString('certificate', $api->call('relay', 'clients')['error']);
    }

    public function testAServerThatEndedItsConnectionAndOneThatIsGone(): void
    {
        $api = $this->start("[limits]\nhandshakeTimeout = 1\n");
        [$page] = $this->page();
        self::assertSame(1, self::result($api->call('relay', 'broadcast', ['message' => 'one'])));
        self::assertSame('one', self::packet($page)['message']);
        // The server ends a connection on which no request comes in that time.
        usleep(1_500_000);
        self::assertSame(1, self::result($api->call('relay', 'broadcast', ['message' => 'two'])));
        self::assertSame('two', self::packet($page)['message']);
        self::assertNull($page->receive(self::MOMENT), 'nothing came twice');
        $this->stop();
        $response = $api->call('relay', 'clients');
        self::assertSame(['ERROR', false], [$response['status'], $response['sent']]);
    }

    /**
     * Starts the server, and makes a client from its very INI file; only the port is filled in.
     *
     * @param string                $more        sections behind [resources]
     * @param array<string, string> $environment
     * @param string                $flat        keys before it
     */
    private function start(
        string $more = '',
        array $environment = [],
        string $flat = '',
        string $scheme = 'ws',
    ): Rest2WebSocket {
        $ini = "{$this->folder}/websock.ini";
        $text = "address = {$scheme}://127.0.0.1:0\nconsole = true\n{$flat}" . self::RESOURCES . $more;
        file_put_contents($ini, $text);
        $this->server = proc_open(
            [getenv('WEBSOCK_BIN'), '-i', $ini],
            [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], ['file', "{$this->folder}/log", 'w']],
            $pipes,
            null,
            $environment + getenv(),
        );
        $until = microtime(true) + self::AMPLE;
        while (preg_match('~listening on (wss?://\S+:(\d+))~', file_get_contents("{$this->folder}/log"), $match) !== 1) {
            self::assertLessThan($until, microtime(true), 'the server does not start');
            usleep(5_000);
        }
        [, $this->url, $port] = $match;
        file_put_contents($ini, str_replace(':0', ":{$port}", $text));
        foreach ($environment as $name => $value) {
            putenv("{$name}={$value}");
        }
        try {
            return new Rest2WebSocket($ini, budget: self::AMPLE);
        } finally {
            array_map(putenv(...), array_keys($environment));
        }
    }

    private function stop(): void
    {
        if ($this->server !== null) {
            proc_terminate($this->server, 9);
            proc_close($this->server);
            $this->server = null;
        }
    }

    /**
     * @param array<string, string> $headers
     * @return array{Connection, string} and its UUID
     */
    private function page(array $headers = []): array
    {
        $page = Connection::open("{$this->url}/web", self::AMPLE, $headers);

        return [$page, self::packet($page)['uuid']];
    }

    private function listener(array $body): Connection
    {
        $page = Connection::open("{$this->url}/webntf", self::AMPLE);
        $header = ['type' => 'init', 'target' => 'svc/webntf'];
        $page->sendText(json_encode(['header' => $header, 'body' => $body], JSON_THROW_ON_ERROR));
        self::assertSame(['header' => ['type' => 'init', 'status' => 'OK']], self::packet($page));

        return $page;
    }

    /** @return array{int, string} exit code and standard output of the example */
    private function notify(string ...$arguments): array
    {
        $process = proc_open(
            [PHP_BINARY, __DIR__ . '/../examples/notify.php', ...$arguments],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
            null,
            ['WEBSOCK_INI' => "{$this->folder}/websock.ini"] + getenv(),
        );
        $output = stream_get_contents($pipes[1]);

        return [proc_close($process), $output];
    }

    private static function result(array $response): mixed
    {
        self::assertSame('OK', $response['status'], $response['error'] ?? '');

        return $response['result'];
    }

    private static function packet(Connection $page): array
    {
        return json_decode((string) $page->receive(self::AMPLE)?->data, true, 512, JSON_THROW_ON_ERROR);
    }
}

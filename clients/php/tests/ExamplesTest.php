<?php

declare(strict_types=1);

namespace Websock\Tests;

use Websock\Tests\Fake\FakeServer;
use Websock\Tests\Fake\FakeServerTestCase;

/** The examples as people run them: from the command line, and behind PHP's own web server. */
final class ExamplesTest extends FakeServerTestCase
{
    private const UUID = '0a1b2c3d-1111-4222-8333-444455556666';
    private const PATIENCE = 10;

    /** @var resource|null */
    private $web = null;

    protected function tearDown(): void
    {
        parent::tearDown();
        if ($this->web !== null) {
            proc_terminate($this->web, 9);
            proc_close($this->web);
        }
    }

    public function testBackendReportsItsProgress(): void
    {
        $server = $this->play('relay');
        $base = $this->serve($server);
        $json = json_encode(['uuid' => self::UUID, 'steps' => 2]);
        [$status, $headers, $body] = self::http("{$base}/backend.php", 'POST', $json);
        self::assertSame(200, $status);
        self::assertContains('access-control-allow-origin: *', $headers);
        self::assertSame(['done' => true, 'steps' => 2, 'reported' => 2, 'error' => null], $body);
        $server->line();
        foreach ([['progress' => 50, 'text' => 'step 1 of 2'], ['progress' => 100, 'text' => 'done']] as $message) {
            self::assertSame(
                ['opcode' => 'feedback', 'uuid' => self::UUID, 'ident' => '', 'message' => $message],
                $server->packet(),
            );
        }

        [$status, , $body] = self::http("{$base}/backend.php?steps=1&uuid=" . self::UUID);
        self::assertSame([200, 1], [$status, $body['reported']]);
        $form = 'steps=1&uuid=' . self::UUID;
        [$status, , $body] = self::http("{$base}/backend.php", 'POST', $form, 'application/x-www-form-urlencoded');
        self::assertSame([200, 1], [$status, $body['reported']]);
    }

    public function testBackendAnswersPreflightAndNonsense(): void
    {
        $base = $this->serve($this->play('relay'));
        [$status, $headers] = self::http("{$base}/backend.php", 'OPTIONS');
        self::assertSame(204, $status);
        self::assertContains('access-control-allow-headers: content-type', $headers);
        foreach (['{', '[]', '{"uuid": 5}', '{"uuid": "x"}', '{"uuid":"' . self::UUID . '","steps":0}'] as $body) {
            [$status, $headers, $answer] = self::http("{$base}/backend.php", 'POST', $body);
            self::assertSame(400, $status, $body);
            self::assertNotSame('', $answer['error']);
            self::assertContains('access-control-allow-origin: *', $headers, 'else the page could not read the error');
        }
    }

    public function testBackendWorksOnWithoutAServer(): void
    {
        [$code, $output] = self::example(['backend.php', self::UUID, '2'], 'ws://127.0.0.1:' . self::freePort() . '/php');
        self::assertSame(0, $code);
        $answer = json_decode($output, true);
        self::assertSame([true, 0], [$answer['done'], $answer['reported']]);
        self::assertStringContainsString('Connection refused', $answer['error']);
    }

    public function testSenderBroadcastAndAnyServer(): void
    {
        $server = $this->play('relay');
        self::assertSame([0, ''], self::example(['sender.php', 'receiver', 'hi there'], $server->url('/php')));
        $server->line();
        self::assertSame(['receiver', 'hi there'], array_values(array_slice($server->packet(), 2)));
        self::assertSame([0, "sent to 3 browsers\n"], self::example(['broadcast.php', 'all'], $server->url('/php')));
        self::assertSame(1, self::example(['sender.php', 'x', 'y'], 'ws://127.0.0.1:' . self::freePort() . '/')[0]);
        self::assertSame(2, self::example(['broadcast.php'], '')[0]);
        $server->stop();

        $server = $this->play('echo');
        self::assertSame([0, "Hello\n"], self::example(['any-server.php', $server->url('/echo'), 'Hello'], ''));
        self::assertSame(1, self::example(['any-server.php', 'localhost', 'Hello'], '')[0]);
    }

    public function testReceiverPrintsWhatComesAndGoesOnWithoutAServer(): void
    {
        $server = $this->play('delivers and stops');
        $process = proc_open(
            [PHP_BINARY, __DIR__ . '/../examples/receiver.php', 'me'],
            [['pipe', 'r'], ['pipe', 'w'], ['pipe', 'w']],
            $pipes,
            null,
            ['WEBSOCK_URL' => $server->url('/php')] + getenv(),
        );
        try {
            self::assertSame("{\"text\":\"Gr\u{FC}\u{DF}e\"}\n", self::line($pipes[1]));
            self::assertSame('me', $server->line());
            self::assertStringEndsWith("1001 restart; trying again\n", self::line($pipes[2]));
            self::assertSame("{\"text\":\"Gr\u{FC}\u{DF}e\"}\n", self::line($pipes[1]), 'received on a new connection');
        } finally {
            proc_terminate($process, 9);
            proc_close($process);
        }
    }

    /** @param resource $pipe */
    private static function line($pipe): string
    {
        $read = [$pipe];
        $none = null;
        self::assertSame(1, stream_select($read, $none, $none, self::PATIENCE), 'nothing was printed');

        return (string) fgets($pipe);
    }

    /** Starts PHP's web server on the examples; the base address of it. */
    private function serve(FakeServer $relay): string
    {
        $port = self::freePort();
        $this->web = proc_open(
            [PHP_BINARY, '-S', "127.0.0.1:{$port}", '-t', __DIR__ . '/../examples'],
            [['pipe', 'r'], ['file', '/dev/null', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
            null,
            ['WEBSOCK_URL' => $relay->url('/php')] + getenv(),
        );
        $until = microtime(true) + self::PATIENCE;
        while (!($socket = @fsockopen('127.0.0.1', $port, $code, $error, 1))) {
            self::assertLessThan($until, microtime(true), "php -S does not start: {$error}");
            usleep(10_000);
        }
        fclose($socket);

        return "http://127.0.0.1:{$port}";
    }

    /** @return array{int, list<string>, ?array} status, header lines in lower case, and the body from JSON */
    private static function http(
        string $url,
        string $method = 'GET',
        string $body = '',
        string $type = 'application/json',
    ): array {
        $context = stream_context_create(['http' => [
            'method' => $method,
            'content' => $body,
            'header' => $body === '' ? '' : "Content-Type: {$type}",
            'ignore_errors' => true,
            'timeout' => self::PATIENCE,
        ]]);
        $answer = file_get_contents($url, false, $context);

        $status = (int) explode(' ', $http_response_header[0])[1];

        return [$status, array_map('strtolower', $http_response_header), json_decode($answer, true)];
    }

    /**
     * @param list<string> $arguments
     * @return array{int, string} exit code and standard output
     */
    private static function example(array $arguments, string $url): array
    {
        $arguments[0] = __DIR__ . '/../examples/' . $arguments[0];
        $process = proc_open(
            [PHP_BINARY, ...$arguments],
            [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
            null,
            ['WEBSOCK_URL' => $url] + getenv(),
        );
        $output = stream_get_contents($pipes[1]);

        return [proc_close($process), $output];
    }
}

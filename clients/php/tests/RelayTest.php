<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\Client;
use Websock\Connection;

/**
 * Against the real server, which listens at WEBSOCK_TEST_URL, as in ws://127.0.0.1:8096 (no path), with the shipped
 * resources. Nobody else may use it meanwhile.
 */
final class RelayTest extends TestCase
{
    /** Seconds for what must happen. */
    private const AMPLE = 10.0;

    /** Seconds in which what must not happen would have. */
    private const MOMENT = 0.2;

    private static string $base;

    /** @var list<Connection> */
    private static array $browsers = [];

    public static function setUpBeforeClass(): void
    {
        self::$base = rtrim((string) getenv('WEBSOCK_TEST_URL'), '/');
        if (self::$base === '') {
            $notice = 'WEBSOCK_TEST_URL is not set: nothing was tested against the real server';
            fwrite(STDERR, "\n{$notice}\n");
            self::markTestSkipped($notice);
        }
    }

    /** Waits for the server's goodbye: whom it still takes for connected would be counted in the next test. */
    protected function tearDown(): void
    {
        foreach (self::$browsers as $browser) {
            $browser->close(timeout: self::AMPLE);
        }
        self::$browsers = [];
    }

    public function testFeedbackReachesTheBrowserThatItIsFor(): void
    {
        [$browser, $uuid] = self::browser();
        [$other] = self::browser();
        $push = self::script(uuid: $uuid);
        $message = ['progress' => 40, 'text' => 'step 4'];
        self::assertTrue($push->feedback($message, extra: ['from' => 'test']), (string) $push->lastError());
        self::assertSame(1, $push->delivered());
        $packet = self::packet($browser);
        self::assertSame('feedback', $packet['opcode']);
        self::assertSame($message, $packet['message']);
        self::assertSame('test', $packet['from']);
        self::assertNull($other->receive(self::MOMENT));
        self::assertNull($push->fates());
        self::assertTrue($push->feedback(1, extra: ['wait' => 10_000]), (string) $push->lastError());
        self::assertSame([['uuid' => $uuid, 'fate' => 'received']], $push->fates());
        self::assertMatchesRegularExpression('/^[0-9a-f]{16}$/', $push->messageId());
        self::assertMatchesRegularExpression('/^[0-9a-f]{8}-[0-9a-f]{4}-4/', $push->connectionUuid());
        self::assertNotSame($uuid, $push->connectionUuid());
    }

    public function testDeliveredToNobodyOnceTheBrowserHasGone(): void
    {
        [$browser, $uuid] = self::browser();
        $push = self::script(uuid: $uuid);
        self::assertTrue($push->feedback('there?'));
        $browser->close();
        self::assertFalse($push->feedback('still there?'));
        self::assertSame(0, $push->delivered());
        self::assertSame("nobody is connected under the UUID {$uuid}", $push->lastError());
    }

    public function testBroadcastReachesBrowsersAndNoScripts(): void
    {
        [$one] = self::browser('/web');
        [$two] = self::browser('/');
        $script = self::script(ident: 'bystander');
        self::assertNotFalse($script->echo('connected'));
        $push = self::script();
        self::assertTrue($push->broadcast("to all \u{1F4E2}"));
        self::assertSame(2, $push->delivered());
        foreach ([$one, $two] as $browser) {
            $packet = self::packet($browser);
            self::assertSame(['broadcast', "to all \u{1F4E2}"], [$packet['opcode'], $packet['message']]);
        }
        self::assertNull($script->receive(self::MOMENT));
        self::assertNull($script->lastError());
    }

    public function testEchoOfWhatJsonCanHold(): void
    {
        $push = self::script();
        $family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467} \u{1F44B}\u{1F3FD}";
        $messages = ['', 'a/b \\ "quoted"', $family, "line\nfeed \u{2028} \0", -1, 0.1, true, null, [], [[[]]],
            ['a' => ['b' => [1, '2', null]]]];
        foreach ($messages as $message) {
            self::assertSame($message, $push->echo($message), (string) $push->lastError());
        }
    }

    public function testScriptToScriptByIdent(): void
    {
        $receiver = self::script(ident: 'receiver');
        self::assertNotFalse($receiver->echo('connected'));
        $sender = self::script();
        for ($i = 0; $i < 20; $i++) {
            self::assertTrue($sender->feedback(['number' => $i], ident: 'receiver'), (string) $sender->lastError());
            self::assertSame(1, $sender->delivered());
        }
        // While it waits for an acknowledgement of its own, what others send is kept.
        self::assertNotFalse($receiver->echo('busy'));
        foreach ($receiver->messages(self::MOMENT) as $packet) {
            $received[] = $packet['message']['number'];
        }
        self::assertSame(range(0, 19), $received ?? []);
        self::assertNull($receiver->lastError());
        self::assertFalse($sender->feedback('x', ident: 'nobody of that name'));
        self::assertSame(0, $sender->delivered());
    }

    public function testAThousandTimesSendAndWait(): void
    {
        [$browser, $uuid] = self::browser();
        $push = self::script(uuid: $uuid);
        $start = hrtime(true);
        for ($i = 0; $i < 1000; $i++) {
            self::assertTrue($push->feedback($i), (string) $push->lastError());
        }
        $seconds = (hrtime(true) - $start) / 1.0e9;
        for ($i = 0; $i < 1000; $i++) {
            self::assertSame($i, self::packet($browser)['message']);
        }
        // With the pace for old clients it would be 20 s.
        self::assertLessThan(5.0, $seconds);
    }

    public function testAMebibyte(): void
    {
        [$browser, $uuid] = self::browser();
        $push = self::script(uuid: $uuid);
        $message = str_repeat("0123456789\u{20AC}\u{1F600}-\"\\/", 50_000);
        self::assertGreaterThan(1 << 20, strlen($message));
        self::assertTrue($push->feedback($message), (string) $push->lastError());
        self::assertTrue(self::packet($browser)['message'] === $message);
        self::assertTrue($push->echo($message) === $message);
    }

    public function testAnyServer(): void
    {
        $connection = Connection::open(self::$base . '/echo');
        $connection->sendBinary("\x00\xFF");
        $message = $connection->receive(self::AMPLE);
        self::assertSame(["\x00\xFF", true], [$message?->data, $message?->binary]);
        $connection->sendText("plain \u{1F600}");
        self::assertSame("plain \u{1F600}", $connection->receive(self::AMPLE)?->data);
    }

    public function testAnUnknownResource(): void
    {
        $push = new Client(self::$base . '/no/such/resource', uuid: 'x', budget: self::AMPLE);
        self::assertFalse($push->feedback('x'));
        self::assertStringStartsWith('404 ', $push->lastError());
    }

    private static function script(?string $uuid = null, ?string $ident = null): Client
    {
        return new Client(self::$base . '/php', uuid: $uuid, ident: $ident, budget: self::AMPLE);
    }

    /** @return array{Connection, string} what a page would have: no Client-Type, and the UUID from the greeting */
    private static function browser(string $resource = '/web'): array
    {
        $browser = Connection::open(self::$base . $resource, self::AMPLE, ['Origin' => 'http://localhost']);
        self::$browsers[] = $browser;
        $greeting = self::packet($browser);
        self::assertSame('ready', $greeting['opcode']);

        return [$browser, $greeting['uuid']];
    }

    private static function packet(Connection $browser): array
    {
        $message = $browser->receive(self::AMPLE);
        self::assertNotNull($message, 'nothing came');
        self::assertFalse($message->binary);

        return json_decode($message->data, true, 512, JSON_THROW_ON_ERROR);
    }
}

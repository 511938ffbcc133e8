<?php

declare(strict_types=1);

namespace Websock\Tests;

use Websock\ClosedException;
use Websock\ConnectException;
use Websock\Connection;
use Websock\ProtocolException;
use Websock\RefusedException;
use Websock\Tests\Fake\FakeServerTestCase;
use Websock\TimeoutException;
use Websock\WebsockException;

/** The general client against servers that do all kinds of things. */
final class ConnectionTest extends FakeServerTestCase
{
    /** Seconds that a test may take beyond the time it gave; a busy machine needs some. */
    private const SLACK = 0.75;

    public function testTextAndBinaryOfEachSizeComeBack(): void
    {
        $connection = Connection::open($this->play('echo')->url());
        foreach ([0, 1, 125, 126, 65535, 65536, 1 << 20, 5 << 20] as $length) {
            $bytes = $length === 0 ? '' : random_bytes($length);
            $connection->sendBinary($bytes);
            $message = $connection->receive(5.0);
            self::assertTrue($message->binary);
            self::assertTrue($bytes === $message->data, "{$length} bytes");
        }
        $connection->sendText("Gr\u{FC}\u{DF}e \u{1F44B}");
        $message = $connection->receive(5.0);
        self::assertSame(["Gr\u{FC}\u{DF}e \u{1F44B}", false], [$message->data, $message->binary]);
    }

    public function testFramesThatComeByteByByte(): void
    {
        $server = $this->play('one byte at a time');
        $connection = Connection::open($server->url());
        self::assertSame('first', $connection->receive(5.0)->data);
        self::assertSame('second', $connection->receive(5.0)->data);
        self::assertSame("\x00\xFF", $connection->receive(5.0)->data);
        try {
            $connection->receive(5.0);
            self::fail('still open');
        } catch (ClosedException $end) {
            self::assertSame([1001, 'bye'], [$end->closeCode, $end->closeReason]);
            self::assertStringContainsString('1001 bye', $end->getMessage());
        }
        do {
            $answer = $server->line();
            // A pong is owed only while the close has not come, which may be in the same read.
        } while ($answer === bin2hex(0x8A . ' alive?'));
        self::assertSame(bin2hex(0x88 . ' ' . pack('n', 1001) . 'bye'), $answer);
    }

    public function testKeepsWhatCameBehindTheHandshake(): void
    {
        $connection = Connection::open($this->play('all behind the 101')->url());
        self::assertSame('early', $connection->receive(0.0)->data);
        self::assertSame('bird', $connection->receive(0.0)->data);
        self::assertNull($connection->receive(0.0));
        self::assertTrue($connection->isOpen());
    }

    public function testSendsWhatWasAskedAndTellsWhatWasAgreed(): void
    {
        $server = $this->play('notes the request');
        $connection = Connection::open($server->url('/a?b=c'), headers: ['Origin' => 'http://x'], protocols: ['one', 'two']);
        self::assertSame('two', $connection->protocol());
        $request = $server->packet();
        self::assertSame('GET /a?b=c HTTP/1.1', $request['']);
        self::assertSame('http://x', $request['origin']);
        self::assertSame('one, two', $request['sec-websocket-protocol']);
    }

    public function testReceiveReturnsNullInTime(): void
    {
        $connection = Connection::open($this->play('no greeting')->url());
        [$message, $seconds] = self::timed(static fn () => $connection->receive(0.2));
        self::assertNull($message);
        self::assertGreaterThanOrEqual(0.2, $seconds);
        self::assertLessThan(0.2 + self::SLACK, $seconds);
        self::assertTrue($connection->isOpen());
        self::assertGreaterThanOrEqual(0.2, $connection->silence());
    }

    public function testAnswersTheLatestPingAndIgnoresPongs(): void
    {
        $server = $this->play('pings');
        $connection = Connection::open($server->url());
        self::assertSame('text', $connection->receive(5.0)->data);
        self::assertTrue($connection->isOpen());
        self::assertSame('8a one', $server->line());
    }

    public function testAPongIsAnswerEnough(): void
    {
        $connection = Connection::open($this->play('echo')->url());
        self::assertNull($connection->receive(0.3));
        $connection->ping();
        self::assertNull($connection->receive(0.1));
        self::assertLessThan(0.3, $connection->silence());
    }

    public function testClosesInAnOrderlyWay(): void
    {
        $server = $this->play('echo');
        $connection = Connection::open($server->url());
        [, $seconds] = self::timed(static fn () => $connection->close(3000, 'done', 5.0));
        self::assertLessThan(2.0, $seconds, 'did not notice that the server had answered');
        self::assertSame('close 3000 done', $server->line());
        self::assertFalse($connection->isOpen());
        $connection->close();
        $this->expectException(ClosedException::class);
        $connection->sendText('too late');
    }

    public function testDoesNotWaitLongForAServerThatIgnoresTheClose(): void
    {
        $connection = Connection::open($this->play('no greeting')->url());
        [, $seconds] = self::timed(static fn () => $connection->close());
        self::assertGreaterThanOrEqual(0.2, $seconds);
        self::assertLessThan(0.25 + self::SLACK, $seconds);
    }

    /** @dataProvider violations */
    public function testEndsTheConnectionWithTheRightCode(string $scenario, int $code): void
    {
        $server = $this->play($scenario);
        $connection = Connection::open($server->url());
        try {
            $connection->receive(5.0);
            self::fail('taken');
        } catch (ProtocolException $problem) {
            self::assertSame($code, $problem->closeCode);
        }
        self::assertSame("close {$code}", $server->line());
        self::assertFalse($connection->isOpen());
    }

    public static function violations(): array
    {
        return [['masked', 1002], ['huge', 1009], ['not utf-8', 1007], ['bad close', 1002]];
    }

    public function testTheSizeLimitIsAnOption(): void
    {
        $connection = Connection::open($this->play('echo')->url(), maxMessage: 1000);
        $connection->sendText(str_repeat('x', 1000));
        self::assertSame(1000, strlen($connection->receive(5.0)->data));
        $connection->sendText(str_repeat('x', 1001));
        $this->expectException(ProtocolException::class);
        $connection->receive(5.0);
    }

    public function testAServerThatEndsInMidFrame(): void
    {
        $connection = Connection::open($this->play('ends in mid-frame')->url());
        self::assertSame('whole', $connection->receive(5.0)->data);
        $this->expectException(ClosedException::class);
        $this->expectExceptionMessage('ended without a close frame');
        $connection->receive(5.0);
    }

    /**
     * @param class-string<WebsockException> $class
     * @dataProvider failedHandshakes
     */
    public function testHandshakesThatFail(string $scenario, string $class, string $message): void
    {
        $url = $this->play($scenario)->url();
        [$problem, $seconds] = self::timed(static fn () => self::problem(static fn () => Connection::open($url, timeout: 0.5)));
        self::assertInstanceOf($class, $problem);
        self::assertStringContainsString($message, $problem->getMessage());
        self::assertLessThan(0.5 + self::SLACK, $seconds);
    }

    public static function failedHandshakes(): array
    {
        return [
            ['silent', TimeoutException::class, 'no answer to the handshake'],
            ['closes at once', ClosedException::class, 'instead of answering'],
            ['no http', ProtocolException::class, 'not HTTP'],
            ['endless head', ProtocolException::class, 'endless head'],
            ['forbidden', RefusedException::class, '403 Forbidden: origin "http://x" not allowed'],
            ['forbidden, body cut short', RefusedException::class, '403 Forbidden: not from'],
            ['gateway', RefusedException::class, '502 Bad Gateway: Bad Gateway'],
            ['moved', RefusedException::class, '301 Moved Permanently: see wss://example.com/'],
            ['wrong key', ProtocolException::class, 'Sec-WebSocket-Accept'],
            ['extension not offered', ProtocolException::class, 'extension'],
            ['protocol not offered', ProtocolException::class, 'subprotocol'],
        ];
    }

    public function testNobodyListens(): void
    {
        $this->expectException(ConnectException::class);
        $this->expectExceptionMessage('Connection refused');
        Connection::open('ws://127.0.0.1:' . self::freePort() . '/');
    }

    public function testAServerThatDoesNotAcceptConnections(): void
    {
        $context = stream_context_create(['socket' => ['backlog' => 1]]);
        $listener = stream_socket_server('tcp://127.0.0.1:0', context: $context);
        $name = stream_socket_get_name($listener, false);
        $queued = [];
        for ($i = 0; $i < 8; $i++) {
            $queued[] = stream_socket_client("tcp://{$name}", flags: STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT);
        }
        [$problem, $seconds] = self::timed(
            static fn () => self::problem(static fn () => Connection::open("ws://{$name}/", timeout: 0.3)),
        );
        self::assertInstanceOf(TimeoutException::class, $problem);
        self::assertGreaterThanOrEqual(0.25, $seconds);
        self::assertLessThan(0.3 + self::SLACK, $seconds);
    }

    public function testSendingToAServerThatDoesNotRead(): void
    {
        $server = $this->play('reads nothing');
        $connection = Connection::open($server->url());
        $server->line();
        // More than the buffers of both sides hold, and yet not so much that masking it takes long.
        $bytes = str_repeat('x', 16 << 20);
        [$problem, $seconds] = self::timed(
            static fn () => self::problem(static fn () => $connection->sendBinary($bytes, 0.5)),
        );
        self::assertInstanceOf(TimeoutException::class, $problem);
        self::assertLessThan(0.5 + self::SLACK, $seconds);
        self::assertFalse($connection->isOpen(), 'half a frame is out, nothing can follow');
    }

    public function testReadsWhileItWritesSoThatNeitherWaitsForTheOther(): void
    {
        $server = $this->play('floods, then reads');
        $connection = Connection::open($server->url());
        $connection->sendBinary(str_repeat('x', 8 << 20), 10.0);
        self::assertSame((string) (8 << 20), $server->line());
        for ($i = 0; $i < 128; $i++) {
            self::assertSame(chr($i), $connection->receive(5.0)->data[0]);
        }
    }

    public function testTextMustBeUtf8(): void
    {
        $connection = Connection::open($this->play('echo')->url());
        try {
            $connection->sendText("\xFF");
            self::fail('sent');
        } catch (\InvalidArgumentException) {
            self::assertTrue($connection->isOpen());
        }
    }

    private static function problem(callable $call): ?WebsockException
    {
        try {
            $call();
        } catch (WebsockException $problem) {
            return $problem;
        }

        return null;
    }
}

<?php

declare(strict_types=1);

namespace Websock\Tests;

use Websock\ClosedException;
use Websock\ConnectException;
use Websock\MessageException;
use Websock\ProtocolException;
use Websock\RefusedException;
use Websock\Rest2WebSocket;
use Websock\Tests\Fake\FakeServer;
use Websock\Tests\Fake\FakeServerTestCase;
use Websock\TimeoutException;

/** Calls of a control API that plays tricks. */
final class Rest2WebSocketTest extends FakeServerTestCase
{
    /** Seconds for calls that must be answered, on the busiest machine. */
    private const AMPLE = 10.0;

    /** Seconds for calls that can't be, and by how much they may be late. */
    private const BUDGET = 0.3;
    private const SLACK = 0.5;

    private const DONE = ['status' => 'OK', 'time' => 1700000000.25, 'result' => 1];

    /** @var list<string> what an application's error handler would have got */
    private array $leaked = [];

    protected function setUp(): void
    {
        set_error_handler(function (int $level, string $text): bool {
            $this->leaked[] = $text;

            return true;
        });
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        restore_error_handler();
        self::assertSame([], $this->leaked, 'warnings leaked');
    }

    public function testACallIsOneRequestAndItsAnswerAnArray(): void
    {
        $server = $this->play('api');
        $api = self::api($server, key: 'sesame');
        self::assertNull($api->httpStatus());
        $data = ['uuid' => 'x', 'message' => ['text' => "G\u{FC}\u{DF}e a/b", 'list' => []]];
        self::assertSame(self::DONE, $api->call('relay', 'feedback', $data));
        self::assertSame(200, $api->httpStatus());
        $call = $server->packet();
        self::assertSame('POST /api/relay/feedback HTTP/1.1', $call['']);
        self::assertSame(['application/json', 'Bearer sesame'], [$call['content-type'], $call['authorization']]);
        self::assertStringStartsWith('localhost:', $call['host']);
        self::assertSame("{\"uuid\":\"x\",\"message\":{\"text\":\"G\u{FC}\u{DF}e a/b\",\"list\":[]}}", $call['body']);
    }

    public function testCallsShareAConnection(): void
    {
        $server = $this->play('api');
        $api = self::api($server);
        for ($number = 1; $number <= 3; $number++) {
            self::assertSame($number, $api->call('relay', 'clients')['result']);
            $call = $server->packet();
            self::assertSame('{}', $call['body']);
            self::assertArrayNotHasKey('authorization', $call);
        }
        $api->close();
        self::assertSame(1, $api->call('relay', 'clients')['result'], 'a new connection after close()');
    }

    public function testABatch(): void
    {
        $server = $this->play('api');
        $api = self::api($server);
        $api->batch('relay', [
            'first' => ['action' => 'clients', 'data' => []],
            'next' => ['action' => 'clients'],
            ['action' => 'broadcast', 'data' => ['message' => []]],
        ]);
        $call = $server->packet();
        self::assertSame('POST /api/relay/batch HTTP/1.1', $call['']);
        self::assertSame(
            '[{"action":"clients","data":{}},{"action":"clients"},{"action":"broadcast","data":{"message":[]}}]',
            $call['body'],
        );
        $api->batch('relay', []);
        self::assertSame('[]', $server->packet()['body']);
    }

    public function testNamesCanNotChangeTheRequest(): void
    {
        $server = $this->play('api');
        $api = self::api($server);
        $api->call("a b\r\nX: y", 'c/d?e#f');
        self::assertSame('POST /api/a%20b%0D%0AX%3A%20y/c%2Fd%3Fe%23f HTTP/1.1', $server->packet()['']);
    }

    /**
     * @testWith ["api: chunked", true]
     *           ["api: until the end", false]
     *           ["api: old http", false]
     *           ["api: interim", true]
     */
    public function testAnswersOfAnyFraming(string $scenario, bool $kept): void
    {
        $server = $this->play($scenario);
        $api = self::api($server);
        self::assertSame(self::DONE, $api->call('relay', 'clients'));
        self::assertSame(self::DONE, $api->call('relay', 'clients'));
        if ($kept) {
            $lines = [$server->line(), $server->line(), $server->line()];
            self::assertSame(['connected', 'POST /api/relay/clients HTTP/1.1'], [$lines[0], $lines[2]]);
        }
    }

    // Connections that end

    public function testAConnectionThatWasClosedBetweenCallsIsOpenedAgain(): void
    {
        $server = $this->play('api: one answer each');
        $api = self::api($server);
        for ($number = 0; $number < 3; $number++) {
            self::assertSame(self::DONE, $api->call('relay', 'feedback', ['number' => $number]));
            self::assertSame(['{"number":' . $number . '}', 'closed'], [$server->line(), $server->line()]);
        }
    }

    public function testAConnectionThatWillBeClosedIsNotUsedAgain(): void
    {
        $server = $this->play('api: says that it closes');
        $api = self::api($server);
        for ($number = 0; $number < 2; $number++) {
            self::assertSame(self::DONE, $api->call('relay', 'feedback', ['number' => $number]));
            self::assertSame('{"number":' . $number . '}', $server->line());
        }
    }

    public function testACallThatMayHaveBeenDoneIsNotMadeAgain(): void
    {
        $server = $this->play('api: dies of the second');
        $api = self::api($server, coolDown: 0.0);
        self::assertSame(self::DONE, $api->call('relay', 'feedback', ['number' => 1]));
        $response = $api->call('relay', 'feedback', ['number' => 2]);
        self::assertError('the connection ended before the answer; the call may have been done', true, $response);
        self::assertNull($api->httpStatus());
        self::assertSame(self::DONE, $api->call('relay', 'feedback', ['number' => 3]));
        self::assertSame(
            ['{"number":1}', '{"number":2}', '{"number":3}'],
            [$server->line(), $server->line(), $server->line()],
        );
    }

    public function testARequestThatDidNotLeaveWholeIsSentAgainOnANewConnection(): void
    {
        $server = $this->play('api: dies in the middle of the second');
        $api = self::api($server);
        self::assertSame(self::DONE, $api->call('relay', 'broadcast', ['message' => 'x']));
        // More than socket buffers hold: it can't all have left when the connection ends.
        $large = ['message' => str_repeat('x', 32 << 20)];
        self::assertSame(self::DONE, $api->call('relay', 'broadcast', $large));
        self::assertSame(['15', 'the head of another'], [$server->line(), $server->line()]);
        self::assertSame((string) ((32 << 20) + 14), $server->line());
    }

    public function testANewConnectionThatEndsIsNotTriedAgain(): void
    {
        $server = $this->play('api: dies of it');
        self::assertError('the call may have been done', true, self::api($server)->call('relay', 'clients'));
    }

    public function testWhatNobodyAskedForIsNoAnswer(): void
    {
        $server = $this->play('api: answers a call of before');
        $api = self::api($server);
        foreach ([1, 2] as $number) {
            self::assertSame(self::DONE, $api->call('relay', 'clients'), "call {$number}");
            self::assertSame('sent', $server->line());
        }
        $server->stop();
        $server = $this->play('api: too much said');
        $api = self::api($server);
        foreach ([1, 2] as $number) {
            self::assertSame(self::DONE, $api->call('relay', 'clients'));
            self::assertSame(['connected', 'POST /api/relay/clients HTTP/1.1'], [$server->line(), $server->line()]);
        }
    }

    public function testAnAnswerThatComesTooLateIsNotThatToTheNextCall(): void
    {
        $server = $this->play('api: answers the second too late');
        $api = self::api($server, budget: 1.0, coolDown: 0.0);
        self::assertSame(self::DONE, $api->call('relay', 'clients'));
        self::assertError('no answer within the time given', true, $api->call('relay', 'clients'));
        self::assertSame(self::DONE, $api->call('relay', 'clients'));
    }

    public function testAConnectionIsKeptForItsTime(): void
    {
        $server = $this->play('api');
        foreach ([[0.0, 1], [self::AMPLE, 2]] as [$keep, $result]) {
            $api = self::api($server, keep: $keep);
            $api->call('relay', 'clients');
            self::assertSame($result, $api->call('relay', 'clients')['result'], "kept for {$keep} s");
            $api->close();
        }
    }

    // What costs no more than its budget

    public function testNobodyListens(): void
    {
        $nowhere = ['address' => '127.0.0.1:' . self::freePort()];
        $api = new Rest2WebSocket($nowhere, coolDown: 60.0);
        [$response, $seconds] = self::timed(static fn () => $api->call('relay', 'clients'));
        self::assertError('Connection refused', false, $response);
        self::assertLessThan(self::SLACK, $seconds);
        self::assertEqualsWithDelta(microtime(true), $response['time'], self::AMPLE);
        self::assertStringContainsString('(not tried again for ', $api->call('relay', 'clients')['error']);
        $eager = new Rest2WebSocket($nowhere, coolDown: 0.0);
        $eager->call('relay', 'clients');
        self::assertStringNotContainsString('not tried again', $eager->call('relay', 'clients')['error']);
    }

    public static function late(): array
    {
        return [
            ['silent', true],
            ['api: half an answer, then nothing', true],
            ['api: trickle', true],
            ['api: flood of chunks', true],
            ['api: reads nothing', false, 64 << 20],
        ];
    }

    /** @dataProvider late */
    public function testTheBudgetHolds(string $scenario, bool $sent, int $size = 1): void
    {
        $server = $this->play($scenario);
        $api = new Rest2WebSocket(['address' => $server->url('')], budget: self::BUDGET);
        $data = ['message' => str_repeat('x', $size)];
        [$response, $seconds] = self::timed(static fn () => $api->call('relay', 'broadcast', $data));
        $why = $sent ? 'no answer within the time given; the call may have been done'
            : 'the request could not be sent within the time given; nothing was done';
        self::assertError($why, $sent, $response);
        self::assertGreaterThan(self::BUDGET - 0.01, $seconds);
        self::assertLessThan(self::BUDGET + self::SLACK, $seconds);
        [$response, $seconds] = self::timed(static fn () => $api->call('relay', 'clients'));
        self::assertError('not tried again', false, $response);
        self::assertLessThan(0.1, $seconds);
    }

    // Answers that are none

    public static function faulty(): array
    {
        return [
            ['api: half an answer', ClosedException::class, 'ended before the answer'],
            ['api: half a chunk', ClosedException::class, 'ended before the answer'],
            ['api: half a head', ClosedException::class, 'ended before the answer'],
            ['no http', ProtocolException::class, 'not HTTP'],
            ['endless head', ProtocolException::class, 'endless head'],
            ['api: websocket', ProtocolException::class, 'changes the protocol'],
            ['api: too large', ProtocolException::class, 'more than 1000 bytes'],
            ['api: too large a chunk', ProtocolException::class, 'more than 1000 bytes'],
            ['api: too large without a length', ProtocolException::class, 'more than 1000 bytes'],
            ['api: a page', ProtocolException::class, 'no control API'],
            ['api: other json', ProtocolException::class, 'no control API'],
            ['api: accepted', ProtocolException::class, 'no control API'],
            ['api: no content', ProtocolException::class, 'no control API'],
        ];
    }

    /**
     * @dataProvider faulty
     * @param class-string<\Throwable> $class
     */
    public function testAnAnswerThatIsNone(string $scenario, string $class, string $why): void
    {
        $server = $this->play($scenario);
        self::assertError($why, true, self::api($server)->call('relay', 'clients'));
        try {
            self::api($server, throw: true)->call('relay', 'clients');
            self::fail('nothing thrown');
        } catch (\Websock\WebsockException $problem) {
            self::assertInstanceOf($class, $problem);
            self::assertStringStartsWith($server->url('') . ': ', $problem->getMessage());
        }
    }

    // Refusals

    public function testAnUnknownKey(): void
    {
        $server = $this->play('api: no key');
        $api = self::api($server, key: 'guess');
        $refused = ['status' => 'ERROR', 'time' => 1700000000.5, 'error' => 'this key is not known here'];
        self::assertSame($refused, $api->call('relay', 'clients'));
        self::assertSame([401, 'Bearer guess'], [$api->httpStatus(), $server->line()]);
        self::assertSame($refused, $api->call('relay', 'clients'), 'no cool-down: the server is well');
        $this->assertThrown(RefusedException::class, 'this key is not known here', self::api($server, throw: true));
    }

    public function testARefusalLeavesTheConnectionAsItIs(): void
    {
        $server = $this->play('api: not found');
        $api = self::api($server);
        foreach ([1, 2] as $_) {
            self::assertSame(['status' => 'ERROR', 'time' => 1, 'error' => 'no service'], $api->call('x', 'y'));
            self::assertSame(404, $api->httpStatus());
        }
        self::assertSame(
            ['connected', 'POST /api/x/y HTTP/1.1', 'POST /api/x/y HTTP/1.1'],
            [$server->line(), $server->line(), $server->line()],
        );
    }

    public function testRefusalsOfSomethingElseThanTheServer(): void
    {
        $api = self::api($server = $this->play('api: gateway'));
        self::assertError('502 Bad Gateway: Bad Gateway', true, $api->call('relay', 'clients'));
        self::assertSame(502, $api->httpStatus());
        $this->assertThrown(RefusedException::class, '502 Bad Gateway', self::api($server, throw: true));
        $server->stop();
        $api = self::api($this->play('api: moved'));
        self::assertError('301 Moved: see https://example.com/', true, $api->call('relay', 'clients'));
    }

    public function testARefusalBeforeAllHasLeft(): void
    {
        $api = self::api($this->play('api: too large a call'));
        $response = $api->call('relay', 'broadcast', ['message' => str_repeat('x', 32 << 20)]);
        self::assertSame(['status' => 'ERROR', 'time' => 1, 'error' => 'too large'], $response);
        self::assertSame(413, $api->httpStatus());
    }

    public function testARequestThatDidNotLeaveWholeIsNotFollowedByAnother(): void
    {
        $server = $this->play('api: too large a call, and the connection stays');
        $api = self::api($server);
        foreach ([1, 2] as $number) {
            $response = $api->call('relay', 'broadcast', ['message' => str_repeat('x', 32 << 20)]);
            self::assertSame('too large', $response['error'], "call {$number}");
            self::assertSame('refused', $server->line());
        }
    }

    // What is thrown, and what is not sent

    public function testWhatIsNoJsonIsNotSent(): void
    {
        $server = $this->play('api');
        $api = self::api($server);
        foreach (["\xC3\x28", NAN, fopen('php://memory', 'r')] as $message) {
            self::assertError("can't be sent as JSON", false, $api->call('relay', 'broadcast', ['message' => $message]));
        }
        self::assertSame(1, $api->call('relay', 'clients')['result'], 'no cool-down either');
        $this->expectException(MessageException::class);
        self::api($server, throw: true)->call('relay', 'broadcast', ['message' => NAN]);
    }

    public function testFailuresAreThrownOnRequest(): void
    {
        $nobody = new Rest2WebSocket(['address' => '127.0.0.1:' . self::freePort()], throw: true);
        $this->assertThrown(ConnectException::class, 'Connection refused', $nobody);
        $this->assertThrown(ConnectException::class, 'not tried again', $nobody);
        $server = $this->play('silent');
        $silent = new Rest2WebSocket(['address' => $server->url('')], throw: true);
        $this->assertThrown(TimeoutException::class, 'no answer within', $silent);
    }

    public function testArgumentsThatCanNotBeUsedAlwaysThrow(): void
    {
        foreach ([['budget' => 0.0], ['budget' => NAN], ['coolDown' => -1.0], ['keep' => NAN], ['config' => '/no/such.ini']] as $bad) {
            try {
                new Rest2WebSocket(...$bad + ['config' => ['address' => 'localhost']]);
                self::fail('taken');
            } catch (\InvalidArgumentException $problem) {
                self::assertNotSame('', $problem->getMessage());
            }
        }
    }

    private static function api(FakeServer $server, ?string $key = null, mixed ...$options): Rest2WebSocket
    {
        $options += ['budget' => self::AMPLE, 'maxAnswer' => 1000];

        return new Rest2WebSocket(['address' => $server->url(''), 'key' => $key], ...$options);
    }

    private static function assertError(string $why, bool $sent, array $response): void
    {
        self::assertSame(['status', 'time', 'error', 'sent'], array_keys($response));
        self::assertSame(['ERROR', $sent], [$response['status'], $response['sent']], $response['error']);
        self::assertStringContainsString($why, $response['error']);
    }

    /** @param class-string<\Throwable> $class */
    private function assertThrown(string $class, string $why, Rest2WebSocket $api): void
    {
        try {
            $api->call('relay', 'clients');
            self::fail('nothing thrown');
        } catch (\Websock\WebsockException $problem) {
            self::assertInstanceOf($class, $problem);
            self::assertStringContainsString($why, $problem->getMessage());
        }
    }
}

<?php

declare(strict_types=1);

namespace Websock\Tests;

use Websock\Client;
use Websock\ClosedException;
use Websock\ConnectException;
use Websock\MessageException;
use Websock\RefusedException;
use Websock\Tests\Fake\FakeServerTestCase;
use Websock\TimeoutException;

/** The relay's client against a relay that plays tricks. */
final class ClientTest extends FakeServerTestCase
{
    private const SLACK = 0.5;

    /** Seconds for calls that must succeed, on the busiest machine. */
    private const AMPLE = 10.0;

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

    public function testFeedbackGoesToTheBrowserOfTheConstructor(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url('/php'), uuid: 'browser', ident: 'job 7', budget: self::AMPLE);
        self::assertSame(['browser', 'job 7', null, null, null], [
            $push->uuid(), $push->ident(), $push->connectionUuid(), $push->lastError(), $push->delivered(),
        ]);
        self::assertTrue($push->feedback(['progress' => 40, 'text' => "G\u{F6}\u{1F44B} a/b"]));
        self::assertSame(1, $push->delivered());
        self::assertNull($push->lastError());
        self::assertSame('11111111-2222-4333-8444-555555555555', $push->connectionUuid());

        $request = $server->packet();
        self::assertSame(
            ['GET /php HTTP/1.1', 'php', 'job 7', 'websock.v1'],
            [$request[''], $request['client-type'], $request['ident'], $request['sec-websocket-protocol']],
        );
        self::assertSame(
            "{\"opcode\":\"feedback\",\"uuid\":\"browser\",\"ident\":\"\",\"message\":"
            . "{\"progress\":40,\"text\":\"G\u{F6}\u{1F44B} a/b\"}}",
            $server->line(),
        );
    }

    public function testOtherTargetsAndMoreMembers(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), uuid: 'browser', budget: self::AMPLE);
        $push->feedback(1.5, ident: 'receiver', extra: ['from' => 'me', 'opcode' => 'quit']);
        $push->feedback(null, uuid: 'other');
        $push->broadcast([1, 2], extra: ['channel' => 'x']);
        self::assertArrayNotHasKey('ident', $server->packet());
        self::assertSame(
            ['opcode' => 'feedback', 'uuid' => '', 'ident' => 'receiver', 'message' => 1.5, 'from' => 'me'],
            $server->packet(),
        );
        self::assertSame(['opcode' => 'feedback', 'uuid' => 'other', 'ident' => '', 'message' => null], $server->packet());
        self::assertSame(['opcode' => 'broadcast', 'message' => [1, 2], 'channel' => 'x'], $server->packet());
    }

    public function testDeliveredToNobody(): void
    {
        $push = new Client($this->play('relay')->url(), uuid: 'nobody', budget: self::AMPLE, throw: true);
        self::assertFalse($push->feedback('hi'));
        self::assertSame(0, $push->delivered());
        self::assertSame('nobody is connected under the UUID nobody', $push->lastError());
        self::assertTrue($push->feedback('hi', uuid: 'somebody'), 'that was no failure of the connection');
        self::assertNull($push->lastError());
    }

    public function testAServerThatDoesNotCount(): void
    {
        $push = new Client($this->play('relay')->url(), uuid: 'does not count', budget: self::AMPLE);
        self::assertTrue($push->feedback('hi'));
        self::assertNull($push->delivered());
    }

    public function testAMessageThatTheServerDeclines(): void
    {
        $push = new Client($this->play('relay')->url(), budget: self::AMPLE);
        self::assertFalse($push->broadcast('may not'));
        self::assertSame('broadcast is not allowed here', $push->lastError());
        self::assertTrue($push->broadcast('hi'), 'the connection is as good as before');
    }

    public function testEcho(): void
    {
        $push = new Client($this->play('relay')->url(), budget: self::AMPLE);
        foreach (['text', 0, null, [], ['a' => ['b' => true]], "\u{1F600}"] as $message) {
            self::assertSame($message, $push->echo($message));
        }
    }

    public function testWhatComesWhileWaitingIsKeptForReceive(): void
    {
        $push = new Client($this->play('relay')->url(), ident: 'me', budget: self::AMPLE);
        self::assertTrue($push->feedback('x', uuid: 'busy'));
        self::assertTrue($push->feedback('x', uuid: 'busy'));
        self::assertSame(['one', 'two', 'one', 'two'], array_column(iterator_to_array($push->messages(0.05)), 'message'));
        self::assertNull($push->lastError(), 'no message is no failure');
        self::assertNull($push->receive(0.0));
    }

    public function testReconnectsOnceWhenTheKeptConnectionIsDead(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), budget: self::AMPLE);
        self::assertTrue($push->feedback('x', uuid: 'the last one'));
        foreach (['request', 'packet', 'closed'] as $ignored) {
            $server->line();
        }
        self::assertTrue($push->feedback('y', uuid: 'browser'));
        self::assertSame('GET / HTTP/1.1', $server->packet()['']);
        self::assertSame('y', $server->packet()['message']);
        self::assertSame('on the way out', $push->receive(0.0)['message'], 'what the dead one had brought');
    }

    public function testDoesNotSendTwiceWhatMayHaveArrived(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), budget: self::AMPLE, coolDown: 0.0);
        self::assertFalse($push->feedback('x', uuid: 'dies of it'));
        self::assertStringContainsString('without a close frame', $push->lastError());
        self::assertTrue($push->feedback('y', uuid: 'browser'));
        self::assertArrayHasKey('', $server->packet());
        self::assertSame('x', $server->packet()['message']);
        self::assertArrayHasKey('', $server->packet());
        self::assertSame('y', $server->packet()['message']);
    }

    /** @dataProvider deafServers */
    public function testKeepsToTheBudgetAndThenCoolsDown(string $scenario, string $uuid): void
    {
        $push = new Client($this->play($scenario)->url(), uuid: $uuid, budget: 0.4, coolDown: 0.6);
        [$sent, $seconds] = self::timed(static fn () => $push->feedback('x'));
        self::assertFalse($sent);
        self::assertGreaterThanOrEqual(0.35, $seconds);
        self::assertLessThan(0.4 + self::SLACK, $seconds);
        self::assertNotNull($reason = $push->lastError());

        [$sent, $seconds] = self::timed(static fn () => $push->feedback('x') || $push->broadcast('x') || $push->echo('x'));
        self::assertFalse($sent);
        self::assertLessThan(0.1, $seconds, 'the budget is spent once only');
        self::assertStringStartsWith("{$reason} (not tried again for 0.", $push->lastError());
    }

    public static function deafServers(): array
    {
        return [
            'no answer to the handshake' => ['silent', 'browser'],
            'no greeting' => ['no greeting', 'browser'],
            'no acknowledgement' => ['relay', 'never acknowledged'],
        ];
    }

    public function testALateAcknowledgementIsNotTakenForThatOfTheNextMessage(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), budget: 0.3, coolDown: 0.0);
        self::assertFalse($push->feedback('x', uuid: 'never acknowledged'));
        self::assertArrayHasKey('', $server->packet());
        $server->line();
        self::assertTrue($push->feedback('y', uuid: 'browser'), $push->lastError() ?? '');
        self::assertArrayHasKey('', $server->packet(), 'another connection');
    }

    public function testTriesAgainAfterTheCoolDown(): void
    {
        $port = self::freePort();
        $push = new Client("ws://127.0.0.1:{$port}/", uuid: 'browser', coolDown: 0.2);
        self::assertFalse($push->feedback('x'));
        self::assertStringContainsString('Connection refused', $push->lastError());
        [$received, $seconds] = self::timed(static fn () => $push->receive(5.0));
        self::assertNull($received);
        self::assertStringEndsWith('Connection refused', $push->lastError(), 'tried again');
        self::assertGreaterThanOrEqual(0.15, $seconds, 'a loop around receive() must not spin');
        self::assertLessThan(0.2 + self::SLACK, $seconds, 'refused, there is nothing to wait for');
        self::assertNull($push->receive(-1.0));
        self::assertNotNull($push->lastError(), 'still cooling down, which is no lack of messages');
    }

    public function testRefusals(): void
    {
        $push = new Client($this->play('forbidden')->url(), uuid: 'browser', budget: self::AMPLE);
        self::assertFalse($push->feedback('x'));
        self::assertSame('403 Forbidden: origin "http://x" not allowed', $push->lastError());
    }

    public function testARefusalAfterTheUpgrade(): void
    {
        $push = new Client($this->play('full')->url(), uuid: 'browser', budget: self::AMPLE, throw: true);
        $this->expectException(RefusedException::class);
        $this->expectExceptionMessage('too many connections from your address');
        $push->feedback('x');
    }

    public function testAServerThatIsNoRelay(): void
    {
        $push = new Client($this->play('no relay')->url(), uuid: 'browser', budget: self::AMPLE);
        self::assertFalse($push->feedback('x'));
        self::assertStringContainsString('this is no relay', $push->lastError());
    }

    public function testExceptionsOnRequest(): void
    {
        $push = new Client('ws://127.0.0.1:' . self::freePort() . '/', uuid: 'browser', throw: true);
        foreach (['the server', 'the cool-down'] as $who) {
            try {
                $push->feedback('x');
                self::fail("{$who} did not throw");
            } catch (ConnectException $problem) {
                self::assertSame($problem->getMessage(), $push->lastError());
            }
        }
        $push = new Client($this->play('silent')->url(), uuid: 'browser', budget: 0.2, throw: true);
        $this->expectException(TimeoutException::class);
        $push->feedback('x');
    }

    /** @dataProvider messagesThatAreNoJson */
    public function testMessagesThatCantBeSent(mixed $message): void
    {
        $push = new Client($this->play('relay')->url(), uuid: 'browser', budget: self::AMPLE);
        self::assertFalse($push->feedback($message));
        self::assertStringStartsWith("the message can't be sent as JSON: ", $push->lastError());
        self::assertTrue($push->feedback('x'), 'no reason to cool down');
    }

    public static function messagesThatAreNoJson(): array
    {
        $thrower = new class () implements \JsonSerializable {
            public function jsonSerialize(): mixed
            {
                throw new \DomainException('not me');
            }
        };
        $deep = [];
        for ($i = 0; $i < 600; $i++) {
            $deep = [$deep];
        }

        return ['not UTF-8' => ["\xFF"], 'NAN' => [NAN], 'too deep' => [$deep], 'its own exception' => [$thrower]];
    }

    public function testFeedbackToNobody(): void
    {
        $push = new Client('ws://127.0.0.1:' . self::freePort() . '/');
        self::assertFalse($push->feedback('x'));
        self::assertStringContainsString('neither a uuid nor an ident', $push->lastError());
        $push = new Client('ws://127.0.0.1:1/', throw: true);
        $this->expectException(MessageException::class);
        $push->feedback('x', ident: '', uuid: '');
    }

    /** @dataProvider argumentsThatCantBeUsed */
    public function testArgumentsThatCantBeUsedAreSaidAtOnce(array $arguments): void
    {
        $this->expectException(\InvalidArgumentException::class);
        new Client(...$arguments + ['url' => 'ws://localhost/']);
    }

    public static function argumentsThatCantBeUsed(): array
    {
        return [
            [['url' => 'localhost:8096']],
            [['ident' => "a\r\nOrigin: x"]],
            [['budget' => 0.0]],
            [['budget' => NAN]],
            [['coolDown' => -1.0]],
            [['ping' => -1.0]],
            [['headers' => ['Host' => 'x']]],
        ];
    }

    public function testClosesWhenItIsLetGo(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), uuid: 'browser', budget: self::AMPLE);
        $push->feedback('x');
        $server->line();
        $server->line();
        unset($push);
        self::assertSame('close', $server->line());
    }

    public function testCanBeUsedAgainAfterClose(): void
    {
        $server = $this->play('relay');
        $push = new Client($server->url(), uuid: 'browser', budget: self::AMPLE);
        self::assertTrue($push->feedback('x'));
        $push->close();
        $push->close();
        self::assertTrue($push->feedback('y'));
    }

    public function testReceiveNoticesAServerThatIsNoLongerThere(): void
    {
        $server = $this->play('never answers a ping');
        $push = new Client($server->url(), ident: 'me', budget: self::AMPLE, ping: 0.2, throw: true);
        try {
            $push->receive();
            self::fail('received something');
        } catch (ClosedException $problem) {
            self::assertStringContainsString('neither a ping', $problem->getMessage());
        }
        self::assertSame('89', $server->line());
    }

    public function testReceiveWaitsAsLongAsPingsAreAnswered(): void
    {
        $server = $this->play('answers pings');
        $push = new Client($server->url(), ident: 'me', budget: self::AMPLE, ping: 0.1);
        self::assertSame('worth the wait', $push->receive()['message'] ?? $push->lastError());
    }

    public function testReceiveTellsTheEndOfTheConnectionAndThenConnectsAgain(): void
    {
        $server = $this->play('delivers and stops');
        $push = new Client($server->url(), ident: 'me', budget: self::AMPLE, coolDown: 0.2);
        self::assertSame(['text' => "Gr\u{FC}\u{DF}e"], $push->receive(self::AMPLE)['message'] ?? $push->lastError());
        self::assertSame('me', $server->line());
        self::assertNull($push->receive(self::AMPLE));
        self::assertStringEndsWith('closed by the server: 1001 restart', $push->lastError());
        [$packet, $seconds] = self::timed(static fn () => $push->receive(self::AMPLE));
        self::assertNotNull($packet, $push->lastError() ?? '');
        self::assertGreaterThanOrEqual(0.15, $seconds, 'no storm of connections against a server that keeps closing');
    }
}

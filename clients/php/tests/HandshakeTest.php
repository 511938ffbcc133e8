<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\Address;
use Websock\Handshake;
use Websock\ProtocolException;
use Websock\RefusedException;

/** Addresses, the request, and what is taken for an answer, without a socket. */
final class HandshakeTest extends TestCase
{
    private const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

    /** @dataProvider addresses */
    public function testTakesAddressesApart(string $url, string $endpoint, string $authority, string $target): void
    {
        $address = Address::parse($url);
        self::assertSame([$endpoint, $authority, $target], [$address->endpoint(), $address->authority(), $address->target]);
    }

    public static function addresses(): array
    {
        return [
            ['ws://localhost:8096/php', 'tcp://localhost:8096', 'localhost:8096', '/php'],
            ['ws://example.com', 'tcp://example.com:80', 'example.com', '/'],
            ['WSS://example.com/a?b=c/d', 'tcp://example.com:443', 'example.com', '/a?b=c/d'],
            ['ws://example.com:443/', 'tcp://example.com:443', 'example.com:443', '/'],
            ['ws://[::1]:8096/web', 'tcp://[::1]:8096', '[::1]:8096', '/web'],
            ['ws://example.com?q', 'tcp://example.com:80', 'example.com', '/?q'],
        ];
    }

    /** @dataProvider badAddresses */
    public function testSaysWhatIsWrongWithAnAddress(string $url, string $problem): void
    {
        $this->expectException(\InvalidArgumentException::class);
        $this->expectExceptionMessage($problem);
        Address::parse($url);
    }

    public static function badAddresses(): array
    {
        return [
            ['', 'is none'],
            ['/php', 'is none'],
            ['localhost:8096', 'must begin with ws:// or wss://'],
            ['http://localhost/', 'must begin with ws:// or wss://'],
            ['ws://localhost:99999/', 'is none'],
            ['ws://localhost:0/', 'has port 0'],
            ["ws://localhost/\r\nX: y", 'has a blank, a control character'],
            ['ws://localhost/a b', 'has a blank'],
            ["ws://localhost/\u{E9}", 'not ASCII'],
            ['ws://me:secret@localhost/', 'must not hold a user name'],
            ['ws://localhost/#x', 'must not hold a #fragment'],
        ];
    }

    public function testRequestIsWhatTheRfcAsksFor(): void
    {
        $address = Address::parse('ws://localhost:8096/php?x=1');
        $request = (new Handshake($address, ['Ident' => "J\u{F6}rg"], ['one', 'two']))->request();
        self::assertMatchesRegularExpression(
            "~^GET /php\\?x=1 HTTP/1\\.1\r\nHost: localhost:8096\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Key: [A-Za-z0-9+/]{22}==\r\nSec-WebSocket-Version: 13\r\n"
            . "Sec-WebSocket-Protocol: one, two\r\nIdent: J\u{F6}rg\r\n\r\n$~D",
            $request,
        );
        self::assertNotSame($request, (new Handshake($address, ['Ident' => "J\u{F6}rg"], ['one', 'two']))->request());
    }

    /** @dataProvider fieldsThatCantBeSent */
    public function testNothingCanBeSmuggledIntoTheRequest(array $headers, array $protocols): void
    {
        $this->expectException(\InvalidArgumentException::class);
        new Handshake(Address::parse('ws://localhost/'), $headers, $protocols);
    }

    public static function fieldsThatCantBeSent(): array
    {
        return [
            'line break' => [['Ident' => "a\r\nOrigin: x"], []],
            'trailing line feed' => [['Ident' => "a\n"], []],
            'NUL' => [['Ident' => "a\0"], []],
            'blank at the end' => [['Ident' => 'a '], []],
            'name with a colon' => [['A:b' => 'c'], []],
            'name with a line feed' => [["A\n" => 'c'], []],
            'no name' => [['a'], []],
            'no string' => [['Ident' => 5], []],
            'own field' => [['sec-websocket-key' => 'x'], []],
            'Host' => [['Host' => 'x'], []],
            'protocol with a comma' => [[], ['a, b']],
            'empty protocol' => [[], ['']],
        ];
    }

    public function testTakesTheAnswerSplitAnywhereAndKeepsWhatIsBehind(): void
    {
        for ($at = 0; ; $at++) {
            $handshake = self::handshake();
            $answer = self::answer($handshake) . "\x81\x02hi";
            if ($at > strlen($answer)) {
                break;
            }
            $headLength = strlen($answer) - 4;
            $open = $handshake->feed(substr($answer, 0, $at));
            self::assertSame($at >= $headLength, $open, "split at {$at}");
            if (!$open) {
                self::assertTrue($handshake->feed(substr($answer, $at)));
                self::assertSame("\x81\x02hi", $handshake->rest());
            } else {
                self::assertSame(substr("\x81\x02hi", 0, $at - $headLength), $handshake->rest());
            }
        }
        self::assertGreaterThan(100, $at);
    }

    public function testNamesAndTokensInAnyCase(): void
    {
        $handshake = self::handshake();
        $answer = str_replace(
            ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Accept:'],
            ['UPGRADE:WebSocket', 'connection: keep-alive, UPGRADE', 'sec-websocket-accept:  '],
            self::answer($handshake),
        );
        self::assertTrue($handshake->feed(str_replace("\r\n\r\n", "\r\nSec-Websocket-PROTOCOL: two\r\n\r\n", $answer)));
        self::assertSame('two', $handshake->protocol());
    }

    /** @dataProvider answersOfOthers */
    public function testTakesNoOtherAnswer(string $search, string $replacement, string $problem): void
    {
        $handshake = self::handshake();
        $answer = str_replace($search, $replacement, self::answer($handshake), $count);
        self::assertSame(1, $count);
        $this->expectException(ProtocolException::class);
        $this->expectExceptionMessage($problem);
        $handshake->feed($answer);
    }

    public static function answersOfOthers(): array
    {
        return [
            ['HTTP/1.1', 'HTTP/2', 'not HTTP'],
            ['HTTP/1.1 101 ', 'HTTP/1.1 1010 ', 'not HTTP'],
            ["Upgrade: websocket\r\n", '', 'Upgrade: websocket is missing'],
            ['Upgrade: websocket', 'Upgrade: h2c', 'Upgrade: websocket is missing'],
            ["Connection: Upgrade\r\n", '', 'Connection: Upgrade is missing'],
            ['Sec-WebSocket-Accept: ', 'Sec-WebSocket-Accept: x', 'does not match the key'],
            ['Sec-WebSocket-Accept: ', 'X: ', 'does not match the key'],
            ['Sec-WebSocket-Accept: ', "Sec-WebSocket-Accept: x\r\nSec-WebSocket-Accept: ", 'does not match the key'],
            ['Upgrade: websocket', "Upgrade: websocket\r\nSec-WebSocket-Protocol: three", 'subprotocol that was not offered'],
            ['Upgrade: websocket', "Upgrade: websocket\r\nSec-WebSocket-Extensions: x", 'extension that was not offered'],
            ['Upgrade: websocket', "Upgrade: websocket\r\nnonsense", 'malformed field'],
            ['Upgrade: websocket', "Upgrade: websocket\r\n folded", 'malformed field'],
        ];
    }

    /** @dataProvider refusals */
    public function testRefusalsComeWithTheServersOwnWords(string $answer, string $message): void
    {
        $handshake = self::handshake();
        try {
            $handshake->feed($answer);
            $refusal = $handshake->refusal();
        } catch (RefusedException $refusal) {
        }
        self::assertSame($message, $refusal->getMessage());
        self::assertSame((int) $message, $refusal->status);
    }

    public static function refusals(): array
    {
        return [
            ["HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno /phpp\n", '404 Not Found: no /phpp'],
            ["HTTP/1.1 503\r\n\r\n", '503'],
            ["HTTP/1.0 403 Forbidden\r\n\r\na\r\n\tb\0c", '403 Forbidden: a b c'],
            ["HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\n\r\n<p>no</p>", '502 Bad: no'],
            ["HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", '502 Bad'],
            ["HTTP/1.1 302 Found\r\nLocation: wss://x/\r\n\r\n", '302 Found: see wss://x/'],
            ["HTTP/1.1 400 B\r\n\r\n\xFF\xFEx", '400 B: ?x'],
            ["HTTP/1.1 400 B\r\n\r\n" . str_repeat("\u{E4}", 9000), '400 B: ' . str_repeat("\u{E4}", 293) . '...'],
            ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", '200 OK'],
        ];
    }

    public function testDoesNotReadAHeadForEver(): void
    {
        $handshake = self::handshake();
        $this->expectException(ProtocolException::class);
        for ($i = 0; $i < 20; $i++) {
            self::assertFalse($handshake->feed(str_repeat('x', 1000)));
        }
    }

    private static function handshake(): Handshake
    {
        return new Handshake(Address::parse('ws://localhost/'), [], ['one', 'two']);
    }

    private static function answer(Handshake $handshake): string
    {
        preg_match('/Sec-WebSocket-Key: (\S+)/', $handshake->request(), $key);
        $accept = base64_encode(sha1($key[1] . self::GUID, true));

        return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Accept: {$accept}\r\n\r\n";
    }
}

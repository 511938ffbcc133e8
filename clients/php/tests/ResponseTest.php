<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\ProtocolException;
use Websock\Response;

/** HTTP responses, byte by byte: framing, sizes, and what is not to be guessed at. */
final class ResponseTest extends TestCase
{
    private const MAX = 40;

    /** @return array<string, array{string, string, bool}> bytes, body, whether another request may follow */
    public static function whole(): array
    {
        $length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n";
        $chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";

        return [
            'a length' => ["{$length}\r\nabc", 'abc', true],
            'no body' => ["HTTP/1.1 500 \r\ncontent-length:0\r\n\r\n", '', true],
            'no reason' => ["HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", 'abc', true],
            'the same length twice' => ["{$length}Content-Length: 3, 3\r\n\r\nabc", 'abc', true],
            'close' => ["{$length}Connection: Keep-Alive\r\nConnection: CLOSE\r\n\r\nabc", 'abc', false],
            'HTTP/1.0' => ["HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 'abc', false],
            'HTTP/1.0, kept' => ["HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: Keep-Alive\r\n\r\nabc", 'abc', true],
            'more than that' => ["{$length}\r\nabcd", 'abc', false],
            'chunks' => ["{$chunked}\r\n1\r\na\r\n00A ;x=\"y\"\r\n0123456789\r\n1\r\nb\r\n0\r\n\r\n", 'a0123456789b', true],
            'line breaks in chunks' => ["{$chunked}\r\n4\r\n\r\n\r\n\r\n2;\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n\r\n", true],
            'no chunks' => ["{$chunked}\r\n000\r\n\r\n", '', true],
            'trailers' => ["{$chunked}\r\n1\r\na\r\n0\r\nA: b\r\nContent-Length: 7\r\n\r\n", 'a', true],
            'more behind chunks' => ["{$chunked}\r\n1\r\na\r\n0\r\n\r\n\r\n", 'a', false],
            'interim' => ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nContent-Length: 9\r\n\r\n{$length}\r\nabc", 'abc', true],
            'no content' => ["HTTP/1.1 204 No Content\r\n\r\n", '', true],
            'not modified' => ["HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", '', true],
            'as much as may be' => ["HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" . str_repeat('x', 40), str_repeat('x', 40), true],
        ];
    }

    /** @dataProvider whole */
    public function testAResponseInAnyPieces(string $bytes, string $body, bool $kept): void
    {
        for ($cut = 0; $cut <= strlen($bytes); $cut++) {
            $response = new Response(self::MAX);
            $response->feed(substr($bytes, 0, $cut));
            self::assertTrue($response->feed(substr($bytes, $cut)), "cut at {$cut}");
            self::assertSame([$body, $kept], [$response->body(), $response->keepsAlive()], "cut at {$cut}");
        }
        $response = new Response(self::MAX);
        $complete = false;
        foreach (str_split($bytes) as $byte) {
            $complete = $response->feed($byte);
        }
        self::assertTrue($complete);
        self::assertSame($body, $response->body());
    }

    public function testNoBeginningOfAResponseIsAResponse(): void
    {
        foreach (self::whole() as $name => [$bytes, $body, $kept]) {
            for ($cut = 0; $kept && $cut < strlen($bytes); $cut++) {
                $response = new Response(self::MAX);
                self::assertFalse($response->feed(substr($bytes, 0, $cut)), "{$name}, cut at {$cut}");
                self::assertFalse($response->end(), "{$name}, ended at {$cut}");
            }
        }
    }

    public function testABodyThatLastsUntilTheEnd(): void
    {
        $response = new Response(self::MAX);
        self::assertFalse($response->feed("HTTP/1.1 200 OK\r\n\r\nab"));
        self::assertFalse($response->feed('c'));
        self::assertTrue($response->end());
        self::assertSame(['abc', false], [$response->body(), $response->keepsAlive()]);
    }

    public static function faults(): array
    {
        $head = "HTTP/1.1 200 OK\r\n";
        $chunked = "{$head}Transfer-Encoding: chunked\r\n\r\n";
        $sized = static fn (string $length): string => "{$head}Content-Length: {$length}\r\n\r\n";

        return [
            ["SSH-2.0-x\r\n\r\n", 'not HTTP'],
            ["HTTP/2 200 OK\r\n\r\n", 'not HTTP'],
            ["HTTP/1.1 20 OK\r\n\r\n", 'not HTTP'],
            ["{$head}nonsense\r\n\r\n", 'malformed field'],
            [$head . str_repeat('x', 17000), 'endless head'],
            ["HTTP/1.1 101 x\r\n\r\n", 'changes the protocol'],
            [$sized('-1'), 'Content-Length'],
            [$sized('+1'), 'Content-Length'],
            [$sized('1.0'), 'Content-Length'],
            [$sized('0x1'), 'Content-Length'],
            [$sized(''), 'Content-Length'],
            [$sized('1,2'), 'Content-Length'],
            [$sized('9999999999999999999'), 'Content-Length'],
            [$sized("1\r\nContent-Length: 2"), 'Content-Length'],
            [$sized('41'), 'more than 40 bytes'],
            [$sized('999999999999999999'), 'more than 40 bytes'],
            [$sized("1\r\nTransfer-Encoding: chunked"), 'Transfer-Encoding'],
            ["{$head}Transfer-Encoding: gzip, chunked\r\n\r\n", 'Transfer-Encoding'],
            ["{$head}Transfer-Encoding: identity\r\n\r\n", 'Transfer-Encoding'],
            ["{$head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 'Transfer-Encoding'],
            ["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 'Transfer-Encoding'],
            ["{$chunked}x\r\n", 'without a size'],
            ["{$chunked}\r\n", 'without a size'],
            ["{$chunked}-1\r\n", 'without a size'],
            ["{$chunked}0x1\r\n", 'without a size'],
            ["{$chunked}1 1\r\n", 'without a size'],
            ["{$chunked}fffffffffffff\r\n", 'without a size'],
            ["{$chunked}ffffffffffff\r\n", 'more than 40 bytes'],
            ["{$chunked}29\r\n", 'more than 40 bytes'],
            ["{$chunked}14\r\n" . str_repeat('x', 20) . "\r\n15\r\n", 'more than 40 bytes'],
            ["{$chunked}1\r\nab\r\n", 'longer than it says'],
            ["{$chunked}1;" . str_repeat('x', 2000), 'endless line'],
            ["{$chunked}0\r\n" . str_repeat("A: b\r\n", 3000), 'endless trailers'],
            ["{$head}\r\n" . str_repeat('x', 41), 'more than 40 bytes'],
        ];
    }

    /** @dataProvider faults */
    public function testWhatIsNoResponse(string $bytes, string $why): void
    {
        foreach ([strlen($bytes), 1] as $size) {
            $response = new Response(self::MAX);
            try {
                foreach (str_split($bytes, $size) as $piece) {
                    $response->feed($piece);
                }
                self::fail('taken');
            } catch (ProtocolException $problem) {
                self::assertStringContainsString($why, $problem->getMessage());
            }
        }
    }
}

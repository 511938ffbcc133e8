<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\CloseStatus;
use Websock\Frame;
use Websock\FrameParser;
use Websock\Message;
use Websock\MessageAssembler;
use Websock\ProtocolException;
use Websock\Tests\Fake\Peer;

/** Bytes, frames and messages, without a socket. */
final class FrameTest extends TestCase
{
    private const LIMIT = 70_000;

    public function testEverySplitOfAStreamGivesTheSameFrames(): void
    {
        $stream = Peer::frame(0x81, 'hello') . Peer::frame(0x89, '') . Peer::frame(0x02, str_repeat("\x00\xFF", 63))
            . Peer::frame(0x8A, 'pong') . Peer::frame(0x80, 'end') . Peer::frame(0x88, pack('n', 1000) . 'bye');
        $whole = self::parse([$stream]);
        self::assertCount(6, $whole);
        self::assertSame(str_repeat("\x00\xFF", 63), $whole[2]->payload);
        for ($at = 0; $at <= strlen($stream); $at++) {
            self::assertEquals($whole, self::parse([substr($stream, 0, $at), substr($stream, $at)]), "split at {$at}");
        }
        self::assertEquals($whole, self::parse(str_split($stream)), 'byte by byte');
    }

    /** @dataProvider lengths */
    public function testLengthsOfEachForm(int $length): void
    {
        $payload = str_repeat('x', $length);
        foreach ([1, 3, 4096, PHP_INT_MAX] as $size) {
            $frames = self::parse(str_split(Peer::frame(0x81, $payload) . Peer::frame(0x81, 'next'), $size));
            self::assertSame([$payload, 'next'], array_column($frames, 'payload'));
        }
    }

    public static function lengths(): array
    {
        return [[0], [1], [125], [126], [127], [65535], [65536], [self::LIMIT]];
    }

    /** @dataProvider violations */
    public function testRefusesByTheHeaderAlone(string $bytes, int $code): void
    {
        $parser = new FrameParser(self::LIMIT);
        $parser->feed($bytes);
        try {
            $parser->next();
            self::fail('taken');
        } catch (ProtocolException $problem) {
            self::assertSame($code, $problem->closeCode);
        }
    }

    public static function violations(): array
    {
        return [
            'RSV1' => ["\xC1\x00", 1002],
            'RSV2' => ["\xA1\x00", 1002],
            'RSV3' => ["\x91\x00", 1002],
            'opcode 3' => ["\x83\x00", 1002],
            'opcode B' => ["\x8B\x00", 1002],
            'masked' => ["\x81\x80", 1002],
            'fragmented ping' => ["\x09\x00", 1002],
            'ping of 126 bytes' => ["\x89\x7E", 1002],
            '125 in two bytes' => ["\x81\x7E\x00\x7D", 1002],
            '65535 in eight' => ["\x81\x7F\x00\x00\x00\x00\x00\x00\xFF\xFF", 1002],
            'top bit of the length' => ["\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 1002],
            'limit + 1' => ["\x81\x7F\x00\x00\x00\x00\x00\x01\x11\x71", 1009],
            '2^63 - 1' => ["\x80\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 1009],
        ];
    }

    public function testNonsenseLeadsToFramesOrToAProtocolErrorAndToNothingElse(): void
    {
        mt_srand(20210930);
        $refused = 0;
        for ($round = 0; $round < 5000; $round++) {
            $parser = new FrameParser(1000);
            $assembler = new MessageAssembler(1000);
            try {
                for ($i = 0; $i < 20; $i++) {
                    // Headers that are good as often as not, so that what is behind them is reached as well.
                    $first = [0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, mt_rand(0, 255)][mt_rand(0, 7)];
                    $parser->feed(chr($first) . chr(mt_rand(0, 140)) . str_repeat(chr(mt_rand(0, 255)), mt_rand(0, 140)));
                    while (($frame = $parser->next()) !== null) {
                        match ($frame->opcode) {
                            Frame::CLOSE => CloseStatus::parse($frame->payload),
                            Frame::PING, Frame::PONG => null,
                            default => $assembler->add($frame),
                        };
                    }
                }
            } catch (ProtocolException) {
                $refused++;
            }
        }
        self::assertGreaterThan(4000, $refused);
    }

    /** @dataProvider lengths */
    public function testAPeerReadsWhatAClientEncodes(int $length): void
    {
        $payload = $length === 0 ? '' : random_bytes($length);
        [$here, $there] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
        $bytes = Frame::encode(Frame::BINARY, $payload);
        stream_set_blocking($here, false);
        // A socket pair holds more than the longest of these.
        self::assertSame(strlen($bytes), fwrite($here, $bytes));
        self::assertSame([0x82, $payload], (new Peer($there))->read());
    }

    public function testMasksByteForByteAndBack(): void
    {
        $key = "\x00\x01\xFE\xFF";
        for ($length = 0; $length < 20; $length++) {
            $payload = $length === 0 ? '' : random_bytes($length);
            $expected = '';
            for ($i = 0; $i < $length; $i++) {
                $expected .= chr(ord($payload[$i]) ^ ord($key[$i % 4]));
            }
            self::assertSame($expected, Frame::mask($payload, $key));
            self::assertSame($payload, Frame::mask($expected, $key));
        }
    }

    public function testEachFrameHasItsOwnMask(): void
    {
        $frames = array_map(static fn () => Frame::encode(Frame::TEXT, 'the same'), range(1, 20));
        self::assertCount(20, array_unique($frames));
    }

    public function testMaskingLargeMessagesIsNoLoopOverBytes(): void
    {
        $payload = str_repeat('0123456789abcdef', 1 << 18);
        $byteByByte = self::cpuSeconds(static function () use ($payload): void {
            for ($i = 0, $length = strlen($payload); $i < $length; $i++) {
                $payload[$i] = $payload[$i] ^ 'abcd'[$i & 3];
            }
        });
        $masking = self::cpuSeconds(static fn () => Frame::mask($payload, 'abcd'));
        // Some twenty times as fast; a loop would be about as fast as that one.
        self::assertLessThan($byteByByte / 4, $masking);
    }

    public function testJoinsFragments(): void
    {
        $assembler = new MessageAssembler(self::LIMIT);
        [$before, $after] = str_split("\u{1F600}", 2);
        self::assertNull($assembler->add(new Frame(Frame::TEXT, false, $before)));
        self::assertNull($assembler->add(new Frame(Frame::CONTINUATION, false, '')));
        self::assertEquals(
            new Message("\u{1F600}"),
            $assembler->add(new Frame(Frame::CONTINUATION, true, $after)),
        );
        self::assertEquals(new Message("\xFF", true), $assembler->add(new Frame(Frame::BINARY, true, "\xFF")));
    }

    /**
     * @param list<Frame> $frames
     * @dataProvider brokenMessages
     */
    public function testRefusesBrokenMessages(array $frames, int $code): void
    {
        $assembler = new MessageAssembler(5);
        $last = array_pop($frames);
        foreach ($frames as $frame) {
            self::assertNull($assembler->add($frame));
        }
        try {
            $assembler->add($last);
            self::fail('taken');
        } catch (ProtocolException $problem) {
            self::assertSame($code, $problem->closeCode);
        }
    }

    public static function brokenMessages(): array
    {
        $frame = static fn (int $opcode, bool $fin, string $payload) => new Frame($opcode, $fin, $payload);

        return [
            'continuation of nothing' => [[$frame(0, true, 'x')], 1002],
            'message in a message' => [[$frame(1, false, 'x'), $frame(1, true, 'y')], 1002],
            'longer than the limit in sum' => [[$frame(2, false, 'xxx'), $frame(0, false, 'yyy')], 1009],
            'half a character' => [[$frame(1, true, "\xF0\x9F")], 1007],
            'overlong' => [[$frame(1, true, "\xC0\xAF")], 1007],
            'surrogate' => [[$frame(1, true, "\xED\xA0\x80")], 1007],
            'above 10FFFF' => [[$frame(1, true, "\xF4\x90\x80\x80")], 1007],
        ];
    }

    public function testClosePayloads(): void
    {
        self::assertSame(1005, CloseStatus::parse('')->code);
        foreach ([1000, 1003, 1007, 1014, 3000, 4999] as $code) {
            $status = CloseStatus::parse(CloseStatus::encode($code, 'why'));
            self::assertSame([$code, 'why'], [$status->code, $status->reason]);
        }
        $bad = ["\x03", pack('n', 0), pack('n', 999), pack('n', 1004), pack('n', 1005), pack('n', 1006), pack('n', 1015),
            pack('n', 2999), pack('n', 5000), pack('n', 65535), pack('n', 1000) . "\xFF"];
        foreach ($bad as $payload) {
            try {
                CloseStatus::parse($payload);
                self::fail('taken: ' . bin2hex($payload));
            } catch (ProtocolException $problem) {
                self::assertSame(strlen($payload) === 3 ? 1007 : 1002, $problem->closeCode);
            }
        }
    }

    /** @dataProvider closesThatCantBeSent */
    public function testRefusesToSendABadClose(int $code, string $reason): void
    {
        $this->expectException(\InvalidArgumentException::class);
        CloseStatus::encode($code, $reason);
    }

    public static function closesThatCantBeSent(): array
    {
        return [[1005, ''], [0, ''], [1000, str_repeat('x', 124)], [1000, "\xFF"]];
    }

    /** Time of this process alone: that of the clock depends on what else the machine does. */
    private static function cpuSeconds(callable $work): float
    {
        $before = getrusage();
        $work();
        $after = getrusage();

        return $after['ru_utime.tv_sec'] - $before['ru_utime.tv_sec']
            + ($after['ru_utime.tv_usec'] - $before['ru_utime.tv_usec']) / 1.0e6;
    }

    /**
     * @param iterable<string> $pieces
     * @return list<Frame>
     */
    private static function parse(iterable $pieces): array
    {
        $parser = new FrameParser(self::LIMIT);
        $frames = [];
        foreach ($pieces as $piece) {
            $parser->feed($piece);
            while (($frame = $parser->next()) !== null) {
                $frames[] = $frame;
            }
        }

        return $frames;
    }
}

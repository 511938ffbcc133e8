<?php

declare(strict_types=1);

namespace Websock;

/**
 * One frame of RFC 6455, 5.2, as received; and how a client writes one.
 *
 * @internal
 */
final class Frame
{
    public const CONTINUATION = 0x0;
    public const TEXT = 0x1;
    public const BINARY = 0x2;
    public const CLOSE = 0x8;
    public const PING = 0x9;
    public const PONG = 0xA;

    /** The longest payload of a control frame, and the longest length that fits the second byte. */
    public const SHORT = 125;

    public function __construct(
        public readonly int $opcode,
        public readonly bool $fin,
        public readonly string $payload,
    ) {
    }

    /** One unfragmented frame, masked as a client must. */
    public static function encode(int $opcode, string $payload): string
    {
        $length = strlen($payload);
        $head = chr(0x80 | $opcode) . match (true) {
            $length <= self::SHORT => chr(0x80 | $length),
            $length <= 0xFFFF => "\xFE" . pack('n', $length),
            default => "\xFF" . pack('J', $length),
        };
        $key = random_bytes(4);

        return $head . $key . self::mask($payload, $key);
    }

    /**
     * XOR of two strings is one loop inside PHP; the same byte by byte takes a hundred times as long.
     *
     * @param string $key four bytes
     */
    public static function mask(string $payload, string $key): string
    {
        return $payload ^ str_repeat($key, intdiv(strlen($payload) + 3, 4));
    }
}

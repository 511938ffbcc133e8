<?php

declare(strict_types=1);

namespace Websock;

/**
 * The payload of a close frame (RFC 6455, 5.5.1 and 7.4).
 *
 * @internal
 */
final class CloseStatus
{
    public const NORMAL = 1000;
    public const PROTOCOL_ERROR = 1002;
    public const UNSUPPORTED = 1003;
    public const NO_CODE = 1005;
    public const NO_CLOSE_FRAME = 1006;
    public const NOT_UTF8 = 1007;
    public const TOO_BIG = 1009;

    /** A control frame holds 125 bytes, two of them are the code. */
    private const LONGEST_REASON = 123;

    private function __construct(public readonly int $code, public readonly string $reason)
    {
    }

    /** @throws ProtocolException for a payload that RFC 6455 does not allow */
    public static function parse(string $payload): self
    {
        if ($payload === '') {
            return new self(self::NO_CODE, '');
        }
        if (strlen($payload) === 1) {
            throw new ProtocolException('close frame with half a code');
        }
        $code = unpack('n', $payload)[1];
        if (!self::mayBeSent($code)) {
            throw new ProtocolException("close frame with code {$code}");
        }
        $reason = substr($payload, 2);
        if (!Message::isUtf8($reason)) {
            throw new ProtocolException('close frame whose reason is not UTF-8', self::NOT_UTF8);
        }

        return new self($code, $reason);
    }

    /** @throws \InvalidArgumentException for what must not stand in a close frame */
    public static function encode(int $code, string $reason): string
    {
        if (!self::mayBeSent($code)) {
            throw new \InvalidArgumentException("{$code} is no close code that may be sent");
        }
        if (strlen($reason) > self::LONGEST_REASON || !Message::isUtf8($reason)) {
            throw new \InvalidArgumentException('a close reason is UTF-8 of at most ' . self::LONGEST_REASON . ' bytes');
        }

        return pack('n', $code) . $reason;
    }

    /** For people: "1013 try again later". */
    public function __toString(): string
    {
        return rtrim("{$this->code} {$this->reason}");
    }

    /** 1004 to 1006 and 1015 never go over the wire, what the registry has not given out does not either. */
    private static function mayBeSent(int $code): bool
    {
        return ($code >= 1000 && $code <= 1003) || ($code >= 1007 && $code <= 1014) || ($code >= 3000 && $code <= 4999);
    }
}

<?php

declare(strict_types=1);

namespace Websock;

/** One complete message as received. */
final class Message
{
    /** @param string $data the payload; valid UTF-8 where the message is text */
    public function __construct(public readonly string $data, public readonly bool $binary = false)
    {
    }

    /** @internal PCRE is in every PHP, mbstring is not. */
    public static function isUtf8(string $data): bool
    {
        return preg_match('//u', $data) === 1;
    }
}

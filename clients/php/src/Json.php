<?php

declare(strict_types=1);

namespace Websock;

/**
 * JSON as this package sends and reads it.
 *
 * @internal
 */
final class Json
{
    /** Nesting that goes along. */
    private const DEPTH = 512;

    /** @throws MessageException for what is no JSON, and for what an object's own jsonSerialize() throws */
    public static function encode(mixed $value): string
    {
        $flags = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;
        try {
            return json_encode($value, $flags, self::DEPTH);
        } catch (\Throwable $problem) {
            throw new MessageException("the message can't be sent as JSON: {$problem->getMessage()}", previous: $problem);
        }
    }

    /** JSON objects become arrays; null: it is no JSON, or nested too deeply. */
    public static function decode(string $text): mixed
    {
        return json_decode($text, true, self::DEPTH);
    }
}

<?php

declare(strict_types=1);

namespace Websock;

/**
 * Calls of PHP's own functions that warn rather than throw.
 *
 * @internal
 */
final class Warnings
{
    /**
     * Makes one call with PHP's warnings caught. An `@` would not do: error handlers of applications are called all
     * the same, and many make an exception of what they get.
     */
    public static function caught(callable $call, ?string &$warning = null): mixed
    {
        $warning = null;
        set_error_handler(static function (int $level, string $text) use (&$warning): bool {
            $text = preg_replace(['/^\w+\(\): /', '/\s+/'], ['', ' '], $text);
            $warning = $warning === null ? $text : "{$warning}; {$text}";

            return true;
        });
        try {
            return $call();
        } finally {
            restore_error_handler();
        }
    }
}

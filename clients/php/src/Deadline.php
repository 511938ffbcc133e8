<?php

declare(strict_types=1);

namespace Websock;

/**
 * A point in time by which something must be done, or never. Monotonic: a clock that is set does not move it.
 *
 * @internal
 */
final class Deadline
{
    private const LONGEST = 1.0e9;

    /** @param ?int $at nanoseconds of hrtime(); null: never */
    private function __construct(private readonly ?int $at)
    {
    }

    /** @param ?float $seconds from now; below 0 counts as 0; null: never */
    public static function in(?float $seconds): self
    {
        if ($seconds === null) {
            return new self(null);
        }

        return new self(hrtime(true) + (int) (1.0e9 * min(max($seconds, 0.0), self::LONGEST)));
    }

    /** Seconds that the server takes more before it answers, since these data ask it to wait for what becomes of them. */
    public static function waits(array|object $data): float
    {
        $wait = ((array) $data)['wait'] ?? null;

        return is_int($wait) || is_float($wait) ? max(0.0, min($wait, 30_000) / 1000) : 0.0;
    }

    /** Seconds left, never below 0; null: no end. */
    public function remaining(): ?float
    {
        return $this->at === null ? null : max(0, $this->at - hrtime(true)) / 1.0e9;
    }

    public function passed(): bool
    {
        return $this->at !== null && hrtime(true) >= $this->at;
    }
}

<?php

declare(strict_types=1);

namespace Websock;

/** The server answered and said no, by HTTP status or, after the upgrade, by a `close` packet. */
final class RefusedException extends WebsockException
{
    /** @param ?int $status the HTTP status; null where the refusal came after the upgrade */
    public function __construct(string $message, public readonly ?int $status = null)
    {
        parent::__construct($message);
    }
}

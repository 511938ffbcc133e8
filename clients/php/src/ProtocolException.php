<?php

declare(strict_types=1);

namespace Websock;

/**
 * The peer does not keep to RFC 6455, or to HTTP, or is no server of this kind. A WebSocket connection is ended with the
 * close code given here.
 */
final class ProtocolException extends WebsockException
{
    public function __construct(string $message, public readonly int $closeCode = CloseStatus::PROTOCOL_ERROR)
    {
        parent::__construct($message);
    }
}

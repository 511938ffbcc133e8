<?php

declare(strict_types=1);

namespace Websock;

/** The connection has ended, with or without a close frame. */
final class ClosedException extends WebsockException
{
    /**
     * @param int    $closeCode   as in RFC 6455 7.4; 1005: the close frame had none; 1006: there was no close frame
     * @param string $closeReason as the peer gave it, often empty
     */
    public function __construct(
        string $message,
        public readonly int $closeCode = CloseStatus::NO_CLOSE_FRAME,
        public readonly string $closeReason = '',
    ) {
        parent::__construct($message);
    }
}

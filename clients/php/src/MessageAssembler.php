<?php

declare(strict_types=1);

namespace Websock;

/**
 * Data frames in, messages out (RFC 6455, 5.4). Control frames, which may come in between, are not its business.
 *
 * @internal
 */
final class MessageAssembler
{
    /** Opcode of the message being put together; null between messages. */
    private ?int $opcode = null;
    private string $data = '';

    /** @param int $maxMessage bytes */
    public function __construct(private readonly int $maxMessage)
    {
    }

    /**
     * The message that this frame completes, null when it completes none.
     *
     * @throws ProtocolException after which the rest of the stream means nothing
     */
    public function add(Frame $frame): ?Message
    {
        if ($frame->opcode === Frame::CONTINUATION) {
            if ($this->opcode === null) {
                throw new ProtocolException('continuation of no message');
            }
            $this->data .= $frame->payload;
        } else {
            if ($this->opcode !== null) {
                throw new ProtocolException('new message inside an unfinished one');
            }
            $this->opcode = $frame->opcode;
            $this->data = $frame->payload;
        }
        if (strlen($this->data) > $this->maxMessage) {
            throw new ProtocolException(
                "message of more than {$this->maxMessage} bytes, which is the limit",
                CloseStatus::TOO_BIG,
            );
        }

        return $frame->fin ? $this->complete() : null;
    }

    private function complete(): Message
    {
        $message = new Message($this->data, $this->opcode === Frame::BINARY);
        $this->opcode = null;
        $this->data = '';
        if (!$message->binary && !Message::isUtf8($message->data)) {
            throw new ProtocolException('text message that is not UTF-8', CloseStatus::NOT_UTF8);
        }

        return $message;
    }
}

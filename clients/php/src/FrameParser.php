<?php

declare(strict_types=1);

namespace Websock;

/**
 * Bytes in, frames out, however the bytes were split on their way (RFC 6455, 5.2, from a client's side).
 * Knows single frames; which frames make a message is MessageAssembler's.
 *
 * @internal
 */
final class FrameParser
{
    private string $buffer = '';
    private int $offset = 0;

    /** Bytes from the offset on without which there is nothing new to see: no header is looked at twice in vain. */
    private int $need = 2;

    /** @param int $maxPayload bytes; a longer frame is refused by its header, before any of it is kept */
    public function __construct(private readonly int $maxPayload)
    {
    }

    public function feed(string $bytes): void
    {
        if ($this->offset === strlen($this->buffer)) {
            $this->buffer = $bytes;
            $this->offset = 0;
        } else {
            $this->buffer .= $bytes;
        }
    }

    /**
     * The next complete frame, null when there is none yet.
     *
     * @throws ProtocolException after which the rest of the stream means nothing
     */
    public function next(): ?Frame
    {
        if (strlen($this->buffer) - $this->offset < $this->need) {
            return null;
        }
        $first = ord($this->buffer[$this->offset]);
        $second = ord($this->buffer[$this->offset + 1]);
        $opcode = $first & 0x0F;
        $fin = ($first & 0x80) !== 0;
        $length = $second & 0x7F;
        $this->checkHeader($first, $opcode, $fin, $second, $length);

        $header = match ($length) {
            126 => 4,
            127 => 10,
            default => 2,
        };
        if ($this->lacks($header)) {
            return null;
        }
        if ($header > 2) {
            $length = $this->extendedLength($header);
        }
        if ($length > $this->maxPayload) {
            throw new ProtocolException(
                "frame of {$length} bytes, the limit is {$this->maxPayload}",
                CloseStatus::TOO_BIG,
            );
        }
        if ($this->lacks($header + $length)) {
            return null;
        }

        $payload = substr($this->buffer, $this->offset + $header, $length);
        $this->offset += $header + $length;
        $this->need = 2;
        $this->compact();

        return new Frame($opcode, $fin, $payload);
    }

    private function checkHeader(int $first, int $opcode, bool $fin, int $second, int $length): void
    {
        if (($first & 0x70) !== 0) {
            throw new ProtocolException('frame with a reserved bit, though no extension was agreed upon');
        }
        if (($opcode >= 0x3 && $opcode <= 0x7) || $opcode > Frame::PONG) {
            throw new ProtocolException("frame with the reserved opcode {$opcode}");
        }
        if (($second & 0x80) !== 0) {
            throw new ProtocolException('masked frame from a server');
        }
        if ($opcode >= Frame::CLOSE && !$fin) {
            throw new ProtocolException('fragmented control frame');
        }
        if ($opcode >= Frame::CLOSE && $length > Frame::SHORT) {
            throw new ProtocolException('control frame of more than ' . Frame::SHORT . ' bytes');
        }
    }

    private function lacks(int $bytes): bool
    {
        $this->need = $bytes;

        return strlen($this->buffer) - $this->offset < $bytes;
    }

    private function extendedLength(int $header): int
    {
        [$format, $least] = $header === 4 ? ['n', Frame::SHORT + 1] : ['J', 0x10000];
        $length = unpack($format, $this->buffer, $this->offset + 2)[1];
        if ($length < 0) {
            throw new ProtocolException('frame length with its top bit set');
        }
        if ($length < $least) {
            throw new ProtocolException("frame length {$length} not in its shortest form");
        }

        return $length;
    }

    /** Gives back what was read, but not after each of many small frames: that would copy the rest each time. */
    private function compact(): void
    {
        if ($this->offset >= 0x10000) {
            $this->buffer = substr($this->buffer, $this->offset);
            $this->offset = 0;
        }
    }
}

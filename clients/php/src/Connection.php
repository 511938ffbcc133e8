<?php

declare(strict_types=1);

namespace Websock;

/**
 * One WebSocket connection to any server (RFC 6455), from the handshake to the close. Knows messages, but nothing of
 * the relay, its greeting or JSON: that is Client's.
 *
 * All times are seconds; `null` waits without end. Each method answers pings on its way and keeps the messages that
 * arrive meanwhile for receive(). After an exception other than \InvalidArgumentException the connection is ended, and
 * that exception is what every further use gets.
 *
 * The maximum message size also bounds what is kept: with that many bytes waiting for receive(), nothing more is read
 * while something is being sent.
 */
final class Connection
{
    /** Bytes; what the server of this project allows by default is less than a third of it. */
    public const MAX_MESSAGE = 16_777_216;

    /** How often one look at the socket reads: a peer that never pauses must not hold up what is to be sent. */
    private const READS_A_LOOK = 16;

    private FrameParser $parser;
    private MessageAssembler $assembler;

    /** @var \SplQueue<Message> */
    private \SplQueue $waiting;
    private int $waitingBytes = 0;

    /** Payload of the latest ping not yet answered. Earlier ones need no answer then (RFC 6455, 5.5.3). */
    private ?string $owedPong = null;

    /** Why nothing more will come; null while the connection is open. */
    private ?WebsockException $end = null;
    private bool $closing = false;
    private float $heard;

    private function __construct(
        private readonly Stream $stream,
        private readonly string $url,
        private readonly ?string $protocol,
        private readonly int $maxMessage,
    ) {
        $this->parser = new FrameParser($maxMessage);
        $this->assembler = new MessageAssembler($maxMessage);
        $this->waiting = new \SplQueue();
        $this->heard = hrtime(true);
    }

    /**
     * Connects, and returns once the server has agreed to the upgrade.
     *
     * @param string                $url             ws://HOST[:PORT]/PATH or wss://
     * @param ?float                $timeout         for all of it: name lookup, TCP, TLS, HTTP; with null, PHP's
     *                                               default_socket_timeout still ends the wait for TCP
     * @param array<string, string> $headers         more fields for the request, such as Authorization or Origin
     * @param list<string>          $protocols       subprotocols to offer
     * @param ?string               $caFile          PEM file of the authorities to trust instead of the system's
     * @param bool                  $allowSelfSigned accepts a certificate that vouches for itself, in the right name
     * @param int                   $maxMessage      bytes; a longer message from the server ends the connection
     * @throws ConnectException|RefusedException|TimeoutException|ClosedException|ProtocolException
     * @throws \InvalidArgumentException for an address, field or name that can't be used
     */
    public static function open(
        string $url,
        ?float $timeout = 5.0,
        array $headers = [],
        array $protocols = [],
        ?string $caFile = null,
        bool $allowSelfSigned = false,
        int $maxMessage = self::MAX_MESSAGE,
    ): self {
        $deadline = Deadline::in($timeout);
        $address = Address::parse($url);
        $handshake = new Handshake($address, $headers, $protocols);
        $stream = Stream::connect($address, $caFile, $allowSelfSigned, $deadline);
        try {
            self::shakeHands($stream, $handshake, $url, $deadline);
        } catch (WebsockException $problem) {
            $stream->close();
            throw $problem;
        }
        $connection = new self($stream, $url, $handshake->protocol(), $maxMessage);
        $connection->take($handshake->rest());

        return $connection;
    }

    /**
     * Returns once the operating system has taken the whole message. Whether the peer got it, only its answer can tell.
     *
     * @throws TimeoutException|ClosedException|ProtocolException
     * @throws \InvalidArgumentException for text that is not UTF-8
     */
    public function sendText(string $text, ?float $timeout = 5.0): void
    {
        if (!Message::isUtf8($text)) {
            throw new \InvalidArgumentException('text to be sent must be UTF-8');
        }
        $this->send(Frame::TEXT, $text, $timeout);
    }

    /** @throws TimeoutException|ClosedException|ProtocolException */
    public function sendBinary(string $bytes, ?float $timeout = 5.0): void
    {
        $this->send(Frame::BINARY, $bytes, $timeout);
    }

    /**
     * Asks the peer for a sign of life; that it came shows in silence().
     *
     * @throws TimeoutException|ClosedException|ProtocolException
     */
    public function ping(?float $timeout = 5.0): void
    {
        $this->send(Frame::PING, '', $timeout);
    }

    /**
     * The next message; null when none came in time. With a timeout of 0 only what is already there.
     *
     * @throws ClosedException|ProtocolException once the connection has ended and all that came before was received
     */
    public function receive(?float $timeout = null): ?Message
    {
        $arrived = fn () => !$this->waiting->isEmpty();
        if (!$arrived() && !$this->drive($arrived, Deadline::in($timeout))) {
            return null;
        }
        if (!$arrived()) {
            throw $this->end;
        }
        $message = $this->waiting->dequeue();
        $this->waitingBytes -= strlen($message->data);

        return $message;
    }

    /** Whether the connection still stands, as far as what has arrived tells. Does not wait. */
    public function isOpen(): bool
    {
        $this->look();

        return $this->end === null;
    }

    /** Seconds since anything at all was received. */
    public function silence(): float
    {
        return (hrtime(true) - $this->heard) / 1.0e9;
    }

    /** The subprotocol agreed upon, null for none. */
    public function protocol(): ?string
    {
        return $this->protocol;
    }

    /**
     * Says goodbye, and waits at most that long for the peer to do the same. Messages that still come can be received.
     *
     * @param int    $code   1000, or 3000 to 4999, besides the others that RFC 6455 lets an endpoint send
     * @param string $reason at most 123 bytes
     * @throws \InvalidArgumentException for a code or reason that can't be sent
     */
    public function close(int $code = CloseStatus::NORMAL, string $reason = '', float $timeout = 0.25): void
    {
        $payload = CloseStatus::encode($code, $reason);
        if ($this->end !== null) {
            return;
        }
        $this->closing = true;
        $this->stream->queue(Frame::encode(Frame::CLOSE, $payload));
        $this->drive(static fn () => false, Deadline::in($timeout));
        $this->finish(new ClosedException("{$this->url}: closed by this side", $code, $reason));
    }

    /** Ends the connection without a word, for when it is no use any more. */
    public function abort(): void
    {
        $this->finish(new ClosedException("{$this->url}: given up by this side"));
    }

    private static function shakeHands(Stream $stream, Handshake $handshake, string $url, Deadline $deadline): void
    {
        $stream->queue($handshake->request());
        do {
            $stream->flush();
            $bytes = $stream->read();
            if ($bytes === null) {
                throw $handshake->refusal()
                    ?? new ClosedException("{$url}: the server ended the connection instead of answering the handshake");
            }
            if ($bytes !== '' && $handshake->feed($bytes)) {
                return;
            }
        } while ($stream->wait(true, $deadline));
        throw $handshake->refusal() ?? new TimeoutException("{$url}: no answer to the handshake within the time given");
    }

    private function send(int $opcode, string $payload, ?float $timeout): void
    {
        if ($this->end !== null) {
            throw $this->end;
        }
        $this->stream->queue(Frame::encode($opcode, $payload));
        if (!$this->drive(fn () => !$this->stream->hasOutput(), Deadline::in($timeout))) {
            // Half a frame may be out: nothing else can follow it.
            $this->finish(new TimeoutException("{$this->url}: the message could not be sent within the time given"));
        }
        if ($this->stream->hasOutput()) {
            throw $this->end;
        }
    }

    /**
     * Writes and reads until done, or until the connection has ended (then $this->end says why).
     *
     * @return bool false when the deadline came first
     */
    private function drive(callable $done, Deadline $deadline): bool
    {
        while (true) {
            $this->look();
            if ($done() || $this->end !== null) {
                return true;
            }
            try {
                if (!$this->stream->wait($this->mayRead(), $deadline)) {
                    return false;
                }
            } catch (ConnectException $problem) {
                $this->finish($problem);
            }
        }
    }

    /** Writes and reads what goes without waiting. */
    private function look(): void
    {
        if ($this->end !== null) {
            return;
        }
        $gone = !$this->stream->flush();
        for ($reads = 0; $reads < self::READS_A_LOOK && $this->end === null && $this->mayRead(); $reads++) {
            $bytes = $this->stream->read();
            if ($bytes === null) {
                $this->finish(new ClosedException("{$this->url}: the connection ended without a close frame"));

                return;
            }
            if ($bytes === '') {
                break;
            }
            $this->take($bytes);
        }
        $this->payPong();
        if ($gone) {
            $this->finish(new ClosedException("{$this->url}: the connection was lost while sending"));
        }
    }

    private function mayRead(): bool
    {
        return $this->waitingBytes < $this->maxMessage || !$this->stream->hasOutput();
    }

    private function take(string $bytes): void
    {
        $this->heard = hrtime(true);
        $this->parser->feed($bytes);
        try {
            while ($this->end === null && ($frame = $this->parser->next()) !== null) {
                $this->handle($frame);
            }
        } catch (ProtocolException $problem) {
            $this->reply(CloseStatus::encode($problem->closeCode, ''));
            $this->finish(new ProtocolException("{$this->url}: {$problem->getMessage()}", $problem->closeCode));
        }
    }

    private function handle(Frame $frame): void
    {
        switch ($frame->opcode) {
            case Frame::PING:
                $this->owedPong = $frame->payload;
                break;
            case Frame::PONG:
                break;
            case Frame::CLOSE:
                $status = CloseStatus::parse($frame->payload);
                $this->reply($frame->payload);
                $this->finish(
                    new ClosedException("{$this->url}: closed by the server: {$status}", $status->code, $status->reason),
                );
                break;
            default:
                $message = $this->assembler->add($frame);
                if ($message !== null) {
                    $this->waiting->enqueue($message);
                    $this->waitingBytes += strlen($message->data);
                }
        }
    }

    /** Answers a close with a close, unless it was the answer to ours. */
    private function reply(string $payload): void
    {
        if (!$this->closing) {
            $this->stream->queue(Frame::encode(Frame::CLOSE, $payload));
            $this->stream->flush();
        }
    }

    /** A pong goes behind a frame on its way, never into it; one at most waits there. */
    private function payPong(): void
    {
        if ($this->owedPong !== null && $this->end === null && !$this->closing && !$this->stream->hasOutput()) {
            $this->stream->queue(Frame::encode(Frame::PONG, $this->owedPong));
            $this->owedPong = null;
            $this->stream->flush();
        }
    }

    private function finish(WebsockException $why): void
    {
        $this->end ??= $why;
        $this->stream->close();
    }
}

<?php

declare(strict_types=1);

namespace Websock;

/**
 * Reports back to a browser, by the UUID that its page handed to this script, while the script works:
 *
 *     $push = new Websock\Client('ws://localhost:8096/php', uuid: $uuid);
 *     $push->feedback(['progress' => 40, 'text' => 'resizing images']);
 *
 * A push is a courtesy to whoever watches. So by default it never breaks the script that makes it: what fails returns
 * false (or null) within the budget, says why in lastError(), raises no warning and throws nothing; and for a
 * cool-down the next calls fail at once, so that a server that is down costs its time only once. With `throw: true`
 * the same failures are WebsockExceptions.
 *
 * **A message is sent at most once.** A kept connection that turns out dead before any of the message was sent is
 * opened again, once. When it breaks after that, the call fails and nobody can know whether the message arrived; it is
 * not repeated.
 *
 * Knows the relay's packets; all of WebSocket is Connection's. Make one after a fork, never before: the processes would
 * write into one another's frames.
 */
final class Client
{
    /** Says to the server that this client parses streams, and need not be fed one frame at a time. */
    private const PROTOCOL = 'websock.v1';

    private readonly array $headers;
    private ?Connection $connection = null;
    private ?string $connectionUuid = null;

    /** @var \SplQueue<array> packets that came while something else was waited for */
    private \SplQueue $packets;

    private Deadline $coolUntil;
    private string $coolReason = '';
    private ?string $lastError = null;
    private ?int $delivered = null;
    private ?string $messageId = null;
    private ?array $fates = null;

    /**
     * Connects to nothing yet: the first call that needs the server does.
     *
     * @param string                $url             the relay, as in ws://localhost:8096/php
     * @param ?string               $uuid            the browser that feedback() goes to unless told otherwise
     * @param ?string               $ident           a name for this script, by which others can address it
     * @param float                 $budget          seconds that a call may take in all: name lookup, TCP, TLS,
     *                                               handshake, sending, acknowledgement. A name lookup can't be cut
     *                                               short from PHP: one that hangs ends when the system's resolver
     *                                               gives up. Addresses and names from the hosts file don't
     * @param float                 $coolDown        seconds after a failure in which the server is not tried again
     * @param bool                  $throw           whether failures are thrown
     * @param float                 $ping            seconds of silence after which receive() asks whether the server is
     *                                               still there; silent for as long again, it is not. 0: never
     * @param ?string               $caFile          for wss://: PEM file of the authorities to trust instead of the
     *                                               system's
     * @param bool                  $allowSelfSigned accepts a certificate that vouches for itself, in the right name
     * @param array<string, string> $headers         more header fields for the handshake
     * @param int                   $maxMessage      bytes that a message from the server may have
     * @throws \InvalidArgumentException for arguments that can't be used, whatever `throw` is
     */
    public function __construct(
        private readonly string $url,
        private readonly ?string $uuid = null,
        private readonly ?string $ident = null,
        private readonly float $budget = 1.0,
        private readonly float $coolDown = 2.0,
        private readonly bool $throw = false,
        private readonly float $ping = 30.0,
        private readonly ?string $caFile = null,
        private readonly bool $allowSelfSigned = false,
        array $headers = [],
        private readonly int $maxMessage = Connection::MAX_MESSAGE,
    ) {
        if (!($budget > 0.0)) {
            throw new \InvalidArgumentException("budget is {$budget}, expected seconds above 0");
        }
        if (!($coolDown >= 0.0) || !($ping >= 0.0)) {
            throw new \InvalidArgumentException('coolDown and ping are seconds, 0 or more');
        }
        $this->headers = ['Client-Type' => 'php'] + ($ident === null ? [] : ['Ident' => $ident]) + $headers;
        new Handshake(Address::parse($url), $this->headers, [self::PROTOCOL]);
        $this->packets = new \SplQueue();
        $this->coolUntil = Deadline::in(0.0);
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * Sends a message to one browser by UUID, or to one connection, browser or script, by ident.
     *
     * True: the server has taken it and, where it says so, at least one connection got it. False: not so; when it is
     * only that nobody by that name is connected, nothing is thrown even with `throw: true`, since people close pages.
     *
     * @param mixed   $message anything that json_encode() takes. Strings must be UTF-8: one that is not is an error
     *                         here rather than a message altered on its way
     * @param ?string $ident   whom to send it to by name; goes before any UUID
     * @param ?string $uuid    whom to send it to by UUID, instead of the constructor's
     * @param array   $extra   more members for the packet; the four of the protocol can't be replaced
     */
    public function feedback(mixed $message, ?string $ident = null, ?string $uuid = null, array $extra = []): bool
    {
        $named = ($ident ?? '') !== '';
        $uuid ??= $named ? '' : $this->uuid ?? '';
        if (!$named && $uuid === '') {
            $this->delivered = null;

            return $this->fail(new MessageException('feedback to nobody: neither a uuid nor an ident was given'), false);
        }
        $packet = ['opcode' => 'feedback', 'uuid' => $uuid, 'ident' => $ident ?? '', 'message' => $message];

        return $this->push($packet + $extra, function () use ($named, $ident, $uuid): bool {
            if ($this->delivered === 0) {
                $this->lastError = 'nobody is connected under ' . ($named ? "the ident {$ident}" : "the UUID {$uuid}");
            }

            return $this->delivered !== 0;
        });
    }

    /**
     * Sends a message to every browser. True: the server has taken it, be there any browsers or none; delivered() tells.
     *
     * @param mixed $message as for feedback()
     * @param array $extra   likewise
     */
    public function broadcast(mixed $message, array $extra = []): bool
    {
        return $this->push(['opcode' => 'broadcast', 'message' => $message] + $extra, static fn () => true);
    }

    /**
     * Has the server send a message back: a look at whether all of the way works.
     *
     * @param mixed $message as for feedback()
     * @return mixed the message as it came back, JSON objects as arrays; false when it did not
     */
    public function echo(mixed $message): mixed
    {
        return $this->push(
            ['opcode' => 'echo', 'message' => $message],
            fn (Deadline $deadline) => $this->await('echo', $deadline)['message'] ?? null,
        );
    }

    /**
     * The next packet that somebody sent to this script's ident, as an array, JSON objects in it as arrays too:
     * `message` and whatever else the sender put in.
     *
     * Null when none came in time, or after a failure; lastError() is null in the first case only. The end of the
     * connection is a failure, since nobody keeps packets for a script that is not connected. The next call connects
     * again; during a cool-down it waits for the end of it rather than failing at once, so that a loop does not spin.
     *
     * @param ?float $timeout seconds to wait for a packet, null without end. Connecting, where that is necessary,
     *                        comes before and has the budget
     */
    public function receive(?float $timeout = null): ?array
    {
        if (!$this->packets->isEmpty()) {
            $this->lastError = null;

            return $this->packets->dequeue();
        }
        $given = Deadline::in($timeout);
        $pause = $this->coolUntil->remaining();
        if ($pause > 0.0) {
            usleep((int) ceil(1.0e6 * min($pause, $given->remaining() ?? $pause)));
            if ($given->passed() && !$this->coolUntil->passed()) {
                return null;
            }
        }

        return $this->attempt(null, function (Deadline $deadline) use ($timeout): ?array {
            // A connection that has ended is not replaced in silence here: packets may have been missed.
            if ($this->connection === null) {
                $this->connect($deadline);
            }

            return $this->nextPacket(Deadline::in($timeout));
        });
    }

    /**
     * The packets of receive() for a foreach. Ends after a failure, or when none came for that long.
     *
     * @param ?float $timeout seconds to wait for each; null without end
     * @return \Generator<int, array>
     */
    public function messages(?float $timeout = null): \Generator
    {
        while (($packet = $this->receive($timeout)) !== null) {
            yield $packet;
        }
    }

    /** How many connections the last push was handed to; null when it failed, or when the server does not say. */
    public function delivered(): ?int
    {
        return $this->delivered;
    }

    /** The id of the last push, by which the server can be asked about it later; null where it doesn't say. */
    public function messageId(): ?string
    {
        return $this->messageId;
    }

    /**
     * What has become of the last push, where it was sent with `extra: ['wait' => MILLISECONDS]`: for each client that it was
     * for an array with `uuid` or `ident`, `fate` (acked, received, written, queued, dropped, offline or unknown) and,
     * where there is one, `why`. Null: it was not waited for, or the server doesn't say.
     */
    public function fates(): ?array
    {
        return $this->fates;
    }

    /** The browser that feedback() goes to, as given to the constructor. */
    public function uuid(): ?string
    {
        return $this->uuid;
    }

    /** The name of this script, as given to the constructor. */
    public function ident(): ?string
    {
        return $this->ident;
    }

    /** The UUID that the server issued to this script's own connection; null before there was one. New with each. */
    public function connectionUuid(): ?string
    {
        return $this->connectionUuid;
    }

    /** Why the last call failed, in one line; null when it did not. */
    public function lastError(): ?string
    {
        return $this->lastError;
    }

    /** Closes the connection in an orderly way, within a quarter of a second. A later call opens another. */
    public function close(): void
    {
        if ($this->connection !== null) {
            $this->connection->close();
            $this->drop();
        }
    }

    /**
     * Sends a packet and waits for its acknowledgement.
     *
     * @param callable(Deadline): mixed $result what the call returns after that
     */
    private function push(array $packet, callable $result): mixed
    {
        $this->delivered = $this->messageId = $this->fates = null;

        return $this->attempt(false, function (Deadline $deadline) use ($packet, $result): mixed {
            $json = Json::encode($packet);
            $this->connect($deadline);
            $this->connection->sendText($json, $deadline->remaining());
            $next = $this->await('next', $deadline);
            $this->delivered = is_int($next['delivered'] ?? null) ? $next['delivered'] : null;
            $this->messageId = is_string($next['id'] ?? null) ? $next['id'] : null;
            $this->fates = is_array($next['targets'] ?? null) ? $next['targets'] : null;
            if (is_string($next['error'] ?? null)) {
                throw new MessageException($next['error']);
            }

            return $result($deadline);
        }, Deadline::waits($packet));
    }

    /**
     * Every call's frame: the budget and seconds `more`, the cool-down, and what becomes of a failure.
     *
     * @param callable(Deadline): mixed $work
     */
    private function attempt(mixed $onFailure, callable $work, float $more = 0.0): mixed
    {
        $this->lastError = null;
        $pause = $this->coolUntil->remaining();
        if ($pause > 0.0) {
            $why = sprintf('%s (not tried again for %.1f s)', $this->coolReason, $pause);

            return $this->fail(new ConnectException($why), $onFailure);
        }
        try {
            return $work(Deadline::in($this->budget + $more));
        } catch (MessageException $problem) {
            return $this->fail($problem, $onFailure);
        } catch (WebsockException $problem) {
            // Were the connection kept after a timeout, a late answer would pass for that to the next message.
            $this->connection?->abort();
            $this->drop();
            $this->coolUntil = Deadline::in($this->coolDown);
            $this->coolReason = $problem->getMessage();

            return $this->fail($problem, $onFailure);
        }
    }

    private function fail(WebsockException $problem, mixed $onFailure): mixed
    {
        $this->lastError = $problem->getMessage();
        if ($this->throw) {
            throw $problem;
        }

        return $onFailure;
    }

    /** Makes sure of a connection that has been greeted. */
    private function connect(Deadline $deadline): void
    {
        if ($this->connection !== null && !$this->connection->isOpen()) {
            $this->drop();
        }
        if ($this->connection === null) {
            $this->connection = Connection::open(
                $this->url,
                $deadline->remaining(),
                $this->headers,
                [self::PROTOCOL],
                $this->caFile,
                $this->allowSelfSigned,
                $this->maxMessage,
            );
            $uuid = $this->await('ready', $deadline)['uuid'] ?? null;
            $this->connectionUuid = is_string($uuid) ? $uuid : null;
        }
    }

    /** Lets go of an ended connection, but not of the packets that it had brought. */
    private function drop(): void
    {
        try {
            while ($this->connection !== null && ($packet = $this->read(0.0)) !== null) {
                $this->keep($packet);
            }
        } catch (WebsockException) {
            // The end that was known, behind the last packet.
        }
        $this->connection = null;
    }

    /** Reads until a packet with that opcode comes; what others come goes to receive(). */
    private function await(string $opcode, Deadline $deadline): array
    {
        do {
            $packet = $this->read($deadline->remaining());
            if ($packet !== null && $packet['opcode'] === $opcode) {
                return $packet;
            }
            if ($packet !== null) {
                $this->keep($packet);
            }
        } while (!$deadline->passed());
        throw new TimeoutException("{$this->url}: no answer within the budget of {$this->budget} s");
    }

    private function nextPacket(Deadline $deadline): ?array
    {
        $asked = null;
        while ($this->packets->isEmpty()) {
            $quiet = $this->connection->silence();
            $sinceAsked = $asked === null ? 0.0 : (hrtime(true) - $asked) / 1.0e9;
            if ($quiet < $sinceAsked) {
                [$asked, $sinceAsked] = [null, 0.0];
            }
            if ($this->ping > 0.0 && $quiet >= $this->ping && $asked === null) {
                // Before asking: the answer may be in by the time that ping() returns.
                $asked = hrtime(true);
                $this->connection->ping($this->budget);
            } elseif ($this->ping > 0.0 && $sinceAsked >= $this->ping) {
                throw new ClosedException("{$this->url}: the server has answered neither a ping nor otherwise");
            }
            $patience = $this->ping > 0.0 ? $this->ping - ($asked === null ? $quiet : $sinceAsked) : INF;
            $packet = $this->read(min($patience, $deadline->remaining() ?? INF));
            if ($packet !== null) {
                $this->keep($packet);
            } elseif ($deadline->passed()) {
                return null;
            }
        }

        return $this->packets->dequeue();
    }

    /**
     * One packet off the connection, null when none came in time.
     *
     * @throws RefusedException for the packet by which a server says that it will close
     */
    private function read(?float $timeout): ?array
    {
        $message = $this->connection->receive($timeout);
        if ($message === null) {
            return null;
        }
        $packet = $message->binary ? null : Json::decode($message->data);
        if (!is_array($packet) || !is_string($packet['opcode'] ?? null)) {
            throw new ProtocolException("{$this->url}: this is no relay, it sent something else than a packet");
        }
        if ($packet['opcode'] === 'close') {
            $error = $packet['error'] ?? null;
            throw new RefusedException(is_string($error) ? $error : 'the server closes the connection');
        }

        return $packet;
    }

    /** What the protocol sends for its own sake is nothing that a script has to receive. */
    private function keep(array $packet): void
    {
        if (!in_array($packet['opcode'], ['ready', 'next'], true)) {
            $this->packets->enqueue($packet);
        }
    }
}

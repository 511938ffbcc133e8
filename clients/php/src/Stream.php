<?php

declare(strict_types=1);

namespace Websock;

/**
 * A TCP or TLS connection that never blocks beyond a deadline and never lets a PHP warning out. Knows bytes, no frames.
 *
 * One wait can't be cut short: PHP's name lookup. It counts against the deadline, but is only noticed to be late when
 * the system's resolver gives up.
 *
 * @internal
 */
final class Stream
{
    private const READ_SIZE = 65536;
    private const WRITE_SIZE = 65536;
    private const TLS = STREAM_CRYPTO_METHOD_TLSv1_2_CLIENT | STREAM_CRYPTO_METHOD_TLSv1_3_CLIENT;

    /** Seconds by which PHP may give up connecting too early: it counts in milliseconds. */
    private const CONNECT_GRAIN = 0.01;

    /** The same number on every system that PHP runs on. */
    private const EINTR = 4;

    private string $output = '';
    private int $written = 0;

    /** What is being written right now. OpenSSL wants the very same bytes again when it could not take them. */
    private string $piece = '';

    /** @param ?resource $socket null once closed */
    private function __construct(private $socket, private readonly bool $tls)
    {
    }

    /**
     * @throws ConnectException
     * @throws TimeoutException
     */
    public static function connect(Address $address, ?string $caFile, bool $allowSelfSigned, Deadline $deadline): self
    {
        if ($address->tls && !extension_loaded('openssl')) {
            throw new ConnectException("{$address->url}: wss:// needs PHP's openssl extension");
        }
        $tls = [
            'peer_name' => $address->host,
            'SNI_enabled' => true,
            'verify_peer' => true,
            'verify_peer_name' => true,
            'allow_self_signed' => $allowSelfSigned,
        ];
        if ($caFile !== null) {
            $tls['cafile'] = $caFile;
        }
        $context = stream_context_create(['socket' => ['tcp_nodelay' => true], 'ssl' => $tls]);
        $limit = $deadline->remaining() ?? (float) ini_get('default_socket_timeout');
        $problem = '';
        $socket = Warnings::caught(
            static function () use ($address, $limit, $context, &$problem) {
                return stream_socket_client(
                    $address->endpoint(),
                    error_message: $problem,
                    timeout: $limit,
                    context: $context,
                );
            },
            $warning,
        );
        if ($socket === false) {
            if (($deadline->remaining() ?? INF) < self::CONNECT_GRAIN) {
                throw new TimeoutException("{$address->url}: no connection within the time given");
            }
            throw new ConnectException("{$address->url}: " . ($problem ?: $warning ?: 'no connection'));
        }
        stream_set_blocking($socket, false);
        stream_set_chunk_size($socket, self::READ_SIZE);
        $stream = new self($socket, $address->tls);
        if ($address->tls) {
            $stream->startTls($address, $deadline);
        }

        return $stream;
    }

    /**
     * What has arrived; '' when nothing has; null at the end of the stream, be it orderly or not.
     */
    public function read(): ?string
    {
        if ($this->socket === null) {
            return null;
        }
        $bytes = Warnings::caught(fn () => fread($this->socket, self::READ_SIZE));
        if (is_string($bytes) && $bytes !== '') {
            return $bytes;
        }

        return $this->atEnd() ? null : '';
    }

    /** Appends to what is to be written; flush() writes. */
    public function queue(string $bytes): void
    {
        $this->output .= $bytes;
    }

    /** Writes as much as goes without waiting. False: the peer has gone. */
    public function flush(): bool
    {
        while ($this->hasOutput()) {
            if ($this->piece === '') {
                $this->piece = substr($this->output, $this->written, self::WRITE_SIZE);
            }
            $count = $this->socket === null ? false : Warnings::caught(fn () => fwrite($this->socket, $this->piece));
            if ($count === false || ($count === 0 && $this->atEnd())) {
                return false;
            }
            if ($count === 0) {
                return true;
            }
            $this->written += $count;
            $this->piece = '';
        }
        $this->output = '';
        $this->written = 0;

        return true;
    }

    public function hasOutput(): bool
    {
        return $this->written < strlen($this->output);
    }

    /** Waits until there is something to read or, with output waiting, to write. False: the deadline came first. */
    public function wait(bool $toRead, Deadline $deadline): bool
    {
        $remaining = $deadline->remaining();
        $read = $toRead ? [$this->socket] : [];
        $write = $this->hasOutput() ? [$this->socket] : [];
        $except = null;
        $seconds = $remaining === null ? null : (int) $remaining;
        $micros = $remaining === null ? null : (int) (1.0e6 * ($remaining - $seconds));
        $ready = Warnings::caught(
            static function () use (&$read, &$write, &$except, $seconds, $micros) {
                return stream_select($read, $write, $except, $seconds, $micros);
            },
            $warning,
        );
        if ($ready === false && !str_contains((string) $warning, '[' . self::EINTR . ']')) {
            throw new ConnectException("can't wait for the connection: {$warning}");
        }

        return $ready !== 0 || !$deadline->passed();
    }

    /**
     * Ends the connection at once. Half-close first, so that a close frame just written is not lost to a reset; not
     * with TLS, which still has its own goodbye to write.
     */
    public function close(): void
    {
        if ($this->socket !== null) {
            if (!$this->tls) {
                Warnings::caught(fn () => stream_socket_shutdown($this->socket, STREAM_SHUT_WR));
            }
            Warnings::caught(fn () => fclose($this->socket));
            $this->socket = null;
        }
    }

    private function startTls(Address $address, Deadline $deadline): void
    {
        do {
            $done = Warnings::caught(
                fn () => stream_socket_enable_crypto($this->socket, true, self::TLS),
                $warning,
            );
            if ($done === true) {
                return;
            }
            if ($done === false) {
                $this->close();
                $why = $warning ?? 'the server ended the connection';
                throw new ConnectException("{$address->url}: no TLS: {$why}");
            }
        } while ($this->wait(true, $deadline));
        $this->close();
        throw new TimeoutException("{$address->url}: the TLS handshake took longer than the time given");
    }

    /** Whether the last read or write met the end. Not feof(): that may wait. */
    private function atEnd(): bool
    {
        return stream_get_meta_data($this->socket)['eof'];
    }
}

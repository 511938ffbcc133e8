<?php

declare(strict_types=1);

namespace Websock\Tests\Fake;

require_once __DIR__ . '/Gone.php';

/**
 * The server's end of one connection, for scenarios. Blocking, plain, and written apart from the code under test: it
 * shares no line with it, so that a mistake there does not cancel itself out here.
 */
final class Peer
{
    private const PATIENCE = 10;

    /** @param resource $socket */
    public function __construct(private $socket)
    {
        stream_set_timeout($socket, self::PATIENCE);
    }

    /** Tells the test something, in one line. */
    public function note(string $line): void
    {
        fwrite(STDOUT, $line . "\n");
    }

    /** @return array<string, string> the request's fields by lower-case name; the request line under '' */
    public function request(): array
    {
        $fields = ['' => $this->headLine()];
        while (($line = $this->headLine()) !== '') {
            [$name, $value] = explode(':', $line, 2);
            $fields[strtolower($name)] = trim($value);
        }

        return $fields;
    }

    /** Reads the request and agrees to the upgrade. What comes behind goes out in the same segment. */
    public function accept(string $behind = '', string $fields = ''): array
    {
        $request = $this->request();
        $accept = base64_encode(sha1($request['sec-websocket-key'] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        $this->write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Accept: {$accept}\r\n{$fields}\r\n{$behind}",
        );

        return $request;
    }

    /** @return array<string, string> a call of the control API: its fields as request() has them, and its `body` */
    public function call(): array
    {
        $request = $this->request();

        return $request + ['body' => $this->bytes((int) $request['content-length'])];
    }

    /** Answers a call. */
    public function answer(string $body, string $status = '200 OK', string $fields = ''): void
    {
        $this->write("HTTP/1.1 {$status}\r\nContent-Length: " . strlen($body) . "\r\n{$fields}\r\n{$body}");
    }

    public function write(string $bytes): void
    {
        for ($done = 0; $done < strlen($bytes); $done += $count) {
            $count = @fwrite($this->socket, substr($bytes, $done));
            if ($count === false || $count === 0) {
                throw new Gone();
            }
        }
    }

    public function text(string $payload): void
    {
        $this->write(self::frame(0x81, $payload));
    }

    public function packet(array $packet): void
    {
        $this->text(json_encode($packet, JSON_THROW_ON_ERROR));
    }

    /** An unmasked frame; the first byte as it goes over the wire, flags and opcode. */
    public static function frame(int $first, string $payload): string
    {
        $length = strlen($payload);
        if ($length < 126) {
            return pack('CC', $first, $length) . $payload;
        }

        return ($length < 65536 ? pack('CCn', $first, 126, $length) : pack('CCJ', $first, 127, $length)) . $payload;
    }

    /** @return array{int, string} first byte and payload of the next frame, which must be masked */
    public function read(): array
    {
        [, $first, $second] = unpack('C2', $this->bytes(2));
        if ($second < 0x80) {
            throw new \LogicException('the client sent a frame without a mask');
        }
        $length = $second - 0x80;
        if ($length === 126) {
            $length = unpack('n', $this->bytes(2))[1];
        } elseif ($length === 127) {
            $length = unpack('J', $this->bytes(8))[1];
        }
        $key = $this->bytes(4);
        $payload = $this->bytes($length);

        return [$first, $payload ^ str_repeat($key, intdiv($length + 3, 4))];
    }

    /** Says nothing more until the client has gone. */
    public function hang(): never
    {
        while (true) {
            $this->bytes(1);
        }
    }

    public function close(): void
    {
        fclose($this->socket);
    }

    private function headLine(): string
    {
        $line = fgets($this->socket);
        if ($line === false) {
            throw new Gone();
        }

        return rtrim($line, "\r\n");
    }

    private function bytes(int $count): string
    {
        $bytes = $count === 0 ? '' : stream_get_contents($this->socket, $count);
        if (strlen($bytes) < $count) {
            throw new Gone();
        }

        return $bytes;
    }
}

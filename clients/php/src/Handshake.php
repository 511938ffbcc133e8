<?php

declare(strict_types=1);

namespace Websock;

/**
 * The opening handshake from a client's side (RFC 6455, 4.1 and 4.2.2): the request, and what the answer must be.
 * Fed bytes as they come; knows no socket and no time.
 *
 * @internal
 */
final class Handshake
{
    private const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

    /** Of a refusal's body no more than this, in bytes, is waited for. */
    private const LONGEST_BODY = 4096;

    private readonly string $key;
    private string $received = '';

    /** Null until it is complete. */
    private ?ResponseHead $head = null;

    /**
     * @param array<string, string> $headers   fields of the request besides those of the handshake itself
     * @param list<string>          $protocols subprotocols offered, the preferred one first
     * @throws \InvalidArgumentException for what can't stand in a request
     */
    public function __construct(
        private readonly Address $address,
        private readonly array $headers,
        private readonly array $protocols,
    ) {
        foreach ($headers as $name => $value) {
            self::checkField($name, $value);
        }
        foreach ($protocols as $protocol) {
            if (!self::isToken($protocol)) {
                throw new \InvalidArgumentException("\"{$protocol}\" can't be the name of a subprotocol");
            }
        }
        $this->key = base64_encode(random_bytes(16));
    }

    public function request(): string
    {
        $fields = [
            'Host' => $this->address->authority(),
            'Upgrade' => 'websocket',
            'Connection' => 'Upgrade',
            'Sec-WebSocket-Key' => $this->key,
            'Sec-WebSocket-Version' => '13',
        ];
        if ($this->protocols !== []) {
            $fields['Sec-WebSocket-Protocol'] = implode(', ', $this->protocols);
        }
        $request = "GET {$this->address->target} HTTP/1.1\r\n";
        foreach ($fields + $this->headers as $name => $value) {
            $request .= "{$name}: {$value}\r\n";
        }

        return $request . "\r\n";
    }

    /**
     * @return bool whether the connection is open now; the bytes behind the head are rest()
     * @throws RefusedException  once an answer other than 101 is complete
     * @throws ProtocolException for an answer that is none
     */
    public function feed(string $bytes): bool
    {
        $this->received .= $bytes;
        $this->head ??= ResponseHead::take($this->received);
        if ($this->head === null) {
            return false;
        }
        if ($this->head->code() !== 101) {
            if ($this->bodyIsComplete()) {
                throw $this->refusal();
            }

            return false;
        }
        $this->checkUpgrade();

        return true;
    }

    /** The refusal as far as it came, for when the rest of its body never does; null: nothing to tell yet. */
    public function refusal(): ?RefusedException
    {
        if ($this->head === null) {
            return null;
        }
        // A chunked body is left out: its text is between sizes, and only gateways answer like that.
        $chunked = $this->head->field('transfer-encoding') !== null;

        return new RefusedException($this->head->refusal($chunked ? '' : $this->received), $this->head->code());
    }

    /** What came behind the head: the first frames, where the server was quick. */
    public function rest(): string
    {
        return $this->received;
    }

    /** The subprotocol that the server chose, null when it chose none. */
    public function protocol(): ?string
    {
        return $this->head?->field('sec-websocket-protocol');
    }

    private function checkUpgrade(): void
    {
        $accept = base64_encode(sha1($this->key . self::GUID, true));
        $chosen = $this->head->values('sec-websocket-protocol');
        $problem = match (true) {
            strtolower($this->head->field('upgrade') ?? '') !== 'websocket' => 'Upgrade: websocket is missing',
            !in_array('upgrade', $this->head->tokens('connection'), true) => 'Connection: Upgrade is missing',
            $this->head->values('sec-websocket-accept') !== [$accept] => 'Sec-WebSocket-Accept does not match the key',
            $this->head->field('sec-websocket-extensions') !== null => 'an extension that was not offered',
            $chosen !== [] && (count($chosen) > 1 || !in_array($chosen[0], $this->protocols, true))
                => 'a subprotocol that was not offered',
            default => null,
        };
        if ($problem !== null) {
            throw new ProtocolException("not the answer of a WebSocket server: {$problem}");
        }
    }

    private function bodyIsComplete(): bool
    {
        $announced = $this->head->field('content-length');
        $length = $announced !== null && ctype_digit($announced) ? (int) $announced : self::LONGEST_BODY;

        return strlen($this->received) >= min($length, self::LONGEST_BODY);
    }

    private static function checkField(mixed $name, mixed $value): void
    {
        if (!self::isToken($name)) {
            throw new \InvalidArgumentException("\"{$name}\" can't be the name of a header field");
        }
        if (preg_match('/^(host|upgrade|connection|sec-websocket-.*)$/i', $name) === 1) {
            throw new \InvalidArgumentException("the handshake sets the header field {$name} itself");
        }
        if (!is_string($value) || preg_match('/[\x00-\x08\x0A-\x1F\x7F]|^[ \t]|[ \t]$/D', $value) === 1) {
            throw new \InvalidArgumentException(
                "the header field {$name} must be a string without control characters, and without blanks at its ends",
            );
        }
    }

    private static function isToken(mixed $text): bool
    {
        return is_string($text) && preg_match('/^[!#$%&\'*+.^_`|~0-9A-Za-z-]+$/D', $text) === 1;
    }
}

<?php

declare(strict_types=1);

namespace Websock;

/**
 * A WebSocket address taken apart (RFC 6455, 3). Resolves nothing.
 *
 * @internal
 */
final class Address
{
    private function __construct(
        public readonly string $url,
        public readonly bool $tls,
        /** As written, an IPv6 address without its brackets. */
        public readonly string $host,
        public readonly int $port,
        /** Path and query, as in the request line. */
        public readonly string $target,
    ) {
    }

    /** @throws \InvalidArgumentException that says what is wrong with the address */
    public static function parse(string $url): self
    {
        $parts = parse_url($url);
        $problem = match (true) {
            preg_match('/[^\x21-\x7e]/', $url) === 1 => 'has a blank, a control character or one that is not ASCII',
            $parts === false || !isset($parts['host']) => 'is none',
            !in_array(strtolower($parts['scheme'] ?? ''), ['ws', 'wss'], true) => 'must begin with ws:// or wss://',
            isset($parts['user']) || isset($parts['pass']) => 'must not hold a user name; pass a header field instead',
            isset($parts['fragment']) => 'must not hold a #fragment',
            ($parts['port'] ?? 1) === 0 => 'has port 0',
            default => null,
        };
        if ($problem !== null) {
            throw new \InvalidArgumentException(
                "WebSocket address \"{$url}\" {$problem}, expected ws://HOST[:PORT]/PATH",
            );
        }

        $tls = strtolower($parts['scheme']) === 'wss';

        return new self(
            $url,
            $tls,
            trim($parts['host'], '[]'),
            $parts['port'] ?? self::defaultPort($tls),
            ($parts['path'] ?? '/') . (isset($parts['query']) ? '?' . $parts['query'] : ''),
        );
    }

    /** The value of the Host field: without the port where that is the scheme's own. */
    public function authority(): string
    {
        return $this->bracketed() . ($this->port === self::defaultPort($this->tls) ? '' : ":{$this->port}");
    }

    /** What PHP's stream functions connect to. TLS is put on top later, so that it keeps to the deadline. */
    public function endpoint(): string
    {
        return "tcp://{$this->bracketed()}:{$this->port}";
    }

    private function bracketed(): string
    {
        return str_contains($this->host, ':') ? "[{$this->host}]" : $this->host;
    }

    private static function defaultPort(bool $tls): int
    {
        return $tls ? 443 : 80;
    }
}

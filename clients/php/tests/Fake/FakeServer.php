<?php

declare(strict_types=1);

namespace Websock\Tests\Fake;

/**
 * A server in a child process that plays one scenario of scenarios.php with each connection, one after the other.
 * What a scenario notes (Peer::note) comes here line by line.
 */
final class FakeServer
{
    /** Seconds that a test waits for a line before it fails. */
    private const PATIENCE = 10;

    private readonly int $port;
    private string $unread = '';

    /**
     * @param resource $process
     * @param array<int, resource> $pipes
     */
    private function __construct(private $process, private array $pipes)
    {
        stream_set_blocking($pipes[1], false);
        $this->port = (int) $this->line();
    }

    /** @param string $certificate PEM file with certificate and key; empty: no TLS */
    public static function play(string $scenario, string $certificate = ''): self
    {
        $command = [PHP_BINARY, __DIR__ . '/serve.php', $scenario, $certificate];
        $process = proc_open($command, [['pipe', 'r'], ['pipe', 'w'], STDERR], $pipes);
        if ($process === false) {
            throw new \RuntimeException('the fake server does not start');
        }

        return new self($process, $pipes);
    }

    public function url(string $path = '/', string $scheme = 'ws'): string
    {
        return "{$scheme}://localhost:{$this->port}{$path}";
    }

    /** The next line that the scenario noted. */
    public function line(): string
    {
        $until = microtime(true) + self::PATIENCE;
        while (($end = strpos($this->unread, "\n")) === false) {
            $read = [$this->pipes[1]];
            $none = null;
            $left = $until - microtime(true);
            if ($left <= 0 || stream_select($read, $none, $none, (int) ceil($left)) === 0) {
                throw new \RuntimeException('the fake server had nothing to say');
            }
            $bytes = fread($this->pipes[1], 65536);
            if ($bytes === '' && feof($this->pipes[1])) {
                throw new \RuntimeException('the fake server has ended');
            }
            $this->unread .= $bytes;
        }
        $line = substr($this->unread, 0, $end);
        $this->unread = substr($this->unread, $end + 1);

        return $line;
    }

    /** What the scenario noted as JSON. */
    public function packet(): array
    {
        return json_decode($this->line(), true, 512, JSON_THROW_ON_ERROR);
    }

    public function stop(): void
    {
        if (is_resource($this->process)) {
            proc_terminate($this->process, 9);
            proc_close($this->process);
        }
    }
}

<?php

declare(strict_types=1);

namespace Websock\Tests\Fake;

use PHPUnit\Framework\TestCase;

/** A test against a fake server, which is stopped whatever becomes of the test. */
abstract class FakeServerTestCase extends TestCase
{
    private ?FakeServer $server = null;

    protected function play(string $scenario, string $certificate = ''): FakeServer
    {
        return $this->server = FakeServer::play($scenario, $certificate);
    }

    protected function tearDown(): void
    {
        $this->server?->stop();
        $this->server = null;
    }

    /** A port on which nobody listens: it was free a moment ago. */
    protected static function freePort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name = stream_socket_get_name($socket, false);
        fclose($socket);

        return (int) substr(strrchr($name, ':'), 1);
    }

    /** @return array{mixed, float} what the call returned, and how many seconds it took */
    protected static function timed(callable $call): array
    {
        $start = hrtime(true);
        $result = $call();

        return [$result, (hrtime(true) - $start) / 1.0e9];
    }
}

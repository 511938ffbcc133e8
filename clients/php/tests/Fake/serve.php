<?php

/**
 * The child process of FakeServer: `php serve.php SCENARIO [PEM FILE]`. Prints its port, then whatever the scenario
 * notes. Ends when its standard input does, so that it never outlives a test run.
 */

declare(strict_types=1);

namespace Websock\Tests\Fake;

require __DIR__ . '/Peer.php';

[, $name, $certificate] = $argv;
$scenario = (require __DIR__ . '/scenarios.php')[$name];
$context = stream_context_create($certificate === '' ? [] : ['ssl' => ['local_cert' => $certificate]]);
$listener = stream_socket_server('tcp://127.0.0.1:0', context: $context);
echo substr(strrchr(stream_socket_get_name($listener, false), ':'), 1), "\n";

while (true) {
    $read = [$listener, STDIN];
    $none = null;
    if (stream_select($read, $none, $none, null) === false || in_array(STDIN, $read, true)) {
        exit;
    }
    $socket = stream_socket_accept($listener);
    if ($certificate !== '' && !@stream_socket_enable_crypto($socket, true, STREAM_CRYPTO_METHOD_TLS_SERVER)) {
        fclose($socket);
        continue;
    }
    try {
        $scenario(new Peer($socket));
    } catch (Gone) {
        // The test has what it wanted.
    }
    if (is_resource($socket)) {
        fclose($socket);
    }
}

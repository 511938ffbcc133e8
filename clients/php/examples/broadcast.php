<?php

/**
 * Sends a message to every browser, and says how many there were.
 *
 *     php clients/php/examples/broadcast.php MESSAGE
 *
 * WEBSOCK_URL names another server than ws://localhost:8096/php.
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

if ($argc !== 2) {
    fwrite(STDERR, "usage: php broadcast.php MESSAGE\n");
    exit(2);
}
$push = new Websock\Client(getenv('WEBSOCK_URL') ?: 'ws://localhost:8096/php');
if (!$push->broadcast($argv[1])) {
    fwrite(STDERR, "not sent: {$push->lastError()}\n");
    exit(1);
}
echo 'sent to ', $push->delivered() ?? 'an unknown number of', " browsers\n";

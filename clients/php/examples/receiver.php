<?php

/**
 * Prints what others send to the ident "receiver", or to the one given. The other end is sender.php.
 *
 *     php clients/php/examples/receiver.php [IDENT]
 *
 * WEBSOCK_URL names another server than ws://localhost:8096/php.
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

$push = new Websock\Client(getenv('WEBSOCK_URL') ?: 'ws://localhost:8096/php', ident: $argv[1] ?? 'receiver');
$known = null;
while (true) {
    foreach ($push->messages() as $packet) {
        $known = null;
        echo json_encode($packet['message'] ?? null, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE), "\n";
    }
    // The server went, or never was: receive() waits out the cool-down and tries again. Said once, not every time.
    if ($push->lastError() !== $known) {
        $known = $push->lastError();
        fwrite(STDERR, "{$known}; trying again\n");
    }
}

<?php

/**
 * Sends a message to the connection with that ident, be it receiver.php or a browser.
 *
 *     php clients/php/examples/sender.php IDENT MESSAGE
 *
 * WEBSOCK_URL names another server than ws://localhost:8096/php.
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

if ($argc !== 3) {
    fwrite(STDERR, "usage: php sender.php IDENT MESSAGE\n");
    exit(2);
}
[, $ident, $message] = $argv;
$push = new Websock\Client(getenv('WEBSOCK_URL') ?: 'ws://localhost:8096/php');
if (!$push->feedback($message, ident: $ident)) {
    fwrite(STDERR, "not delivered: {$push->lastError()}\n");
    exit(1);
}

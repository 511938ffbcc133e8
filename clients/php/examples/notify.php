<?php

/**
 * Sends a notification to everyone who listens to a channel, or to one user wherever that user has pages open.
 *
 *     php clients/php/examples/notify.php DOMAIN channel KEY MESSAGE
 *     php clients/php/examples/notify.php DOMAIN user TOKEN MESSAGE
 *
 * It reads address and key from the server's websock.ini in the current folder; WEBSOCK_INI names another file. The server
 * needs a row "/webntf = webntf" in [resources].
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

const ACTIONS = ['channel' => 'send.to.channel', 'user' => 'send.to.token'];

if ($argc !== 5 || !isset(ACTIONS[$argv[2]])) {
    fwrite(STDERR, "usage: php notify.php DOMAIN channel|user NAME MESSAGE\n");
    exit(2);
}
[, $domain, $kind, $target, $message] = $argv;
try {
    $api = new Websock\Rest2WebSocket(getenv('WEBSOCK_INI') ?: 'websock.ini');
} catch (InvalidArgumentException $problem) {
    fwrite(STDERR, "{$problem->getMessage()}\n");
    exit(2);
}
$response = $api->call('webntf', ACTIONS[$kind], ['domain' => $domain, 'target' => $target, 'message' => $message]);
if ($response['status'] !== 'OK') {
    fwrite(STDERR, "not sent: {$response['error']}\n");
    exit(1);
}
echo "sent to {$response['result']} pages\n";

<?php

/**
 * Sends a text to any WebSocket server and prints what it answers, until it has been quiet for two seconds.
 *
 *     php clients/php/examples/any-server.php ws://localhost:8096/echo Hello
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

const QUIET_SECONDS = 2.0;

if ($argc !== 3) {
    fwrite(STDERR, "usage: php any-server.php ws://HOST[:PORT]/PATH MESSAGE\n");
    exit(2);
}
[, $url, $text] = $argv;
try {
    $connection = Websock\Connection::open($url);
    $connection->sendText($text);
    while (($message = $connection->receive(QUIET_SECONDS)) !== null) {
        echo $message->binary ? bin2hex($message->data) : $message->data, "\n";
    }
    $connection->close();
} catch (Websock\ClosedException $end) {
    fwrite(STDERR, "{$end->getMessage()}\n");
    exit($end->closeCode === 1000 ? 0 : 1);
} catch (Websock\WebsockException | InvalidArgumentException $problem) {
    fwrite(STDERR, "{$problem->getMessage()}\n");
    exit(1);
}

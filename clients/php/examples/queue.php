<?php

/**
 * Pushes a message to one browser, or to all of them: through the server's queue where WEBSOCK_QUEUE says where that is and
 * PHP has the zmq extension, else through its control API. The browser gets the same either way. What differs is that the
 * queue does not wait for the server, and so can't say who got it, nor whether there is a server.
 *
 *     php clients/php/examples/queue.php UUID|all MESSAGE
 *
 * WEBSOCK_QUEUE is the server's [zmq] bind, like tcp://127.0.0.1:5555. For the control API it reads address and key from the
 * server's websock.ini in the current folder; WEBSOCK_INI names another file.
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

if ($argc !== 3) {
    fwrite(STDERR, "usage: php queue.php UUID|all MESSAGE\n");
    exit(2);
}
[, $whom, $message] = $argv;
$action = $whom === 'all' ? 'broadcast' : 'feedback';
$data = ($whom === 'all' ? [] : ['uuid' => $whom]) + ['message' => $message];

$endpoint = (string) getenv('WEBSOCK_QUEUE');
if ($endpoint !== '' && extension_loaded('zmq')) {
    try {
        $queue = (new ZMQContext())->getSocket(ZMQ::SOCKET_PUSH);
        // A script that ends waits for what it has pushed to leave: for good, unless it is told how long.
        $queue->setSockOpt(ZMQ::SOCKOPT_LINGER, 1000);
        $queue->connect($endpoint);
        $queue->send(json_encode(['opcode' => $action] + $data, JSON_THROW_ON_ERROR), ZMQ::MODE_DONTWAIT);
    } catch (ZMQException | JsonException $problem) {
        fwrite(STDERR, "not sent: {$problem->getMessage()}\n");
        exit(1);
    }
    echo "put into the queue\n";
    exit;
}

try {
    $api = new Websock\Rest2WebSocket(getenv('WEBSOCK_INI') ?: 'websock.ini');
} catch (InvalidArgumentException $problem) {
    fwrite(STDERR, "{$problem->getMessage()}\n");
    exit(2);
}
$response = $api->call('relay', $action, $data);
if ($response['status'] !== 'OK') {
    fwrite(STDERR, "not sent: {$response['error']}\n");
    exit(1);
}
echo "sent to {$response['result']} browsers\n";

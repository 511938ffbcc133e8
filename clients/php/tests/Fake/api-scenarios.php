<?php

/** What fake servers of the control API do with a connection, by name. */

declare(strict_types=1);

namespace Websock\Tests\Fake;

$ok = '{"status":"OK","time":1700000000.25,"result":1}';

/** Reads one call, sends those bytes, and closes. */
$bytes = static fn (string $bytes): callable => static function (Peer $peer) use ($bytes): void {
    $peer->call();
    $peer->write($bytes);
};

/** Answers each call with those bytes, on one connection. */
$kept = static fn (string $bytes): callable => static function (Peer $peer) use ($bytes): void {
    $peer->note('connected');
    while (true) {
        $peer->note($peer->call()['']);
        $peer->write($bytes);
    }
};

return [
    // Notes each call; the result is which one it is on this connection.
    'api' => static function (Peer $peer): void {
        for ($number = 1;; $number++) {
            $peer->note(json_encode($peer->call(), JSON_UNESCAPED_SLASHES));
            $peer->answer('{"status":"OK","time":1700000000.25,"result":' . $number . '}');
        }
    },
    'api: chunked' => $kept("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        . "9;x=y\r\n{\"status\"\r\n26\r\n:\"OK\",\"time\":1700000000.25,\"result\":1}\r\n0\r\nA: b\r\n\r\n"),
    'api: until the end' => $bytes("HTTP/1.1 200 OK\r\n\r\n{$ok}"),
    'api: old http' => $bytes("HTTP/1.0 200 OK\r\nContent-Length: 47\r\n\r\n{$ok}"),
    'api: interim' => $kept("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        . "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{$ok}"),
    'api: too much said' => $kept("HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{$ok}HTTP/1.1 200 OK\r\n"),

    // Connections that end

    'api: one answer each' => static function (Peer $peer) use ($ok): void {
        $peer->note($peer->call()['body']);
        $peer->answer($ok);
        $peer->close();
        $peer->note('closed');
    },
    'api: says that it closes' => static function (Peer $peer) use ($ok): void {
        $peer->note($peer->call()['body']);
        $peer->answer($ok, fields: "Connection: x, Close\r\n");
        $peer->hang();
    },
    'api: dies of the second' => static function (Peer $peer) use ($ok): void {
        $peer->note($peer->call()['body']);
        $peer->answer($ok);
        $peer->note($peer->call()['body']);
    },
    'api: dies in the middle of the second' => static function (Peer $peer) use ($ok): void {
        $peer->note((string) strlen($peer->call()['body']));
        $peer->answer($ok);
        $peer->request();
        $peer->note('the head of another');
    },
    'api: dies of it' => static fn (Peer $peer) => $peer->call(),
    'api: answers the second too late' => static function (Peer $peer) use ($ok): void {
        $peer->call();
        $peer->answer($ok);
        $peer->call();
        $peer->call();
        $peer->answer('{"status":"OK","time":1,"result":"of before"}');
        $peer->hang();
    },
    'api: answers a call of before' => static function (Peer $peer) use ($ok): void {
        $peer->call();
        $peer->answer($ok);
        $peer->answer('{"status":"OK","time":1,"result":"of before"}');
        $peer->note('sent');
        $peer->hang();
    },

    // Answers that come late, or not whole

    'api: half an answer' => $bytes("HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n" . substr($ok, 0, 20)),
    'api: half a chunk' => $bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\n" . substr($ok, 0, 20)),
    'api: half a head' => $bytes("HTTP/1.1 200 OK\r\nContent-Le"),
    'api: half an answer, then nothing' => static function (Peer $peer) use ($ok): void {
        $peer->call();
        $peer->write("HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n" . substr($ok, 0, 20));
        $peer->hang();
    },
    'api: trickle' => static function (Peer $peer) use ($ok): void {
        $peer->call();
        foreach (str_split("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{$ok}" . str_repeat(' ', 953)) as $byte) {
            $peer->write($byte);
            usleep(10_000);
        }
    },
    'api: flood of chunks' => static function (Peer $peer): void {
        $peer->call();
        $peer->write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (true) {
            $peer->write(str_repeat("1;" . str_repeat('x', 1000) . "\r\na\r\n", 64));
        }
    },
    'api: reads nothing' => static function (Peer $peer): void {
        $peer->note('connected');
        fgets(STDIN);
    },

    // Answers that are too large

    'api: too large' => $bytes("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"),
    'api: too large a chunk' => $bytes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"),
    'api: too large without a length' => static function (Peer $peer): void {
        $peer->call();
        $peer->write("HTTP/1.1 200 OK\r\n\r\n");
        while (true) {
            $peer->write(str_repeat('x', 8192));
        }
    },

    // Refusals

    'api: no key' => static function (Peer $peer): void {
        $peer->note($peer->call()['authorization'] ?? 'none');
        $peer->answer(
            '{"status":"ERROR","time":1700000000.5,"error":"this key is not known here"}' . "\n",
            '401 Unauthorized',
            "WWW-Authenticate: Bearer\r\nConnection: close\r\n",
        );
    },
    'api: not found' => $kept("HTTP/1.1 404 Not Found\r\nContent-Length: 48\r\n\r\n"
        . '{"status":"ERROR","time":1,"error":"no service"}'),
    'api: gateway' => $bytes("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<h1>Bad\r\n Gateway</h1>"),
    'api: moved' => $bytes("HTTP/1.1 301 Moved\r\nLocation: https://example.com/\r\nContent-Length: 0\r\n\r\n"),
    'api: too large a call' => static function (Peer $peer): void {
        $peer->request();
        $peer->answer('{"status":"ERROR","time":1,"error":"too large"}', '413 Content Too Large', "Connection: close\r\n");
        fgets(STDIN);
    },

    'api: too large a call, and the connection stays' => static function (Peer $peer): void {
        $peer->request();
        $peer->answer('{"status":"ERROR","time":1,"error":"too large"}', '413 Content Too Large');
        $peer->note('refused');
        $peer->hang();
    },

    // Answers of something else

    'api: a page' => $bytes("HTTP/1.1 200 OK\r\n\r\n<h1>Welcome</h1>"),
    'api: other json' => $bytes("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"OK\",\"result\":1}"),
    'api: accepted' => $bytes("HTTP/1.1 202 Accepted\r\n\r\n{$ok}"),
    'api: no content' => $bytes("HTTP/1.1 204 No Content\r\n\r\n"),
    'api: websocket' => $bytes("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
];

<?php

/** What fake servers do with a connection, by name. */

declare(strict_types=1);

namespace Websock\Tests\Fake;

$ready = ['opcode' => 'ready', 'uuid' => '11111111-2222-4333-8444-555555555555'];

/** A refusal: the request is read, that is answered, the connection closed. */
$answer = static fn (string $response): callable => static function (Peer $peer) use ($response): void {
    $peer->request();
    $peer->write($response);
};

/** Upgrades, sends those bytes, and notes the close code that the client answers with. */
$send = static fn (string $bytes): callable => static function (Peer $peer) use ($bytes): void {
    $peer->accept();
    $peer->write($bytes);
    while (true) {
        [$first, $payload] = $peer->read();
        if ($first === 0x88) {
            $peer->note('close ' . ($payload === '' ? 'empty' : unpack('n', $payload)[1]));
            $peer->hang();
        }
        $peer->note(dechex($first) . ' ' . $payload);
    }
};

return [
    // The handshake

    'silent' => static fn (Peer $peer) => $peer->hang(),
    'closes at once' => static fn (Peer $peer) => $peer->request(),
    'no http' => $answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    'endless head' => static function (Peer $peer): void {
        $peer->request();
        while (true) {
            $peer->write(str_repeat('x', 8192));
        }
    },
    'forbidden' => $answer("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 31\r\n\r\n"
        . 'origin "http://x"  not allowed' . "\n"),
    'forbidden, body cut short' => static function (Peer $peer): void {
        $peer->request();
        $peer->write("HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nnot from");
        $peer->hang();
    },
    'gateway' => $answer("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<h1>Bad\r\n Gateway</h1>"),
    'moved' => $answer("HTTP/1.1 301 Moved Permanently\r\nLocation: wss://example.com/\r\nContent-Length: 0\r\n\r\n"),
    'wrong key' => $answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        . "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
    'extension not offered' => static fn (Peer $peer) => $peer->accept('', "Sec-WebSocket-Extensions: x\r\n"),
    'protocol not offered' => static fn (Peer $peer) => $peer->accept('', "Sec-WebSocket-Protocol: x\r\n"),
    'notes the request' => static function (Peer $peer): void {
        $peer->note(json_encode($peer->accept('', "Sec-WebSocket-Protocol: two\r\n"), JSON_UNESCAPED_SLASHES));
        $peer->hang();
    },

    // Frames

    'echo' => static function (Peer $peer): void {
        $peer->accept();
        while (true) {
            [$first, $payload] = $peer->read();
            $peer->write(Peer::frame($first === 0x89 ? 0x8A : $first, $payload));
            if ($first === 0x88) {
                $peer->note('close ' . unpack('n', $payload)[1] . ' ' . substr($payload, 2));

                return;
            }
        }
    },
    'one byte at a time' => static function (Peer $peer): void {
        $stream = Peer::frame(0x81, 'first') . Peer::frame(0x01, 'sec') . Peer::frame(0x89, 'alive?')
            . Peer::frame(0x80, 'ond') . Peer::frame(0x82, "\x00\xFF") . Peer::frame(0x88, pack('n', 1001) . 'bye');
        $peer->accept();
        foreach (str_split($stream) as $byte) {
            $peer->write($byte);
        }
        while (true) {
            $peer->note(bin2hex(implode(' ', $peer->read())));
        }
    },
    'all behind the 101' => static function (Peer $peer): void {
        $peer->accept(Peer::frame(0x81, 'early') . Peer::frame(0x81, 'bird'));
        $peer->hang();
    },
    'ends in mid-frame' => static function (Peer $peer): void {
        $peer->accept();
        $peer->write(Peer::frame(0x81, 'whole') . substr(Peer::frame(0x81, 'half'), 0, 4));
    },
    'masked' => $send("\x81\x82\x01\x02\x03\x04ab"),
    'huge' => $send("\x81\x7F\x40\x00\x00\x00\x00\x00\x00\x00"),
    'not utf-8' => $send(Peer::frame(0x81, "\xC3\x28")),
    'pings' => $send(Peer::frame(0x89, 'one') . Peer::frame(0x8A, 'unasked') . Peer::frame(0x81, 'text')),
    'bad close' => $send(Peer::frame(0x88, pack('n', 1006))),
    'reads nothing' => static function (Peer $peer): void {
        $peer->accept();
        $peer->note('upgraded');
        // Until the test has gone: its end of standard input closes with it.
        fgets(STDIN);
    },
    'floods, then reads' => static function (Peer $peer): void {
        $peer->accept();
        // More than socket buffers hold: it gets through only to a client that reads while it writes.
        for ($i = 0; $i < 128; $i++) {
            $peer->write(Peer::frame(0x82, str_repeat(chr($i), 65536)));
        }
        [, $payload] = $peer->read();
        $peer->note((string) strlen($payload));
        $peer->hang();
    },

    // The relay

    'no greeting' => static function (Peer $peer): void {
        $peer->accept();
        $peer->hang();
    },
    'full' => static function (Peer $peer): void {
        $peer->accept(Peer::frame(0x81, '{"opcode":"close","error":"too many connections from your address"}')
            . Peer::frame(0x88, pack('n', 1013)));
        $peer->hang();
    },
    'no relay' => static function (Peer $peer): void {
        $peer->accept(Peer::frame(0x81, 'Welcome!'));
        $peer->hang();
    },
    'never answers a ping' => static function (Peer $peer) use ($ready): void {
        $peer->accept(Peer::frame(0x81, json_encode($ready)));
        $peer->note(dechex($peer->read()[0]));
        $peer->hang();
    },
    'answers pings' => static function (Peer $peer) use ($ready): void {
        $peer->accept(Peer::frame(0x81, json_encode($ready)));
        for ($i = 0; $i < 3; $i++) {
            $peer->note(dechex($peer->read()[0]));
            $peer->write(Peer::frame(0x8A, ''));
        }
        $peer->packet(['opcode' => 'feedback', 'message' => 'worth the wait']);
        $peer->hang();
    },

    'delivers and stops' => static function (Peer $peer) use ($ready): void {
        $request = $peer->accept(Peer::frame(0x81, json_encode($ready)));
        $peer->packet(['opcode' => 'feedback', 'message' => ['text' => "Gr\u{FC}\u{DF}e"]]);
        $peer->write(Peer::frame(0x88, pack('n', 1001) . 'restart'));
        $peer->note($request['ident']);
    },

    // Notes each packet; the uuid of a feedback, or the message of another, says what to do with it.
    'relay' => static function (Peer $peer) use ($ready): void {
        $request = $peer->accept(Peer::frame(0x81, json_encode($ready)), "Sec-WebSocket-Protocol: websock.v1\r\n");
        $peer->note(json_encode($request, JSON_UNESCAPED_SLASHES));
        while (true) {
            [$first, $payload] = $peer->read();
            if ($first === 0x88) {
                $peer->note('close');
                $peer->write(Peer::frame(0x88, $payload));

                return;
            }
            $peer->note($payload);
            $packet = json_decode($payload, true);
            $next = ['opcode' => 'next', 'fyi' => ''];
            switch ($packet['uuid'] ?? $packet['message'] ?? '') {
                case 'nobody':
                    $peer->packet($next + ['delivered' => 0]);
                    break;
                case 'does not count':
                    $peer->packet($next);
                    break;
                case 'may not':
                    $peer->packet($next + ['delivered' => 0, 'error' => 'broadcast is not allowed here']);
                    break;
                case 'never acknowledged':
                    break;
                case 'busy':
                    $peer->packet(['opcode' => 'feedback', 'message' => 'one', 'from' => 'a']);
                    $peer->packet(['opcode' => 'feedback', 'message' => 'two', 'from' => 'b']);
                    $peer->packet($next + ['delivered' => 1]);
                    break;
                case 'the last one':
                    $peer->packet($next + ['delivered' => 1]);
                    $peer->packet(['opcode' => 'feedback', 'message' => 'on the way out']);
                    $peer->close();
                    $peer->note('closed');

                    return;
                case 'dies of it':
                    $peer->close();

                    return;
                default:
                    $peer->packet($next + ['delivered' => $packet['opcode'] === 'broadcast' ? 3 : 1]);
                    if ($packet['opcode'] === 'echo') {
                        $peer->text($payload);
                    }
            }
        }
    },
] + require __DIR__ . '/api-scenarios.php';

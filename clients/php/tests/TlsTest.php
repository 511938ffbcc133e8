<?php

declare(strict_types=1);

namespace Websock\Tests;

use Websock\Client;
use Websock\ConnectException;
use Websock\Connection;
use Websock\Rest2WebSocket;
use Websock\Tests\Fake\FakeServerTestCase;
use Websock\TimeoutException;

/**
 * wss://, with a certificate for "localhost" that vouches for itself.
 *
 * @requires extension openssl
 */
final class TlsTest extends FakeServerTestCase
{
    private static string $certificate;

    public static function setUpBeforeClass(): void
    {
        $key = openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1']);
        $request = openssl_csr_new(['commonName' => 'localhost'], $key);
        openssl_x509_export(openssl_csr_sign($request, null, $key, 1, ['digest_alg' => 'sha256']), $certificate);
        openssl_pkey_export($key, $private);
        self::$certificate = tempnam(sys_get_temp_dir(), 'websock-test-');
        file_put_contents(self::$certificate, $certificate . $private);
    }

    public static function tearDownAfterClass(): void
    {
        unlink(self::$certificate);
    }

    public function testMessagesOfAnySizeToATrustedServer(): void
    {
        $server = $this->play('echo', self::$certificate);
        $connection = Connection::open($server->url('/', 'wss'), caFile: self::$certificate);
        // More than a TLS record, and more than socket buffers hold.
        foreach ([0, 5, 16384, 65537, 8 << 20] as $length) {
            $bytes = str_repeat('ab.', intdiv($length, 3)) . str_repeat('x', $length % 3);
            $connection->sendBinary($bytes, 20.0);
            self::assertTrue($bytes === $connection->receive(20.0)->data, "{$length} bytes");
        }
        self::assertNull($connection->receive(0.05));
        $connection->close(1000, 'done', 5.0);
        self::assertSame('close 1000 done', $server->line());
    }

    public function testBothSidesWriteAtOnce(): void
    {
        $server = $this->play('floods, then reads', self::$certificate);
        $connection = Connection::open($server->url('/', 'wss'), caFile: self::$certificate);
        $connection->sendBinary(str_repeat('x', 8 << 20), 20.0);
        self::assertSame((string) (8 << 20), $server->line());
        for ($i = 0; $i < 128; $i++) {
            self::assertSame(chr($i), $connection->receive(5.0)->data[0]);
        }
    }

    public function testCallsOfTheControlApi(): void
    {
        $server = $this->play('api', self::$certificate);
        $config = ['address' => $server->url('', 'wss')];
        $strict = new Rest2WebSocket($config, budget: 5.0);
        self::assertMatchesRegularExpression('/certificate/i', $strict->call('relay', 'clients')['error']);
        $api = new Rest2WebSocket($config, budget: 5.0, caFile: self::$certificate);
        foreach ([1, 2, 3] as $number) {
            // More than a TLS record, and less than the pipe holds that the fake server notes it in.
            $response = $api->call('relay', 'broadcast', ['message' => str_repeat('x', 40_000)]);
            self::assertSame($number, $response['result'] ?? $response, 'on one connection');
            self::assertSame(40_014, strlen($server->packet()['body']));
        }
    }

    public function testSelfSignedOnRequestOnly(): void
    {
        $server = $this->play('relay', self::$certificate);
        $strict = new Client($server->url('/php', 'wss'), budget: 5.0);
        self::assertFalse($strict->broadcast('hi'));
        self::assertMatchesRegularExpression('/certificate/i', $strict->lastError());
        $lenient = new Client($server->url('/php', 'wss'), budget: 5.0, allowSelfSigned: true);
        self::assertTrue($lenient->broadcast('hi'), $lenient->lastError() ?? '');
        self::assertSame(3, $lenient->delivered());
    }

    public function testTheNameMustMatch(): void
    {
        $server = $this->play('echo', self::$certificate);
        $this->expectException(ConnectException::class);
        Connection::open(
            str_replace('localhost', '127.0.0.1', $server->url('/', 'wss')),
            caFile: self::$certificate,
        );
    }

    public function testAServerThatDoesNotSpeakTls(): void
    {
        $server = $this->play('silent');
        [$problem, $seconds] = self::timed(static function () use ($server): ?TimeoutException {
            try {
                Connection::open($server->url('/', 'wss'), timeout: 0.3);
            } catch (TimeoutException $problem) {
                return $problem;
            }

            return null;
        });
        self::assertStringContainsString('TLS handshake', $problem?->getMessage() ?? 'nothing thrown');
        self::assertLessThan(0.8, $seconds);
    }
}

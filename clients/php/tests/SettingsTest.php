<?php

declare(strict_types=1);

namespace Websock\Tests;

use PHPUnit\Framework\TestCase;
use Websock\Settings;

/** Where the server is and which key it wants: INI files, PHP files and arrays. */
final class SettingsTest extends TestCase
{
    private const SHIPPED = __DIR__ . '/../../../websock.ini';

    /** @var list<string> */
    private array $files = [];

    protected function tearDown(): void
    {
        array_map(unlink(...), $this->files);
        putenv('WEBSOCK_TEST_KEY');
    }

    public function testTheServersOwnFile(): void
    {
        $settings = Settings::of(self::SHIPPED);
        self::assertSame(['ws://localhost:8096', null], [$settings->address->url, $settings->key]);

        $text = str_replace(
            ['address = ws://localhost:8096', "\nkeys ="],
            ['address = wss://push.example, ws://127.0.0.1:99', "\nkeys = first-key, second-key"],
            file_get_contents(self::SHIPPED),
        );
        $settings = Settings::of($this->file('ini', $text));
        self::assertSame(['ws://127.0.0.1:99', 'first-key'], [$settings->address->url, $settings->key]);
    }

    public static function iniFiles(): array
    {
        return [
            ['', 'ws://localhost:8096', null],
            ['address=', 'ws://localhost:8096', null],
            ["\xEF\xBB\xBFadress = 'tcp://push.example' ; the original's word", 'ws://push.example', null],
            ["[websocketserver]\r\naddress = \"ssl://a.example:1\" # x\r\n[develop]\r\naddress = no\r\n", 'wss://a.example:1', null],
            ["#address = a\n;address = b\n  address  =  c:1  \n", 'ws://c:1', null],
            // A byte that some take for the end of a line.
            ["# \u{C5}address = a\n[api]\nkeys = b", 'ws://localhost:8096', 'b'],
            ["[zmq]\nkeys = x\naddress = y\n[api] ; here\nkeys = \"one\", two", 'ws://localhost:8096', 'one'],
            ["[api]\nkeys = ,a#b;c # d", 'ws://localhost:8096', 'a#b;c'],
            ["[api]\nkeys = # none", 'ws://localhost:8096', null],
            ["[api]\nkeys = \${WEBSOCK_TEST_KEY}\n[zmq]\nbind = \${NOT_SET_HERE}", 'ws://localhost:8096', 'from-outside'],
        ];
    }

    /** @dataProvider iniFiles */
    public function testAnIniFile(string $text, string $url, ?string $key): void
    {
        putenv('WEBSOCK_TEST_KEY=from-outside, and-another');
        $settings = Settings::of($this->file('ini', $text));
        self::assertSame([$url, $key], [$settings->address->url, $settings->key]);
    }

    public static function addresses(): array
    {
        return [
            ['localhost:8096', 'ws://localhost:8096'],
            ['localhost', 'ws://localhost'],
            ['HTTP://localhost:1/', 'ws://localhost:1/'],
            ['https://push.example', 'wss://push.example'],
            ['ws://0.0.0.0:8096', 'ws://127.0.0.1:8096'],
            ['0.0.0.0', 'ws://127.0.0.1'],
            ['wss://[::]:1', 'wss://[::1]:1'],
            ['[::1]:1', 'ws://[::1]:1'],
            [['wss://a', 'ws://b', 'ws://c'], 'ws://b'],
            ['wss://a, ssl://b', 'wss://a'],
            ['unix:/run/websock.sock, wss://a', 'wss://a'],
        ];
    }

    /** @dataProvider addresses */
    public function testAnAddress(string|array $address, string $url): void
    {
        self::assertSame($url, Settings::of(['address' => $address])->address->url);
    }

    public function testKeysInAnArray(): void
    {
        $key = static fn (array $more): ?string => Settings::of(['address' => 'a'] + $more)->key;
        self::assertNull($key([]));
        self::assertNull($key(['key' => '', 'api' => ['keys' => []]]));
        self::assertSame('k', $key(['key' => 'k']));
        self::assertSame('k', $key(['api' => ['keys' => 'k, l']]));
        self::assertSame('k', $key(['api' => ['keys' => ['k', 'l']], 'limits' => ['maxClients' => 5]]));
        self::assertStringNotContainsString('sesame', print_r(Settings::of(['address' => 'a', 'key' => 'sesame']), true));
    }

    public function testAPhpFile(): void
    {
        $settings = Settings::of($this->file('php', "<?php return ['address' => 'ws://a:1', 'key' => 'k'];"));
        self::assertSame(['ws://a:1', 'k'], [$settings->address->url, $settings->key]);
    }

    public function testWhatCanNotBeUsed(): void
    {
        foreach ([
            [[], 'no address'],
            [['address' => ''], 'no address'],
            [['address' => 'unix:/run/websock.sock'], 'no address but Unix sockets'],
            [['address' => 5], 'address must be a string'],
            [['address' => 'a', 'key' => false], 'key must be a string'],
            [['address' => 'a', 'key' => "sesame\r\nX: y"], 'ASCII'],
            [['address' => 'a', 'key' => 'open sesame'], 'ASCII'],
            [['address' => 'a/path'], 'must not hold a path'],
            [['address' => 'ftp://a'], 'must begin with ws://'],
            [['address' => 'ws://a:0'], 'port 0'],
            [['address' => 'user@a'], 'user name'],
            [['address' => 'two words'], 'a blank'],
            [__DIR__ . '/no-such.ini', "can't be read"],
            [__DIR__ . '/no-such.php', "can't be read"],
            [__DIR__, "can't be read"],
            [$this->file('php', '<?php return 5;'), 'must return an array'],
            [$this->file('php', '<?php throw new Exception("sorry");'), 'fails: sorry'],
            [$this->file('php', '<?php retrun [;'), 'fails: '],
            [$this->file('ini', "[api]\nkeys = \${NOT_SET_HERE}"), 'NOT_SET_HERE is not in the environment'],
        ] as [$config, $why]) {
            try {
                Settings::of($config);
                self::fail("taken: {$why}");
            } catch (\InvalidArgumentException $problem) {
                self::assertStringContainsString($why, $problem->getMessage());
                self::assertStringNotContainsString('sesame', $problem->getMessage());
            }
        }
    }

    private function file(string $extension, string $text): string
    {
        $path = sprintf('%s/websock-test-%s.%s', sys_get_temp_dir(), bin2hex(random_bytes(8)), $extension);
        file_put_contents($path, $text);

        return $this->files[] = $path;
    }
}

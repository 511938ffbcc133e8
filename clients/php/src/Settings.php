<?php

declare(strict_types=1);

namespace Websock;

/**
 * Where the server is and which key it wants, from the server's own INI file, from a PHP file that returns an array, or
 * from such an array. What else stands there is not looked at.
 *
 * @internal
 */
final class Settings
{
    /** What the server listens on when its INI file doesn't say. */
    private const DEFAULT_ADDRESS = 'ws://localhost:8096';

    /** As the server takes its own address, and the names that this port has for HTTP. */
    private const SCHEMES = ['' => 'ws', 'ws' => 'ws', 'tcp' => 'ws', 'http' => 'ws',
        'wss' => 'wss', 'ssl' => 'wss', 'https' => 'wss'];

    /** Addresses that mean all of the machine's; whoever connects means this machine. */
    private const WILDCARDS = ['0.0.0.0' => '127.0.0.1', '[::]' => '[::1]'];

    private function __construct(public readonly Address $address, public readonly ?string $key)
    {
    }

    /** What a dump shows: no key. */
    public function __debugInfo(): array
    {
        return ['address' => $this->address, 'key' => $this->key === null ? null : '...'];
    }

    /** @throws \InvalidArgumentException that says what is wrong; it never repeats a key */
    public static function of(#[\SensitiveParameter] string|array $config): self
    {
        if (is_array($config)) {
            return self::ofArray($config, 'the settings');
        }

        return preg_match('/\.php$/Di', $config) === 1 ? self::ofPhp($config) : self::ofIni($config);
    }

    private static function ofIni(string $path): self
    {
        $text = self::read($path);
        $sections = ['' => []];
        $section = '';
        foreach (preg_split('/\r\n|\n|\r/', str_starts_with($text, "\xEF\xBB\xBF") ? substr($text, 3) : $text) as $line) {
            if (preg_match('/^\s*\[([^\[\]]*)\]\s*(?:[#;].*)?$/D', $line, $match) === 1) {
                $section = trim($match[1]);
            } elseif (preg_match('/^\s*([^#;\s=][^#;=]*?)\s*=(.*)$/D', $line, $match) === 1) {
                $sections[$section][$match[1]] = self::bare($match[2]);
            }
        }
        $flat = $sections[''] + ($sections['websocketserver'] ?? []);
        $address = $flat['address'] ?? $flat['adress'] ?? '';
        $keys = $sections['api']['keys'] ?? '';

        return self::made(
            $address === '' ? [self::DEFAULT_ADDRESS] : self::items(self::expanded($address, $path)),
            self::items(self::expanded($keys, $path)),
            $path,
        );
    }

    private static function ofPhp(string $path): self
    {
        self::read($path);
        try {
            $settings = (static fn () => require func_get_arg(0))($path);
        } catch (\Throwable $problem) {
            throw new \InvalidArgumentException("{$path} fails: {$problem->getMessage()}", previous: $problem);
        }
        if (!is_array($settings)) {
            throw new \InvalidArgumentException("{$path} must return an array of settings");
        }

        return self::ofArray($settings, $path);
    }

    private static function ofArray(#[\SensitiveParameter] array $settings, string $where): self
    {
        $address = $settings['address'] ?? $settings['adress'] ?? [];
        $keys = $settings['key'] ?? $settings['api']['keys'] ?? [];
        foreach (['address' => $address, 'key' => $keys] as $name => $value) {
            foreach (is_array($value) ? $value : [$value] as $item) {
                if (!is_string($item)) {
                    throw new \InvalidArgumentException("{$where}: {$name} must be a string, or a list of strings");
                }
            }
        }

        return self::made(
            is_array($address) ? array_values($address) : self::items($address),
            is_array($keys) ? array_values($keys) : self::items($keys),
            $where,
        );
    }

    /**
     * @param list<string> $addresses
     * @param list<string> $keys
     */
    private static function made(array $addresses, #[\SensitiveParameter] array $keys, string $where): self
    {
        // Address knows no Unix sockets.
        $usable = array_filter($addresses, static fn (string $address) => preg_match('/^unix:/i', $address) !== 1);
        if ($usable === []) {
            $found = $addresses === [] ? 'no address' : 'no address but Unix sockets';
            throw new \InvalidArgumentException("{$where}: {$found}, expected one like " . self::DEFAULT_ADDRESS);
        }
        $parsed = array_map(self::address(...), array_values($usable));
        $plain = array_values(array_filter($parsed, static fn (Address $address) => !$address->tls));
        $key = $keys[0] ?? null;
        if ($key !== null && preg_match('/^[\x21-\x7e]+$/D', $key) !== 1) {
            throw new \InvalidArgumentException("{$where}: the key must be of ASCII characters without blanks");
        }

        return new self($plain[0] ?? $parsed[0], $key);
    }

    private static function address(string $text): Address
    {
        preg_match('~^(?:([a-z]+)://)?(.*)$~Dis', $text, $match);
        [, $scheme, $rest] = $match;
        // Address tells of what isn't known.
        $scheme = self::SCHEMES[strtolower($scheme)] ?? $scheme;
        $rest = preg_replace_callback(
            '/^(?:0\.0\.0\.0|\[::\])(?=[:\/]|$)/D',
            static fn (array $wildcard) => self::WILDCARDS[$wildcard[0]],
            $rest,
        );
        $address = Address::parse("{$scheme}://{$rest}");
        if ($address->target !== '/') {
            throw new \InvalidArgumentException("the address \"{$text}\" must not hold a path");
        }

        return $address;
    }

    private static function read(string $path): string
    {
        $text = Warnings::caught(static fn () => is_dir($path) ? false : file_get_contents($path), $warning);
        if ($text === false) {
            throw new \InvalidArgumentException("{$path} can't be read: " . ($warning ?? 'it is a folder'));
        }

        return $text;
    }

    /** A value of the INI file without its quotes, or without the comment behind it. */
    private static function bare(string $value): string
    {
        if (preg_match('/^\s*(["\'])(.*?)\1/', $value, $match) === 1) {
            return $match[2];
        }

        return trim(preg_replace('/(?:^|\s)[#;].*$/D', '', $value));
    }

    /** Fills in each `${NAME}` from the environment, as the server does. */
    private static function expanded(#[\SensitiveParameter] string $value, string $path): string
    {
        return preg_replace_callback(
            '/\$\{(.*?)\}/',
            static function (array $match) use ($path): string {
                $text = getenv($match[1]);

                return $text !== false ? $text : throw new \InvalidArgumentException(
                    "{$path}: the variable {$match[1]} is not in the environment of PHP",
                );
            },
            $value,
        );
    }

    /** @return list<string> */
    private static function items(#[\SensitiveParameter] string $list): array
    {
        return array_values(array_filter(array_map(trim(...), explode(',', $list)), static fn ($item) => $item !== ''));
    }
}

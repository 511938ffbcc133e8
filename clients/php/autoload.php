<?php

/**
 * Loads the classes of this package (PSR-4, `Websock\` from src/) for those who don't use Composer:
 *
 *     require 'path/to/clients/php/autoload.php';
 */

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    if (!str_starts_with($class, 'Websock\\')) {
        return;
    }
    $file = __DIR__ . '/src/' . strtr(substr($class, strlen('Websock\\')), '\\', '/') . '.php';
    if (is_file($file)) {
        require $file;
    }
});

<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

error_reporting(E_ALL);

spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'Websock\\Tests\\')) {
        $file = __DIR__ . '/' . strtr(substr($class, strlen('Websock\\Tests\\')), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});

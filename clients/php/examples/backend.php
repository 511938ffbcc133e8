<?php

/**
 * The script behind an AJAX call: works step by step, and reports each step to the browser that called.
 *
 *     php -S localhost:8097 -t clients/php/examples        the page then calls http://localhost:8097/backend.php
 *     php clients/php/examples/backend.php UUID [STEPS]    or from the command line
 *
 * The page passes the UUID that the server greeted it with, as JSON `{"uuid": "...", "steps": 10}` or as form or query
 * fields. The answer is JSON as well. WEBSOCK_URL names another server than ws://localhost:8096/php.
 */

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

const MOST_STEPS = 100;
const STEP_MICROSECONDS = 150_000;

/** @param array<string, mixed> $data */
function answer(int $status, array $data): never
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($data, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
    exit($status < 400 ? 0 : 1);
}

/** What the caller asked for, be it the command line, a JSON body, a form or a query. */
function input(): array
{
    if (PHP_SAPI === 'cli') {
        global $argv;

        return ['uuid' => $argv[1] ?? '', 'steps' => $argv[2] ?? null];
    }
    if (str_starts_with($_SERVER['CONTENT_TYPE'] ?? '', 'application/json')) {
        $body = json_decode((string) file_get_contents('php://input'), true);
        if (!is_array($body)) {
            answer(400, ['error' => 'the body is not a JSON object']);
        }

        return $body;
    }

    return $_POST + $_GET;
}

// The demo page comes from the websock server, which is another origin than this one. A site that serves both from
// one origin needs none of this; one that doesn't names its own origin instead of the star.
header('Access-Control-Allow-Origin: *');
header('Access-Control-Allow-Methods: GET, POST, OPTIONS');
header('Access-Control-Allow-Headers: Content-Type');
if (($_SERVER['REQUEST_METHOD'] ?? '') === 'OPTIONS') {
    http_response_code(204);
    exit;
}

$input = input();
$uuid = $input['uuid'] ?? '';
if (!is_string($uuid) || preg_match('/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/iD', $uuid) !== 1) {
    answer(400, ['error' => 'uuid is missing, or no UUID']);
}
$range = ['options' => ['min_range' => 1, 'max_range' => MOST_STEPS]];
$steps = filter_var($input['steps'] ?? 10, FILTER_VALIDATE_INT, $range);
if ($steps === false) {
    answer(400, ['error' => 'steps must be a whole number from 1 to ' . MOST_STEPS]);
}

$push = new Websock\Client(getenv('WEBSOCK_URL') ?: 'ws://localhost:8096/php', uuid: $uuid);
$reported = 0;
for ($step = 1; $step <= $steps; $step++) {
    usleep(STEP_MICROSECONDS); // stands for work
    $reported += (int) $push->feedback([
        'progress' => intdiv(100 * $step, $steps),
        'text' => $step < $steps ? "step {$step} of {$steps}" : 'done',
    ]);
}
answer(200, ['done' => true, 'steps' => $steps, 'reported' => $reported, 'error' => $push->lastError()]);

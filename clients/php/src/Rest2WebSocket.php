<?php

declare(strict_types=1);

namespace Websock;

/**
 * Calls the server's control API: pushes, notifications, and who is connected, without a socket to hold open.
 *
 *     $api = new Websock\Rest2WebSocket('/etc/websock.ini');
 *     $response = $api->call('webntf', 'send.to.token', ['domain' => 'shop', 'target' => $token, 'message' => 'Paid']);
 *     if ($response['status'] === 'OK') {
 *         $reached = $response['result'];
 *     }
 *
 * As with Client, a call never breaks the script that makes it: what fails is a response as well, `status` is ERROR and
 * `error` says why; no warning is raised, and nothing is thrown unless `throw: true` asks for it. After a server that
 * didn't answer the next calls fail at once, for a cool-down.
 *
 * **A call is made at most once.** The connection is kept for the next call. If that finds it dead before all of its
 * request has left, the server can't have acted on it, and it is sent again on a new connection, once. When the
 * connection ends or the time is over after that, nobody can know whether it was done: the response says so with
 * `sent` => true, and it is not repeated.
 *
 * Make one after a fork, never before: the processes would read one another's answers.
 */
final class Rest2WebSocket
{
    private readonly Settings $settings;
    private ?Stream $stream = null;
    private Deadline $reusableUntil;
    private Deadline $coolUntil;
    private string $coolReason = '';

    /** Whether all of the last call's request has left. */
    private bool $sent = false;
    private ?int $httpStatus = null;

    /**
     * Connects to nothing yet: the first call does.
     *
     * @param string|array $config          path of the server's INI file, or of a PHP file (`.php`) that returns an
     *                                      array, or that array: `address`, as in the INI file, and `key`, where one
     *                                      is needed. Of several addresses the first without TLS is taken, of several
     *                                      keys the first
     * @param float        $budget          seconds that a call may take in all: name lookup (which can't be cut short
     *                                      from PHP), TCP, TLS, request, answer
     * @param float        $coolDown        seconds after a server that didn't answer in which it is not tried again
     * @param bool         $throw           whether failures are thrown, as WebsockExceptions
     * @param ?string      $caFile          for wss://: PEM file of the authorities to trust instead of the system's
     * @param bool         $allowSelfSigned accepts a certificate that vouches for itself, in the right name
     * @param float        $keep            seconds after a call in which the connection is used for the next; 0: not at
     *                                      all. Less than the server's handshakeTimeout (10 unless set), at which it
     *                                      ends one without calls: of a call that crosses with that end nobody knows
     *                                      whether it was done
     * @param int          $maxAnswer       bytes that the body of an answer may have
     * @throws \InvalidArgumentException for what can't be used, a file that can't be read among it, whatever `throw` is
     */
    public function __construct(
        #[\SensitiveParameter] string|array $config,
        private readonly float $budget = 0.3,
        private readonly float $coolDown = 2.0,
        private readonly bool $throw = false,
        private readonly ?string $caFile = null,
        private readonly bool $allowSelfSigned = false,
        private readonly float $keep = 5.0,
        private readonly int $maxAnswer = Connection::MAX_MESSAGE,
    ) {
        if (!($budget > 0.0)) {
            throw new \InvalidArgumentException("budget is {$budget}, expected seconds above 0");
        }
        if (!($coolDown >= 0.0) || !($keep >= 0.0)) {
            throw new \InvalidArgumentException('coolDown and keep are seconds, 0 or more');
        }
        $this->settings = Settings::of($config);
        $this->coolUntil = Deadline::in(0.0);
        $this->reusableUntil = Deadline::in(0.0);
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * Calls an action of a service. What there is stands in docs/api.md.
     *
     * The response is what the server said: `status` (OK or ERROR), `time` (Unix seconds, with a fraction) and `result`
     * or `error`. Where no answer came it has the same form, `time` by this machine's clock, and `sent`: false, nothing
     * was done; true, it may have been.
     *
     * @param array|object $data what json_encode() makes an object of; an empty array is an empty object
     * With `wait` in the data, the milliseconds to wait for what becomes of a message, the call may take that much longer,
     * and the response has `targets`, the fate of each copy.
     *
     * @return array{status: string, time: float, result?: mixed, id?: string, targets?: array, error?: string, sent?: bool}
     * @throws WebsockException with `throw: true` only. ConnectException, MessageException: nothing was done;
     *                          RefusedException: the server said no; TimeoutException, ClosedException,
     *                          ProtocolException: it may have been done, unless the message says otherwise
     */
    public function call(string $service, string $action, array|object $data = []): array
    {
        return $this->attempt($service, $action, $data === [] ? (object) [] : $data);
    }

    /**
     * Several actions of a service in one call, in their order; one that fails does not stop the others.
     *
     * @param list<array{action: string, data?: array|object}> $calls
     * @return array as call() returns it; `result` is a list of arrays with `status` and `result` or `error`
     * @throws WebsockException as call() does; an action that fails is not thrown
     */
    public function batch(string $service, array $calls): array
    {
        foreach ($calls as $at => $call) {
            if (($call['data'] ?? null) === []) {
                $calls[$at]['data'] = (object) [];
            }
        }

        return $this->attempt($service, 'batch', array_values($calls));
    }

    /** The HTTP status of the last call's answer; null: none came. */
    public function httpStatus(): ?int
    {
        return $this->httpStatus;
    }

    /** Ends the connection. A later call opens another; it happens by itself when the object goes. */
    public function close(): void
    {
        $this->stream?->close();
        $this->stream = null;
    }

    /** Every call's frame: the cool-down, the budget, and what becomes of a failure. */
    private function attempt(string $service, string $action, mixed $data): array
    {
        $this->sent = false;
        $this->httpStatus = null;
        $pause = $this->coolUntil->remaining();
        if ($pause > 0.0) {
            return $this->fail(
                new ConnectException(sprintf('%s (not tried again for %.1f s)', $this->coolReason, $pause)),
            );
        }
        try {
            $deadline = Deadline::in($this->budget + Deadline::waits($data));

            return $this->understood($this->exchange($this->request($service, $action, $data), $deadline));
        } catch (MessageException | RefusedException $problem) {
            return $this->fail($problem);
        } catch (WebsockException $problem) {
            // Were the connection kept after a timeout, a late answer would pass for that to the next call.
            $this->close();
            $this->coolUntil = Deadline::in($this->coolDown);
            $this->coolReason = $problem->getMessage();

            return $this->fail($problem);
        }
    }

    private function fail(WebsockException $problem): array
    {
        if ($this->throw) {
            throw $problem;
        }

        return [
            'status' => 'ERROR',
            'time' => microtime(true),
            'error' => $problem->getMessage(),
            'sent' => $this->sent,
        ];
    }

    private function request(string $service, string $action, mixed $data): string
    {
        $body = Json::encode($data);
        $fields = [
            'Host' => $this->settings->address->authority(),
            'Content-Type' => 'application/json',
            'Content-Length' => strlen($body),
        ];
        if ($this->settings->key !== null) {
            $fields['Authorization'] = "Bearer {$this->settings->key}";
        }
        $head = sprintf("POST /api/%s/%s HTTP/1.1\r\n", rawurlencode($service), rawurlencode($action));
        foreach ($fields as $name => $value) {
            $head .= "{$name}: {$value}\r\n";
        }

        return "{$head}\r\n{$body}";
    }

    private function exchange(#[\SensitiveParameter] string $request, Deadline $deadline): Response
    {
        if ($this->isKept()) {
            try {
                return $this->converse($request, $deadline);
            } catch (ClosedException $problem) {
                if ($this->sent) {
                    throw $problem;
                }
            }
        }
        $this->close();
        $this->stream = Stream::connect($this->settings->address, $this->caFile, $this->allowSelfSigned, $deadline);

        return $this->converse($request, $deadline);
    }

    /** Whether there is a connection for another request: nothing has come on it since the last answer, not its end. */
    private function isKept(): bool
    {
        return $this->stream !== null && !$this->reusableUntil->passed() && $this->stream->read() === '';
    }

    private function converse(#[\SensitiveParameter] string $request, Deadline $deadline): Response
    {
        $url = $this->settings->address->url;
        $response = new Response($this->maxAnswer);
        $this->stream->queue($request);
        do {
            $gone = !$this->stream->flush();
            $this->sent = !$this->stream->hasOutput();
            // Read while there is something to write, too: a server that won't have it may say so before it has it all.
            $bytes = $this->stream->read();
            try {
                $complete = $bytes === null ? $response->end() : $bytes !== '' && $response->feed($bytes);
            } catch (ProtocolException $problem) {
                throw new ProtocolException("{$url}: {$problem->getMessage()}");
            }
            if ($complete) {
                $this->settle($response, $bytes === null);

                return $response;
            }
            if ($bytes === null || ($gone && $bytes === '')) {
                throw new ClosedException($url . ($this->sent
                    ? ': the connection ended before the answer; the call may have been done'
                    : ': the connection was lost while sending; nothing was done'));
            }
        } while (!$deadline->passed() && ($bytes !== '' || $this->wait($deadline)));
        throw new TimeoutException($url . ($this->sent
            ? ': no answer within the time given; the call may have been done'
            : ': the request could not be sent within the time given; nothing was done'));
    }

    /** Where PHP can't wait (with more than 1024 files open, say), what was sent may have been done all the same. */
    private function wait(Deadline $deadline): bool
    {
        try {
            return $this->stream->wait(true, $deadline);
        } catch (ConnectException $problem) {
            throw new ClosedException($problem->getMessage());
        }
    }

    private function settle(Response $response, bool $ended): void
    {
        if ($ended || $this->stream->hasOutput() || !$response->keepsAlive()) {
            $this->close();
        } else {
            $this->reusableUntil = Deadline::in($this->keep);
        }
    }

    /** What the answer says, once it is one of the API. */
    private function understood(Response $response): array
    {
        $this->httpStatus = $response->code();
        $said = Json::decode($response->body());
        $timed = is_array($said) && (is_float($said['time'] ?? null) || is_int($said['time'] ?? null));
        $said = $timed ? $said : [];
        if (($said['status'] ?? null) === 'OK' && $response->code() === 200 && array_key_exists('result', $said)) {
            return $said;
        }
        if (($said['status'] ?? null) === 'ERROR' && is_string($said['error'] ?? null)) {
            return $this->throw ? throw new RefusedException($said['error'], $response->code()) : $said;
        }
        if ($response->code() >= 300) {
            throw new RefusedException("{$this->settings->address->url}: {$response->refusal()}", $response->code());
        }
        throw new ProtocolException("{$this->settings->address->url}: this is no control API, by its answer");
    }
}

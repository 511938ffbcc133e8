<?php

declare(strict_types=1);

namespace Websock;

/**
 * A whole HTTP/1 response (RFC 9112, 6 and 7), fed bytes as they come: its body has a length, is chunked, or lasts
 * until the connection ends. What could be read in two ways is an error. Knows no socket and no time, and not what the
 * body says.
 *
 * @internal
 */
final class Response
{
    /** Longest line with a chunk's size, and longest trailer section, in bytes. */
    private const LONGEST_LINE = 1024;
    private const LONGEST_TRAILERS = ResponseHead::LONGEST;

    private ?ResponseHead $head = null;
    private string $received = '';
    private string $body = '';
    private bool $chunked = false;

    /** Bytes of the body or chunk still to come; null: until the connection ends, or a chunk's size comes next. */
    private ?int $left = null;

    /** Bytes of the trailer section so far; null: it has not begun. */
    private ?int $trailers = null;
    private bool $complete = false;

    /** @param int $maxBody bytes that the body may have */
    public function __construct(private readonly int $maxBody)
    {
    }

    /**
     * @return bool whether the response is complete
     * @throws ProtocolException for what is no response, or one that is too large
     */
    public function feed(string $bytes): bool
    {
        $this->received .= $bytes;
        while ($this->head === null) {
            $head = ResponseHead::take($this->received);
            if ($head === null) {
                return false;
            }
            // Interim responses come before the one that counts (RFC 9110, 15.2).
            if ($head->code() >= 200) {
                $this->head = $head;
                $this->frame();
            } elseif ($head->code() === 101) {
                throw new ProtocolException('the answer changes the protocol, which nobody has asked for');
            }
        }
        if (!$this->complete) {
            $this->chunked ? $this->takeChunks() : $this->takeBody();
        }

        return $this->complete;
    }

    /** The connection has ended. True: that was the end of the body, and the response is complete. */
    public function end(): bool
    {
        $this->complete = $this->complete || ($this->head !== null && !$this->chunked && $this->left === null);

        return $this->complete;
    }

    /** Whether another request may follow on this connection. Only for a response that is complete. */
    public function keepsAlive(): bool
    {
        $options = $this->head->tokens('connection');

        return !in_array('close', $options, true)
            && ($this->head->minor === 1 || in_array('keep-alive', $options, true))
            && ($this->chunked || $this->left !== null)
            && $this->received === '';
    }

    public function code(): int
    {
        return $this->head->code();
    }

    public function body(): string
    {
        return $this->body;
    }

    /** A refusal in one line. */
    public function refusal(): string
    {
        return $this->head->refusal($this->body);
    }

    /** Finds out where the body ends. */
    private function frame(): void
    {
        $lengths = $this->head->values('content-length') === [] ? [] : $this->head->tokens('content-length');
        if ($this->head->values('transfer-encoding') !== []) {
            $codings = $this->head->tokens('transfer-encoding');
            if ($lengths !== [] || $this->head->minor === 0 || $codings !== ['chunked']) {
                throw new ProtocolException('an answer whose Transfer-Encoding says nothing certain about its end');
            }
            $this->chunked = true;
        } elseif ($lengths !== []) {
            if (count(array_unique($lengths)) > 1 || preg_match('/^\d{1,18}$/D', $lengths[0]) !== 1) {
                throw new ProtocolException('an answer whose Content-Length is not one number');
            }
            $this->left = (int) $lengths[0];
        }
        if (in_array($this->head->code(), [204, 304], true)) {
            $this->chunked = false;
            $this->left = 0;
        }
        $this->checkSize($this->left ?? 0);
    }

    private function takeBody(): void
    {
        if ($this->left === null) {
            $this->checkSize(strlen($this->received));
            $this->body .= $this->received;
            $this->received = '';

            return;
        }
        $piece = substr($this->received, 0, $this->left);
        $this->body .= $piece;
        $this->received = substr($this->received, strlen($piece));
        $this->left -= strlen($piece);
        $this->complete = $this->left === 0;
    }

    private function takeChunks(): void
    {
        $at = 0;
        while (!$this->complete) {
            if ($this->left !== null && !$this->takeChunk($at)) {
                break;
            }
            $line = $this->takeLine($at);
            if ($line === null) {
                break;
            }
            if ($this->trailers !== null) {
                $this->trailers += strlen($line) + 2;
                if ($this->trailers > self::LONGEST_TRAILERS) {
                    throw new ProtocolException('an answer with endless trailers');
                }
                $this->complete = $line === '';
            } else {
                $this->beginChunk($line);
            }
        }
        $this->received = substr($this->received, $at);
    }

    /** @return bool whether all of it is here, with the line break behind */
    private function takeChunk(int &$at): bool
    {
        $piece = substr($this->received, $at, $this->left);
        $this->body .= $piece;
        $at += strlen($piece);
        $this->left -= strlen($piece);
        if ($this->left > 0 || strlen($this->received) < $at + 2) {
            return false;
        }
        if (substr($this->received, $at, 2) !== "\r\n") {
            throw new ProtocolException('the answer has a chunk that is longer than it says');
        }
        $at += 2;
        $this->left = null;

        return true;
    }

    private function takeLine(int &$at): ?string
    {
        $end = strpos($this->received, "\r\n", $at);
        if (($end === false ? strlen($this->received) : $end) - $at > self::LONGEST_LINE) {
            throw new ProtocolException('the answer has an endless line between its chunks');
        }
        if ($end === false) {
            return null;
        }
        $line = substr($this->received, $at, $end - $at);
        $at = $end + 2;

        return $line;
    }

    private function beginChunk(string $line): void
    {
        if (preg_match('/^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/Di', $line, $match) !== 1) {
            throw new ProtocolException('the answer has a chunk without a size');
        }
        $size = (int) hexdec($match[1]);
        $this->checkSize($size);
        if ($size === 0) {
            $this->trailers = 0;
        } else {
            $this->left = $size;
        }
    }

    private function checkSize(int $more): void
    {
        if (strlen($this->body) + $more > $this->maxBody) {
            throw new ProtocolException("an answer of more than {$this->maxBody} bytes");
        }
    }
}

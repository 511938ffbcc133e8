<?php

declare(strict_types=1);

namespace Websock;

/**
 * The head of an HTTP/1 response (RFC 9112, 4 and 5): the status line and the fields. Knows no body.
 *
 * @internal
 */
final class ResponseHead
{
    /** A head beyond this, in bytes, is none. */
    public const LONGEST = 16384;

    /** Of a server's own words no more than this, in characters, is repeated. */
    private const LONGEST_REASON = 300;

    /** @param array<string, list<string>> $fields values by lower-case name */
    private function __construct(
        /** Minor version: 0 or 1. */
        public readonly int $minor,
        /** Status and reason phrase, as in "403 Forbidden". */
        public readonly string $status,
        private readonly array $fields,
    ) {
    }

    /**
     * Takes a head off the front of what was received. Null, and nothing taken: it is not complete.
     *
     * @throws ProtocolException for what is no head
     */
    public static function take(string &$received): ?self
    {
        $end = strpos($received, "\r\n\r\n");
        if (($end === false ? strlen($received) : $end) > self::LONGEST) {
            throw new ProtocolException('an answer with an endless head');
        }
        if ($end === false) {
            return null;
        }
        $lines = explode("\r\n", substr($received, 0, $end));
        $received = substr($received, $end + 4);
        if (preg_match('~^HTTP/1\.([01]) (\d{3}(?: .*)?)$~', array_shift($lines), $match) !== 1) {
            throw new ProtocolException('the answer is not HTTP');
        }
        $fields = [];
        foreach ($lines as $line) {
            if (preg_match('~^([^\s:]+):[ \t]*(.*?)[ \t]*$~', $line, $field) !== 1) {
                throw new ProtocolException('the answer has a malformed field');
            }
            $fields[strtolower($field[1])][] = $field[2];
        }

        return new self((int) $match[1], rtrim($match[2]), $fields);
    }

    public function code(): int
    {
        return (int) $this->status;
    }

    /** @return list<string> the values of a field, one for each line that has it */
    public function values(string $name): array
    {
        return $this->fields[$name] ?? [];
    }

    public function field(string $name): ?string
    {
        return $this->fields[$name][0] ?? null;
    }

    /** @return list<string> the comma-separated values of a field, in lower case */
    public function tokens(string $name): array
    {
        return array_map(trim(...), explode(',', strtolower(implode(',', $this->values($name)))));
    }

    /**
     * A refusal in one line that is fit for a log: the status, and where to go or what the body says.
     *
     * @param string $body as far as it is known, without chunk sizes
     */
    public function refusal(string $body): string
    {
        $location = $this->field('location');
        $html = str_starts_with(strtolower($this->field('content-type') ?? ''), 'text/html');
        $detail = $location !== null ? "see {$location}" : trim($html ? strip_tags($body) : $body);

        return self::oneLine($this->status . ($detail === '' ? '' : ": {$detail}"));
    }

    private static function oneLine(string $text): string
    {
        if (!Message::isUtf8($text)) {
            $text = preg_replace('/[\x80-\xFF]+/', '?', $text);
        }
        $text = preg_replace('/[\s\x00-\x1F\x7F]+/', ' ', $text);

        return preg_match('/^.{' . self::LONGEST_REASON . '}/u', $text, $match) === 1 ? $match[0] . '...' : $text;
    }
}

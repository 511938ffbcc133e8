//! HTTP/1.1 as far as a server needs it that answers upgrades and small requests (RFC 9112): where a request head ends,
//! what it says, how a response is written.
//!
//! Stricter than the RFC allows where leniency has been an attack elsewhere: a line ends in CRLF and nothing else, no
//! folded lines, no blank before a colon, exactly one Host. It refuses to know what a path is served by.

use std::fmt;
use std::mem::MaybeUninit;

/// Longest request line in bytes, its CRLF not counted; past it 414.
pub const MAX_REQUEST_LINE: usize = 8 * 1024;
/// Longest request head in bytes, from the request line to the empty line; past it 431.
pub const MAX_HEAD: usize = 16 * 1024;
/// Most header fields in a request; past it 431.
pub const MAX_FIELDS: usize = 100;

/// Why a request is answered with an error. The text goes to the client and into the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// One sentence for the person who made the request.
    pub why: &'static str,
    /// A browser is to ask its user for a password, and to come again with it (RFC 7617).
    pub asks_for_password: bool,
}

impl Refusal {
    /// A refusal with `status` and the sentence `why`.
    pub const fn new(status: u16, why: &'static str) -> Self {
        Self { status, why, asks_for_password: false }
    }

    /// A refusal for want of a password.
    pub const fn asking_for_password(why: &'static str) -> Self {
        Self { status: 401, why, asks_for_password: true }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, reason_phrase(self.status), self.why)
    }
}

/// Finds the end of a request head in bytes that come in any pieces, and looks at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes looked at so far.
    scanned: usize,
    /// Where the line begins that `scanned` is in.
    line_start: usize,
    /// Lines ended so far, the request line included.
    lines: usize,
}

impl HeadScanner {
    /// Looks on in `head`, which begins with all the bytes of earlier calls.
    ///
    /// `Ok(Some(n))`: the head is the first `n` bytes, its empty line included.
    pub fn scan(&mut self, head: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = memchr(b'\n', &head[self.scanned..]) {
            let end = self.scanned + offset;
            let line = &head[self.line_start..end];
            // First what shows first, so that the answer doesn't depend on how the bytes came.
            if self.lines == 0 {
                check_method(line)?;
            }
            self.within_limits(end + 1)?;
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::new(400, "a line of the request head does not end in CRLF"));
            };
            let first = self.line_start == 0;
            self.scanned = end + 1;
            self.line_start = end + 1;
            if line.is_empty() {
                // One empty line before the request line is to be ignored (RFC 9112, section 2.2).
                if first {
                    continue;
                }
                if self.lines == 0 {
                    return Err(Refusal::new(400, "empty lines where a request was expected"));
                }
                return Ok(Some(end + 1));
            }
            if self.lines == 0 {
                check_request_line(line)?;
            }
            self.lines += 1;
            if self.lines > MAX_FIELDS + 1 {
                return Err(Refusal::new(431, "more than 100 header fields"));
            }
        }
        self.scanned = head.len();
        if self.lines == 0 {
            check_method(&head[self.line_start..])?;
        }
        self.within_limits(head.len())?;
        Ok(None)
    }

    fn within_limits(&self, length: usize) -> Result<(), Refusal> {
        if self.lines == 0 && length - self.line_start > MAX_REQUEST_LINE + 2 {
            return Err(Refusal::new(414, "the request line is longer than 8 KiB"));
        }
        if length > MAX_HEAD {
            return Err(Refusal::new(431, "the request head is longer than 16 KiB"));
        }
        Ok(())
    }
}

/// Bytes that can't become a request line are refused before its end has come: a TLS hello, say, has none.
fn check_method(line: &[u8]) -> Result<(), Refusal> {
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    // A handshake record (RFC 8446, section 5.1).
    if method.starts_with(&[0x16]) {
        return Err(Refusal::new(400, "this looks like TLS: it is wss:// where ws:// is spoken"));
    }
    // Longer than any registered method (UPDATEREDIRECTREF, 17) by far.
    if method.len() > 32 || !method.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_\r".contains(byte)) {
        return Err(Refusal::new(400, "this is no HTTP request"));
    }
    Ok(())
}

/// Finds out about HTTP/2 and other strangers, so that they get the status that fits.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Refusal::new(505, "this server speaks HTTP/1.1"))
        }
        _ => Err(Refusal::new(400, "this is no HTTP request")),
    }
}

fn memchr(needle: u8, haystack: &[u8]) -> Option<usize> {
    haystack.iter().position(|byte| *byte == needle)
}

/// Room for the fields of a request; it stands on the caller's stack.
pub type Fields<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_FIELDS];

/// Empty room for the fields of a request.
pub const fn fields<'a>() -> Fields<'a> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Where the body of a request ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// After so many bytes; zero: there is no body.
    Length(u64),
    /// Where its chunks say so.
    Chunked,
}

impl Framing {
    /// No body.
    pub const NONE: Self = Self::Length(0);
}

/// A request head, read. It borrows from the bytes that came.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As sent, case included.
    pub method: &'a str,
    /// The path without its query, whatever form the target had (RFC 9112, section 3.2).
    pub path: &'a str,
    /// The query behind the path, as it came, percent-encoding and all; empty where there is none.
    pub query: &'a str,
    /// HTTP/1.0 rather than HTTP/1.1.
    pub http_1_0: bool,
    /// How its body is framed.
    pub framing: Framing,
    fields: &'a [httparse::Header<'a>],
}

impl<'a> Request<'a> {
    /// Reads the `head` that [`HeadScanner`] found, and checks what holds for every request.
    pub fn parse<'b: 'a>(head: &'b [u8], room: &'a mut Fields<'b>) -> Result<Self, Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, room) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::new(400, "the request head is incomplete")),
            Err(error) => {
                return Err(match error {
                    httparse::Error::TooManyHeaders => Refusal::new(431, "more than 100 header fields"),
                    httparse::Error::HeaderName => Refusal::new(400, "a header field name is not a token"),
                    httparse::Error::HeaderValue => Refusal::new(400, "a header field value has a control character"),
                    _ => Refusal::new(400, "this is no HTTP request"),
                });
            }
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::new(400, "the request line is incomplete"));
        };
        let fields = parsed.headers;
        let (path, query) = split_target(target)?;
        let mut request = Self { method, path, query, http_1_0: version == 0, framing: Framing::NONE, fields };
        request.check_host()?;
        request.framing = request.read_framing()?;
        // It would be taken for the next request by whoever does not look.
        if matches!(method, "GET" | "HEAD") && request.framing != Framing::NONE {
            return Err(Refusal::new(400, "a GET request with a body"));
        }
        Ok(request)
    }

    /// The values of every field called `name` (any case), in order, blanks around them removed; a value that is not
    /// UTF-8 comes out empty.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.bytes(name).map(|value| std::str::from_utf8(value).unwrap_or_default().trim_matches([' ', '\t']))
    }

    /// The values of every field called `name` (any case), in order and as they came.
    pub fn bytes(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of the first field called `name`.
    pub fn first(&self, name: &'static str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The value of the field called `name`, where there is exactly one. `Err`: there are several.
    pub fn only(&self, name: &'static str) -> Result<Option<&'a str>, Repeated> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// The members of the comma-separated lists in all fields called `name` (RFC 9110, section 5.6.1).
    pub fn list(&self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Whether the client takes a further request on this connection (RFC 9112, section 9.3).
    pub fn keeps_alive(&self) -> bool {
        let mut options = self.list("connection");
        if self.http_1_0 {
            options.any(|option| option.eq_ignore_ascii_case("keep-alive"))
        } else {
            !options.any(|option| option.eq_ignore_ascii_case("close"))
        }
    }

    /// RFC 9112, section 3.2: exactly one, and one that could be a host.
    fn check_host(&self) -> Result<(), Refusal> {
        match self.only("host") {
            Err(Repeated) => Err(Refusal::new(400, "more than one Host field")),
            Ok(None) if self.http_1_0 => Ok(()),
            Ok(None) => Err(Refusal::new(400, "no Host field")),
            Ok(Some(host)) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(&byte)) => {
                Ok(())
            }
            Ok(Some(_)) => Err(Refusal::new(400, "the Host field names no host")),
        }
    }

    fn is_chunked(&self) -> bool {
        self.list("transfer-encoding").all(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    /// Whether the client waits for `100` before it sends its body (RFC 9110, section 10.1.1).
    ///
    /// # Errors
    ///
    /// 417: it expects something else.
    pub fn waits_for_continue(&self) -> Result<bool, Refusal> {
        let mut expectations = self.list("expect").peekable();
        let any = expectations.peek().is_some();
        if expectations.any(|expectation| !expectation.eq_ignore_ascii_case("100-continue")) {
            return Err(Refusal::new(417, "nothing but 100-continue can be expected here"));
        }
        Ok(any && !self.http_1_0 && self.framing != Framing::NONE)
    }

    /// How the body is framed: where there are two readings of it, neither is taken (RFC 9112, section 11.2).
    fn read_framing(&self) -> Result<Framing, Refusal> {
        let codings = self.all("transfer-encoding").count();
        let mut lengths = self.list("content-length");
        match (codings, lengths.next()) {
            (0, None) if self.all("content-length").next().is_none() => Ok(Framing::NONE),
            (0, Some(length)) if is_number(length) && lengths.all(|other| other == length) => {
                // What no 64 bits can hold is more than any limit.
                Ok(Framing::Length(length.parse().unwrap_or(u64::MAX)))
            }
            (0, _) => Err(Refusal::new(400, "the Content-Length is not one number")),
            (_, Some(_)) => Err(Refusal::new(400, "both Transfer-Encoding and Content-Length")),
            (1, None) if !self.http_1_0 && self.list("transfer-encoding").count() == 1 && self.is_chunked() => {
                Ok(Framing::Chunked)
            }
            _ => Err(Refusal::new(501, "a Transfer-Encoding that this server does not know")),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The path in a request `head` that can't be read otherwise; empty: not even that can.
pub fn path_in(head: &[u8]) -> &str {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).and_then(|target| std::str::from_utf8(target).ok());
    target.and_then(|target| split_target(target).ok()).map_or("", |(path, _)| path)
}

/// A field that may stand once stands several times.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repeated;

/// The path and the query of a target in origin form (`/web?x=1`) or absolute form (`http://host/web`).
fn split_target(target: &str) -> Result<(&str, &str), Refusal> {
    const NO_PATH: Refusal = Refusal::new(400, "the request target is no path");
    // RFC 3986 has no more than these; what is beyond would go into the log as it is.
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(NO_PATH);
    }
    let path = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((scheme, rest)) if ["http", "https", "ws", "wss"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => {
            rest.find(['/', '?']).map_or("/", |start| &rest[start..])
        }
        _ => return Err(NO_PATH),
    };
    let whole = path.split('#').next().unwrap_or_default();
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    Ok((if path.is_empty() { "/" } else { path }, query))
}

/// What goes back to a request that is not upgraded.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Further fields, each a whole line without its CRLF.
    pub fields: &'a [&'a str],
    /// Media type of the body.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Send the head alone, as for HEAD.
    pub head_only: bool,
    /// Say that the connection ends here.
    pub close: bool,
}

impl Response<'_> {
    /// Appends the response.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { status, content_type, body, .. } = self;
        out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(*status)).as_bytes());
        // RFC 9110, section 8.6: where there can be no content, its length is not said.
        if *status != 204 {
            let content = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
            out.extend_from_slice(content.as_bytes());
        }
        for field in self.fields {
            out.extend_from_slice(field.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if self.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !self.head_only {
            out.extend_from_slice(body);
        }
    }
}

/// Appends the answer to a refused request: status, the sentence as text, and the end of the connection.
pub fn write_refusal(out: &mut Vec<u8>, refusal: Refusal) {
    let fields: &[&str] = match refusal.status {
        405 => &["Allow: GET, HEAD"],
        401 if refusal.asks_for_password => &["WWW-Authenticate: Basic realm=\"websock\""],
        // RFC 9110, section 15.5.2 wants a challenge. There is no registered scheme for cookies; a browser that doesn't
        // know one shows the answer as it is.
        401 => &["WWW-Authenticate: Cookie realm=\"session\""],
        // RFC 6455, section 4.2.2 and RFC 9110, section 15.5.22.
        426 => &["Upgrade: websocket", "Sec-WebSocket-Version: 13"],
        _ => &[],
    };
    let body = format!("{}\n", refusal.why);
    Response {
        status: refusal.status,
        fields,
        content_type: "text/plain; charset=utf-8",
        body: body.as_bytes(),
        head_only: false,
        close: true,
    }
    .write(out);
}

/// The words that stand behind a status (RFC 9110, section 15).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in one piece and in pieces of one byte; both must come to the same.
    fn head(text: &[u8]) -> Result<Option<usize>, Refusal> {
        let whole = HeadScanner::default().scan(text);
        let mut scanner = HeadScanner::default();
        let mut pieces = Ok(None);
        for end in 1..=text.len() {
            pieces = scanner.scan(&text[..end]);
            if pieces != Ok(None) {
                break;
            }
        }
        assert_eq!(whole, pieces, "{}", text.escape_ascii());
        whole
    }

    fn request(text: &str) -> Result<(String, String), Refusal> {
        let end = HeadScanner::default().scan(text.as_bytes())?.expect("a whole head");
        let mut room = fields();
        let request = Request::parse(&text.as_bytes()[..end], &mut room)?;
        Ok((request.method.to_owned(), request.path.to_owned()))
    }

    fn status(text: &str) -> u16 {
        request(text).map_or_else(|refusal| refusal.status, |_| 200)
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nmore"), Ok(Some(27)));
        assert_eq!(head(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Some(29)));
        assert_eq!(head(b"GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
    }

    #[test]
    fn what_is_no_head_is_refused_before_its_end() {
        for (text, status) in [
            (&b"\x16\x03\x01\x02\x00"[..], 400),
            (b"GET / HTTP/1.1\nHost: a\n\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\n", 400),
            (b"\r\n\r\n", 400),
            (b"PRI * HTTP/2.0\r\n", 505),
            (b"GET / HTTP/1.2\r\n", 505),
            (b"GET / HTPP/1.1\r\n", 400),
            (b"GET /\r\n", 400),
            (b"\x00", 400),
        ] {
            assert_eq!(head(text).map_err(|refusal| refusal.status), Err(status), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(length - 14));
        assert_eq!(head(line(MAX_REQUEST_LINE).as_bytes()), Ok(None));
        assert_eq!(head(line(MAX_REQUEST_LINE + 1).as_bytes()).unwrap_err().status, 414);
        assert_eq!(head("x".repeat(40).as_bytes()).unwrap_err().status, 400);
        assert_eq!(head(format!("GET /{}", "x".repeat(9000)).as_bytes()).unwrap_err().status, 414);

        let sized = |size: usize| {
            let start = "GET / HTTP/1.1\r\nA: ";
            format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4))
        };
        assert_eq!(head(sized(MAX_HEAD).as_bytes()), Ok(Some(MAX_HEAD)));
        assert_eq!(head(sized(MAX_HEAD + 1).as_bytes()).unwrap_err().status, 431);

        let many = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(head(many(MAX_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(head(many(MAX_FIELDS + 1).as_bytes()).unwrap_err().status, 431);
    }

    #[test]
    fn targets_come_down_to_a_path_and_a_query() {
        for (target, path, query) in [
            ("/", "/", ""),
            ("/web?uuid=1", "/web", "uuid=1"),
            ("/web?a?b#c?d", "/web", "a?b"),
            ("/web#c?d", "/web", ""),
            ("http://host:80/web?x", "/web", "x"),
            ("HTTP://host", "/", ""),
            ("ws://host?x", "/", "x"),
            ("/a://b", "/a://b", ""),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(split_target(target), Ok((path, query)), "{target}");
            assert_eq!(request(&text), Ok(("GET".to_owned(), path.to_owned())), "{target}");
        }
        assert_eq!(status("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET web HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET /\u{85}\u{2028} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }

    #[test]
    fn fields_that_can_be_read_two_ways_are_refused() {
        for (fields, expected) in [
            ("Host: a", 200),
            ("Host: [::1]:80", 200),
            ("", 400),
            ("Host: a\r\nHost: a", 400),
            ("Host: a b/c", 400),
            ("Host : a", 400),
            ("Host: a\r\n folded", 400),
            ("Host: a\r\nX: \0", 400),
            ("Host: a\r\nX: a\rb", 400),
            ("Host: a\r\nnocolon", 400),
            ("Host: a\r\nContent-Length: 0", 200),
            ("Host: a\r\nContent-Length: 3", 400),
            ("Host: a\r\nContent-Length: -1", 400),
            ("Host: a\r\nContent-Length: 0, 0", 200),
            ("Host: a\r\nContent-Length: 0, 5", 400),
            ("Host: a\r\nContent-Length: 0, 0, 5", 400),
            ("Host: a\r\nContent-Length: 0, 0, 0)", 400),
            ("Host: a\r\nContent-Length: 0\r\nContent-Length: 7", 400),
            ("Host: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked", 400),
            ("Host: a\r\nTransfer-Encoding: chunked", 400),
            ("Host: a\r\nTransfer-Encoding: xchunked", 501),
            ("Host: a\r\nTransfer-Encoding: chunked, chunked", 501),
        ] {
            let text = format!("GET / HTTP/1.1\r\n{fields}{}\r\n", if fields.is_empty() { "" } else { "\r\n" });
            assert_eq!(status(&text), expected, "{fields:?}");
        }
        assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200);
    }

    #[test]
    fn a_refusal_says_why_and_ends_the_connection() {
        let mut out = Vec::new();
        write_refusal(&mut out, Refusal::new(426, "upgrade, please"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 16\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\r\nupgrade, please\n"
        );
    }
}

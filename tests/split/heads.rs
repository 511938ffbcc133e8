//! Conversations that begin at the request, and what each must come to.

use super::driver::{
    PAGE, Setup, Step, UPGRADE, by_peer, failed, request, sent_close, sent_response, switched, text, wire,
};
use super::{Case, Start, State};

fn case(name: &str, input: impl AsRef<[u8]>, steps: impl IntoIterator<Item = Step>, state: State) -> Case {
    Case {
        name: name.to_owned(),
        setup: Setup::default(),
        start: Start::Accepted,
        input: input.as_ref().to_vec(),
        steps: Vec::from_iter(steps),
        state,
        unfinished: false,
    }
}

fn upgraded() -> [Step; 2] {
    [request("GET /echo"), switched()]
}

fn page() -> [Step; 2] {
    [request("GET /page"), sent_response(200, "page /page")]
}

/// A request with a body.
fn posted(field: &str, body: &str) -> String {
    format!("POST /call HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n{body}")
}

/// Such a request that is answered.
fn answered(body: &str) -> [Step; 2] {
    [request("POST /call"), sent_response(200, body)]
}

/// A request whose body is refused, wherever that shows.
fn refused_body(name: &str, field: &str, body: &str, status: u16, why: &str) -> Case {
    let input = [&posted(field, body), UPGRADE].concat();
    case(name, input, [request("POST /call"), sent_response(status, &format!("{why}\n"))], State::Silent)
}

/// A head that is refused once it is whole.
fn refused(name: &str, head: &str, line: &str, status: u16, why: &str) -> Case {
    let input = [PAGE, head, UPGRADE].concat();
    let refusal = [request(line), sent_response(status, &format!("{why}\n"))];
    case(name, input, page().into_iter().chain(refusal), State::Silent)
}

/// Bytes that are refused before they are a whole head.
fn stopped(name: &str, bytes: impl AsRef<[u8]>, status: u16, why: &str) -> Case {
    let input = [bytes.as_ref(), UPGRADE.as_bytes()].concat();
    case(name, input, [sent_response(status, &format!("{why}\n")), Step::Refused(status)], State::Silent)
}

/// A request for a page whose line is `length` bytes long.
fn line(length: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length - 14))
}

/// A request for a page whose head is `size` bytes long.
fn sized(size: usize) -> String {
    let (start, end) = ("GET /page HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
}

pub(super) fn good() -> Vec<Case> {
    let frames = [wire::text("one"), wire::frame(0x01, b"t"), wire::ping(b""), wire::frame(0x80, b"wo")].concat();
    let with_frames = [UPGRADE.as_bytes(), &frames, &wire::close(1000, "")].concat();
    let said = [text("one"), Step::Sent(super::driver::Sent::Pong(Vec::new())), text("two")];
    let closed = [sent_close(1000, ""), by_peer(1000, "")];
    vec![
        case("an upgrade", UPGRADE, upgraded(), State::Open),
        case("an empty line and an upgrade", format!("\r\n{UPGRADE}"), upgraded(), State::Open),
        case(
            "an upgrade and a whole conversation",
            &with_frames,
            upgraded().into_iter().chain(said.clone()).chain(closed.clone()),
            State::Silent,
        ),
        case(
            "a page, and an upgrade with a conversation",
            [PAGE.as_bytes(), &with_frames].concat(),
            page().into_iter().chain(upgraded()).chain(said).chain(closed),
            State::Silent,
        ),
        case("three pages", PAGE.repeat(3), [page(), page(), page()].concat(), State::Head),
        case(
            "pages with an empty line before each",
            format!("\r\n{PAGE}\r\n{PAGE}"),
            [page(), page()].concat(),
            State::Head,
        ),
        case(
            "an upgrade and a request behind it",
            [UPGRADE, &PAGE.replace("GET", "HEAD")].concat(),
            upgraded().into_iter().chain(failed(1002, "reserved bit set")),
            State::Silent,
        ),
        case(
            "a last page",
            [&PAGE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), UPGRADE].concat(),
            page(),
            State::Silent,
        ),
        Case { unfinished: true, ..case("half a head", &UPGRADE[..100], [], State::Head) },
        Case { unfinished: true, ..case("a page and half a head", [PAGE, "GET /"].concat(), page(), State::Head) },
        Case { unfinished: true, ..case("a page and an empty line", [PAGE, "\r\n"].concat(), page(), State::Head) },
        case("nothing but a page", PAGE, page(), State::Head),
        case(
            "bodies, counted, chunked and empty, and a page",
            [
                &posted("Content-Length: 5", "hello"),
                &posted("Transfer-Encoding: Chunked", "3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"),
                &posted("Content-Length: 0", ""),
                &posted("X: no body", ""),
                &posted("Expect: 100-Continue\r\nContent-Length: 20", "01234567890123456789"),
                PAGE,
            ]
            .concat(),
            [answered("hello"), answered("hello"), answered(""), answered("")]
                .concat()
                .into_iter()
                .chain([request("POST /call"), sent_response(100, ""), sent_response(200, "01234567890123456789")])
                .chain(page()),
            State::Head,
        ),
        Case {
            unfinished: true,
            ..case(
                "all but the end of a body",
                posted("Content-Length: 5", "hell"),
                [request("POST /call")],
                State::Head,
            )
        },
        Case {
            unfinished: true,
            ..case(
                "all but the end of the last chunk",
                posted("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r"),
                [request("POST /call")],
                State::Head,
            )
        },
        case(
            "a head of the greatest size, and a page",
            [&sized(16_384), PAGE].concat(),
            [page(), page()].concat(),
            State::Head,
        ),
        Case { unfinished: true, ..case("all but the end of such a head", &sized(16_384)[..16_383], [], State::Head) },
    ]
}

pub(super) fn bad() -> Vec<Case> {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    vec![
        refused("no Host", "GET /a HTTP/1.1\r\n\r\n", "GET /a", 400, "no Host field"),
        refused(
            "two Hosts",
            "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /a",
            400,
            "more than one Host field",
        ),
        refused(
            "a blank before a colon",
            "GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET /a",
            400,
            "a header field name is not a token",
        ),
        refused(
            "version 12",
            &UPGRADE.replace(": 13", ": 12"),
            "GET /echo",
            426,
            "this server speaks version 13 of the WebSocket protocol",
        ),
        refused(
            "a body",
            "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "GET /a",
            400,
            "a GET request with a body",
        ),
        refused_body("a body over the limit", "Content-Length: 21", "0", 413, "the body is longer than maxMessage"),
        refused_body(
            "chunks over the limit",
            "Transfer-Encoding: chunked",
            "10\r\n0123456789abcdef\r\n5\r\n",
            413,
            "the body is longer than maxMessage",
        ),
        refused_body("a chunk of no size", "Transfer-Encoding: chunked", "x\r\n", 400, "a chunk without a size"),
        refused_body(
            "a chunk longer than its size",
            "Transfer-Encoding: chunked",
            "3\r\nhello\r\n",
            400,
            "a chunk longer than its size",
        ),
        refused_body(
            "a chunk line that ends in LF",
            "Transfer-Encoding: chunked",
            "3\n",
            400,
            "a line of the chunked body does not end in CRLF",
        ),
        stopped("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "this server speaks HTTP/1.1"),
        stopped("another protocol", "GET / HTPP/1.1\r\n", 400, "this is no HTTP request"),
        stopped("HTTP/0.9", "GET /\r\n", 400, "this is no HTTP request"),
        stopped("two empty lines", "\r\n\r\n", 400, "empty lines where a request was expected"),
        stopped("a bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400, "a line of the request head does not end in CRLF"),
        stopped(
            "a bare LF further down",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            400,
            "a line of the request head does not end in CRLF",
        ),
        stopped("a line over the limit", line(8193), 414, "the request line is longer than 8 KiB"),
        stopped(
            "a line without end",
            format!("GET /{}", "x".repeat(9000)),
            414,
            "the request line is longer than 8 KiB",
        ),
        stopped("a head over the limit", sized(16_385), 431, "the request head is longer than 16 KiB"),
        stopped("a field without end", &sized(40_000)[..30_000], 431, "the request head is longer than 16 KiB"),
        stopped("101 fields", fields(101), 431, "more than 100 header fields"),
        stopped("fields without end", fields(2000), 431, "more than 100 header fields"),
    ]
}

/// What never looked like HTTP. It is refused for that, however much of it comes at once.
pub(super) fn strangers() -> Vec<Case> {
    const WHY: &str = "this is no HTTP request";
    const TLS: &str = "this looks like TLS: it is wss:// where ws:// is spoken";
    vec![
        stopped("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, TLS),
        stopped("a TLS hello with an LF in it", b"\x16\x03\x01\x00\x0a\x01\x00\x0d\x0a\x0d\x0a", 400, TLS),
        stopped("zeros", [0; 200], 400, WHY),
        stopped("a word without end", "x".repeat(9000), 400, WHY),
        stopped("a line of text", "EHLO:mail\n", 400, WHY),
        stopped("a frame", wire::text("hello"), 400, WHY),
        stopped("a frame with an LF in it", wire::frame(0x81, b"\x3d\xf0\x2b"), 400, WHY),
    ]
}

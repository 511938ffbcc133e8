//! Requests: upgrades, pages, refusals, and heads that are none (RFC 9112; RFC 6455, section 4.2).

use std::time::Duration;

use crate::driver::{
    Driver, GREETING_DELAY, PAGE, Sent, Setup, Step, UPGRADE, by_us, request, sent_close, sent_response, sent_text,
    switched, text, wire,
};
use websock::proto::http::{MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE, Refusal};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn page() -> [Step; 2] {
    [request("GET /page"), sent_response(200, "page /page")]
}

fn upgraded() -> [Step; 2] {
    [request("GET /echo"), switched()]
}

/// The status that a connection ends with whose head is `head`; 101 and 200 where it doesn't.
fn status(head: &str) -> u16 {
    let mut peer = Driver::new(Setup::default());
    peer.feed(head);
    let status = peer.take_steps().iter().find_map(|step| match step {
        Step::Sent(Sent::Response(status, _)) => Some(*status),
        _ => None,
    });
    let status = status.unwrap_or_default();
    assert_eq!(peer.session.is_silent(), !matches!(status, 0 | 101 | 200), "{status} to {head:.100}");
    status
}

#[test]
fn an_upgrade_in_one_piece() {
    let mut peer = Driver::new(Setup::default());
    assert!(!peer.session.is_open());
    peer.feed(UPGRADE);
    peer.expect(upgraded());
    assert_eq!(String::from_utf8_lossy(peer.sent()), SWITCHED);
    assert!(peer.session.is_open() && !peer.session.is_silent() && !peer.is_over());
}

#[test]
fn an_upgrade_in_pieces_is_answered_when_it_is_whole() {
    let mut peer = Driver::new(Setup::default());
    let (start, rest) = UPGRADE.split_at(40);
    let (middle, end) = rest.split_at(rest.len() - 1);
    peer.feed_each([start, middle]);
    peer.expect_nothing();
    peer.feed(end);
    peer.expect(upgraded());
    assert_eq!(String::from_utf8_lossy(peer.sent()), SWITCHED);
}

#[test]
fn the_subprotocol_agreed_on_is_said() {
    let mut peer = Driver::new(Setup { subprotocol: Some("websock.v1"), ..Setup::default() });
    peer.feed(UPGRADE);
    let sent = String::from_utf8_lossy(peer.sent());
    assert!(sent.ends_with("\r\nSec-WebSocket-Protocol: websock.v1\r\n\r\n"), "{sent}");
}

#[test]
fn frames_in_the_same_segment_as_the_head_are_kept() {
    let frames = [wire::text("one"), wire::text("two")].concat();
    let mut peer = Driver::new(Setup { greeting: Some("ready"), ..Setup::default() });
    peer.feed([UPGRADE.as_bytes(), &frames].concat());
    peer.expect([request("GET /echo"), switched(), sent_text("ready"), text("one"), text("two")]);

    let (start, end) = UPGRADE.split_at(100);
    let mut peer = Driver::new(Setup::default());
    peer.feed(start);
    peer.feed([end.as_bytes(), &frames].concat());
    peer.expect([request("GET /echo"), switched(), text("one"), text("two")]);
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let mut peer = Driver::new(Setup::default());
    peer.feed([PAGE.as_bytes(), PAGE.as_bytes(), UPGRADE.as_bytes(), &wire::text("hello")].concat());
    peer.expect([page(), page(), upgraded()].into_iter().flatten().chain([text("hello")]));
    assert!(peer.session.is_open());
}

#[test]
fn a_request_may_come_long_after_another() {
    let mut peer = Driver::new(Setup::default());
    peer.feed(PAGE);
    peer.expect(page());
    assert!(!peer.session.is_silent() && !peer.is_over());
    peer.pass(Duration::from_secs(9));
    peer.feed(UPGRADE);
    peer.expect(upgraded());
}

#[test]
fn nothing_is_taken_behind_a_last_answer() {
    let mut peer = Driver::new(Setup::default());
    peer.feed([&PAGE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), PAGE].concat());
    peer.expect(page());
    assert!(peer.session.is_silent());
    peer.feed(UPGRADE);
    peer.expect_nothing();
    assert!(!peer.is_over());
    peer.eof();
    assert!(peer.is_over());
    peer.expect_nothing();
}

#[test]
fn the_application_may_refuse() {
    let mut peer = Driver::new(Setup { refusal: Some(Refusal::new(403, "not you")), ..Setup::default() });
    peer.feed([UPGRADE, UPGRADE].concat());
    peer.expect([request("GET /echo"), sent_response(403, "not you\n")]);
    assert!(peer.session.is_silent() && !peer.session.is_open() && !peer.is_over());
    assert!(String::from_utf8_lossy(peer.sent()).contains("\r\nConnection: close\r\n"));
    peer.feed(wire::text("hello"));
    peer.expect_nothing();
}

#[test]
fn a_head_that_is_none_is_refused_before_it_is_whole() {
    for (start, status, why) in [
        (&b"\x16\x03\x01\x02\x00"[..], 400, "this looks like TLS: it is wss:// where ws:// is spoken\n"),
        (b"\x17\x03", 400, "this is no HTTP request\n"),
        (b"GET / HTTP/1.1\n", 400, "a line of the request head does not end in CRLF\n"),
        (b"\r\n\r\n", 400, "empty lines where a request was expected\n"),
        (b"PRI * HTTP/2.0\r\n", 505, "this server speaks HTTP/1.1\n"),
    ] {
        let mut peer = Driver::new(Setup::default());
        peer.feed(start);
        peer.expect([sent_response(status, why), Step::Refused(status)]);
        assert!(peer.session.is_silent() && !peer.is_over(), "{}", start.escape_ascii());
        peer.feed(UPGRADE);
        peer.expect_nothing();
        assert_eq!(peer.session.held(), 0);
    }
}

#[test]
fn an_empty_line_may_come_first() {
    assert_eq!(status(&format!("\r\n{UPGRADE}")), 101);
    assert_eq!(status(&format!("\r\n\r\n{UPGRADE}")), 400);
}

#[test]
fn each_request_of_several_is_checked() {
    for bad in ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.0\r\nHost : a\r\n\r\n", "\n"] {
        let mut peer = Driver::new(Setup::default());
        peer.feed([PAGE, bad, UPGRADE].concat());
        let statuses: Vec<_> = peer.take_steps().into_iter().filter(|step| matches!(step, Step::Sent(_))).collect();
        let [good, Step::Sent(Sent::Response(400, _))] = &statuses[..] else {
            panic!("{statuses:?} to {bad:?}");
        };
        assert_eq!(*good, sent_response(200, "page /page"));
        assert!(peer.session.is_silent() && !peer.session.is_open());
    }
}

#[test]
fn an_upgrade_request_has_faults_of_its_own() {
    assert_eq!(status(&UPGRADE.replace("Version: 13", "Version: 12")), 426);
    assert_eq!(status(&UPGRADE.replace("Sec-WebSocket-Version: 13\r\n", "")), 400);
    assert_eq!(status(&UPGRADE.replace("bXBs", "")), 400);
    assert_eq!(status(&UPGRADE.replace("Host: localhost", "Host: a\r\nHost: b")), 400);
    assert_eq!(status(&UPGRADE.replace("HTTP/1.1", "HTTP/1.0")), 426);
    assert_eq!(status(&UPGRADE.replace("Host: ", "Content-Length: 5\r\nHost: ")), 400);
    assert_eq!(status(UPGRADE), 101);
}

#[test]
fn the_request_line_has_a_limit() {
    let line = |length: usize| {
        let path = "x".repeat(length - "GET / HTTP/1.1".len());
        format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
    };
    assert_eq!(status(&line(MAX_REQUEST_LINE - 1)), 200);
    assert_eq!(status(&line(MAX_REQUEST_LINE)), 200);
    assert_eq!(status(&line(MAX_REQUEST_LINE + 1)), 414);
    assert_eq!(status(&format!("\r\n{}", line(MAX_REQUEST_LINE))), 200, "an empty line before it is none of it");
    // It is not waited for: the CRLF may still come behind the last byte that is allowed, and no other byte.
    let unfinished = line(MAX_REQUEST_LINE + 1);
    assert_eq!(status(&unfinished[..MAX_REQUEST_LINE + 1]), 0);
    assert_eq!(status(&format!("GET /{}", "x".repeat(MAX_REQUEST_LINE - 2))), 414);
}

#[test]
fn the_head_has_a_limit() {
    let sized = |size: usize| {
        let (start, end) = ("GET /page HTTP/1.1\r\nHost: localhost\r\nX: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
    };
    assert_eq!(status(&sized(MAX_HEAD - 1)), 200);
    assert_eq!(status(&sized(MAX_HEAD)), 200);
    assert_eq!(status(&sized(MAX_HEAD + 1)), 431);
    assert_eq!(status(&sized(MAX_HEAD * 2)[..MAX_HEAD]), 0, "may still become one");
    assert_eq!(status(&sized(MAX_HEAD * 2)[..MAX_HEAD + 1]), 431, "is not waited for");
    // What stands behind the head does not count.
    assert_eq!(status(&format!("{}{}", sized(MAX_HEAD), sized(MAX_HEAD))), 200);
}

#[test]
fn the_number_of_fields_has_a_limit() {
    let fields = |count: usize| UPGRADE.replace("Host: ", &format!("{}Host: ", "x: y\r\n".repeat(count - 5)));
    assert_eq!(status(&fields(MAX_FIELDS - 1)), 101);
    assert_eq!(status(&fields(MAX_FIELDS)), 101);
    assert_eq!(status(&fields(MAX_FIELDS + 1)), 431);
}

#[test]
fn a_request_behind_an_upgrade_is_no_frame() {
    let mut peer = Driver::new(Setup::default());
    peer.feed([UPGRADE, "HEAD / HTTP/1.1\r\n"].concat());
    peer.expect([
        request("GET /echo"),
        switched(),
        sent_close(1002, "reserved bit set"),
        by_us(1002, "reserved bit set"),
    ]);
    assert!(peer.session.is_silent());
}

#[test]
fn closing_a_connection_that_has_not_been_upgraded_drops_it() {
    for sent in ["", "GET / HT"] {
        let mut peer = Driver::new(Setup::default());
        peer.feed(sent);
        peer.close(1001, "server is stopping");
        peer.expect_nothing();
        assert!(peer.is_over());
    }
}

#[test]
fn the_greeting_of_a_browser_does_not_wait() {
    let mut peer = Driver::new(Setup { greeting: Some("ready"), ..Setup::default() });
    peer.feed(UPGRADE);
    peer.expect([request("GET /echo"), switched(), sent_text("ready")]);
    peer.pass(GREETING_DELAY * 2);
    peer.expect_nothing();
}

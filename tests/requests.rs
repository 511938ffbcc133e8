//! HTTP heads and opening handshakes, good and bad: the status that each is answered with, and that the connection
//! ends where it must.

use std::time::{Duration, Instant};

#[path = "common/server.rs"]
mod server;

use server::{CLOSE, Client, PATIENCE, SCRIPT, SWITCHED, Server, masked, masked_text, plain, upgrade};

const GOOD: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Version: 13\r\n";

/// Sends `bytes` on a connection of its own, reads the answer to its end, checks its form and gives its head.
fn refused(server: &Server, bytes: &[u8]) -> String {
    let mut client = Client::connect(server.address());
    client.send(bytes);
    let all = client.rest(Instant::now() + PATIENCE);
    let all = String::from_utf8(all).expect("an answer in ASCII");
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all:?}"));
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "one answer: {all}");
    assert!(body.ends_with('\n') && body.len() > 10, "a sentence: {body:?}");
    head.to_owned()
}

fn expect_refusal(server: &Server, bytes: &[u8], status: &str, name: &str) {
    let head = refused(server, bytes);
    let shown = bytes[..bytes.len().min(200)].escape_ascii();
    assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{name}: {shown}\n{head}");
}

/// A request for `/web` with these lines between the request line and the end.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /web HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

#[test]
fn heads_that_are_none() {
    let server = Server::start("");
    let bad = "400 Bad Request";
    for (name, bytes, status) in [
        ("no HTTP", b"\x00\x01\x02 what?\r\n\r\n".to_vec(), bad),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), bad),
        ("a TLS hello with a line end in it", b"\x16\x03\x01\x02\x00\x0a\x00\x01\xfc".to_vec(), bad),
        ("no version", b"GET /web\r\n\r\n".to_vec(), bad),
        ("no target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), bad),
        ("LF alone", format!("GET /web HTTP/1.1\nHost: a\n{}\n", GOOD.replace('\r', "")).into(), bad),
        ("LF and CRLF mixed", format!("GET /web HTTP/1.1\r\nHost: a\n{GOOD}\r\n").into(), bad),
        ("LF for the empty line", format!("GET /web HTTP/1.1\r\nHost: a\r\n{GOOD}\n").into(), bad),
        ("a bare CR in a value", get(&format!("Host: a\r\nX: a\rb\r\n{GOOD}")), bad),
        ("a blank before the colon", get(&format!("Host : a\r\n{GOOD}")), bad),
        ("a folded line", get(&format!("Host: a\r\nX: a\r\n b\r\n{GOOD}")), bad),
        ("a line without a colon", get(&format!("Host: a\r\nX\r\n{GOOD}")), bad),
        ("a name that is no token", get(&format!("Host: a\r\nX(: a\r\n{GOOD}")), bad),
        ("an empty name", get(&format!("Host: a\r\n: a\r\n{GOOD}")), bad),
        ("NUL in a value", get(&format!("Host: a\r\nX: a\0b\r\n{GOOD}")), bad),
        ("no Host", get(GOOD), bad),
        ("two Hosts", get(&format!("Host: a\r\nHost: a\r\n{GOOD}")), bad),
        ("a Host that is none", get(&format!("Host: a b/c\r\n{GOOD}")), bad),
        ("two empty lines first", format!("\r\n\r\n{}", upgrade("/web", "")).into(), bad),
        ("thousands of empty lines", "\r\n".repeat(5000).into(), bad),
        ("HTTP/2.0", b"GET /web HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(), "505 HTTP Version Not Supported"),
        ("HTTP/0.9", b"GET /web HTTP/0.9\r\n\r\n".to_vec(), "505 HTTP Version Not Supported"),
        ("HTTP/2 itself", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "505 HTTP Version Not Supported"),
        ("HTPP/1.1", b"GET /web HTPP/1.1\r\nHost: a\r\n\r\n".to_vec(), bad),
        ("a target that is no path", b"GET web HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), bad),
    ] {
        expect_refusal(&server, &bytes, status, name);
    }
}

#[test]
fn heads_past_the_limits() {
    let server = Server::start("");
    let long = "414 URI Too Long";
    let large = "431 Request Header Fields Too Large";
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(length - 14));
    expect_refusal(&server, format!("{}Host: a\r\n\r\n", line(8192)).as_bytes(), "404 Not Found", "8 KiB of line");
    expect_refusal(&server, line(8193).as_bytes(), long, "one more");
    expect_refusal(&server, format!("GET /{}", "x".repeat(10_000)).as_bytes(), long, "a line without end");

    let sized = |size: usize| {
        let head = format!("GET /none HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size - 36));
        assert_eq!(head.len(), size);
        head
    };
    expect_refusal(&server, sized(16_384).as_bytes(), "404 Not Found", "16 KiB of head");
    expect_refusal(&server, sized(16_385).as_bytes(), large, "one more");
    expect_refusal(&server, sized(1 << 20).as_bytes(), large, "a field of 1 MiB");
    expect_refusal(&server, &sized(40_000).as_bytes()[..20_000], large, "a head without end");

    let fields = |count: usize| format!("GET /none HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    expect_refusal(&server, fields(100).as_bytes(), "404 Not Found", "100 fields");
    expect_refusal(&server, fields(101).as_bytes(), large, "101 fields");
    expect_refusal(&server, fields(2000).as_bytes(), large, "2,000 fields");
}

#[test]
fn methods_paths_and_bodies() {
    let server = Server::start("");
    let with = |lines: &str| upgrade("/web", lines).into_bytes();
    for (name, bytes, status) in [
        ("an unknown path", upgrade("/none", "").into_bytes(), "404 Not Found"),
        ("a path like another", upgrade("/web/", "").into_bytes(), "404 Not Found"),
        ("a path out of the house", upgrade("/../../etc/passwd", "").into_bytes(), "404 Not Found"),
        ("a path with %00", upgrade("/web%00", "").into_bytes(), "404 Not Found"),
        ("both codings of a length", with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "400 Bad Request"),
        ("two lengths", with("Content-Length: 3\r\nContent-Length: 4\r\n"), "400 Bad Request"),
        ("a length below zero", with("Content-Length: -1\r\n"), "400 Bad Request"),
        ("a length beyond 64 bits", with("Content-Length: 18446744073709551617\r\n"), "400 Bad Request"),
        ("an unknown coding", with("Transfer-Encoding: xchunked\r\n"), "501 Not Implemented"),
        ("a disguised coding", with("Transfer-Encoding: \u{b}chunked\r\n"), "400 Bad Request"),
        ("a body", [with("Content-Length: 5\r\n"), b"hello".to_vec()].concat(), "400 Bad Request"),
        ("a chunked body", with("Transfer-Encoding: chunked\r\n"), "400 Bad Request"),
    ] {
        expect_refusal(&server, &bytes, status, name);
    }
    for method in ["POST", "BREW", "DELETE", "OPTIONS", "get"] {
        let head = refused(&server, format!("{method} /web HTTP/1.1\r\nHost: a\r\n{GOOD}\r\n").as_bytes());
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{method}: {head}");
        assert!(head.contains("\r\nAllow: GET, HEAD\r\n"), "{head}");
    }
}

#[test]
fn handshakes_that_are_none() {
    let server = Server::start("");
    let without = |name: &str| {
        let lines = GOOD.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
        format!("Host: a\r\n{}", lines.collect::<String>())
    };
    let with_version =
        |version: &str| get(&format!("{}Sec-WebSocket-Version: {version}\r\n", without("Sec-WebSocket-Version")));
    for (name, bytes) in [
        ("no Upgrade", get(&without("Upgrade"))),
        ("Upgrade: h2c", get(&format!("{}Upgrade: h2c\r\n", without("Upgrade")))),
        ("no Connection", get(&without("Connection"))),
        ("Connection: close", get(&format!("{}Connection: close\r\n", without("Connection")))),
        ("no handshake at all", get("Host: a\r\n")),
        ("HEAD", String::from_utf8(get(&without("-"))).unwrap().replacen("GET", "HEAD", 1).into_bytes()),
        ("HTTP/1.0", upgrade("/web", "").replace("HTTP/1.1", "HTTP/1.0").into_bytes()),
        ("version 12", with_version("12")),
        ("version 0", with_version("0")),
        ("version 2^32 + 13", with_version("4294967309")),
        ("version 13;x", with_version("13;x")),
    ] {
        let head = refused(&server, &bytes);
        assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{name}: {head}");
        assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{name}: {head}");
        assert!(head.contains("\r\nUpgrade: websocket\r\n"), "{name}: {head}");
    }
    let with_key = |key: &str| get(&format!("{}Sec-WebSocket-Key:{key}\r\n", without("Sec-WebSocket-Key")));
    for (name, bytes) in [
        ("no version", get(&without("Sec-WebSocket-Version"))),
        ("two versions", get(&format!("Host: a\r\n{GOOD}Sec-WebSocket-Version: 13\r\n"))),
        ("no key", get(&without("Sec-WebSocket-Key"))),
        ("an empty key", with_key("")),
        ("a key of 15 bytes", with_key(" MTIzNDU2Nzg5MDEyMzQ1")),
        ("a key of 17 bytes", with_key(" MTIzNDU2Nzg5MDEyMzQ1Njc=")),
        ("a key that is not base64", with_key(" dGhlIHNhbXBsZSBub25j?Q==")),
        ("two keys", get(&format!("Host: a\r\n{GOOD}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))),
        ("an ident of 257 bytes", upgrade("/web", &format!("Ident: {}\r\n", "x".repeat(257))).into_bytes()),
    ] {
        expect_refusal(&server, &bytes, "400 Bad Request", name);
    }
}

#[test]
fn handshakes_in_other_clothes() {
    let server = Server::start("");
    let offers = format!("Sec-WebSocket-Extensions: {}\r\n", "permessage-deflate, ".repeat(600));
    let blanks = format!("Sec-WebSocket-Protocol: {}\r\n", ", ".repeat(6000));
    for request in [
        upgrade("/echo", ""),
        upgrade("http://elsewhere.example:81/echo?x", ""),
        format!("\r\n{}", upgrade("/echo", "")),
        upgrade("/echo", "Expect: 100-continue\r\n"),
        upgrade("/echo", "Content-Length: 0\r\n"),
        upgrade("/echo", "Origin: http://page.example \r\n"),
        upgrade("/echo", "Sec-WebSocket-Protocol: chat, superchat\r\n"),
        upgrade("/echo", "Sec-WebSocket-Protocol: websock.v1\r\n"),
        upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"),
        upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"),
        upgrade("/echo", &offers),
        upgrade("/echo", &blanks),
        upgrade("/echo", "").replace("Upgrade: websocket", "UPGRADE: h2c, WebSocket"),
        upgrade("/echo", "").replace("Connection: Upgrade", "connection:keep-alive,UPGRADE\r\nConnection: x"),
        upgrade("/echo", "").replace("Host: test", "Host: [::1]:8096"),
    ] {
        let mut client = Client::connect(server.address());
        let began = Instant::now();
        client.send(request.as_bytes());
        let head = client.head();
        assert_eq!(head, SWITCHED, "{}", &request[..request.len().min(200)]);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        client.say("x");
        client.expect(&["x"]);
    }
}

#[test]
fn a_head_may_come_in_any_pieces() {
    let server = Server::start("");
    let request = upgrade("/echo", "X: y\r\n");
    let mut client = Client::connect(server.address());
    for byte in request.as_bytes() {
        client.send(&[*byte]);
    }
    client.expect_switch("");
    for cut in [1, 15, 30, request.len() - 3, request.len() - 2, request.len() - 1] {
        let mut client = Client::connect(server.address());
        client.send(&request.as_bytes()[..cut]);
        client.send(&request.as_bytes()[cut..]);
        client.expect_switch("");
    }
    // And the rest of a head, with a frame behind it in the same segment.
    for cut in [0, 20, request.len() - 1] {
        let mut client = Client::connect(server.address());
        client.send(&request.as_bytes()[..cut]);
        client.send(&[&request.as_bytes()[cut..], &masked_text("at once")].concat());
        client.expect_switch("");
        client.expect(&["at once"]);
    }
}

#[test]
fn what_comes_behind_an_upgrade_is_no_request() {
    let server = Server::start("");
    let mut client = Client::connect(server.address());
    client.send([upgrade("/web", ""), upgrade("/web", "")].concat().as_bytes());
    client.expect_switch("");
    client.expect_greeting();
    client.expect_close_frame(1002);
    client.expect_end();
}

#[test]
fn the_101_names_the_subprotocol_that_was_agreed_on() {
    let server = Server::start("");
    for fields in [SCRIPT, "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: y, websock.v1 , z\r\n"] {
        let mut client = Client::connect(server.address());
        client.send(upgrade("/web", fields).as_bytes());
        client.expect_switch(fields);
        client.expect_greeting();
    }
    for protocol in ["websock", "WEBSOCK.V1", "websock.v10", ""] {
        let mut client = Client::connect(server.address());
        client.send(upgrade("/web", &format!("Sec-WebSocket-Protocol: {protocol}\r\n")).as_bytes());
        assert_eq!(client.head(), SWITCHED, "{protocol:?}");
    }
}

#[test]
fn a_peer_that_ends_its_side_right_behind_the_head_is_forgotten() {
    let server = Server::start("");
    for bytes in [upgrade("/web", "").into_bytes(), upgrade("/web", "").into_bytes()[..40].to_vec(), Vec::new()] {
        let mut client = Client::connect(server.address());
        client.send(&bytes);
        client.half_close();
        client.rest(Instant::now() + PATIENCE);
    }
    let mut client = Client::connect(server.address());
    client.send(&[upgrade("/echo", "").into_bytes(), masked_text("last words")].concat());
    client.half_close();
    client.expect_switch("");
    client.expect(&["last words"]);
    client.expect_end();
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let server = Server::start("");
    let mut client = Client::connect(server.address());
    let page = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = "HEAD /demo.css HTTP/1.1\r\nHost: a\r\n\r\n";
    let frame = masked(CLOSE, b"\x03\xe8");
    client
        .send(&[page.as_bytes(), head.as_bytes(), upgrade("/echo", "").as_bytes(), &masked_text("x"), &frame].concat());
    let (response, body) = client.response();
    assert!(response.contains("text/html") && body.starts_with(b"<!"), "{response}");
    assert!(client.head().contains("text/css"));
    client.expect_switch("");
    client.expect(&["x"]);
    client.expect_bytes(&plain(CLOSE, b"\x03\xe8"));
    client.expect_end();

    // Behind an answer that ends the connection nothing is answered.
    let mut client = Client::connect(server.address());
    client.send([page, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n", page].concat().as_bytes());
    client.response();
    assert!(client.response().0.starts_with("HTTP/1.1 404 Not Found\r\n"));
    client.expect_end();
}

//! TLS as browsers meet it: versions, resumption, slow and broken peers.
//!
//! What a stream that gives a byte at a time does to TLS is tested beside the code, in `src/net/tls/tests.rs`.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

#[path = "common/server.rs"]
mod server;
#[path = "common/tls.rs"]
mod tls;

use server::{BINARY, Client, NEXT_1, PATIENCE, SCRIPT, Server, masked, plain, wait_until, without_id};
use tls::{BOTH, Pair, check, config, connect, connect_on, echo, secure, start};

/// Microseconds of processor time that the server has used.
fn used(server: &Server) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", server.id())).expect("the server is there");
    text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a time") / 1000
}

// --- What works -----------------------------------------------------------------------------------------------------

#[test]
fn both_versions_are_spoken_and_nothing_older() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for (version, expected) in BOTH.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3]) {
        let mut client = connect(secure(&server), &Arc::new(config(&pair, &[version]))).upgraded("/echo", "");
        check(&mut client, "over TLS");
        let tls = &client.stream.tls().conn;
        assert_eq!((tls.protocol_version(), tls.alpn_protocol()), (Some(expected), Some(&b"http/1.1"[..])));
        client.leave();
    }
    assert!(server.lines_with(" ERROR ").is_empty() && server.lines_with("failed").is_empty());
}

#[test]
fn with_and_without_tls_they_are_the_same_clients() {
    let pair = Pair::new();
    let server = start(&pair, "");
    server.wait_for_line(&format!("listening on ws://{}", server.address()));
    server.wait_for_line(&format!("listening on wss://{}", secure(&server)));
    let (mut plain, uuid) = Client::browser(&server, "/");
    let mut script = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/php", SCRIPT);
    script.expect_greeting();
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"from TLS"}}"#);
    script.say(&message);
    script.expect(&[NEXT_1]);
    plain.expect(&[&message]);
}

#[test]
fn http_is_offered_and_nothing_else() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut mute = config(&pair, &BOTH);
    mute.alpn_protocols.clear();
    let mut client = connect(secure(&server), &Arc::new(mute)).upgraded("/echo", "");
    check(&mut client, "without ALPN");
    assert_eq!(client.stream.tls().conn.alpn_protocol(), None);
    let mut h2 = config(&pair, &BOTH);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = connect(secure(&server), &Arc::new(h2));
    let tls = client.stream.tls();
    let error = tls.conn.complete_io(&mut tls.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    server.wait_for_line("TLS handshake failed");
}

#[test]
fn every_byte_may_be_a_record() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    for byte in server::upgrade("/echo", "").bytes() {
        client.send(&[byte]);
    }
    client.expect_switch("");
    for byte in masked(BINARY, &[7; 300]) {
        client.send(&[byte]);
    }
    client.expect_bytes(&plain(BINARY, &[7; 300]));
    client.leave();
}

#[test]
fn pages_are_served_one_after_the_other() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    for _ in 0..3 {
        client.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = client.response();
        assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with(b"<svg"), "{head}");
    }
    client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().0.starts_with("HTTP/1.1 404 "));
    client.expect_end();
}

#[test]
fn whoever_comes_again_resumes() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for version in BOTH {
        let config = Arc::new(config(&pair, &[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(secure(&server), &config).upgraded("/echo", "");
            check(&mut client, "again");
            let kind = client.stream.tls().conn.handshake_kind();
            assert_eq!(kind, Some(expected), "{version:?}");
            client.leave();
        }
        // A certificate that is read again does not make everybody begin anew.
        server.signal(Signal::HUP);
        server.wait_for_line("was read again");
        let mut client = connect(secure(&server), &config).upgraded("/echo", "");
        check(&mut client, "once more");
        assert_eq!(client.stream.tls().conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
}

// --- Much, and slowly -----------------------------------------------------------------------------------------------

#[test]
fn large_messages_go_both_ways() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for version in BOTH {
        let mut client = connect(secure(&server), &Arc::new(config(&pair, &[version]))).upgraded("/echo", "");
        let large: Vec<u8> = (0..=250).cycle().take(5_242_880).collect();
        client.send(&masked(BINARY, &large));
        client.expect_bytes(&plain(BINARY, &large));
        for size in [65_536, 16_384, 16_383, 16_385, 1, 100_000] {
            client.send(&masked(BINARY, &large[..size]));
            client.expect_bytes(&plain(BINARY, &large[..size]));
        }
    }
}

#[test]
fn many_small_messages_in_one_go_are_all_answered() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/echo", "");
    // The second time the server knows that this one sends many.
    for _ in 0..3 {
        client.send(&masked(BINARY, b"x").repeat(2000));
        client.expect_bytes(&plain(BINARY, b"x").repeat(2000));
    }
}

/// A browser with TLS whose kernel takes little on its behalf.
fn slow_browser(server: &Server, pair: &Pair) -> Client {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
    rustix::net::connect(&socket, &secure(server)).expect("the server accepts");
    let client = connect_on(TcpStream::from(socket), &Arc::new(config(pair, &BOTH)));
    let mut client = client.upgraded("/", "Ident: slow\r\n");
    client.expect_greeting();
    client
}

fn message(number: usize) -> String {
    format!(r#"{{"opcode":"feedback","ident":"slow","number":{number},"message":"{}"}}"#, "x".repeat(32 * 1024))
}

#[test]
fn a_client_that_does_not_read_is_closed_by_its_backlog() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nmaxBacklog = 262144\n");
    let mut slow = slow_browser(&server, &pair);
    let mut script = Client::script(&server);
    let mut sent = 0;
    for number in 0..1000 {
        script.say(&message(number));
        let answer = script.frame();
        if without_id(answer.text()) != NEXT_1 {
            break;
        }
        sent += 1;
    }
    assert!((8..1000).contains(&sent), "{sent} of 32 KiB: at least the backlog, and not for ever");
    server.wait_for_line("closed with 1013");
    for number in 0..sent {
        slow.expect(&[&message(number)]);
    }
    slow.expect_closed(1013);
}

#[test]
fn a_client_that_reads_too_slowly_is_closed_by_the_time() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nmaxBacklogTime = 1\nmaxBacklog = 1000000000\n");
    let slow = slow_browser(&server, &pair);
    let mut script = Client::script(&server);
    // More than two kernels keep for it.
    for number in 0..400 {
        script.say(&message(number));
        script.expect(&[NEXT_1]);
    }
    server.wait_for_line("reads too slowly");
    drop(slow);
}

// --- Peers that are none --------------------------------------------------------------------------------------------

/// The first bytes that a client says.
fn hello(pair: &Pair) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config(pair, &BOTH)), name).expect("a client");
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).expect("a hello");
    bytes
}

#[test]
fn http_on_the_port_with_tls_gets_an_alert_and_the_log_says_so() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = Client::connect(secure(&server));
    client.send(server::upgrade("/echo", "").as_bytes());
    let answer = client.rest(Instant::now() + PATIENCE);
    assert_eq!(answer[..3], [21, 3, 3], "an alert: {}", answer.escape_ascii());
    let line = server.wait_for_line("looks like plain HTTP");
    let from = client.local_address().to_string();
    assert!(line.contains(" INFO ") && line.contains(&from) && line.contains("TLS handshake failed"), "{line}");
}

#[test]
fn tls_on_the_port_without_is_refused() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(server.address(), &Arc::new(config(&pair, &BOTH)));
    let began = Instant::now();
    let tls = client.stream.tls();
    tls.conn.complete_io(&mut tls.sock).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    let line = server.wait_for_line("refused, 400");
    assert!(line.contains("looks like TLS"), "{line}");
}

#[test]
fn a_handshake_has_its_time_and_no_more() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nhandshakeTimeout = 2\n");
    let hello = hello(&pair);
    let began = Instant::now();
    let mut silent = Client::connect(secure(&server));
    let mut half = Client::connect(secure(&server));
    half.send(&hello[..hello.len() / 2]);
    let mut mute = Client::connect(secure(&server));
    mute.send(&hello);
    // Who has said hello has the rest of the time for its request, all together.
    let mut done = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    let tls = done.stream.tls();
    tls.conn.complete_io(&mut tls.sock).expect("a handshake");
    done.send(b"GET / HT");
    let before = used(&server);
    for client in [&mut half, &mut mute, &mut silent] {
        client.rest(began + Duration::from_millis(3500));
        let took = began.elapsed();
        assert!(took > Duration::from_millis(1900), "{took:?}");
    }
    assert!(done.response().0.starts_with("HTTP/1.1 408 "));
    done.expect_end();
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    let spent = used(&server) - before;
    assert!(spent < 200_000, "{spent} microseconds for waiting");
    for client in [&half, &mute] {
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains(" INFO ") && line.ends_with("TLS handshake failed: not done in time"), "{line}");
    }
    assert!(server.lines_with(&silent.local_address().to_string()).is_empty(), "who says nothing is not spoken of");
}

#[test]
fn a_handshake_that_goes_wrong_ends_at_once() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let hello = hello(&pair);
    let before = used(&server);
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    let wrong = [22, 3, 3, 0, 4, 99, 0, 0, 0];
    for (name, bytes) in [
        ("hello, then close_notify", [&hello[..], &close_notify].concat()),
        ("hello, then garbage", [&hello[..], b"garbage, garbage, garbage"].concat()),
        ("hello twice", [&hello[..], &hello].concat()),
        ("half a hello, then garbage", [&hello[..100], &[0xff; 2000]].concat()),
        ("garbage", vec![0x80; 500]),
        ("a message of no kind", wrong.to_vec()),
        ("a record that is too long", vec![22, 3, 3, 0xff, 0xff, 1, 1]),
        ("a message that is too long", vec![22, 3, 3, 0, 5, 1, 0xff, 0xff, 0xff, 0]),
    ] {
        let began = Instant::now();
        let mut client = Client::connect(secure(&server));
        client.send(&bytes);
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains(" INFO ") && line.contains("TLS handshake failed: "), "{name}: {line}");
        client.rest(Instant::now() + PATIENCE);
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?}", began.elapsed());
    }
    for end in [1, 50, hello.len()] {
        let mut client = Client::connect(secure(&server));
        client.send(&hello[..end]);
        client.half_close();
        client.rest(Instant::now() + PATIENCE);
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains("TLS handshake failed: the peer left"), "{line}");
    }
    let spent = used(&server) - before;
    assert!(spent < 500_000, "{spent} microseconds");
    assert!(server.lines_with(" ERROR ").is_empty() && server.lines_with(" WARN ").is_empty());
    check(&mut echo(&server, &pair), "the others are served");
}

#[test]
fn whoever_is_not_trusted_is_told_of() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&Pair::new(), &BOTH)));
    let tls = client.stream.tls();
    tls.conn.complete_io(&mut tls.sock).unwrap_err();
    server.wait_for_line("TLS handshake failed: received fatal alert");
}

#[test]
fn an_end_without_close_notify_is_an_end_like_any_other() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let open = server.descriptors();
    let mut client = echo(&server, &pair);
    check(&mut client, "here");
    client.half_close();
    client.expect_end();
    server.wait_for_line("peer vanished");
    // A record that is none, in the middle of everything.
    let client = echo(&server, &pair);
    client
        .stream
        .tcp()
        .write_all(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .expect("bytes");
    let line = server.wait_for_line("connection failed");
    assert!(line.contains(" INFO "), "{line}");
    drop(client);
    wait_until("both are forgotten", || server.descriptors() == open);
}

#[test]
fn a_drain_says_goodbye_in_both_languages() {
    let pair = Pair::new();
    let mut server = start(&pair, "");
    let mut browser = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/", "");
    browser.expect_greeting();
    let mut idle = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    idle.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.response();
    server.signal(Signal::TERM);
    // Without close_notify, rustls would call the end an error.
    browser.expect_closed(1001);
    drop(browser);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    idle.expect_end();
}

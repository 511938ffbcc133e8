//! What one client may use up: connections, messages, bytes, fragments and time.

use std::thread;
use std::time::{Duration, Instant};

#[path = "common/server.rs"]
mod server;

use server::{
    BINARY, Client, ELSEWHERE, NEXT, OLD_SCRIPT, PATIENCE, PING, PONG, SCRIPT, Server, TEXT, masked, masked_header,
    masked_text, plain,
};

const TOO_MANY: &str = r#"{"opcode":"close","error":"too many connections: try again later"}"#;
const TOO_MANY_FROM_YOU: &str = r#"{"opcode":"close","error":"too many connections from your address"}"#;

#[test]
fn past_max_clients_a_page_can_read_why_it_is_refused() {
    let server = Server::start("[limits]\nmaxClients = 2\n");
    let (mut first, _) = Client::browser(&server, "/");
    let mut echo = Client::open(server.address(), "/echo", "");
    let mut refused = Vec::new();
    for (path, fields) in [("/", ""), ("/web", ""), ("/echo", ""), ("/php", SCRIPT), ("/php", OLD_SCRIPT)] {
        let began = Instant::now();
        let mut client = Client::open(server.address(), path, fields);
        client.expect(&[TOO_MANY]);
        assert!(fields != OLD_SCRIPT || began.elapsed() >= Duration::from_millis(29), "an old script gets its moment");
        let reason = client.expect_close_frame(1013);
        // What it still says is not acted on.
        client.say(r#"{"opcode":"broadcast","message":1}"#);
        refused.push((client, reason));
    }
    first.expect_nothing_else();
    echo.say("x");
    echo.expect(&["x"]);
    // Those that were refused are still there, and count for nothing.
    first.leave();
    let (mut next, _) = Client::browser(&server, "/");
    next.expect_nothing_else();
    Client::open(server.address(), "/", "").expect(&[TOO_MANY]);
    for (mut client, reason) in refused {
        client.send(&masked(server::CLOSE, &reason[..2]));
        client.expect_end();
    }
    next.expect_nothing_else();
    server.wait_for_line("too many connections");
}

#[test]
fn connections_that_are_no_clients_do_not_count() {
    let server = Server::start("[limits]\nmaxClients = 1\n");
    let idle: Vec<Client> = (0..5).map(|_| Client::connect(server.address())).collect();
    let (mut client, _) = Client::browser(&server, "/");
    client.expect_nothing_else();
    drop(idle);
}

#[test]
fn past_max_per_ip_a_page_can_read_why_it_is_refused() {
    let server = Server::start("[limits]\nmaxPerIP = 2\n");
    let (first, _) = Client::browser(&server, "/");
    let (mut second, _) = Client::browser(&server, "/web");
    let hanging: Vec<Client> = ["/", "/echo"]
        .into_iter()
        .map(|path| {
            let mut client = Client::open(server.address(), path, "");
            client.expect(&[TOO_MANY_FROM_YOU]);
            client.expect_close_frame(1013);
            client
        })
        .collect();
    // Scripts are not counted, nor is who comes from elsewhere.
    let mut scripts: Vec<Client> = (0..3).map(|_| Client::script(&server)).collect();
    let mut far = Client::connect_from(Some(ELSEWHERE), None, server.address()).upgraded("/", "");
    far.expect_greeting();
    first.leave();
    let (mut next, _) = Client::browser(&server, "/");
    Client::open(server.address(), "/", "").expect(&[TOO_MANY_FROM_YOU]);
    for client in scripts.iter_mut().chain([&mut far, &mut next, &mut second]) {
        client.expect_nothing_else();
    }
    drop(hanging);
}

#[test]
fn past_max_rate_a_browser_is_closed() {
    let server = Server::start("[limits]\nmaxRate = 5\n");
    let messages = |count: usize| masked_text(r#"{"opcode":"-"}"#).repeat(count);
    let (mut good, _) = Client::browser(&server, "/");
    good.send(&messages(5));
    good.expect(&[NEXT; 5]);
    // In one segment, so that they come in the same second.
    let (mut fast, _) = Client::browser(&server, "/");
    fast.send(&messages(20));
    fast.expect(&[NEXT; 5]);
    fast.expect_close_frame(1008);
    fast.expect_end();
    // Control frames are no messages, and scripts may send as fast as they can.
    let (mut pinging, _) = Client::browser(&server, "/");
    pinging.send(&masked(PING, b"").repeat(50));
    for _ in 0..50 {
        pinging.expect_bytes(&plain(PONG, b""));
    }
    let mut script = Client::script(&server);
    script.send(&messages(50));
    script.expect(&[NEXT; 50]);
    // A new second, a new allowance.
    thread::sleep(Duration::from_millis(1000));
    good.send(&messages(5));
    good.expect(&[NEXT; 5]);
}

#[test]
fn messages_are_held_to_the_limit_to_the_byte() {
    let server = Server::start("[limits]\nmaxMessage = 1000\n");
    let mut client = Client::open(server.address(), "/echo", "");
    let payload = [b'x'; 1001];
    for length in [999, 1000] {
        client.send(&masked(TEXT, &payload[..length]));
        client.expect_bytes(&plain(TEXT, &payload[..length]));
        client.send(&[masked(0x02, &payload[..600]), masked(0x00, b""), masked(0x80, &payload[600..length])].concat());
        client.expect_bytes(&plain(BINARY, &payload[..length]));
    }
    for bytes in [
        masked(TEXT, &payload),
        // Said at the header: what it announces need not come.
        masked(TEXT, &payload)[..8].to_vec(),
        [masked(0x02, &payload[..600]), masked(0x80, &payload[..401])].concat(),
        [masked(0x02, &payload[..1000]), masked(0x00, &payload[..1])].concat(),
        [masked(0x02, &payload[..1]), masked_header(0x80, 1 << 20)].concat(),
    ] {
        let mut client = Client::open(server.address(), "/echo", "");
        client.send(&bytes);
        client.expect_close_frame(1009);
        client.expect_end();
    }
    client.say("still here");
    client.expect(&["still here"]);
}

#[test]
fn the_default_limit_is_5_mib() {
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    let payload = vec![b'x'; 5 << 20];
    // Both ways at once: the server doesn't read on from who doesn't read what it is sent.
    thread::scope(|scope| {
        let mut reader = client.second_handle();
        scope.spawn(move || reader.expect_bytes(&plain(BINARY, &vec![b'x'; 5 << 20])));
        client.send(&masked(BINARY, &payload));
    });
    client.send(&masked_header(BINARY, (5 << 20) + 1));
    client.expect_close_frame(1009);
    client.expect_end();
}

#[test]
fn fragments_are_held_to_the_limit() {
    let server = Server::start("[limits]\nmaxFragments = 10\n");
    let mut client = Client::open(server.address(), "/echo", "");
    let message =
        |fragments: usize| [masked(0x01, b"a"), masked(0x00, b"").repeat(fragments - 2), masked(0x80, b"z")].concat();
    for _ in 0..2 {
        client.send(&message(10));
        client.expect(&["az"]);
    }
    for bytes in [message(11), [masked(0x02, b""), masked(0x00, b"").repeat(10)].concat()] {
        let mut client = Client::open(server.address(), "/echo", "");
        client.send(&bytes);
        client.expect_close_frame(1008);
        client.expect_end();
    }
    // Many are no problem where the limit allows them.
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    client.send(&[masked(0x02, b"x"), masked(0x00, b"x").repeat(65_535), masked(0x80, b"x")].concat());
    client.expect_bytes(&plain(BINARY, &vec![b'x'; 65_537]));
}

#[test]
fn a_client_may_take_its_time_to_begin() {
    let server = Server::start("");
    let client = Client::connect(server.address());
    // Longer than the kernel keeps a silent client to itself.
    thread::sleep(Duration::from_millis(1300));
    client.upgraded("/echo", "").leave();
}

#[test]
fn a_request_head_has_its_time_and_no_more() {
    let server = Server::start("[limits]\nhandshakeTimeout = 1\n");
    let address = server.address();
    let (early, late) = (Duration::from_millis(990), Duration::from_millis(2000));
    let in_time = |began: Instant| {
        let took = began.elapsed();
        assert!(took >= early && took < late, "{took:?}");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            Client::connect(address).expect_end();
            in_time(began);
        });
        scope.spawn(|| {
            let began = Instant::now();
            let mut client = Client::connect(address);
            client.send(b"GET / HT");
            let (head, _) = client.response();
            assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
            client.expect_end();
            in_time(began);
        });
        scope.spawn(|| {
            // Bytes that trickle in win no time.
            let began = Instant::now();
            let mut client = Client::connect(address);
            let request = server::upgrade("/", "");
            for byte in request.as_bytes().iter().take_while(|_| began.elapsed() < Duration::from_millis(1100)) {
                client.send(&[*byte]);
                thread::sleep(Duration::from_millis(20));
            }
            let (head, _) = client.response();
            assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
            client.expect_end();
            in_time(began);
        });
        scope.spawn(|| {
            // After an answer the time begins anew.
            let mut client = Client::connect(address);
            thread::sleep(Duration::from_millis(500));
            let began = Instant::now();
            client.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
            client.response();
            client.expect_end();
            in_time(began);
        });
        scope.spawn(|| {
            let mut client = Client::open(address, "/echo", "");
            client.expect_silence(Duration::from_millis(1500));
            client.say("a WebSocket has all the time in the world");
            client.expect(&["a WebSocket has all the time in the world"]);
        });
    });
}

#[test]
fn an_unfinished_message_has_its_time_and_no_more() {
    let server = Server::start("[limits]\nmessageTimeout = 1\n");
    let address = server.address();
    thread::scope(|scope| {
        for bytes in [
            masked(TEXT, b"Hello")[..7].to_vec(),
            b"\x81".to_vec(),
            masked_header(BINARY, 100_000),
            masked(0x01, b"more to come"),
        ] {
            scope.spawn(move || {
                let mut client = Client::open(address, "/echo", "");
                let began = Instant::now();
                client.send(&bytes);
                client.expect_close_frame(1008);
                client.expect_end();
                let took = began.elapsed();
                assert!(took >= Duration::from_millis(990) && took < Duration::from_millis(2500), "{took:?}");
            });
        }
        scope.spawn(move || {
            // One that is whole in time, and then another, are two messages and not a long one.
            let mut client = Client::open(address, "/echo", "");
            for _ in 0..5 {
                client.send(&masked(0x01, b"a"));
                thread::sleep(Duration::from_millis(250));
                client.send(&masked(0x80, b"b"));
                client.expect(&["ab"]);
            }
        });
    });
}

#[test]
fn browsers_are_pinged_and_the_silent_ones_closed() {
    let server = Server::start("[limits]\npingInterval = 1\n");
    let ping = plain(PING, b"");
    let address = server.address();
    thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            let (mut answers, _) = Client::greeted(address, "/", "");
            for seconds in 1..=3 {
                answers.expect_bytes(&ping);
                assert!(began.elapsed() >= Duration::from_secs(seconds) - Duration::from_millis(20), "{seconds}");
                answers.send(&masked(PONG, b""));
            }
            answers.expect_nothing_else();
        });
        scope.spawn(|| {
            let (mut chats, _) = Client::greeted(address, "/", "");
            for _ in 1..=3 {
                chats.expect_bytes(&ping);
                chats.say(r#"{"opcode":"-"}"#);
                chats.expect(&[NEXT]);
            }
        });
        scope.spawn(|| {
            let began = Instant::now();
            let (mut silent, _) = Client::greeted(address, "/", "");
            silent.expect_bytes(&ping);
            silent.expect_close_frame(1001);
            silent.expect_end();
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(1980) && took < PATIENCE, "{took:?}");
        });
        for fields in [SCRIPT, OLD_SCRIPT] {
            scope.spawn(move || {
                let (mut script, _) = Client::greeted(address, "/php", fields);
                script.expect_silence(Duration::from_millis(2500));
                script.expect_nothing_else();
            });
        }
    });
}

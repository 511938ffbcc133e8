//! Much at once: heads that are long to read, bursts of connections, floods of messages, storms of broadcasts. Everyone
//! is answered, nobody is kept waiting, and memory is what the settings say.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use websock::proto::deflate::Codec;

#[path = "common/server.rs"]
mod server;

use server::{BINARY, Client, NEXT, NEXT_1, Server, masked, masked_text, plain, upgrade};

#[test]
fn a_head_takes_no_more_time_than_its_bytes() {
    let server = Server::start("[deflate]\nenabled = true\n");
    let filled = |start: &str, piece: &str| {
        let room = 16_000 - start.len();
        upgrade("/echo", &format!("{start}{}\r\n", piece.repeat(room / piece.len())))
    };
    for request in [
        filled("Sec-WebSocket-Extensions: x", ", permessage-deflate"),
        filled("Sec-WebSocket-Extensions: x", ",x;a=1;b=\"2\""),
        filled("Sec-WebSocket-Extensions: permessage-deflate", "; client_max_window_bits"),
        filled("Sec-WebSocket-Extensions: x; y=\"", ","),
        filled("Sec-WebSocket-Protocol: x", " "),
        filled("Sec-WebSocket-Protocol: x", ", y"),
        filled("Upgrade: x", ",websocket"),
        filled("Connection: x", ",upgrade"),
        filled("X-Forwarded-For: x", ",127.0.0.1"),
        filled("Cookie: a=b", "; a=b"),
    ] {
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(server.address())).collect();
        let before = server.cpu();
        for client in &mut clients {
            client.send(request.as_bytes());
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 101 ") || head.starts_with("HTTP/1.1 400 "), "{head}");
        }
        let each = (server.cpu() - before) / 10;
        assert!(each < Duration::from_millis(10), "{each:?} for {}", &request[..300]);
    }
}

#[test]
fn a_thousand_upgrades_at_once_are_all_answered() {
    let server = Server::start("");
    let mut crowd: Vec<Client> = (0..1000).map(|_| Client::connect(server.address())).collect();
    let (mut honest, _) = Client::browser(&server, "/");
    honest.expect_nothing_else();
    server.freeze();
    crowd.iter_mut().for_each(|client| client.send(upgrade("/", "").as_bytes()));
    server.signal(Signal::CONT);
    let began = Instant::now();
    honest.expect_nothing_else();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for client in &mut crowd {
        client.expect_switch("");
        client.expect_greeting();
    }
    honest.say(r#"{"opcode":"broadcast"}"#);
    honest.expect(&[r#"{"opcode":"next","fyi":"","delivered":1000}"#]);
    for client in &mut crowd {
        client.expect(&[r#"{"opcode":"broadcast"}"#]);
    }
}

#[test]
fn twenty_thousand_messages_of_one_client_hold_nobody_up() {
    let server = Server::start("");
    let (mut honest, _) = Client::browser(&server, "/");
    let mut flood = Client::open(server.address(), "/echo", "");
    let mut reader = flood.second_handle();
    let messages: Vec<u8> = (0..20_000).flat_map(|number: u32| masked_text(&format!("number {number}"))).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || flood.send(&messages));
        let answers = scope.spawn(move || {
            for number in 0..20_000 {
                reader.expect(&[&format!("number {number}")]);
            }
        });
        let mut slowest = Duration::ZERO;
        let mut count = 0;
        while !answers.is_finished() {
            let began = Instant::now();
            honest.say(r#"{"opcode":"-"}"#);
            honest.expect(&[NEXT]);
            slowest = slowest.max(began.elapsed());
            count += 1;
        }
        assert!(count > 1 && slowest < Duration::from_millis(500), "{slowest:?} at worst, of {count}");
    });
}

#[test]
fn a_storm_of_broadcasts_is_kept_once_and_sheds_who_does_not_read() {
    const READERS: usize = 300;
    const DEAF: usize = 40;
    const BACKLOG: u64 = 65_536;
    let server = Server::start(&format!("[limits]\nmaxBacklog = {BACKLOG}\n"));
    let mut readers: Vec<Client> = (0..READERS).map(|_| Client::browser(&server, "/").0).collect();
    let deaf: Vec<Client> =
        (0..DEAF).map(|_| Client::connect_from(None, Some(4096), server.address()).upgraded("/", "")).collect();
    let mut script = Client::script(&server);
    let message = |number: usize| format!(r#"{{"opcode":"broadcast","n":{number},"message":"{}"}}"#, "x".repeat(8000));
    script.say(&message(0));
    script.frame();
    readers.iter_mut().for_each(|reader| reader.expect(&[&message(0)]));
    let before = server.memory();
    let mut most = 0;
    for number in 1..600 {
        script.say(&message(number));
        script.frame();
        most = most.max(server.memory());
        for reader in &mut readers {
            reader.expect(&[&message(number)]);
        }
    }
    assert_eq!(server.lines_with("closed with 1013").len(), DEAF, "who doesn't read is closed, and nobody else");
    // Copied for each reader, one message alone would be 2.4 MB. A backlog is past its limit by one message at most,
    // and a buffer that grows doubles.
    let bound = DEAF as u64 * 2 * (BACKLOG + 8192 + 4096) + (2 << 20);
    let grown = most.saturating_sub(before);
    assert!(grown < bound, "{grown} bytes, where {bound} are allowed");
    drop(deaf);
}

#[test]
fn compression_takes_nothing_from_who_is_idle() {
    const CLIENTS: usize = 2000;
    let server = Server::start("[limits]\npingInterval = 0\n[deflate]\nenabled = true\nthreshold = 10\n");
    let fields = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut codec = Codec::default();
    let packed = masked(0xc1, codec.pack(15, &"compressible ".repeat(300).into_bytes()));
    // Each has packed and unpacked something, as everyone will have after a while.
    let open = |_| {
        let mut client = Client::connect(server.address());
        client.send(&[upgrade("/echo", fields).as_bytes(), &packed].concat());
        assert!(client.head().contains("permessage-deflate"));
        assert_eq!(client.frame().first, 0xc1);
        client
    };
    let _first: Vec<Client> = (0..100).map(open).collect();
    let before = server.memory();
    let _crowd: Vec<Client> = (0..CLIENTS).map(open).collect();
    let each = server.memory().saturating_sub(before) / CLIENTS as u64;
    assert!(each < 1024, "{each} bytes for an idle client with compression");
}

#[test]
fn a_client_that_is_read_from_at_length_takes_its_turn() {
    let server = Server::start("[limits]\nmaxMessage = 100000000\n");
    let (mut honest, _) = Client::browser(&server, "/");
    let mut large = Client::open(server.address(), "/echo", "");
    // One frame that takes hundreds of reads; its sender never waits.
    let frame = masked(BINARY, &vec![b'x'; 48 << 20]);
    std::thread::scope(|scope| {
        let mut reader = large.second_handle();
        let sender = scope.spawn(move || large.send(&frame));
        let mut count = 0;
        while !sender.is_finished() {
            let began = Instant::now();
            honest.say(r#"{"opcode":"echo"}"#);
            honest.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
            count += 1;
        }
        assert!(count > 1, "{count}");
        reader.expect_bytes(&plain(BINARY, &vec![b'x'; 48 << 20]));
    });
}

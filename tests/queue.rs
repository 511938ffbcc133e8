//! The queue, with real ZeroMQ sockets, against the built program: what arrives, what is refused and how that is told, and
//! that nobody else notices any of it.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use zmq::{Context, DONTWAIT, Error, PUSH, SNDMORE, Socket};

#[path = "common/server.rs"]
mod server;

use server::{Client, ELSEWHERE, Folder, PATIENCE, Server, program, upgrade, wait_until};

const BIND: &str = "[zmq]\nbind = tcp://127.0.0.1:*\n";

/// Where the queue of a server is.
fn endpoint(server: &Server) -> String {
    let line = server.wait_for_line("from the queue at ");
    line.split_once(" at ").expect("an endpoint").1.to_owned()
}

/// A backend's socket, connected or about to be.
fn push_to(endpoint: &str) -> Socket {
    let socket = Context::new().socket(PUSH).expect("a socket");
    let patience = i32::try_from(PATIENCE.as_millis()).expect("a few seconds");
    socket.set_linger(patience).expect("an option");
    socket.set_sndtimeo(patience).expect("an option");
    socket.connect(endpoint).expect("an endpoint");
    socket
}

fn push(socket: &Socket, message: impl AsRef<[u8]>) {
    socket.send(message.as_ref(), 0).expect("the queue takes it");
}

fn feedback(uuid: &str, message: &str) -> String {
    format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":{message}}}"#)
}

/// How many messages of the queue had this outcome.
fn counted(server: &Server, outcome: &str) -> u64 {
    let mut client = Client::connect(server.address());
    client.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let text = String::from_utf8(client.response().1).expect("UTF-8");
    let name = format!("websock_queue_messages_total{{outcome=\"{outcome}\"}} ");
    let count = text.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric");
    count.parse().expect("a number")
}

#[test]
fn a_message_does_what_it_does_over_the_api() {
    let server = Server::start(BIND);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (mut other, _) = Client::browser(&server, "/web");
    let (mut worker, _) = Client::greeted(
        server.address(),
        "/php",
        "Client-Type: php\r\nIdent: w\r\nSec-WebSocket-Protocol: websock.v1\r\n",
    );
    let queue = push_to(&endpoint(&server));
    let to_one =
        format!(" {{\"uuid\":\"{uuid}\",\"message\":{{\"done\":\"40 % ü\"}},\"x\":[1], \"opcode\":\"feedback\"}}");
    let to_ident = r#"{"opcode":"feedback","ident":"w","message":null}"#;
    let to_all = r#"{"opcode":"broadcast","message":"to all"}"#;
    push(&queue, &to_one);
    push(&queue, feedback("00000000-0000-4000-8000-000000000000", "1"));
    push(&queue, to_ident);
    push(&queue, to_all);
    browser.expect(&[&to_one, to_all]);
    other.expect(&[to_all]);
    worker.expect(&[to_ident]);
    worker.expect_nothing_else();
    assert_eq!((counted(&server, "delivered"), counted(&server, "nobody")), (3, 1));
    assert_eq!((counted(&server, "unusable"), counted(&server, "forbidden")), (0, 0));
}

/// A subscriber, in `subprotocol`, which says these and gets an answer to each.
fn wamp(server: &Server, subprotocol: &str, says: &[&str]) -> Client {
    let mut client = Client::connect(server.address());
    client.send(upgrade("/wamp", &format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")).as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    for text in says {
        client.say(text);
        client.frame();
    }
    client
}

#[test]
fn a_message_with_a_topic_goes_to_its_subscribers() {
    let server = Server::start(&format!("{BIND}[resources]\n/wamp = wamp\n"));
    // The first frame of version 1 is its greeting, so that what the first subscription brings is one more.
    let mut first = wamp(&server, "wamp", &[r#"[5,"shop.orders"]"#]);
    let hello = r#"[1,"realm1",{"roles":{"subscriber":{}}}]"#;
    let mut second = wamp(&server, "wamp.2.json", &[hello, r#"[32,1,{},"shop.orders"]"#, r#"[32,2,{},"shop.form.7"]"#]);
    assert!(second.frame().text().contains(r#"{"status":"subscribed"}"#));
    let queue = push_to(&endpoint(&server));
    let (order, form) = (r#"{"topic":"shop.orders", "n":[1,"ü"]}"#, r#"{"form":"shop.form.7","by":"kim"}"#);
    push(&queue, order);
    push(&queue, r#"{"topic":"shop.nobody"}"#);
    push(&queue, form);
    first.expect(&[&format!(r#"[8,"shop.orders",{order}]"#)]);
    for object in [order, form] {
        let frame = second.frame();
        assert!(frame.text().starts_with("[36,") && frame.text().ends_with(&format!(",{{}},[{object}]]")), "{frame:?}");
    }
    assert_eq!((counted(&server, "delivered"), counted(&server, "nobody")), (2, 1));
    let deep = format!(r#"{{"topic":"t","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"topic":"{}"}}"#, "x".repeat(100_000));
    let bad = [
        r#"{"topic":"a b"}"#,
        r#"{"topic":"wamp.session.on_join"}"#,
        r#"{"opcode":"broadcast","message":1}"#,
        &deep,
        &long,
    ];
    for text in bad {
        push(&queue, text);
    }
    wait_until("none of them is used", || counted(&server, "unusable") == bad.len() as u64);
    push(&queue, order);
    first.expect(&[&format!(r#"[8,"shop.orders",{order}]"#)]);
}

#[test]
fn messages_keep_their_order_and_their_size_up_to_the_limit() {
    let server = Server::start(&format!("{BIND}[limits]\nmaxMessage = 100000\n"));
    let (mut browser, uuid) = Client::browser(&server, "/");
    let queue = push_to(&endpoint(&server));
    let frame = feedback(&uuid, r#""""#);
    let padding = |size: usize| format!("\"{}\"", "x".repeat(size - frame.len()));
    let texts: Vec<String> =
        [100_000, 200, 4_095, 65_536, 4_096, 99_999].map(|size| feedback(&uuid, &padding(size))).into();
    assert_eq!(texts[0].len(), 100_000);
    texts.iter().for_each(|text| push(&queue, text));
    browser.expect(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for number in 0..10_000 {
        push(&queue, feedback(&uuid, &number.to_string()));
    }
    for number in 0..10_000 {
        browser.expect(&[&feedback(&uuid, &number.to_string())]);
    }
}

#[test]
fn what_can_not_be_used_is_dropped_and_told_with_who_and_why() {
    let long = format!(r#"{{"opcode":"{}"}}"#, "x".repeat(1000));
    let large = feedback("u", &format!("\"{}\"", "x".repeat(2000)));
    for (parts, why) in [
        (&[&b""[..]][..], "it is not a JSON object"),
        (&[b"[{}]"], "it is not a JSON object; it begins \"[{}]\""),
        (&[b"{\"opcode\":\"feedback\",\"message\":\"\xff\"}"], "it is not UTF-8; it begins "),
        (&[b"{\"a\"\x1b[2J\n\x00"], "it is not JSON: "),
        (&[br#"{"message":1}"#], "it has neither an opcode nor a topic or form"),
        (&[br#"{"opcode":"reboot"}"#], r#"nothing here acts on the opcode "reboot""#),
        (&[br#"{"topic":"t"}"#], "nothing here has topics"),
        (&[br#"{"opcode":"feedback","message":1}"#], "feedback needs a uuid or an ident"),
        (&[br#"{"opcode":"broadcast"}"#], "missing field `message`"),
        (&[long.as_bytes()], "nothing here acts on the opcode \"xxx"),
        (&[large.as_bytes()], "bytes, over maxMessage"),
        (&[br#"{"opcode":"broadcast","message":1}"#, b"", b"{}"], "it has 3 parts, where one was expected"),
    ] {
        let server = Server::start(&format!("{BIND}[limits]\nmaxMessage = 1500\n"));
        let (mut browser, uuid) = Client::browser(&server, "/");
        let queue = push_to(&endpoint(&server));
        for (index, part) in parts.iter().enumerate() {
            queue.send(*part, if index + 1 < parts.len() { SNDMORE } else { 0 }).expect("it is taken");
        }
        let good = feedback(&uuid, "1");
        push(&queue, &good);
        browser.expect(&[&good]);
        browser.expect_nothing_else();
        server.wait_for_line(why);
        let lines = server.lines_with("a message from the queue can't be used: ");
        assert!(lines.len() == 1 && lines[0].contains(why), "{why}: {lines:?}");
        assert!(lines[0].contains("WARN  - 127.0.0.1 - "), "{lines:?}");
        assert!(lines[0].len() < 400 && !lines[0].contains(char::is_control), "{lines:?}");
        assert_eq!((counted(&server, "unusable"), counted(&server, "delivered")), (1, 1), "{why}");
    }
}

#[test]
fn what_is_twice_too_large_ends_its_senders_connection_and_nobody_elses() {
    let server = Server::start(&format!("{BIND}[limits]\nmaxMessage = 1000\n"));
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (bad, good) = (push_to(&endpoint(&server)), push_to(&endpoint(&server)));
    push(&good, feedback(&uuid, "1"));
    push(&bad, "x".repeat(2001));
    push(&good, feedback(&uuid, "2"));
    browser.expect(&[&feedback(&uuid, "1"), &feedback(&uuid, "2")]);
    // It connects again by itself.
    push(&bad, feedback(&uuid, "3"));
    browser.expect(&[&feedback(&uuid, "3")]);
    assert_eq!(counted(&server, "unusable"), 0);
}

#[test]
fn a_flood_that_can_not_be_used_does_not_flood_the_log() {
    const MANY: u64 = 50_000;
    let server = Server::start(BIND);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let queue = push_to(&endpoint(&server));
    let began = Instant::now();
    for _ in 0..MANY {
        push(&queue, "[]");
    }
    let last = feedback(&uuid, "1");
    push(&queue, &last);
    browser.expect(&[&last]);
    assert_eq!(counted(&server, "unusable"), MANY);
    // The last of them are told of although nothing else happens.
    let told = || {
        let singly = server.lines_with("a message from the queue can't be used: ").len() as u64;
        let counts = server.lines_with(" more messages from the queue could not be used");
        let number = |line: &String| line.split(" more ").next()?.rsplit(' ').next()?.parse::<u64>().ok();
        (singly + counts.iter().filter_map(number).sum::<u64>(), singly + counts.len() as u64)
    };
    wait_until("all of them are told of", || told().0 == MANY);
    let lines = told().1;
    assert!(lines <= 2 + began.elapsed().as_secs(), "{lines} lines in {:?}", began.elapsed());
}

#[test]
fn a_flood_is_taken_in_bites() {
    const MANY: usize = 2000;
    // The less a message may have, the more of them wait in the server.
    let server = Server::start(&format!("{BIND}[limits]\nmaxMessage = 65536\n"));
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut echo = Client::open(server.address(), "/echo", "");
    let endpoint = endpoint(&server);
    let sender = thread::spawn({
        let last = feedback(&uuid, "0");
        move || {
            let queue = push_to(&endpoint);
            // A long read, and for nobody.
            let text = feedback("00000000-0000-4000-8000-000000000000", &format!("[{}0]", "1,".repeat(30_000)));
            for _ in 0..MANY {
                push(&queue, &text);
            }
            push(&queue, last);
            queue
        }
    });
    let began = Instant::now();
    let mut trips = Vec::new();
    while counted(&server, "nobody") < MANY as u64 {
        for _ in 0..10 {
            let began = Instant::now();
            echo.say("undisturbed");
            echo.expect(&["undisturbed"]);
            trips.push(began.elapsed());
        }
        assert!(began.elapsed() < 5 * PATIENCE, "{} of {MANY} messages", counted(&server, "nobody"));
    }
    sender.join().expect("all was pushed");
    browser.expect(&[&feedback(&uuid, "0")]);
    trips.sort();
    let (median, longest) = (trips[trips.len() / 2], trips[trips.len() - 1]);
    println!("{} echoes in {:?}: median {median:?}, longest {longest:?}", trips.len(), began.elapsed());
    assert!(longest < Duration::from_millis(250) && trips.len() > 100, "{} trips, {longest:?}", trips.len());
}

#[test]
fn an_empty_queue_takes_no_time() {
    let server = Server::start(BIND);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let queue = push_to(&endpoint(&server));
    push(&queue, feedback(&uuid, "0"));
    browser.expect(&[&feedback(&uuid, "0")]);
    let before = server.cpu();
    thread::sleep(Duration::from_millis(300));
    let used = server.cpu() - before;
    assert!(used < Duration::from_millis(30), "it is at work: {used:?}");
}

#[test]
fn only_the_allow_list_may_push() {
    let server = Server::start("[zmq]\nbind = tcp://*:*\n[access]\nallowedIP = 127.0.0.3\n");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let port = endpoint(&server).rsplit_once(':').expect("a port").1.to_owned();
    let from = |source: &str, text: &str| {
        let queue = push_to(&format!("tcp://{source}:0;127.0.0.1:{port}"));
        push(&queue, text);
    };
    from(&ELSEWHERE.to_string(), &feedback(&uuid, "1"));
    let line = server.wait_for_line("its sender is not on the allow list");
    assert!(line.contains(&format!(" - {ELSEWHERE} - ")), "{line}");
    from("127.0.0.3", &feedback(&uuid, "2"));
    browser.expect(&[&feedback(&uuid, "2")]);
    // The address that the server itself listens on.
    from("127.0.0.1", &feedback(&uuid, "3"));
    browser.expect(&[&feedback(&uuid, "3")]);
    browser.expect_nothing_else();
}

#[test]
fn a_unix_socket_lets_in_whom_its_permissions_do() {
    let folder = Folder::new();
    let path = folder.path().join("queue.ipc");
    let ini = format!("socketMode = 0600\n[access]\nallowedIP = 192.0.2.1\n[zmq]\nbind = ipc://{}\n", path.display());
    // Left behind by somebody.
    drop(UnixListener::bind(&path).expect("a socket"));
    let server = Server::start(&ini);
    assert_eq!(endpoint(&server), format!("ipc://{}", path.display()));
    let status = fs::metadata(&path).expect("a socket");
    assert!(status.file_type().is_socket());
    assert_eq!(status.mode() & 0o777, 0o600);
    let (mut browser, uuid) = Client::browser(&server, "/");
    push(&push_to(&endpoint(&server)), feedback(&uuid, "1"));
    browser.expect(&[&feedback(&uuid, "1")]);
    push(&push_to(&endpoint(&server)), "?");
    assert!(server.wait_for_line("it is not a JSON object").contains(" - local - "));
    // Somebody answers there.
    assert!(refused(&ini).contains("address in use"));
    push(&push_to(&endpoint(&server)), feedback(&uuid, "2"));
    browser.expect(&[&feedback(&uuid, "2")]);
    drop(server);
    fs::remove_file(&path).expect("what was left behind");
    fs::write(&path, "mine").expect("a file");
    assert!(refused(&ini).contains("it is no socket"));
    assert_eq!(fs::read_to_string(&path).expect("a file"), "mine");
}

/// What a server says that can't start with these settings.
fn refused(ini: &str) -> String {
    let folder = Folder::new();
    let file = folder.write("websock.ini", ini);
    let mut command = program();
    command.args(["--address", "ws://127.0.0.1:0", "-i"]).arg(file).stdin(Stdio::null());
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("websock: can't listen on "), "{said}");
    said
}

#[test]
fn an_address_that_is_taken_keeps_the_server_from_starting() {
    let server = Server::start(BIND);
    assert!(refused(&format!("[zmq]\nbind = {}\n", endpoint(&server))).contains("Address already in use"));
    assert!(refused("[zmq]\nbind = tcp://nosuchinterface:5555\n").contains("No such device"));
}

#[test]
fn where_it_is_stays_when_the_settings_are_read_again() {
    let server = Server::start(BIND);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let queue = push_to(&endpoint(&server));
    server.folder().write("websock.ini", "[zmq]\nbind =\n[limits]\nmaxMessage = 200\n");
    server.signal(Signal::HUP);
    server.wait_for_line("[zmq] bind can't change while the server runs");
    server.wait_for_line("configuration read again");
    push(&queue, feedback(&uuid, "1"));
    browser.expect(&[&feedback(&uuid, "1")]);
    push(&queue, feedback(&uuid, &format!("\"{}\"", "x".repeat(200))));
    server.wait_for_line("over maxMessage");
}

#[test]
fn a_server_that_stops_lets_nobody_in_and_ends() {
    let mut server = Server::start(BIND);
    let endpoint = endpoint(&server);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let queue = push_to(&endpoint);
    push(&queue, feedback(&uuid, "1"));
    browser.expect(&[&feedback(&uuid, "1")]);
    server.signal(Signal::TERM);
    browser.expect_close_frame(1001);
    let late = Context::new().socket(PUSH).expect("a socket");
    late.set_linger(0).expect("an option");
    late.set_immediate(true).expect("an option");
    late.connect(&endpoint).expect("an endpoint");
    late.set_sndtimeo(100).expect("an option");
    assert_eq!(late.send("?", 0), Err(Error::EAGAIN), "nobody is there");
    drop(browser);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn senders_that_are_no_senders_or_vanish_disturb_nobody() {
    let server = Server::start(BIND);
    let endpoint = endpoint(&server);
    let address: SocketAddr = endpoint.strip_prefix("tcp://").expect("TCP").parse().expect("an address");
    let (mut browser, uuid) = Client::browser(&server, "/");
    // In the middle of a message of several parts.
    let queue = push_to(&endpoint);
    push(&queue, feedback(&uuid, "1"));
    queue.send(feedback(&uuid, "2").as_bytes(), SNDMORE).expect("it is taken");
    drop(queue);
    // What a browser would send, and what a broken program would.
    let noise: Vec<TcpStream> =
        [&b"POST / HTTP/1.1\r\nHost: x\r\n\r\n{}"[..], b"\xff\0\0\0\0\0\0\0\x01\x7f", b"\0", &[0xff; 4096]]
            .into_iter()
            .map(|bytes| {
                let mut stream = TcpStream::connect(address).expect("the queue listens");
                // It may be hung up on.
                let _ = stream.write_all(bytes);
                stream
            })
            .collect();
    // In the middle of its frame: the greeting and the handshake of ZMTP 3.0, then half of a message of 1,000 bytes.
    let mut half = TcpStream::connect(address).expect("the queue listens");
    let mut greeting = [0; 64];
    greeting[..12].copy_from_slice(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00");
    greeting[12..16].copy_from_slice(b"NULL");
    half.write_all(&greeting).expect("it is taken");
    half.write_all(b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH").expect("it is taken");
    half.write_all(b"\x02\0\0\0\0\0\0\x03\xe8{\"opcode\":\"broadcast\"").expect("it is taken");
    drop(half);
    push(&push_to(&endpoint), feedback(&uuid, "3"));
    let mut texts = [browser.frame().text().to_owned(), browser.frame().text().to_owned()];
    texts.sort();
    assert_eq!(texts, [feedback(&uuid, "1"), feedback(&uuid, "3")]);
    browser.expect_nothing_else();
    drop(noise);
    assert_eq!(counted(&server, "unusable"), 0);
}

#[test]
fn a_thousand_senders_are_all_heard() {
    const MANY: usize = 1000;
    let server = Server::start(BIND);
    let endpoint = endpoint(&server);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let before = server.descriptors();
    let context = Context::new();
    let senders: Vec<Socket> = (0..MANY)
        .map(|number| {
            let socket = context.socket(PUSH).expect("a socket");
            socket.connect(&endpoint).expect("an endpoint");
            push(&socket, feedback(&uuid, &number.to_string()));
            socket
        })
        .collect();
    let mut heard: Vec<usize> = (0..MANY)
        .map(|_| {
            let frame = browser.frame();
            let (_, number) = frame.text().rsplit_once(':').expect("a message");
            number.trim_end_matches('}').parse().expect("a number")
        })
        .collect();
    heard.sort();
    assert_eq!(heard, (0..MANY).collect::<Vec<_>>());
    drop(senders);
    wait_until("their descriptors are given back", || server.descriptors() <= before + 1);
}

#[test]
fn a_server_that_does_not_read_holds_its_senders_up_and_loses_nothing() {
    let server = Server::start(BIND);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let endpoint = endpoint(&server);
    let queue = push_to(&endpoint);
    push(&queue, feedback(&uuid, "\"first\""));
    browser.expect(&[&feedback(&uuid, "\"first\"")]);
    server.freeze();
    let padding = "x".repeat(10_000);
    let text = |number: usize| feedback(&uuid, &format!("\"{number} {padding}\""));
    let mut pushed = 0;
    let until = Instant::now() + PATIENCE;
    // It keeps a thousand messages by default, and the kernel has buffers.
    while queue.send(text(pushed).as_bytes(), DONTWAIT) != Err(Error::EAGAIN) {
        pushed += 1;
        assert!(Instant::now() < until, "the sender is held up after {pushed} messages");
    }
    assert!(pushed > 100, "{pushed}");
    server.signal(Signal::CONT);
    for number in 0..pushed {
        browser.expect(&[&text(number)]);
    }
    assert_eq!(counted(&server, "delivered"), pushed as u64 + 1);
}

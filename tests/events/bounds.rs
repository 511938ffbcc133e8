//! What is kept for streams, how long, and what becomes of one that does not read.

use std::time::{Duration, Instant};

use super::server::{Client, PATIENCE, Server};
use super::stream::{INI, Stream, ask, broadcast, feedback, metric, said, told};

/// A stream whose kernel takes little on its behalf.
fn slow_stream(server: &Server) -> Stream {
    Stream::begin(Client::connect_from(None, Some(4096), server.address()), "/sse", "")
}

#[test]
fn past_the_count_what_is_missing_is_said_and_the_rest_comes() {
    let server = Server::start(&format!("{INI}[sse]\nhistoryCount = 3\n"));
    let stream = Stream::open(&server);
    let (uuid, id) = (stream.uuid.clone(), stream.lose(&server));
    for number in 1..=3 {
        broadcast(&server, &number.to_string());
    }
    let mut again = Stream::again(&server, &id);
    again.expect(&[&told("1"), &told("2"), &told("3")]);
    again.lose(&server);
    feedback(&server, &uuid, "4");
    let mut again = Stream::again(&server, &id);
    assert_eq!(again.uuid, uuid);
    again.expect_gap("no longer kept");
    again.expect(&[&told("2"), &told("3"), &said(&uuid, "4")]);
}

#[test]
fn past_the_bytes_too_and_a_message_larger_than_all_is_not_kept() {
    let server = Server::start(&format!("{INI}[sse]\nhistoryBytes = 10000\n"));
    let empty = metric(&server, "websock_backlog_bytes");
    let id = Stream::open(&server).lose(&server);
    let (long, longer) = ("x".repeat(4000), "x".repeat(10_000));
    for message in [&long, &long, &long] {
        broadcast(&server, message);
    }
    let held = metric(&server, "websock_backlog_bytes");
    assert!((8000..11_000).contains(&held), "{held} bytes, which count towards maxMemory");
    let mut again = Stream::again(&server, &id);
    again.expect_gap("no longer kept");
    again.expect(&[&told(&long), &told(&long)]);
    let id = again.id.clone();
    broadcast(&server, &longer);
    again.expect(&[&told(&longer)]);
    assert!(metric(&server, "websock_backlog_bytes") - empty < 1000);
    again.lose(&server);
    Stream::again(&server, &id).expect_gap("no longer kept");
}

#[test]
fn nothing_is_kept_past_the_age() {
    let server = Server::start(&format!("{INI}[sse]\nhistoryAge = 1\n"));
    let stream = Stream::open(&server);
    let (uuid, id) = (stream.uuid.clone(), stream.lose(&server));
    feedback(&server, &uuid, "x");
    let until = Instant::now() + PATIENCE;
    // It comes again and again, says each time that it has got nothing, and is away in between.
    loop {
        let mut again = Stream::again(&server, &id);
        let next = again.event();
        if next.name == "gap" {
            assert!(next.data.contains("no longer kept"), "{next:?}");
            again.client.expect_silence(Duration::from_millis(5));
            break;
        }
        assert_eq!(next.data, said(&uuid, "x"));
        assert!(Instant::now() < until, "it is kept for ever");
        again.lose(&server);
    }
}

#[test]
fn without_a_history_a_stream_keeps_its_uuid_and_learns_of_every_gap() {
    let server = Server::start(&format!("{INI}[sse]\nhistoryCount = 0\n"));
    let stream = Stream::open(&server);
    let (uuid, id) = (stream.uuid.clone(), stream.lose(&server));
    let again = Stream::again(&server, &id);
    assert_eq!(again.uuid, uuid);
    again.lose(&server);
    broadcast(&server, "x");
    let mut again = Stream::again(&server, &id);
    assert_eq!(again.uuid, uuid);
    again.expect_gap("no longer kept");
    broadcast(&server, "y");
    again.expect(&[&told("y")]);
}

#[test]
fn after_a_restart_the_id_is_nobodys() {
    let first = Server::start(INI);
    let (stream, second) = (Stream::open(&first), Server::start(INI));
    let mut again = Stream::again(&second, &stream.id);
    assert_ne!(again.uuid, stream.uuid);
    again.expect_gap("restarted");
}

#[test]
fn where_no_resource_is_a_stream_nothing_is_kept() {
    let server = Server::start("[resources]\n/ = relay\n/webntf = webntf\n");
    let (mut browser, _) = Client::browser(&server, "/");
    let before = metric(&server, "websock_backlog_bytes");
    for _ in 0..100 {
        broadcast(&server, &"x".repeat(1000));
    }
    assert_eq!(metric(&server, "websock_backlog_bytes"), before);
    browser.expect(&[&told(&"x".repeat(1000))]);
}

#[test]
fn what_is_kept_goes_before_a_client_does() {
    let server = Server::start(&format!("{INI}[limits]\nmaxMemory = 1048576\n[sse]\nhistoryBytes = 100000000\n"));
    let id = Stream::open(&server).lose(&server);
    let (mut browser, _) = Client::browser(&server, "/");
    for _ in 0..30 {
        let long = "x".repeat(50_000);
        broadcast(&server, &long);
        browser.expect(&[&told(&long)]);
    }
    server.wait_for_line("what was kept for streams of events is forgotten");
    assert!(server.lines_with("the most of all").is_empty());
    assert!(metric(&server, "websock_backlog_bytes") < 1 << 20);
    Stream::again(&server, &id).expect_gap("no longer kept");
    browser.expect_nothing_else();
}

#[test]
fn a_reader_of_events_that_does_not_read_is_closed_and_its_sender_told() {
    let server = Server::start(&format!("{INI}[limits]\nmaxBacklog = 262144\n[sse]\nhistoryBytes = 100000000\n"));
    let mut slow = slow_stream(&server);
    let (mut honest, _) = Client::browser(&server, "/");
    let long = "x".repeat(32 * 1024);
    let mut sent = 0;
    while feedback(&server, &slow.uuid, &long) == 1 {
        sent += 1;
        assert!(sent < 1000, "not for ever");
        honest.expect_nothing_else();
    }
    assert!(sent >= 8, "{sent}: at least the backlog");
    server.wait_for_line("closed with 1013");
    assert_eq!(metric(&server, r#"websock_clients_dropped_total{reason="backlog"}"#), 1);
    // What was said to be delivered arrives; then it learns why that is all, and can come again for the rest.
    let text = said(&slow.uuid, &long);
    for _ in 0..sent {
        slow.expect(&[&text]);
    }
    slow.expect_close(1013, "reads too slowly");
    let mut again = Stream::again(&server, &slow.id);
    again.expect(&[&text]);
    honest.expect_nothing_else();
}

#[test]
fn one_that_reads_too_slowly_for_too_long_is_closed_too() {
    let server = Server::start(&format!("{INI}[limits]\nmaxBacklogTime = 1\nmaxBacklog = 100000000\n"));
    let slow = slow_stream(&server);
    let began = Instant::now();
    assert_eq!(feedback(&server, &slow.uuid, &"x".repeat(4 << 20)), 1);
    server.wait_for_line("closed with 1013: reads too slowly");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_stream_that_holds_most_of_the_memory_goes_without_half_an_event_being_taken_for_one() {
    let ini = format!("{INI}[limits]\nmaxMemory = 2000000\nmaxBacklog = 100000000\n[sse]\nhistoryCount = 0\n");
    let server = Server::start(&ini);
    let mut slow = slow_stream(&server);
    let (mut honest, _) = Client::browser(&server, "/");
    let mut sent = 0;
    while feedback(&server, &slow.uuid, &"x".repeat(300_000)) == 1 {
        sent += 1;
        assert!(sent < 100, "not for ever");
    }
    server.wait_for_line("the most of all");
    let rest = slow.client.rest(Instant::now() + PATIENCE);
    let whole = rest.windows(2).filter(|bytes| bytes == b"\n\n").count();
    assert!(whole <= sent && !rest.ends_with(b"\n\n"), "what was cut has no end, and nothing comes behind it");
    honest.expect_nothing_else();
}

/// What it is sent waits in its kernel, which takes no more, and it answers nothing: as if its cable had been pulled.
#[test]
fn one_that_vanishes_is_given_up() {
    let server =
        Server::start(&format!("{INI}[limits]\npingInterval = 1\nmaxBacklogTime = 0\nmaxBacklog = 100000000\n"));
    let slow = slow_stream(&server);
    for _ in 0..2 {
        assert_eq!(feedback(&server, &slow.uuid, &"x".repeat(4 << 20)), 1);
    }
    super::server::wait_until("it is forgotten", || {
        server.lines_with(&slow.uuid).iter().any(|line| line.contains("peer vanished"))
    });
}

#[test]
fn a_turn_that_hands_out_much_is_written_early() {
    let server = Server::start(INI);
    let mut streams: Vec<Stream> = (0..50).map(|_| Stream::open(&server)).collect();
    // One call, many messages: more than the arena holds at once.
    let items: Vec<_> = (0..100)
        .map(|number| serde_json::json!({"action": "broadcast", "data": {"message": format!("{number} {}", "x".repeat(9000))}}))
        .collect();
    let data = serde_json::Value::Array(items).to_string();
    let mut client = Client::connect(server.address());
    ask(&mut client, "POST", "/api/relay/batch", &format!("Content-Length: {}\r\n", data.len()));
    client.send(data.as_bytes());
    assert!(client.response().0.starts_with("HTTP/1.1 200 "));
    for stream in &mut streams {
        for number in 0..100 {
            stream.expect(&[&told(&format!("{number} {}", "x".repeat(9000)))]);
        }
    }
}

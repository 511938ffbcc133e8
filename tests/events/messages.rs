//! What a stream gets while it is open.

use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{Client, NEXT_0, NEXT_1, PATIENCE, Server};
use super::stream::{INI, Stream, ask, broadcast, call, feedback, metric, said, told};

#[test]
fn the_head_says_what_proxies_and_caches_must_know_and_the_greeting_comes_first() {
    let server = Server::start(INI);
    let mut client = Client::connect(server.address());
    ask(&mut client, "GET", "/sse", "");
    assert_eq!(
        client.head(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\
         X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n\r\n"
    );
    let mut stream = Stream::open(&server);
    assert!((1000..2000).contains(&stream.retry), "{}", stream.retry);
    assert!(stream.id.starts_with(&format!("1-{}-", stream.uuid)), "{}", stream.id);
    stream.client.expect_silence(Duration::from_millis(20));
    server.wait_for_line(&format!("{} ", stream.uuid));
    server.wait_for_line("opened as a stream of events");
}

#[test]
fn feedback_and_broadcasts_reach_it_as_any_browser() {
    let server = Server::start(INI);
    let mut stream = Stream::open(&server);
    let (mut browser, _) = Client::browser(&server, "/");
    let mut script = Client::script_on(&server, "/");
    // As it came, in as many lines.
    let text = format!("{{\"opcode\":\"feedback\",\r\n \"uuid\":\"{}\",\n\n\"message\":\"\u{fc}\"}}", stream.uuid);
    script.say(&text);
    script.expect(&[NEXT_1]);
    stream.expect(&[&text.replace("\r\n", "\n")]);
    script.say(r#"{"opcode":"broadcast","message":1}"#);
    script.expect(&[r#"{"opcode":"next","fyi":"","delivered":2}"#]);
    stream.expect(&[r#"{"opcode":"broadcast","message":1}"#]);
    browser.expect(&[r#"{"opcode":"broadcast","message":1}"#]);
    // One that isn't copied on its way to others.
    let large = format!(r#"{{"opcode":"broadcast","message":"{}"}}"#, "x".repeat(300_000));
    script.say(&large);
    script.expect(&[r#"{"opcode":"next","fyi":"","delivered":2}"#]);
    browser.expect(&[&large]);
    stream.expect(&[&large]);
    assert_eq!(feedback(&server, &stream.uuid, "x"), 1);
    stream.expect(&[&said(&stream.uuid, "x")]);
    assert_eq!(broadcast(&server, "y"), 2);
    stream.expect(&[&told("y")]);
    browser.expect(&[&told("y")]);
    // Nobody has a name there, and nobody else is meant.
    script.say(r#"{"opcode":"feedback","ident":"x","message":1}"#);
    script.expect(&[NEXT_0]);
    stream.client.expect_silence(Duration::from_millis(20));
}

#[test]
fn it_counts_and_is_listed_as_a_browser() {
    let server = Server::start(INI);
    let stream = Stream::open_as(&server, "/sse", "Ident: nobody\r\nClient-Type: php\r\n");
    let listed = call(&server, "relay/clients", &json!({}));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    for (member, value) in [("uuid", &*stream.uuid), ("ident", ""), ("resource", "/sse"), ("type", "browser")] {
        assert_eq!(listed[0][member], value, "{listed}");
    }
    let sent = metric(&server, r#"websock_messages_total{direction="out",opcode="text"}"#);
    broadcast(&server, "x");
    assert_eq!(metric(&server, r#"websock_messages_total{direction="out",opcode="text"}"#), sent + 1);
    let here = r#"websock_connections{resource="/sse",type="browser"}"#;
    assert_eq!(metric(&server, here), 1);
    stream.lose(&server);
    assert_eq!(metric(&server, here), 0);
    assert_eq!(metric(&server, r#"websock_closes_total{by="client",code="1006"}"#), 1);
}

#[test]
fn notifications_come_as_its_url_asks_for_them() {
    let server = Server::start(INI);
    let mut stream = Stream::open_as(&server, "/sse?domain=d&token=kim%20k&channels=news,sport&channel=a%2Cb", "");
    let mut plain = Stream::open(&server);
    let taken = stream.event();
    assert_eq!(taken.data, r#"{"header":{"type":"init","status":"OK"}}"#);
    let push = |action: &str, domain: &str, target: &str| {
        let data = json!({"domain": domain, "target": target, "message": target});
        call(&server, &format!("webntf/{action}"), &data)
    };
    let message = |target: &str| format!(r#"{{"header":{{"type":"message"}},"body":"{target}"}}"#);
    for (action, target) in [
        ("send.to.channel", "news"),
        ("send.to.token", "kim k"),
        ("send.to.channel", "a,b"),
        ("send.to.channel", "sport"),
    ] {
        assert_eq!(push(action, "d", target), 1, "{target}");
        stream.expect(&[&message(target)]);
    }
    for (action, domain, target) in
        [("send.to.channel", "d", "kim k"), ("send.to.token", "d", "news"), ("send.to.channel", "", "news")]
    {
        assert_eq!(push(action, domain, target), 0, "{target}");
    }
    let rows = json!([{"key": "a,b", "domain": "d", "clients": 1}, {"key": "news", "domain": "d", "clients": 1},
                      {"key": "sport", "domain": "d", "clients": 1}]);
    assert_eq!(call(&server, "webntf/list.active.channels", &json!({})), rows);
    stream.lose(&server);
    assert_eq!(call(&server, "webntf/list.active.channels", &json!({})), json!([]));
    plain.client.expect_silence(Duration::from_millis(20));
    plain.expect(&[] as &[&str; 0]);
}

#[test]
fn signs_of_life_come_at_the_ping_interval_and_move_the_id_on() {
    let server = Server::start(&format!("{INI}[limits]\npingInterval = 1\n"));
    let mut stream = Stream::open(&server);
    let mut other = Stream::open(&server);
    let began = Instant::now();
    feedback(&server, &other.uuid, "x");
    let beat = stream.event();
    assert!(began.elapsed() < PATIENCE && beat.comment && beat.data.is_empty() && beat.name.is_empty(), "{beat:?}");
    assert_eq!(beat.number(), 2, "of a message that was for another");
    other.expect(&[&said(&other.uuid.clone(), "x")]);
    assert!(stream.event().comment, "and again");
}

#[test]
fn what_it_sends_means_nothing_and_its_end_is_the_streams() {
    let server = Server::start(INI);
    let mut stream = Stream::open(&server);
    let received = metric(&server, r#"websock_messages_total{direction="in",opcode="text"}"#);
    stream.client.send(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.client.say(r#"{"opcode":"broadcast","message":"from a stream"}"#);
    stream.client.send(&[0xff; 100_000]);
    broadcast(&server, "x");
    stream.expect(&[&told("x")]);
    assert_eq!(metric(&server, r#"websock_messages_total{direction="in",opcode="text"}"#), received);
    let uuid = stream.uuid.clone();
    stream.client.stream.shut().expect("a socket");
    stream.client.expect_end();
    assert_eq!(feedback(&server, &uuid, "y"), 0);
}

#[test]
fn streams_and_sockets_of_all_kinds_get_one_broadcast() {
    let server = Server::start(&format!("{INI}[deflate]\nenabled = true\nthreshold = 0\n"));
    let mut streams: Vec<Stream> = (0..20).map(|_| Stream::open(&server)).collect();
    let mut browsers: Vec<Client> = (0..5).map(|_| Client::browser(&server, "/").0).collect();
    let mut packed = Client::connect(server.address());
    packed.send(super::server::upgrade("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n").as_bytes());
    packed.head();
    packed.frame();
    for round in 0..50 {
        let message = format!("{round} {}", "x".repeat(round * 200));
        assert_eq!(broadcast(&server, &message), 26);
        for browser in &mut browsers {
            browser.expect(&[&told(&message)]);
        }
        for stream in &mut streams {
            stream.expect(&[&told(&message)]);
        }
        packed.frame();
    }
    let numbers: Vec<&str> = streams.iter().map(|stream| stream.id.split('-').next().unwrap_or_default()).collect();
    assert_eq!(numbers, ["51"; 20]);
}

#[test]
fn a_stopping_server_says_so_on_every_stream() {
    let mut server = Server::start(INI);
    let mut streams: Vec<Stream> = (0..3).map(|_| Stream::open(&server)).collect();
    server.signal(rustix::process::Signal::TERM);
    for stream in &mut streams {
        stream.expect_close(1001, "server is stopping");
    }
    drop(streams);
    assert!(server.wait_for_exit().success());
}

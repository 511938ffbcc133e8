//! A stream that comes again: under its UUID, with what it has missed, and each message once.

use std::time::Duration;

use serde_json::json;

use super::server::{Client, NEXT_0, Server};
use super::stream::{INI, Stream, ask, broadcast, call, feedback, said, told};

#[test]
fn it_goes_on_under_its_uuid_with_what_it_has_missed() {
    let server = Server::start(INI);
    let mut stream = Stream::open(&server);
    let mut other = Stream::open(&server);
    feedback(&server, &stream.uuid, "1");
    stream.expect(&[&said(&stream.uuid.clone(), "1")]);
    let (uuid, id) = (stream.uuid.clone(), stream.lose(&server));
    // It isn't here, and whoever pushes is told so.
    assert_eq!(feedback(&server, &uuid, "2"), 0);
    assert_eq!(broadcast(&server, "3"), 1);
    assert_eq!(feedback(&server, &other.uuid, "for another"), 1);
    let mut script = Client::script_on(&server, "/");
    let text = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":4}}"#);
    script.say(&text);
    script.expect(&[NEXT_0]);
    let mut again = Stream::again(&server, &id);
    assert_eq!((&again.uuid, &again.id), (&uuid, &id), "the greeting moves nothing on");
    let missed = [&*said(&uuid, "2"), &told("3"), &text];
    again.expect(&missed);
    again.client.expect_silence(Duration::from_millis(20));
    assert_eq!(feedback(&server, &uuid, "5"), 1);
    again.expect(&[&said(&uuid, "5")]);
    other.expect(&[&told("3"), &said(&other.uuid.clone(), "for another")]);
    // It got nothing of this, as far as it says.
    again.lose(&server);
    let mut again = Stream::again(&server, &id);
    again.expect(&missed);
    again.expect(&[&said(&uuid, "5")]);
    server.wait_for_line("opened again as a stream of events");
}

#[test]
fn notifications_are_missed_and_made_up_for_as_its_url_asks() {
    let server = Server::start(INI);
    let target = "/sse?domain=d&token=kim&channel=news";
    let id = Stream::open_as(&server, target, "").lose(&server);
    // Only the first and the fourth are for it.
    for (action, domain, name) in [
        ("send.to.channel", "d", "news"),
        ("send.to.channel", "d", "sport"),
        ("send.to.channel", "", "news"),
        ("send.to.token", "d", "kim"),
        ("send.to.token", "e", "kim"),
    ] {
        let data = json!({"domain": domain, "target": name, "message": name});
        assert_eq!(call(&server, &format!("webntf/{action}"), &data), 0);
    }
    let mut again = Stream::open_as(&server, target, &format!("Last-Event-ID: {id}\r\n"));
    let taken = again.event();
    assert_eq!((&*taken.data, &taken.id), (r#"{"header":{"type":"init","status":"OK"}}"#, &id));
    for name in ["news", "kim"] {
        again.expect(&[&format!(r#"{{"header":{{"type":"message"}},"body":"{name}"}}"#)]);
    }
    again.client.expect_silence(Duration::from_millis(20));
}

#[test]
fn the_id_may_stand_in_the_url_and_the_field_counts_more() {
    let server = Server::start(INI);
    let stream = Stream::open(&server);
    let (uuid, first) = (stream.uuid.clone(), stream.id.clone());
    broadcast(&server, "1");
    broadcast(&server, "2");
    let mut stream = stream;
    stream.expect(&[&told("1")]);
    let second = stream.id.clone();
    stream.lose(&server);
    let target = format!("/sse?lastEventId={first}");
    let mut again = Stream::open_as(&server, &target, "");
    assert_eq!(again.uuid, uuid);
    again.expect(&[&told("1"), &told("2")]);
    again.lose(&server);
    let mut again = Stream::open_as(&server, &target, &format!("Last-Event-ID: {second}\r\n"));
    again.expect(&[&told("2")]);
}

#[test]
fn a_stream_that_the_server_still_holds_open_is_replaced() {
    let server = Server::start(&format!("{INI}[limits]\nmaxPerIP = 2\n"));
    let mut other = Stream::open(&server);
    let mut stream = Stream::open(&server);
    feedback(&server, &stream.uuid, "1");
    let mut again = Stream::again(&server, &stream.id);
    assert_eq!(again.uuid, stream.uuid, "it made room for itself");
    stream.expect(&[&said(&again.uuid, "1")]);
    again.expect(&[&said(&again.uuid.clone(), "1")]);
    stream.expect_close(1000, "opened this stream again");
    assert_eq!(feedback(&server, &again.uuid, "2"), 1);
    again.expect(&[&said(&again.uuid.clone(), "2")]);
    assert_eq!(broadcast(&server, "3"), 2);
    other.expect(&[&told("3")]);
    again.expect(&[&told("3")]);
}

#[test]
fn nobody_gets_the_uuid_of_another() {
    let server = Server::start(INI);
    let victim = Stream::open(&server);
    let mine = Stream::open(&server);
    let (proof, uuid) = (&mine.id[mine.id.len() - 22..], &victim.uuid);
    for id in
        [format!("0-{uuid}-{proof}"), format!("0-{uuid}"), format!("0-{uuid}-"), format!("0-{uuid}-{}", "A".repeat(22))]
    {
        let mut forged = Stream::again(&server, &id);
        assert_ne!(&forged.uuid, uuid, "{id}");
        forged.expect_gap("not known here");
    }
    let mut victim = victim;
    assert_eq!(feedback(&server, &victim.uuid, "x"), 1, "it was not even closed");
    victim.expect(&[&said(&victim.uuid.clone(), "x")]);
}

#[test]
fn a_last_event_id_that_is_none_begins_now_and_says_so() {
    let server = Server::start(INI);
    broadcast(&server, "before");
    let good = Stream::open(&server).id;
    let digits = "9".repeat(400);
    let long = "x".repeat(8 * 1024);
    let huge = format!("18446744073709551615{}", &good[1..]);
    for id in
        ["-1", "0", "1", &digits, &long, &format!("{digits}-x"), "\u{fc}", "%00", "1-2-3-4-5-6-7", &format!("+{good}")]
    {
        let mut stream = Stream::again(&server, id);
        stream.expect_gap("not known here");
        stream.client.expect_silence(Duration::from_millis(5));
    }
    // Two of them are none, and one that there was not yet is not believed.
    let mut stream = Stream::open_as(&server, "/sse", &format!("Last-Event-ID: {good}\r\nLast-Event-ID: {good}\r\n"));
    stream.expect_gap("not known here");
    Stream::again(&server, &huge).expect_gap("not given out yet");
    // No text at all.
    let mut client = Client::connect(server.address());
    client.send(b"GET /sse HTTP/1.1\r\nHost: a\r\nLast-Event-ID: \xff\xfe\x80\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    client.through(b"event: gap\n");
    // An empty one is what a browser that got no event has, and no reason to complain.
    let mut client = Client::connect(server.address());
    ask(&mut client, "GET", "/sse", "Last-Event-ID:\r\n");
    client.through(b"\"ready\"");
    client.through(b"\n\n");
    client.expect_silence(Duration::from_millis(20));
}

#[test]
fn what_was_made_up_for_is_known_to_whoever_asks_why() {
    let server = Server::start(INI);
    let stream = Stream::open(&server);
    let (uuid, id) = (stream.uuid.clone(), stream.lose(&server));
    feedback(&server, &uuid, "x");
    let events = || -> Vec<String> {
        let known = call(&server, "relay/why", &json!({"uuid": uuid}));
        let events = known["events"].as_array().unwrap_or_else(|| panic!("events in {known}"));
        events.iter().filter_map(|event| event["event"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(events(), ["opened", "closed", "not connected"]);
    let mut again = Stream::again(&server, &id);
    again.expect(&[&said(&uuid, "x")]);
    assert_eq!(events(), ["opened", "closed", "not connected", "opened", "handed"]);
}

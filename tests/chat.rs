//! The chat against the built program: who is reached under which id, who hears of whom, and what bad messages get.

use serde_json::json;

#[path = "common/server.rs"]
mod server;

use server::{BINARY, Client, PATIENCE, Server, masked};

const INI: &str = "[resources]\n/ = relay\n/chat = chat\n/room = chat\n";
const WELCOME: &str = r#"{"type":"system","message":"Initial message received"}"#;

fn open(server: &Server) -> Client {
    Client::open(server.address(), "/chat", "")
}

/// A page that goes by `id`, which is JSON.
fn page(server: &Server, id: &str) -> Client {
    let mut client = open(server);
    register(&mut client, id);
    client
}

fn register(client: &mut Client, id: &str) {
    client.say(&format!(r#"{{"type":"system","id":{id},"name":"somebody","color":"red"}}"#));
    client.expect(&[WELCOME]);
}

fn say_to(client: &mut Client, id: &str, message: &str) {
    client.say(&format!(r#"{{"type":"user","to_id":{id},"name":"mks","message":{message},"color":"red","more":1}}"#));
}

fn usermsg(message: &str) -> String {
    format!(r#"{{"type":"usermsg","name":"mks","message":{message},"color":"red"}}"#)
}

/// What was sent to a page before is all that was: what it asks for now comes next.
fn expect_nothing(client: &mut Client) {
    client.say(r#"{"type":"system","id":""}"#);
    client.expect(&[r#"{"type":"system","message":"the id is empty"}"#]);
}

#[test]
fn what_is_addressed_to_an_id_reaches_whoever_goes_by_it() {
    let server = Server::start(INI);
    let mut five = page(&server, "5");
    let mut seven = page(&server, "7");
    let mut named = page(&server, r#""J\u00fcrgen \"J\"""#);
    say_to(&mut seven, "5", r#""hi""#);
    five.expect(&[&usermsg(r#""hi""#)]);
    say_to(&mut five, r#""7""#, r#"{"any":["json",null,1e3]}"#);
    seven.expect(&[&usermsg(r#"{"any":["json",null,1e3]}"#)]);
    say_to(&mut five, r#""Jürgen \"J\"""#, r#""ü\u2028""#);
    named.expect(&[&usermsg(r#""ü\u2028""#)]);
    say_to(&mut named, r#""J\u00fcrgen \"J\"""#, r#""to myself""#);
    named.expect(&[&usermsg(r#""to myself""#)]);
    // What is missing is null; what type it is doesn't matter, as long as it isn't a registration.
    five.say(r#"{"to_id":7}"#);
    seven.expect(&[r#"{"type":"usermsg","name":null,"message":null,"color":null}"#]);
    five.say(r#"{"type":"whatever","message":"m","to_id":7,"color":{}}"#);
    seven.expect(&[r#"{"type":"usermsg","name":null,"message":"m","color":{}}"#]);
    // A type that is no string is none that registers.
    for kind in ["5", "null", "true", r#"["system"]"#, r#"{"type":"system"}"#] {
        five.say(&format!(r#"{{"type":{kind},"id":6,"to_id":7,"message":1}}"#));
        seven.expect(&[r#"{"type":"usermsg","name":null,"message":1,"color":null}"#]);
    }
    // Nobody goes by these, so nothing happens.
    let long = format!("\"{}\"", "x".repeat(257));
    for id in
        ["6", "-7", "7.0", r#""seven""#, r#""J""#, "null", "true", "[7]", r#"{"id":7}"#, r#""""#, r#""\ud800""#, &long]
    {
        say_to(&mut seven, id, "1");
    }
    for message in ["{}", r#"{"type":"user","message":"to whom?"}"#, r#" {"type":5}"#] {
        seven.say(message);
    }
    for client in [&mut five, &mut seven, &mut named] {
        expect_nothing(client);
    }
}

#[test]
fn the_latest_registration_wins_and_a_connection_has_one_id() {
    let server = Server::start(INI);
    let mut sender = page(&server, "1");
    let mut first = page(&server, "7");
    let mut second = Client::open(server.address(), "/room", "");
    register(&mut second, r#""7""#);
    say_to(&mut sender, "7", "1");
    second.expect(&[&usermsg("1")]);
    // Who has lost the id takes it along to nowhere.
    register(&mut first, "8");
    say_to(&mut sender, "7", "2");
    second.expect(&[&usermsg("2")]);
    register(&mut first, "9");
    say_to(&mut sender, "8", "3");
    say_to(&mut sender, "9", "4");
    first.expect(&[&usermsg("4")]);
    // Nor does it take it along when it leaves.
    register(&mut first, "7");
    register(&mut second, "7");
    let gone = disconnected(&first);
    first.leave();
    second.expect(&[&gone]);
    sender.expect(&[&gone]);
    say_to(&mut sender, "7", "5");
    second.expect(&[&usermsg("5")]);
    let gone = disconnected(&second);
    second.leave();
    sender.expect(&[&gone]);
    say_to(&mut sender, "7", "6");
    expect_nothing(&mut sender);
}

fn disconnected(client: &Client) -> String {
    format!(r#"{{"type":"system","message":"{} disconnected"}}"#, client.local_address())
}

#[test]
fn all_in_the_chat_hear_who_leaves_and_nobody_else_does() {
    let server = Server::start(INI);
    let mut stays = page(&server, "1");
    let mut silent = Client::open(server.address(), "/room", "");
    let (mut relay, _) = Client::browser(&server, "/");
    let known = page(&server, "2");
    let mut unknown = open(&server);
    let gone = disconnected(&known);
    known.leave();
    for client in [&mut stays, &mut silent, &mut unknown] {
        client.expect(&[&gone]);
    }
    let gone = disconnected(&unknown);
    unknown.leave();
    stays.expect(&[&gone]);
    silent.expect(&[&gone]);
    // One that vanishes without a word has left as well.
    let vanishes = page(&server, "3");
    let gone = disconnected(&vanishes);
    drop(vanishes);
    stays.expect(&[&gone]);
    silent.expect(&[&gone]);
    relay.expect_nothing_else();
}

#[test]
fn many_who_leave_at_once_are_each_told_of() {
    const MANY: usize = 300;
    let server = Server::start(INI);
    let mut stay: Vec<_> = (0..MANY).map(|_| open(&server)).collect();
    let mut leave: Vec<_> = (0..MANY).map(|_| open(&server)).collect();
    let mut expected: Vec<_> = leave.iter().map(disconnected).collect();
    expected.sort();
    server.freeze();
    leave.drain(..).for_each(drop);
    server.signal(rustix::process::Signal::CONT);
    for client in &mut stay {
        let mut told: Vec<_> = (0..MANY).map(|_| client.frame().text().to_owned()).collect();
        told.sort();
        assert_eq!(told, expected);
    }
}

#[test]
fn what_can_not_be_used_is_answered_with_why() {
    let server = Server::start(INI);
    let mut five = page(&server, "5");
    let mut client = open(&server);
    let long = format!(r#"{{"type":"system","id":"{}"}}"#, "x".repeat(257));
    let deep = format!(r#"{{"to_id":5,"message":{}}}"#, "[".repeat(100_000));
    for (message, why) in [
        (r#"{"type":"system"}"#, "there is no id"),
        (r#"{"type":"system","id":null}"#, "there is no id"),
        (r#"{"type":"system","id":[5]}"#, "the id is neither a number nor a string"),
        (r#"{"type":"system","id":true}"#, "the id is neither a number nor a string"),
        (r#"{"type":"system","id":"\ud800"}"#, "the id is neither a number nor a string"),
        (r#"{"type":"syst\u0065m","id":""}"#, "the id is empty"),
        (&long, "the id is longer than 256 bytes"),
        ("", "this can't be used: it is not a JSON object"),
        ("hello", "this can't be used: it is not a JSON object"),
        ("[1]", "this can't be used: it is not a JSON object"),
        (r#"["system",5,5,"mks","hi","red"]"#, "this can't be used: it is not a JSON object"),
        (r#"["user",null,5,"mks","hi","red"]"#, "this can't be used: it is not a JSON object"),
        ("{5}", "this can't be used: key must be a string"),
        (r#"{"to_id":5,"to_id":5}"#, "this can't be used: duplicate field"),
        (r#"{"to_id":5} x"#, "this can't be used: trailing characters"),
        (&deep, "this can't be used: "),
    ] {
        client.say(message);
        let frame = client.frame();
        let beginning = format!(r#"{{"type":"system","message":"{why}"#);
        let shown = &message[..message.len().min(60)];
        assert!(frame.text().starts_with(&beginning), "{shown}: {}", frame.text());
        serde_json::from_str::<serde_json::Value>(frame.text()).expect("JSON");
    }
    client.send(&masked(BINARY, b"{}"));
    client.expect(&[r#"{"type":"system","message":"this is binary, where JSON text was expected"}"#]);
    // None of it has registered anybody, or reached the other one.
    register(&mut client, &format!("\"{}\"", "y".repeat(256)));
    say_to(&mut client, "5", "1");
    five.expect(&[&usermsg("1")]);
    expect_nothing(&mut five);
}

#[test]
fn who_does_not_read_is_closed_and_the_others_are_told() {
    let server = Server::start(&format!("{INI}[limits]\nmaxBacklog = 50000\n"));
    let mut sender = page(&server, "1");
    let slow = Client::connect_from(None, Some(4096), server.address());
    let mut slow = slow.upgraded("/chat", "");
    register(&mut slow, "2");
    let message = json!("x".repeat(50_000)).to_string();
    let until = std::time::Instant::now() + PATIENCE;
    while server.lines_with("reads too slowly").is_empty() {
        assert!(std::time::Instant::now() < until, "its backlog has a limit");
        say_to(&mut sender, "2", &message);
    }
    sender.expect(&[&disconnected(&slow)]);
    say_to(&mut sender, "2", "1");
    expect_nothing(&mut sender);
}

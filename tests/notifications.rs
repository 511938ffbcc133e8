//! The notification service against the built program: pages subscribe over WebSockets, a backend sends over the
//! control API.

use serde_json::{Value, json};

#[path = "common/server.rs"]
mod server;

use server::{Client, Server};

const INI: &str = "[resources]\n/ = relay\n/webntf = webntf\n/other = webntf\n";
const WELCOME: &str = r#"{"header":{"type":"init","status":"OK"}}"#;

fn init(client: &mut Client, body: &Value) {
    client.say(&json!({"header": {"type": "init", "target": "svc/webntf"}, "body": body}).to_string());
    client.expect(&[WELCOME]);
}

/// A page that has said this of itself.
fn page(server: &Server, body: &Value) -> Client {
    let mut client = Client::open(server.address(), "/webntf", "");
    init(&mut client, body);
    client
}

fn call(server: &Server, action: &str, data: &Value) -> Value {
    let data = data.to_string();
    let mut client = Client::connect(server.address());
    let head =
        format!("POST /api/webntf/{action} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", data.len());
    client.send(&[head.as_bytes(), data.as_bytes()].concat());
    let (head, body) = client.response();
    let mut said: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(head.starts_with("HTTP/1.1 200 "), said["status"] == "OK", "{head}{said}");
    let name = if said["status"] == "OK" { "result" } else { "error" };
    said[name].take()
}

fn message(body: &str) -> String {
    format!(r#"{{"header":{{"type":"message"}},"body":{body}}}"#)
}

/// Nothing is on its way to a page: what it asks for now is answered next.
fn expect_nothing(client: &mut Client) {
    client.say("?");
    assert!(client.frame().text().starts_with(r#"{"header":{"type":"init","status":"ERROR"}"#));
}

#[test]
fn a_channel_reaches_those_who_listen_in_its_domain() {
    let server = Server::start(INI);
    let mut news =
        page(&server, &json!({"domain": "a.example", "token": "kim", "channels": ["news", "sport", "news"]}));
    let mut sport = page(&server, &json!({"domain": "a.example", "channels": ["sport"]}));
    let mut elsewhere = page(&server, &json!({"domain": "b.example", "channels": ["news"]}));
    let mut nowhere = page(&server, &json!({"channels": ["news"]}));
    let mut silent = Client::open(server.address(), "/other", "");
    let send = |domain: &str, target: &str, message: &Value| {
        call(&server, "send.to.channel", &json!({"domain": domain, "target": target, "message": message}))
    };
    assert_eq!(send("a.example", "news", &json!({"text": "ü\u{2028}", "n": 1})), 1);
    news.expect(&[&message("{\"n\":1,\"text\":\"ü\u{2028}\"}")]);
    assert_eq!(send("a.example", "sport", &json!(null)), 2);
    news.expect(&[&message("null")]);
    sport.expect(&[&message("null")]);
    assert_eq!(send("", "news", &json!("x")), 1);
    nowhere.expect(&[&message("\"x\"")]);
    for (domain, target) in [("a.example", "kim"), ("a.example", "New"), ("c.example", "news"), ("a", "news")] {
        assert_eq!(send(domain, target, &json!(1)), 0, "{domain} {target}");
    }
    for client in [&mut news, &mut sport, &mut elsewhere, &mut nowhere, &mut silent] {
        expect_nothing(client);
    }
}

#[test]
fn a_token_reaches_a_user_wherever_that_user_is() {
    let server = Server::start(INI);
    let who = json!({"domain": "d", "token": "kim"});
    let mut first = page(&server, &who);
    let mut second = Client::open(server.address(), "/other", "");
    init(&mut second, &who);
    let mut other = page(&server, &json!({"domain": "d", "token": "lee"}));
    let data = json!({"domain": "d", "target": "kim", "message": [1, "two"]});
    assert_eq!(call(&server, "send.to.token", &data), 2);
    for client in [&mut first, &mut second] {
        client.expect(&[&message(r#"[1,"two"]"#)]);
    }
    first.leave();
    server.wait_for_line(" closed by peer");
    assert_eq!(call(&server, "send.to.token", &data), 1);
    second.expect(&[&message(r#"[1,"two"]"#)]);
    expect_nothing(&mut other);
}

#[test]
fn active_channels_are_listed_and_go_with_their_listeners() {
    let server = Server::start(INI);
    let list = |data: Value| call(&server, "list.active.channels", &data);
    let both = page(&server, &json!({"domain": "a", "channels": ["x", "y"]}));
    let mut moves = page(&server, &json!({"domain": "a", "channels": ["y"]}));
    let _elsewhere = page(&server, &json!({"domain": "b", "channels": ["x"]}));
    let row = |key: &str, domain: &str, clients: u32| json!({"key": key, "domain": domain, "clients": clients});
    assert_eq!(list(json!({"domain": "a"})), json!([row("x", "a", 1), row("y", "a", 2)]));
    assert_eq!(list(json!({})), json!([row("x", "a", 1), row("y", "a", 2), row("x", "b", 1)]));
    assert_eq!(list(json!({"domain": "c"})), json!([]));
    // Who says anew what it wants wants nothing else.
    init(&mut moves, &json!({"domain": "b", "channels": ["z"]}));
    assert_eq!(list(json!({"domain": "a"})), json!([row("x", "a", 1), row("y", "a", 1)]));
    both.leave();
    server.wait_for_line(" closed by peer");
    assert_eq!(list(json!({})), json!([row("x", "b", 1), row("z", "b", 1)]));
}

#[test]
fn what_can_not_be_used_is_answered_with_why() {
    let server = Server::start(INI);
    let mut good = page(&server, &json!({"channels": ["kept"]}));
    let long = "x".repeat(257);
    let many: Vec<String> = (0..1001).map(|number| number.to_string()).collect();
    let wrong = |body: Value| json!({"header": {"type": "init"}, "body": body}).to_string();
    for (text, why) in [
        ("".to_owned(), "no message with a header"),
        ("null".to_owned(), "no message with a header"),
        ("{}".to_owned(), "missing field `header`"),
        (r#"{"header":{}}"#.to_owned(), "missing field `type`"),
        (r#"{"header":{"type":"message"}}"#.to_owned(), "the only types that a page may send are init and ack"),
        (wrong(json!([])), ""),
        (wrong(json!("x")), "the body can't be used"),
        (wrong(json!({"channels": "x"})), "the body can't be used"),
        (wrong(json!({"channels": [1]})), "the body can't be used"),
        (wrong(json!({"channels": [""]})), "a channel without a name"),
        (wrong(json!({"channels": many})), "more than 1000 channels"),
        (wrong(json!({"channels": [long]})), "a name of more than 256 bytes"),
        (wrong(json!({"domain": long})), "a name of more than 256 bytes"),
        (wrong(json!({"token": 5})), "the body can't be used"),
        (format!(r#"{{"header":{{"type":"init"}},"body":{}"#, "[".repeat(100_000)), ""),
    ] {
        good.say(&text);
        let frame = good.frame();
        let said: Value = serde_json::from_str(frame.text()).expect("JSON");
        if why.is_empty() && said["header"]["status"] == "OK" {
            continue;
        }
        assert_eq!(said["header"], json!({"type": "init", "status": "ERROR"}), "{text:.80}");
        let error = said["body"]["error"].as_str().expect("a sentence");
        assert!(error.contains(why), "{text:.80}: {error}");
    }
    for (action, data) in [
        ("send.to.channel", json!({"target": "kept"})),
        ("send.to.channel", json!({"message": 1})),
        ("send.to.channel", json!({"target": "", "message": 1})),
        ("send.to.channel", json!({"target": 1, "message": 1})),
        ("send.to.channel", json!({"target": "kept", "domain": null, "message": 1})),
        ("send.to.token", json!({"target": ["kept"], "message": 1})),
        ("list.active.channels", json!({"domain": 1})),
        ("feedback", json!({})),
    ] {
        let error = call(&server, action, &data);
        assert!(error.as_str().is_some_and(|error| error.len() > 10), "{action} {data}: {error}");
    }
}

//! JSON that means harm, in a relay that reads three members of it and passes the rest on; and what of all that clients
//! send never gets into the log.

use std::time::Duration;

#[path = "common/server.rs"]
mod server;

use server::{Client, NEXT, NEXT_0, NEXT_1, PING, Server, masked, upgrade};

/// Acknowledged, and then the end.
fn expect_no_message(server: &Server, text: &str) {
    let (mut client, _) = Client::browser(server, "/");
    client.say(text);
    client.expect(&[NEXT]);
    client.expect_closed(1007);
}

#[test]
fn depth_costs_nothing_and_overflows_nothing() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    for depth in [1, 126, 127, 128, 129, 500, 20_000, 100_000, 1_000_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            // Where nobody looks at it, it is passed on.
            let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":{nested}}}"#);
            if message.len() < 5 << 20 {
                script.say(&message);
                script.expect(&[NEXT_1]);
                browser.expect(&[&message]);
            }
            // Not closed it is no message, wherever it stands.
            for member in ["message", "uuid", "ident", "opcode"] {
                if depth <= 100_000 {
                    expect_no_message(&server, &format!(r#"{{"opcode":"echo","{member}":{}"#, open.repeat(depth)));
                }
            }
        }
    }
    browser.expect_nothing_else();
}

#[test]
fn numbers_and_escapes_are_passed_on_or_refused_and_never_changed() {
    let server = Server::start("");
    let (mut browser, _) = Client::browser(&server, "/");
    let digits = "9".repeat(4000);
    for value in [
        "1e999999999",
        "-1e-999999999",
        "-0",
        "-0.0",
        &digits,
        &format!("0.{digits}"),
        &format!("1e{digits}"),
        r#""\ud800""#,
        r#""\udfff\ud800""#,
        r#""\u0000""#,
        r#""\u2028\r\n""#,
    ] {
        let message = format!(r#"{{"opcode":"echo","message":{value}}}"#);
        browser.say(&message);
        browser.expect(&[NEXT_1, &message]);
    }
    // In a member that is read: it names nobody, or the text is none.
    for value in ["-0", "-0.0", "12345678901234567890123", r#""\u0000""#, r#""\ud83d\ude42""#] {
        browser.say(&format!(r#"{{"opcode":"feedback","uuid":{value},"ident":{value}}}"#));
        browser.expect(&[NEXT_0]);
    }
    for text in [
        r#"{"opcode":"\ud800"}"#,
        r#"{"opcode":"feedback","ident":"\udfff"}"#,
        r#"{"opcode":"feedback","ident":1e999999999}"#,
        r#"{"opcode":"feedback","ident":01}"#,
        r#"{"opcode":"feedback","ident":+1}"#,
        r#"{"opcode":"feedback","ident":NaN}"#,
    ] {
        expect_no_message(&server, text);
    }
    browser.expect_nothing_else();
}

#[test]
fn a_member_that_is_read_may_stand_there_once() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    for again in [r#""opcode":"quit""#, r#""uuid":"x""#, r#""ident":"x""#] {
        expect_no_message(&server, &format!(r#"{{"opcode":"echo","uuid":"{uuid}","ident":"",{again}}}"#));
    }
    // The others are the receiver's business.
    let message = r#"{"opcode":"echo","message":1,"message":2,"a":3,"a":4}"#;
    browser.say(message);
    browser.expect(&[NEXT_1, message]);
}

#[test]
fn many_members_and_long_names_take_no_more_time_than_their_bytes() {
    let server = Server::start("");
    let (mut browser, _) = Client::browser(&server, "/");
    let members: String = (0..10_000).map(|number| format!(r#","key{number}":{number}"#)).collect();
    let alike: String = r#","opcodf":1"#.repeat(10_000);
    let long = format!(r#","{}":1"#, "k".repeat(30_000));
    let escaped = format!(r#","{}":1"#, r"\u006b".repeat(30_000));
    for further in [members, alike, long, escaped] {
        let message = format!(r#"{{"opcode":"echo"{further}}}"#);
        browser.expect_nothing_else();
        let before = server.cpu();
        for _ in 0..10 {
            browser.say(&message);
            browser.expect(&[NEXT_1, &message]);
        }
        let each = (server.cpu() - before) / 10;
        assert!(each < Duration::from_millis(5), "{each:?} for {} bytes", message.len());
    }
}

#[test]
fn a_message_for_nobody_is_answered_alike_whoever_it_is_not_for() {
    let server = Server::start("[resources]\n/ = relay\n/echo = echo\n");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (_, script) = Client::greeted(server.address(), "/", server::SCRIPT);
    let guess = format!("{}{}", &uuid[..35], if uuid.ends_with('0') { '1' } else { '0' });
    for other in [script.as_str(), &guess, "00000000-0000-4000-8000-000000000000", "", "%00", "../x"] {
        browser.say(&format!(r#"{{"opcode":"feedback","uuid":{}}}"#, serde_json::json!(other)));
        browser.expect(&[NEXT_0]);
    }
}

#[test]
fn what_stands_in_a_query_a_message_or_a_field_of_no_concern_is_not_logged() {
    let mut command = server::program();
    command.env("RUST_LOG", "trace");
    let server = Server::start_as(command, "", "ws://127.0.0.1:0");
    let secret = "5ec2e7";
    let fields = format!("Authorization: Bearer {secret}\r\nCookie: PHPSESSID={secret}\r\nX-Token: {secret}\r\n");
    for path in ["/web", "/echo", "/none", "/icon.svg"] {
        let mut client = Client::connect(server.address());
        client.send(upgrade(&format!("{path}?token={secret}"), &fields).as_bytes());
        if client.head().starts_with("HTTP/1.1 101 ") {
            client.say(&format!(r#"{{"opcode":"echo","message":"{secret}"}}"#));
            client.send(&masked(PING, secret.as_bytes()));
            client.say(secret);
        }
    }
    // Not where a request is refused before it is understood, either.
    for request in [
        format!("GET /web?{secret} HTTP/1.1\r\nHost: a\r\nHost: b\r\n{fields}\r\n"),
        format!("GET /web?{secret} HTTP/3.0\r\n{fields}\r\n"),
        format!("GET /web?{secret} HTTP/1.1\r\n{secret}\r\n\r\n"),
        format!("{secret} HTTP/1.1\r\n\r\n"),
    ] {
        let mut client = Client::connect(server.address());
        client.send(request.as_bytes());
        assert!(client.head().contains("\r\nConnection: close\r\n"));
    }
    server.wait_for_line("closed with 1007");
    server.wait_for_line("/none");
    assert_eq!(server.lines_with(secret), [""; 0]);
}

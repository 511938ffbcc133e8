//! The relay and the plain echo, over TCP, to the byte: what clients that exist already rely on.

use std::collections::HashSet;

#[path = "common/server.rs"]
mod server;

use server::{
    BINARY, CLOSE, Client, NEXT, NEXT_0, NEXT_1, PING, PONG, SCRIPT, Server, TEXT, masked, masked_text, plain,
};

fn feedback(uuid: &str, message: &str) -> String {
    format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{message}"}}"#)
}

fn feedback_to(ident: &str, message: &str) -> String {
    format!(r#"{{"opcode":"feedback","ident":{ident},"message":"{message}"}}"#)
}

fn ident(name: &str) -> String {
    format!("{SCRIPT}Ident: {name}\r\n")
}

#[test]
fn every_browser_is_greeted_with_a_uuid_of_its_own() {
    let server = Server::start("");
    let mut seen = HashSet::new();
    for path in ["/", "/web", "/php", "/web?uuid=1&x=/php"] {
        let mut client = Client::open(server.address(), path, "");
        let greeting = client.bytes(78);
        assert_eq!(&greeting[..28], b"\x81\x4c{\"opcode\":\"ready\",\"uuid\":\"", "a frame of 76 bytes");
        assert_eq!(&greeting[64..], b"\",\"acks\":true}");
        let uuid = String::from_utf8(greeting[28..64].to_vec()).unwrap();
        for (at, c) in uuid.bytes().enumerate() {
            let good = match at {
                8 | 13 | 18 | 23 => c == b'-',
                14 => c == b'4',
                19 => b"89ab".contains(&c),
                _ => c.is_ascii_digit() || (b'a'..=b'f').contains(&c),
            };
            assert!(good, "{uuid} is no version 4 UUID at {at}");
        }
        client.expect_nothing_else();
        assert!(seen.insert(uuid), "a UUID given out twice");
    }
}

#[test]
fn a_message_is_acknowledged_once_and_before_what_it_causes() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let echo = r#"{"opcode":"echo","message":"me"}"#;
    browser.say(echo);
    browser.expect_bytes(
        b"\x81\x28{\"opcode\":\"next\",\"fyi\":\"\",\"delivered\":1}\x81\x20{\"opcode\":\"echo\",\"message\":\"me\"}",
    );
    browser.expect_nothing_else();
    let own = feedback(&uuid, "to myself");
    browser.say(&own);
    browser.expect(&[NEXT_1, &own]);
    browser.expect_nothing_else();
    // The same for a message too large to be copied behind its acknowledgement.
    let large = format!(r#"{{"opcode":"echo","message":"{}"}}"#, "x".repeat(100_000));
    browser.say(&large);
    browser.expect(&[NEXT_1, &large]);
    browser.expect_nothing_else();
}

#[test]
fn a_script_reports_back_to_the_browser_with_the_uuid_and_to_nobody_else() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/web");
    let (mut other, _) = Client::browser(&server, "/web");
    let (mut script, script_uuid) = Client::greeted(server.address(), "/php", SCRIPT);
    let message = format!(r#"{{ "message":"50 %", "from":"job", "opcode":"feedback", "uuid":"{uuid}", "x":[1] }}"#);
    script.say(&message);
    script.expect(&[NEXT_1]);
    browser.expect(&[&message]);
    script.say(&feedback(&uuid.to_uppercase(), "either case"));
    script.expect(&[NEXT_1]);
    browser.expect(&[&feedback(&uuid.to_uppercase(), "either case")]);
    let simple = uuid.replace('-', "");
    for nobody in ["00000000-0000-4000-8000-000000000000", "", "x", &simple, &script_uuid] {
        script.say(&feedback(nobody, "lost"));
        script.expect(&[NEXT_0]);
    }
    script.say(r#"{"opcode":"feedback","message":"for whom?"}"#);
    script.expect(&[NEXT_0]);
    for client in [&mut browser, &mut other, &mut script] {
        client.expect_nothing_else();
    }
    browser.leave();
    script.say(&feedback(&uuid, "gone"));
    script.expect(&[NEXT_0]);
}

#[test]
fn large_messages_arrive_whole_and_in_order() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/web");
    let mut script = Client::script(&server);
    let lengths = [10, 126, 4_000, 4_096, 65_400, 65_536, 131_072, 300_000];
    let messages: Vec<String> = lengths.iter().map(|length| feedback(&uuid, &"ü".repeat(length / 2))).collect();
    let together: Vec<u8> = messages.iter().flat_map(|message| masked_text(message)).collect();
    script.send(&together);
    script.expect(&[NEXT_1; 8]);
    browser.expect(&messages.iter().map(String::as_str).collect::<Vec<_>>());
    browser.expect_nothing_else();
}

#[test]
fn an_ident_names_one_connection_browser_or_script() {
    let server = Server::start("");
    let (mut first, _) = Client::greeted(server.address(), "/php", &ident("worker"));
    let (mut second, _) = Client::greeted(server.address(), "/", "Ident: worker\r\n");
    let (mut number, _) = Client::greeted(server.address(), "/web", "ident:  42\r\n");
    let (mut sender, uuid) = Client::browser(&server, "/web");

    let one = feedback_to("\"worker\"", "1");
    sender.say(&one);
    sender.expect(&[NEXT_1]);
    first.expect(&[&one]);
    first.leave();
    let two = feedback_to("\"worker\"", "2");
    sender.say(&two);
    sender.expect(&[NEXT_1]);
    second.expect(&[&two]);

    // The original PHP client makes numbers of whatever looks like one.
    for name in ["42", "\"42\""] {
        let message = feedback_to(name, "n");
        sender.say(&message);
        sender.expect(&[NEXT_1]);
        number.expect(&[&message]);
    }
    for nobody in ["\"Worker\"", "\"worker \"", "43", "null", "\"\""] {
        sender.say(&feedback_to(nobody, "lost"));
        sender.expect(&[NEXT_0]);
    }
    // An empty ident names nobody, so the UUID counts; one that isn't empty counts instead of it.
    let by_uuid = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","ident":"","message":1}}"#);
    sender.say(&by_uuid);
    sender.expect(&[NEXT_1, &by_uuid]);
    sender.say(&format!(r#"{{"opcode":"feedback","uuid":"{uuid}","ident":"nobody","message":1}}"#));
    sender.expect(&[NEXT_0]);
    for client in [&mut second, &mut number, &mut sender] {
        client.expect_nothing_else();
    }
}

#[test]
fn who_takes_a_place_that_has_become_free_gets_nothing_that_was_for_another() {
    let server = Server::start("");
    let (gone, uuid) = Client::greeted(server.address(), "/", "Ident: gone\r\n");
    let mut script = Client::script(&server);
    gone.leave();
    let mut successors: Vec<Client> = (0..3).map(|_| Client::browser(&server, "/").0).collect();
    script.say(&feedback(&uuid, "lost"));
    script.say(&feedback_to("\"gone\"", "lost"));
    script.expect(&[NEXT_0, NEXT_0]);
    for successor in &mut successors {
        successor.expect_nothing_else();
    }
}

#[test]
fn a_burst_of_upgrades_is_answered_to_the_last() {
    let server = Server::start("");
    let mut burst: Vec<Client> = (0..300).map(|_| Client::connect(server.address())).collect();
    for client in &mut burst {
        client.send(server::upgrade("/", "").as_bytes());
    }
    for client in &mut burst {
        client.expect_switch("");
        client.expect_greeting();
    }
    burst[0].say(r#"{"opcode":"broadcast"}"#);
    burst[0].expect(&[r#"{"opcode":"next","fyi":"","delivered":299}"#]);
    for client in &mut burst[1..] {
        client.expect(&[r#"{"opcode":"broadcast"}"#]);
    }
}

#[test]
fn an_empty_ident_is_no_name() {
    let server = Server::start("");
    let (mut nameless, uuid) = Client::greeted(server.address(), "/", "Ident:\r\n");
    let mut script = Client::script(&server);
    script.say(r#"{"opcode":"feedback","uuid":"","ident":""}"#);
    script.expect(&[NEXT_0]);
    script.say(&feedback(&uuid, "by uuid"));
    script.expect(&[NEXT_1]);
    nameless.expect(&[&feedback(&uuid, "by uuid")]);
    nameless.expect_nothing_else();
}

#[test]
fn a_broadcast_goes_to_every_other_browser_of_the_relay() {
    let server = Server::start("");
    let mut browsers: Vec<Client> = ["/", "/web", "/php"].map(|path| Client::browser(&server, path).0).into();
    let mut script = Client::script(&server);
    let mut echo = Client::open(server.address(), "/echo", "");
    let message = r#"{"opcode":"broadcast","message":"all","from":7}"#;

    script.say(message);
    script.expect(&[r#"{"opcode":"next","fyi":"","delivered":3}"#]);
    for browser in &mut browsers {
        browser.expect(&[message]);
    }
    browsers[0].say(message);
    browsers[0].expect(&[r#"{"opcode":"next","fyi":"","delivered":2}"#]);
    browsers[1].expect(&[message]);
    browsers[2].expect(&[message]);
    for client in browsers.iter_mut().chain([&mut script]) {
        client.expect_nothing_else();
    }
    echo.say("x");
    echo.expect(&["x"]);

    while browsers.len() > 1 {
        browsers.remove(0).leave();
    }
    browsers[0].say(message);
    browsers[0].expect(&[NEXT_0]);
}

#[test]
fn messages_are_passed_on_as_they_came() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    for message in [
        r#""grüße, 你好, 🙂""#,
        r#""gr\u00fc\u00dfe \ud83d\ude42 \/ \" \\ \n \u0000""#,
        r#"1e999999999"#,
        r#"-0"#,
        r#"0.10000000000000000000000000000000000000000000000000001"#,
        r#"{"b":1,"a":2,"a":3}"#,
        "[ 1 ,\t2 ,\r\n 3 ]",
        "null",
    ] {
        let text = format!(r#"{{"zz":1,"message":{message},"uuid":"{uuid}","opcode":"feedback","aa":"/\/"}}"#);
        script.say(&text);
        script.expect(&[NEXT_1]);
        browser.expect(&[&text]);
    }
    browser.expect_nothing_else();
}

#[test]
fn quit_closes_the_connection() {
    let server = Server::start("");
    for mut client in [Client::browser(&server, "/").0, Client::script(&server)] {
        client.say(r#"{"opcode":"quit"}"#);
        client.expect(&[NEXT]);
        client.expect_closed(1000);
    }
}

#[test]
fn unknown_opcodes_are_acknowledged_and_nothing_else() {
    let server = Server::start("");
    let (mut other, _) = Client::browser(&server, "/");
    for mut client in [Client::browser(&server, "/").0, Client::script(&server)] {
        for text in [
            r#"{"opcode":"x"}"#,
            r#"{"opcode":""}"#,
            r#"{"opcode":"uuid","message":"00000000-0000-4000-8000-000000000000"}"#,
            r#"{"opcode":"Echo","message":1}"#,
            r#"{"opcode":"next","fyi":""}"#,
            r#"{"opcode":"close"}"#,
        ] {
            client.say(text);
            client.expect(&[NEXT]);
        }
        client.expect_nothing_else();
    }
    other.expect_nothing_else();
}

#[test]
fn what_is_no_message_of_the_relay_is_acknowledged_and_ends_the_connection() {
    let server = Server::start("");
    let deep = format!(r#"{{"opcode":"echo","message":{}"#, "[".repeat(100_000));
    for text in [
        "",
        "hello",
        "null",
        "[]",
        r#"["echo"]"#,
        r#""echo""#,
        "{}",
        r#"{"opcode":1}"#,
        r#"{"opcode":null}"#,
        r#"{"opcode":["echo"]}"#,
        r#"{"opcode":"echo""#,
        r#"{"opcode":"echo"} {}"#,
        r#"{'opcode':'echo'}"#,
        "\u{feff}{\"opcode\":\"echo\"}",
        "bufferOFF",
        "bufferon",
        &deep,
    ] {
        let (mut client, _) = Client::browser(&server, "/");
        client.say(text);
        client.expect(&[NEXT]);
        client.expect_closed(1007);
    }
    for mut client in [Client::browser(&server, "/").0, Client::script(&server)] {
        client.send(&masked(BINARY, br#"{"opcode":"echo"}"#));
        client.expect(&[NEXT]);
        client.expect_closed(1003);
    }
}

#[test]
fn nothing_is_done_for_a_client_after_its_connection_was_closed() {
    let server = Server::start("");
    let (mut other, _) = Client::browser(&server, "/");
    let (mut client, _) = Client::browser(&server, "/");
    let mut together = masked_text("no json");
    together.extend(masked_text(r#"{"opcode":"broadcast","message":1}"#));
    together.extend(masked(PING, b"?"));
    client.send(&together);
    client.expect(&[NEXT]);
    client.expect_closed(1007);
    other.expect_nothing_else();
}

#[test]
fn chunks_are_acknowledged_kept_and_acted_on_as_one_message() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    let whole = format!(r#"{{"opcode":"feedback","message":"ä🙂\u00e4","uuid":"{uuid}"}}"#);
    for text in ["bufferON", &whole[..20], "", &whole[20..50], &whole[50..]] {
        script.say(text);
        script.expect(&[NEXT]);
    }
    browser.expect_nothing_else();
    script.say("bufferOFF");
    script.expect(&[NEXT_1]);
    browser.expect(&[&whole]);

    // From here on messages are messages again, and words inside of chunks are chunks.
    script.say(r#"{"opcode":"x"}"#);
    script.expect(&[NEXT]);
    for text in ["bufferON", r#"{"opcode":"echo","message":""#, "bufferON", r#"{\"opcode\":\"quit\"}"#, r#""}"#] {
        script.say(text);
        script.expect(&[NEXT]);
    }
    script.say("bufferOFF");
    script.expect(&[NEXT_1, r#"{"opcode":"echo","message":"bufferON{\"opcode\":\"quit\"}"}"#]);
    script.expect_nothing_else();

    // What one client keeps is nothing to another; and what is no message closes the connection.
    let (mut other, _) = Client::browser(&server, "/");
    script.say("bufferON");
    script.expect(&[NEXT]);
    other.say(r#"{"opcode":"echo"}"#);
    other.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
    script.say("bufferOFF");
    script.expect(&[NEXT]);
    script.expect_closed(1007);
}

#[test]
fn a_hundred_chunks_are_taken_and_one_more_is_not() {
    let server = Server::start("");
    let pieces = |count: usize| {
        let message = format!(r#"{{"opcode":"echo","message":"{}"}}"#, "x".repeat(count - 29 - 1));
        assert_eq!(message.len(), count, "one byte a chunk");
        message
    };
    for (count, taken) in [(100, true), (101, false)] {
        let message = pieces(count);
        let (mut client, _) = Client::browser(&server, "/");
        client.say("bufferON");
        client.expect(&[NEXT]);
        for at in 0..count {
            client.say(&message[at..=at]);
            client.expect(&[NEXT]);
        }
        if taken {
            client.say("bufferOFF");
            client.expect(&[NEXT_1, &message]);
            client.expect_nothing_else();
        } else {
            client.expect_closed(1008);
        }
    }
}

#[test]
fn chunks_together_are_held_to_the_message_limit() {
    let server = Server::start("[limits]\nmaxMessage = 1000\n");
    for (length, taken) in [(999, true), (1000, true), (1001, false)] {
        let message = format!(r#"{{"opcode":"echo","message":"{}"}}"#, "x".repeat(length - 30));
        let (mut client, _) = Client::browser(&server, "/");
        for text in ["bufferON", &message[..500], &message[500..]] {
            client.say(text);
            client.expect(&[NEXT]);
        }
        if taken {
            client.say("bufferOFF");
            client.expect(&[NEXT_1, &message]);
        } else {
            client.expect_closed(1009);
        }
    }
}

#[test]
fn a_message_in_fragments_is_one_message_and_control_frames_are_none() {
    let server = Server::start("");
    let (mut client, _) = Client::browser(&server, "/");
    let message = r#"{"opcode":"echo","message":"ü"}"#;
    let cut = message.find('ü').unwrap() + 1;
    client.send(&masked(0x01, &message.as_bytes()[..cut]));
    client.send(&masked(PING, b"between"));
    client.expect_bytes(&plain(PONG, b"between"));
    client.send(&masked(0x00, b""));
    client.send(&masked(PONG, b"unasked"));
    client.send(&masked(0x80, &message.as_bytes()[cut..]));
    client.expect(&[NEXT_1, message]);
    client.expect_nothing_else();
    for payload in [&b""[..], &[0xff; 125]] {
        client.send(&masked(PING, payload));
        client.expect_bytes(&plain(PONG, payload));
    }
    client.expect_nothing_else();
}

#[test]
fn many_messages_in_one_write_are_answered_in_order() {
    let server = Server::start("");
    let (mut client, _) = Client::browser(&server, "/");
    let messages: Vec<String> = (0..2000).map(|n| format!(r#"{{"opcode":"echo","message":{n}}}"#)).collect();
    let together: Vec<u8> = messages.iter().flat_map(|message| masked_text(message)).collect();
    client.send(&together);
    for message in &messages {
        client.expect(&[NEXT_1, message]);
    }
    client.expect_nothing_else();
}

#[test]
fn the_clients_close_is_answered_with_its_code() {
    let server = Server::start("");
    for code in [1000_u16, 1001, 1011, 3000, 4999] {
        let (mut client, _) = Client::browser(&server, "/");
        client.send(&masked(CLOSE, &[&code.to_be_bytes()[..], "tschüß".as_bytes()].concat()));
        client.expect_bytes(&plain(CLOSE, &code.to_be_bytes()));
        client.expect_end();
    }
    let (mut client, _) = Client::browser(&server, "/");
    client.send(&masked(CLOSE, b""));
    client.expect_bytes(&plain(CLOSE, b""));
    client.expect_end();
}

#[test]
fn the_echo_sends_back_what_it_gets_and_nothing_else() {
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    client.send(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    client.expect_bytes(b"\x81\x05Hello");
    for text in ["", "no json", r#"{"opcode":"quit"}"#, "bufferON", "grüße 🙂"] {
        client.say(text);
        client.expect(&[text]);
    }
    let bytes: Vec<u8> = (0..=255).collect();
    for length in [0, 1, 125, 126, 4095, 4096, 65_535, 65_536, 200_000] {
        let payload: Vec<u8> = bytes.iter().copied().cycle().take(length).collect();
        client.send(&masked(BINARY, &payload));
        client.expect_bytes(&plain(BINARY, &payload));
    }
    client.send(&[masked(0x02, b"one "), masked(0x00, b"and "), masked(0x80, b"two")].concat());
    client.expect_bytes(&plain(BINARY, b"one and two"));
    client.send(&masked(TEXT, b"end"));
    client.expect_bytes(&plain(TEXT, b"end"));
    client.leave();
}

#[test]
fn a_path_that_resources_names_is_served_and_others_are_not() {
    let server = Server::start("[resources]\n/a = relay\n/b/c = echo\n/d = relay\n");
    let (mut a, _) = Client::browser(&server, "/a");
    let (mut d, _) = Client::browser(&server, "/d");
    let mut echo = Client::open(server.address(), "/b/c", "");
    a.say(r#"{"opcode":"broadcast"}"#);
    a.expect(&[NEXT_1]);
    d.expect(&[r#"{"opcode":"broadcast"}"#]);
    echo.say("?");
    echo.expect(&["?"]);
    for path in ["/web", "/echo", "/b", "/b/c/", "/A"] {
        let mut client = Client::connect(server.address());
        client.send(server::upgrade(path, "").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}");
    }
}

//! Scripts, and how those are spared that read as the original PHP client does: it takes the `101` with one read and
//! the first frame of every later read, and drops what came along behind.

use std::time::{Duration, Instant};

#[path = "common/server.rs"]
mod server;

use server::{CLOSE, Client, NEXT, NEXT_1, OLD_SCRIPT, PATIENCE, SCRIPT, Server, masked, masked_text, plain, upgrade};

/// An old script with an ident; it has read the `101` and nothing else.
fn old_script(server: &Server) -> Client {
    Client::open(server.address(), "/php", &format!("{OLD_SCRIPT}Ident: job\r\n"))
}

fn to_job(number: usize) -> String {
    format!(r#"{{"opcode":"feedback","ident":"job","message":{number}}}"#)
}

/// The loop counts whole milliseconds, so a wait can be one shorter, seen from outside.
const TICK: Duration = Duration::from_millis(1);

#[test]
fn the_greeting_of_an_old_script_comes_a_moment_after_the_101() {
    let server = Server::start("");
    for _ in 0..5 {
        // From before the request, so that being slow here can't make the moment look shorter.
        let began = Instant::now();
        let mut script = old_script(&server);
        script.expect_greeting();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(30) - TICK, "{took:?}");
        script.expect_nothing_else();
    }
}

#[test]
fn the_101_of_an_old_script_comes_alone() {
    let server = Server::start("[script]\ngreetingDelay = 300\n");
    for kind in ["PHP", "Php"] {
        let mut script = Client::connect(server.address());
        let began = Instant::now();
        script.send(upgrade("/", &format!("CLIENT-TYPE: {kind}\r\n")).as_bytes());
        let read = script.read_some(began + PATIENCE);
        assert_eq!(read, server::SWITCHED.len(), "one read has the 101 and nothing behind it");
        script.expect_switch("");
        script.expect_greeting();
        assert!(began.elapsed() >= Duration::from_millis(300) - TICK);
    }
}

#[test]
fn a_silent_old_script_gets_one_frame_a_gap() {
    let server = Server::start("[script]\nframeGap = 100\n");
    let mut script = old_script(&server);
    script.expect_greeting();
    script.expect_nothing_else();
    let (mut browser, _) = Client::browser(&server, "/");
    let began = Instant::now();
    let messages: Vec<String> = (0..5).map(to_job).collect();
    browser.send(&messages.iter().flat_map(|message| masked_text(message)).collect::<Vec<u8>>());
    browser.expect(&[NEXT_1; 5]);
    for (at, message) in (0_u32..).zip(&messages) {
        let frame = plain(0x81, message.as_bytes());
        let read = script.read_some(began + PATIENCE);
        // Not sooner than its turn; how much later is up to whoever schedules this thread.
        assert!(began.elapsed() + TICK >= Duration::from_millis(100) * at, "frame {at}");
        assert_eq!(read % frame.len(), 0, "whole frames");
        script.expect_bytes(&frame);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(399) && took < Duration::from_millis(1500), "{took:?}");
}

#[test]
fn an_old_script_that_says_something_has_read_and_gets_its_acknowledgement_first() {
    // So long that no test waits for it.
    let server = Server::start("[script]\nframeGap = 10000\n");
    let mut script = old_script(&server);
    script.expect_greeting();
    let (mut browser, _) = Client::browser(&server, "/");
    browser.send(&[masked_text(&to_job(1)), masked_text(&to_job(2))].concat());
    browser.expect(&[NEXT_1, NEXT_1]);
    // The greeting may still be unread, so both messages wait; what the script sends proves one frame read, and the
    // acknowledgement takes that place.
    for number in [1, 2] {
        script.say(r#"{"opcode":"-"}"#);
        script.expect(&[NEXT]);
        // A pong proves reading as well, and is owed nothing.
        script.send(&masked(server::PONG, b""));
        script.expect(&[&to_job(number)]);
    }
    script.expect_nothing_else();
}

#[test]
fn a_thousand_cycles_of_send_and_wait_take_well_under_a_second() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/web");
    let mut script = old_script(&server);
    script.expect_greeting();
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"step"}}"#);
    // By hundreds, and the fastest counts: a busy machine may take the processor away from any of them.
    let hundred = (0..10).map(|_| {
        let began = Instant::now();
        for _ in 0..100 {
            script.say(&message);
            script.expect(&[NEXT_1]);
        }
        began.elapsed()
    });
    let fastest = hundred.min().expect("ten of them");
    for _ in 0..1000 {
        browser.expect(&[&message]);
    }
    browser.expect_nothing_else();
    assert!(fastest * 10 < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn an_old_script_that_quits_still_gets_what_is_on_its_way() {
    let server = Server::start("[script]\nframeGap = 50\n");
    let mut script = old_script(&server);
    script.expect_greeting();
    let (mut browser, _) = Client::browser(&server, "/");
    script.say(r#"{"opcode":"-"}"#);
    script.expect(&[NEXT]);
    browser.say(&to_job(1));
    browser.expect(&[NEXT_1]);
    script.say(r#"{"opcode":"quit"}"#);
    script.expect(&[NEXT, &to_job(1)]);
    script.expect_closed(1000);
    // The same where the script is the one to close.
    let mut script = old_script(&server);
    script.expect_greeting();
    browser.say(&to_job(2));
    browser.expect(&[NEXT_1]);
    script.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
    script.expect(&[&to_job(2)]);
    script.expect_bytes(&plain(CLOSE, &1000_u16.to_be_bytes()));
    script.expect_end();
}

#[test]
fn a_script_that_parses_streams_waits_for_nothing() {
    let server = Server::start("[script]\ngreetingDelay = 10000\nframeGap = 10000\n");
    for protocol in ["websock.v1", "x, websock.v1", "x\r\nSec-WebSocket-Protocol: websock.v1"] {
        let fields = format!("{OLD_SCRIPT}Sec-WebSocket-Protocol: {protocol}\r\nIdent: job\r\n");
        let (mut script, _) = Client::greeted(server.address(), "/php", &fields);
        let (mut browser, _) = Client::browser(&server, "/");
        let messages: Vec<String> = (0..5).map(to_job).collect();
        for message in &messages {
            browser.say(message);
        }
        browser.expect(&[NEXT_1; 5]);
        script.expect(&messages.iter().map(String::as_str).collect::<Vec<_>>());
        script.say(r#"{"opcode":"echo"}"#);
        script.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
        script.expect_nothing_else();
        script.leave();
    }
}

#[test]
fn browsers_are_not_paced() {
    let server = Server::start("[script]\ngreetingDelay = 10000\nframeGap = 10000\n");
    for fields in ["", "Client-Type: js\r\n", "Client-Type:\r\n", "X-Client-Type: php\r\n"] {
        let (mut browser, _) = Client::greeted(server.address(), "/", fields);
        browser.say(r#"{"opcode":"echo"}"#);
        browser.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
        browser.expect_nothing_else();
    }
}

#[test]
fn what_one_old_script_waits_for_holds_nobody_up() {
    let server = Server::start("[script]\nframeGap = 10000\n");
    let mut script = old_script(&server);
    script.expect_greeting();
    let (mut browser, _) = Client::browser(&server, "/");
    for number in 0..100 {
        browser.say(&to_job(number));
        browser.expect(&[NEXT_1]);
    }
    let (mut other, _) = Client::greeted(server.address(), "/php", SCRIPT);
    other.say(r#"{"opcode":"echo"}"#);
    other.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
}

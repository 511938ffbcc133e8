//! What happens when nothing happens: heads, messages and pings that are due.

use std::time::Duration;

use websock::clock::Moment;

use crate::driver::wire::{self, BINARY, CONTINUATION, FIN, TEXT};
use crate::driver::{Driver, PAGE, Setup, Step, UPGRADE, failed, sent_ping, sent_pong, sent_response, text};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Of [`Setup::default`].
const HEAD_TIME: Duration = Duration::from_secs(10);
const MESSAGE_TIME: Duration = Duration::from_secs(30);
const CLOSE_WAIT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(25);

const TOO_LATE: &str = "message not complete in time";
const NO_ANSWER: &str = "no answer to a ping";

fn pinged() -> Driver {
    Driver::open_with(Setup::limited(|limits| limits.ping_interval = PING_INTERVAL))
}

#[test]
fn a_silent_connection_is_dropped_in_silence() {
    let mut peer = Driver::new(Setup::default());
    assert_eq!(peer.session.deadline(), peer.now.after(HEAD_TIME));
    peer.pass(HEAD_TIME - MILLISECOND);
    assert!(!peer.is_over());
    peer.pass(MILLISECOND);
    assert!(peer.is_over());
    peer.expect_nothing();
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_answered() {
    let mut peer = Driver::new(Setup::default());
    peer.pass(HEAD_TIME / 2);
    // A byte now and then does not buy time.
    for byte in UPGRADE.as_bytes().iter().take(49) {
        peer.feed([*byte]);
        peer.pass(SECOND / 10);
    }
    peer.pass(SECOND / 10 - MILLISECOND);
    peer.expect_nothing();
    peer.pass(MILLISECOND);
    peer.expect([sent_response(408, "the request took too long\n"), Step::Refused(408)]);
    assert!(peer.session.is_silent() && !peer.is_over());
    assert_eq!(peer.session.held(), 0);
    peer.feed(UPGRADE);
    peer.pass(CLOSE_WAIT);
    peer.expect_nothing();
    assert!(peer.is_over());
}

#[test]
fn a_body_that_does_not_come_to_its_end_is_given_up_with_its_head() {
    let mut peer = Driver::new(Setup::default());
    peer.feed("POST /call HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    peer.pass(MESSAGE_TIME - MILLISECOND);
    peer.expect([Step::Request("POST /call".to_owned())]);
    peer.pass(MILLISECOND);
    // By whoever asked for the body: nothing was refused by the session itself.
    peer.expect([sent_response(408, "the request took too long\n")]);
    assert!(peer.session.is_silent() && !peer.is_over());
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn each_request_has_its_own_time() {
    let mut peer = Driver::new(Setup::default());
    for _ in 0..3 {
        peer.pass(HEAD_TIME - MILLISECOND);
        peer.feed(PAGE);
        assert_eq!(peer.session.deadline(), peer.now.after(HEAD_TIME));
    }
    peer.take_steps();
    peer.pass(HEAD_TIME);
    peer.expect_nothing();
    assert!(peer.is_over());
}

#[test]
fn an_upgrade_has_no_deadline_left() {
    let mut peer = Driver::open();
    assert_eq!(peer.session.deadline(), Moment::NEVER);
    peer.pass(HEAD_TIME * 1000);
    peer.expect_nothing();
    assert!(peer.session.is_open());
}

#[test]
fn times_of_zero_are_no_limits() {
    let setup = Setup::limited(|limits| {
        limits.head_time = Duration::ZERO;
        limits.message_time = Duration::ZERO;
    });
    let mut peer = Driver::new(setup);
    for piece in [&UPGRADE.as_bytes()[..20], &UPGRADE.as_bytes()[20..], &wire::frame(TEXT, b"un")] {
        assert_eq!(peer.session.deadline(), Moment::NEVER);
        peer.feed(piece);
        peer.pass(SECOND * 10_000);
    }
    peer.take_steps();
    peer.feed(wire::frame(FIN, b"hurried"));
    peer.expect([text("unhurried")]);
}

#[test]
fn what_stays_unfinished_is_closed() {
    let text_frame = wire::text("a message");
    let long = wire::binary(&[0; 300]);
    let ping = wire::ping(b"are you there");
    for unfinished in [
        &text_frame[..1],
        &text_frame[..2],
        &text_frame[..6],
        &text_frame[..7],
        &text_frame[..text_frame.len() - 1],
        &long[..3],
        &long[..8],
        &long[..100],
        &ping[..1],
        &ping[..ping.len() - 1],
        &wire::frame(TEXT, b""),
        &wire::frame(BINARY, b"first of many"),
        &[wire::frame(TEXT, b"two"), wire::frame(CONTINUATION, b" of many")].concat(),
        &[&wire::frame(TEXT, b"part"), &ping[..3]].concat(),
    ] {
        let mut peer = Driver::open();
        peer.pass(SECOND);
        peer.feed(unfinished);
        assert_eq!(peer.session.deadline(), peer.now.after(MESSAGE_TIME), "{}", unfinished.escape_ascii());
        peer.pass(MESSAGE_TIME - MILLISECOND);
        peer.expect_nothing();
        assert!(peer.session.is_open());
        peer.pass(MILLISECOND);
        peer.expect(failed(1008, TOO_LATE));
        assert!(peer.session.is_silent() && !peer.is_over());
        assert_eq!(peer.session.held(), 0);
        peer.pass(CLOSE_WAIT);
        assert!(peer.is_over());
        peer.expect_nothing();
    }
}

#[test]
fn dripping_and_pinging_do_not_buy_time() {
    let mut peer = Driver::open();
    let drip = [wire::header(BINARY, 1000), vec![0; 1000]].concat();
    for (byte, _) in drip.iter().zip(0..29) {
        peer.feed([*byte]);
        peer.pass(SECOND);
    }
    peer.expect_nothing();
    peer.pass(SECOND);
    peer.expect(failed(1008, TOO_LATE));

    let mut peer = Driver::open();
    peer.feed(wire::frame(TEXT, b"begun"));
    for _ in 0..10 {
        peer.pass(SECOND * 3 - MILLISECOND);
        peer.feed([wire::ping(b""), wire::frame(CONTINUATION, b"")].concat());
        peer.expect([sent_pong(b"")]);
    }
    peer.pass(MILLISECOND * 10);
    peer.expect(failed(1008, TOO_LATE));
}

#[test]
fn each_message_has_its_own_time() {
    let mut peer = Driver::open();
    peer.feed(wire::frame(TEXT, b"one "));
    peer.pass(MESSAGE_TIME - MILLISECOND);
    // The next begins in the read in which this one ends.
    peer.feed([wire::frame(FIN, b"whole"), wire::frame(TEXT, b"another ")].concat());
    peer.expect([text("one whole")]);
    assert_eq!(peer.session.deadline(), peer.now.after(MESSAGE_TIME));
    peer.pass(MESSAGE_TIME - MILLISECOND);
    peer.feed(wire::frame(FIN, b"whole"));
    peer.expect([text("another whole")]);
    assert_eq!(peer.session.deadline(), Moment::NEVER);
}

#[test]
fn a_ping_cut_by_the_network_has_its_time_and_no_more() {
    let mut peer = Driver::open();
    let ping = wire::ping(b"slowly");
    peer.feed(&ping[..4]);
    peer.pass(MESSAGE_TIME - MILLISECOND);
    peer.feed(&ping[4..]);
    peer.expect([sent_pong(b"slowly")]);
    assert_eq!(peer.session.deadline(), Moment::NEVER);
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn browsers_are_pinged() {
    let mut peer = pinged();
    for _ in 0..4 {
        assert_eq!(peer.session.deadline(), peer.now.after(PING_INTERVAL));
        peer.pass(PING_INTERVAL - MILLISECOND);
        peer.expect_nothing();
        peer.pass(MILLISECOND);
        peer.expect([sent_ping()]);
        peer.feed(wire::pong(b""));
    }
    peer.expect_nothing();
    assert!(peer.session.is_open());
}

#[test]
fn a_browser_that_does_not_answer_is_closed_at_the_next_ping() {
    let mut peer = pinged();
    peer.pass(PING_INTERVAL);
    peer.expect([sent_ping()]);
    peer.pass(PING_INTERVAL - MILLISECOND);
    peer.expect_nothing();
    assert!(peer.session.is_open(), "an answer may come until then");
    peer.pass(MILLISECOND);
    peer.expect(failed(1001, NO_ANSWER));
    assert!(peer.session.is_silent());
    peer.pass(CLOSE_WAIT);
    assert!(peer.is_over());
}

#[test]
fn whatever_is_heard_is_an_answer() {
    for answer in [
        wire::pong(b""),
        wire::pong(b"of another ping"),
        wire::ping(b""),
        wire::text("message"),
        wire::frame(TEXT, b"fragment"),
        wire::text("message")[..1].to_vec(),
        wire::binary(b"frame cut by the network")[..9].to_vec(),
    ] {
        let mut peer = pinged();
        peer.pass(PING_INTERVAL * 2 - MILLISECOND);
        peer.expect([sent_ping()]);
        peer.feed(&answer);
        peer.take_steps();
        peer.pass(MILLISECOND);
        peer.expect([sent_ping()]);
        assert!(peer.session.is_open(), "{} is an answer", answer.escape_ascii());
    }
}

#[test]
fn an_answer_counts_for_one_ping() {
    let mut peer = pinged();
    peer.pass(PING_INTERVAL);
    peer.feed([wire::pong(b""), wire::pong(b""), wire::pong(b"")].concat());
    peer.pass(PING_INTERVAL);
    peer.expect([sent_ping(), sent_ping()]);
    peer.pass(PING_INTERVAL);
    peer.expect(failed(1001, NO_ANSWER));
}

#[test]
fn scripts_are_not_pinged() {
    let setup = Setup::limited(|limits| limits.ping_interval = PING_INTERVAL);
    let mut script = Driver::open_with(Setup { browser: false, ..setup });
    assert_eq!(script.session.deadline(), Moment::NEVER);
    script.pass(PING_INTERVAL * 10);
    script.expect_nothing();
    assert!(script.session.is_open());
}

#[test]
fn a_closed_browser_is_not_pinged() {
    let mut peer = pinged();
    peer.close(1000, "done");
    peer.take_steps();
    assert_eq!(peer.session.deadline(), peer.now.after(CLOSE_WAIT));
    peer.pass(PING_INTERVAL * 3);
    peer.expect_nothing();
    assert!(peer.is_over());
}

#[test]
fn the_earliest_deadline_comes_first() {
    let mut peer = pinged();
    peer.pass(SECOND);
    peer.feed(wire::frame(TEXT, b"unfinished"));
    assert_eq!(peer.session.deadline(), peer.now.after(PING_INTERVAL - SECOND));
    peer.pass(MESSAGE_TIME);
    peer.expect([sent_ping()].into_iter().chain(failed(1008, TOO_LATE)));
}

#[test]
fn a_tick_too_early_does_nothing() {
    for setup in [Setup::default(), Setup::limited(|limits| limits.ping_interval = PING_INTERVAL)] {
        let mut peer = Driver::new(setup);
        peer.tick();
        peer.feed(UPGRADE);
        peer.take_steps();
        peer.tick();
        peer.feed(wire::frame(TEXT, b"unfinished"));
        peer.tick();
        peer.expect_nothing();
        assert!(peer.session.is_open());
        peer.close(1000, "");
        peer.take_steps();
        peer.tick();
        peer.expect_nothing();
        assert!(!peer.session.is_silent() && !peer.is_over());
    }
}

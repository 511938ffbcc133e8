//! Scripts that read as the original PHP client does: the greeting late, one frame at a time, the acknowledgement first.

use std::time::Duration;

use websock::clock::Moment;

use crate::driver::wire::{self, FIN, TEXT};
use crate::driver::{
    Driver, FRAME_GAP, GREETING_DELAY, Sent, Setup, Step, UPGRADE, by_peer, by_us, request, sent_close, sent_pong,
    sent_text, switched, text,
};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A script, greeted and asked to wait no more.
fn script() -> Driver {
    let mut peer = Driver::open_with(Setup { acknowledgement: Some("next"), ..Setup::paced() });
    peer.pass(GREETING_DELAY);
    peer
}

/// `peer` gets `texts`, a gap apart, the first at once, and nothing else.
#[track_caller]
fn gets_a_gap_apart(peer: &mut Driver, texts: &[&str]) {
    for text in texts {
        peer.expect([sent_text(text)]);
        peer.pass(FRAME_GAP - MILLISECOND);
        peer.expect_nothing();
        peer.pass(MILLISECOND);
    }
    peer.expect_nothing();
}

#[test]
fn the_greeting_comes_a_moment_after_the_101() {
    let mut peer = Driver::new(Setup { greeting: Some("ready"), ..Setup::paced() });
    peer.feed(UPGRADE);
    peer.expect([request("GET /echo"), switched()]);
    assert_eq!(peer.session.deadline(), peer.now.after(GREETING_DELAY));
    peer.pass(GREETING_DELAY - MILLISECOND);
    peer.expect_nothing();
    peer.pass(MILLISECOND);
    peer.expect([sent_text("ready")]);
    assert_eq!(peer.session.deadline(), Moment::NEVER);
    assert_eq!((peer.session.paced(), peer.session.held()), (0, 0));
}

#[test]
fn a_script_that_speaks_first_is_greeted_at_once() {
    let mut peer = Driver::new(Setup { greeting: Some("ready"), acknowledgement: Some("next"), ..Setup::paced() });
    peer.feed(UPGRADE);
    peer.take_steps();
    peer.pass(MILLISECOND);
    peer.feed(wire::text("hello"));
    peer.expect([text("hello"), sent_text("ready")]);
    peer.pass(FRAME_GAP);
    peer.expect([sent_text("next")]);
}

#[test]
fn frames_go_out_one_a_gap() {
    let mut peer = script();
    ["one", "two", "three"].iter().for_each(|word| peer.say(word, false));
    gets_a_gap_apart(&mut peer, &["one", "two", "three"]);
}

#[test]
fn a_frame_after_a_pause_does_not_wait() {
    let mut peer = script();
    for _ in 0..3 {
        peer.say("news", false);
        peer.expect([sent_text("news")]);
        peer.pass(FRAME_GAP);
    }
    peer.say("news", false);
    peer.expect([sent_text("news")]);
    peer.pass(FRAME_GAP - MILLISECOND);
    peer.say("too soon", false);
    peer.expect_nothing();
    peer.pass(MILLISECOND);
    peer.expect([sent_text("too soon")]);
}

#[test]
fn sending_and_waiting_runs_at_full_speed() {
    let mut peer = script();
    for _ in 0..1000 {
        peer.feed(wire::text("work"));
        peer.expect([text("work"), sent_text("next")]);
    }
}

#[test]
fn the_acknowledgement_goes_before_what_waits() {
    let mut peer = script();
    ["first", "second", "third"].iter().for_each(|word| peer.say(word, false));
    peer.expect([sent_text("first")]);
    peer.feed(wire::text("work"));
    peer.expect([text("work"), sent_text("next")]);
    peer.pass(FRAME_GAP - MILLISECOND);
    peer.expect_nothing();
    peer.pass(MILLISECOND);
    gets_a_gap_apart(&mut peer, &["second", "third"]);
}

#[test]
fn acknowledgements_of_one_read_keep_their_order_and_their_gap() {
    let mut peer = script();
    peer.say("news", false);
    peer.say("more news", false);
    peer.expect([sent_text("news")]);
    peer.feed([wire::text("1"), wire::text("2"), wire::text("3")].concat());
    peer.expect([text("1"), sent_text("next"), text("2"), text("3")]);
    peer.pass(FRAME_GAP);
    gets_a_gap_apart(&mut peer, &["next", "next", "more news"]);
}

#[test]
fn whatever_a_script_sends_is_proof() {
    let frame = wire::text("work");
    let mut peer = script();
    for word in 0..8 {
        peer.say(&word.to_string(), false);
    }
    peer.expect([sent_text("0")]);
    for (byte, word) in frame[..4].iter().zip(1..) {
        peer.feed([*byte]);
        peer.expect([sent_text(&word.to_string())]);
    }
    peer.feed(&frame[4..]);
    peer.expect([text("work"), sent_text("next")]);
    peer.feed(wire::pong(b""));
    peer.expect([sent_text("5")]);
}

#[test]
fn what_waits_is_counted() {
    let mut peer = script();
    peer.say("one", false);
    assert_eq!((peer.session.paced(), peer.session.held()), (0, 0));
    peer.say("waits", false);
    peer.say("as well", true);
    assert_eq!((peer.session.paced(), peer.session.held()), (16, 16), "two headers and twelve letters");
    peer.pass(FRAME_GAP);
    assert_eq!(peer.session.paced(), 7, "the urgent one has gone first");
    peer.pass(FRAME_GAP);
    assert_eq!((peer.session.paced(), peer.session.held()), (0, 0));
    peer.expect(["one", "as well", "waits"].map(sent_text));
}

#[test]
fn our_close_goes_behind_what_waits() {
    let mut peer = script();
    peer.say("one", false);
    peer.say("two", false);
    peer.close(1000, "quit");
    peer.expect([sent_text("one"), by_us(1000, "quit")]);
    assert!(!peer.session.is_open());
    peer.pass(FRAME_GAP);
    peer.expect([sent_text("two")]);
    peer.pass(FRAME_GAP);
    peer.expect([sent_close(1000, "quit")]);
    peer.feed(wire::close(1000, ""));
    peer.expect_nothing();
    assert!(peer.session.is_silent());
}

#[test]
fn an_answer_to_their_close_goes_behind_what_waits() {
    let mut peer = script();
    ["one", "two", "three"].iter().for_each(|word| peer.say(word, false));
    peer.feed(wire::close(1000, "done"));
    // The Close was proof: one more could go at once.
    peer.expect([sent_text("one"), by_peer(1000, "done"), sent_text("two")]);
    assert!(!peer.session.is_silent(), "its side must not be shut while something is to be said");
    peer.pass(FRAME_GAP * 2);
    peer.expect([sent_text("three"), sent_close(1000, "")]);
    assert!(peer.session.is_silent());
}

#[test]
fn a_failure_is_told_behind_what_waits() {
    let mut peer = script();
    peer.say("one", false);
    peer.say("two", false);
    peer.pass(MILLISECOND);
    peer.feed(b"\x83");
    peer.expect([sent_text("one"), by_us(1002, "reserved opcode"), sent_text("two")]);
    peer.pass(FRAME_GAP);
    peer.expect([sent_close(1002, "reserved opcode")]);
    assert!(peer.session.is_silent() && !peer.is_over());
}

#[test]
fn a_close_that_need_not_wait_does_not() {
    let mut peer = script();
    peer.feed(wire::close(1000, ""));
    peer.expect([sent_close(1000, ""), by_peer(1000, "")]);
    assert!(peer.session.is_silent());
}

#[test]
fn an_empty_close_goes_behind_what_waits_too() {
    let mut peer = script();
    ["one", "two", "three"].iter().for_each(|word| peer.say(word, false));
    peer.feed(wire::empty_close());
    peer.take_steps();
    peer.pass(FRAME_GAP * 2);
    peer.expect([sent_text("three"), Step::Sent(Sent::Close(None, String::new()))]);
}

#[test]
fn an_unfinished_message_and_a_waiting_frame_have_a_deadline_each() {
    let mut peer = script();
    peer.feed(wire::frame(TEXT, b"un"));
    peer.say("one", false);
    peer.say("two", false);
    assert_eq!(peer.session.deadline(), peer.now.after(FRAME_GAP));
    peer.pass(FRAME_GAP);
    peer.expect([sent_text("one"), sent_text("two")]);
    assert_eq!(peer.session.deadline(), peer.now.after(Duration::from_secs(30) - FRAME_GAP));
    peer.feed(wire::frame(FIN, b"finished"));
    peer.expect([text("unfinished"), sent_text("next")]);
}

#[test]
fn scripts_that_read_streams_are_not_paced() {
    let setup = Setup { browser: false, greeting: Some("ready"), acknowledgement: Some("next"), ..Setup::default() };
    let mut peer = Driver::new(setup);
    peer.feed(UPGRADE);
    peer.expect([request("GET /echo"), switched(), sent_text("ready")]);
    peer.feed([wire::text("1"), wire::text("2")].concat());
    peer.expect([text("1"), sent_text("next"), text("2"), sent_text("next")]);
    peer.say("news", false);
    peer.expect([sent_text("news")]);
}

#[test]
fn a_pong_takes_its_turn_like_any_other_frame() {
    let mut peer = script();
    peer.feed([wire::ping(b""), wire::text("work")].concat());
    peer.expect([sent_pong(b""), text("work")]);
    peer.pass(FRAME_GAP);
    peer.expect([sent_text("next")]);
}

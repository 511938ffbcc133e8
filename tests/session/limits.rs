//! The limits that a peer is held to, each just under, at, and just over.

use std::time::Duration;

use crate::driver::wire::{self, BINARY, CONTINUATION, FIN, TEXT};
use crate::driver::{Driver, Setup, binary, failed, sent_pong, text};

const TOO_BIG: &str = "message over the limit";
const FRAGMENTS: &str = "message in more fragments than allowed";
const RATE: &str = "more messages a second than allowed";

const SECOND: Duration = Duration::from_secs(1);

fn message_limit(message: usize) -> Driver {
    Driver::open_with(Setup::limited(|limits| limits.message = message))
}

fn fragment_limit(fragments: u32) -> Driver {
    Driver::open_with(Setup::limited(|limits| limits.fragments = fragments))
}

/// A browser held to three messages a second, at the beginning of a second.
fn rate_limit() -> Driver {
    let mut peer = Driver::open_with(Setup::limited(|limits| limits.rate = 3));
    peer.pass(Duration::from_millis(1000 - peer.now.as_millis() % 1000));
    peer
}

#[test]
fn a_message_in_one_frame() {
    for limit in [125, 126, 4096, 65_536] {
        let mut peer = message_limit(limit);
        for length in [limit - 1, limit] {
            let (letters, bytes) = ("x".repeat(length), vec![0xfe; length]);
            peer.feed([wire::text(&letters), wire::binary(&bytes)].concat());
            peer.expect([text(&letters), binary(&bytes)]);
        }
        peer.feed(wire::header(FIN | TEXT, limit as u64 + 1));
        peer.expect_failure(1009, TOO_BIG);

        let mut peer = message_limit(limit);
        peer.feed(wire::binary(&vec![0; limit + 1]));
        peer.expect_failure(1009, TOO_BIG);
    }
}

#[test]
fn a_message_in_a_frame_cut_by_the_network() {
    let mut peer = message_limit(200);
    for length in [199, 200] {
        let bytes = vec![b'x'; length];
        wire::binary(&bytes).chunks(90).for_each(|piece| peer.feed(piece));
        peer.expect([binary(&bytes)]);
    }
    wire::header(FIN | BINARY, 201).iter().for_each(|byte| peer.feed([*byte]));
    peer.expect_failure(1009, TOO_BIG);
}

#[test]
fn a_message_in_fragments() {
    let mut peer = message_limit(200);
    for length in [199, 200] {
        let (start, end) = (vec![b'a'; 120], vec![b'b'; length - 120]);
        peer.feed([wire::frame(BINARY, &start), wire::frame(FIN, &end)].concat());
        peer.expect([binary(&[start, end].concat())]);
    }
    peer.feed(wire::frame(BINARY, &[b'a'; 120]));
    peer.feed(wire::frame(CONTINUATION, &[b'b'; 80]));
    peer.feed(wire::frame(CONTINUATION, b""));
    peer.expect_nothing();
    assert!(peer.session.is_open(), "at the limit, unfinished");
    peer.feed(wire::header(FIN, 1));
    peer.expect_failure(1009, TOO_BIG);
}

#[test]
fn what_control_frames_carry_does_not_count_towards_a_message() {
    let mut peer = message_limit(125);
    let full = [b'x'; 125];
    peer.feed([wire::frame(BINARY, &full[..100]), wire::ping(&full), wire::frame(FIN, &full[100..])].concat());
    peer.expect([sent_pong(&full), binary(&full)]);
}

#[test]
fn each_message_has_the_whole_limit() {
    let mut peer = message_limit(200);
    let full = [b'x'; 200];
    for _ in 0..3 {
        peer.feed([wire::frame(BINARY, &full[..150]), wire::frame(FIN, &full[150..]), wire::binary(&full)].concat());
        peer.expect([binary(&full), binary(&full)]);
    }
}

#[test]
fn the_number_of_fragments() {
    let message = |count: usize| {
        let middle = wire::frame(CONTINUATION, b"m").repeat(count - 2);
        [wire::frame(TEXT, b"f"), middle, wire::frame(FIN, b"l")].concat()
    };
    let mut peer = fragment_limit(8);
    for count in [7, 8] {
        peer.feed(message(count));
        peer.expect([text(&format!("f{}l", "m".repeat(count - 2)))]);
    }
    peer.feed(message(9));
    peer.expect_failure(1008, FRAGMENTS);
}

#[test]
fn one_fragment_is_the_least_there_can_be() {
    let mut peer = fragment_limit(1);
    peer.feed([wire::text("whole"), wire::text("whole")].concat());
    peer.expect([text("whole"), text("whole")]);
    wire::text("cut by the network").chunks(5).for_each(|piece| peer.feed(piece));
    peer.expect([text("cut by the network")]);
    peer.feed(wire::frame(TEXT, b"one"));
    peer.expect_nothing();
    // Said at the header of the frame that is one too many.
    peer.feed(wire::header(FIN, 10));
    peer.expect_failure(1008, FRAGMENTS);
}

#[test]
fn empty_fragments_count_and_control_frames_do_not() {
    let mut peer = fragment_limit(4);
    peer.feed(wire::frame(BINARY, b""));
    peer.feed([wire::ping(b""), wire::pong(b""), wire::frame(CONTINUATION, b"")].concat().repeat(3));
    peer.expect([sent_pong(b""), sent_pong(b""), sent_pong(b"")]);
    peer.feed([wire::ping(b"last"), wire::frame(CONTINUATION, b"")].concat());
    peer.expect([sent_pong(b"last")].into_iter().chain(failed(1008, FRAGMENTS)));
}

#[test]
fn messages_a_second() {
    let mut peer = rate_limit();
    for _ in 0..3 {
        peer.feed([wire::text("1"), wire::text("2")].concat());
        peer.pass(SECOND / 2);
        peer.feed(wire::text("3"));
        peer.expect(["1", "2", "3"].map(text));
        peer.pass(SECOND / 2);
    }
    peer.feed([wire::text("1"), wire::text("2"), wire::text("3"), wire::text("4"), wire::text("5")].concat());
    peer.expect(["1", "2", "3"].map(text).into_iter().chain(failed(1008, RATE)));
    peer.feed(wire::text("6"));
    peer.expect_nothing();
}

#[test]
fn the_next_second_begins_on_time() {
    let mut peer = rate_limit();
    peer.feed([wire::text("1"), wire::text("2"), wire::text("3")].concat());
    peer.expect(["1", "2", "3"].map(text));
    peer.pass(SECOND - Duration::from_millis(1));
    peer.feed(wire::text("4"));
    peer.expect_failure(1008, RATE);
}

#[test]
fn a_message_counts_once_and_a_control_frame_not_at_all() {
    let mut peer = rate_limit();
    let fragments = [wire::frame(TEXT, b"o"), wire::frame(CONTINUATION, b"n"), wire::frame(FIN, b"e")].concat();
    peer.feed([fragments.repeat(3), wire::ping(b"").repeat(5), wire::pong(b"").repeat(5)].concat());
    peer.expect([text("one"), text("one"), text("one")].into_iter().chain([(); 5].map(|()| sent_pong(b""))));
    peer.feed(fragments);
    peer.expect_failure(1008, RATE);
}

#[test]
fn scripts_have_no_rate() {
    let setup = Setup::limited(|limits| limits.rate = 1);
    let mut script = Driver::open_with(Setup { browser: false, ..setup });
    script.feed(wire::text("again").repeat(10));
    script.expect([(); 10].map(|()| text("again")));
    assert!(script.session.is_open());
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut peer = Driver::open();
    peer.feed(wire::text("again").repeat(1000));
    assert_eq!(peer.take_steps().len(), 1000);
    assert!(peer.session.is_open());
}

//! What a session holds: nothing while nothing is unfinished, and never more than it was sent.

use std::time::Duration;

use websock::proto::session::Session;

use crate::driver::wire::{self, BINARY, CONTINUATION, FIN, TEXT};
use crate::driver::{Driver, Setup, UPGRADE, binary, text};

/// What unfinished input may cost beyond its own bytes: an assembly, and the slack of a growing buffer.
const OVERHEAD: usize = 1024;

#[test]
#[cfg(target_pointer_width = "64")]
fn an_idle_session_is_as_small_as_it_says() {
    assert_eq!(size_of::<Session>(), 32);
}

#[test]
fn nothing_is_held_when_nothing_is_unfinished() {
    let mut peer = Driver::new(Setup::default());
    assert_eq!(peer.session.held(), 0);
    let (start, end) = UPGRADE.split_at(60);
    peer.feed(start);
    assert!(peer.session.held() >= 60);
    peer.feed(end);
    assert_eq!(peer.session.held(), 0, "the head is answered");

    let whole = [wire::text("whole"), wire::ping(b"whole"), wire::binary(&[0; 10_000])].concat();
    peer.feed(&whole);
    assert_eq!(peer.session.held(), 0, "whole frames are never held");
    for cut in 1..60 {
        let (start, end) = whole.split_at(cut);
        peer.feed_each([start, end]);
        assert_eq!(peer.session.held(), 0, "cut at {cut}");
    }
    let frames = [wire::frame(TEXT, b"a"), wire::ping(b""), wire::frame(CONTINUATION, b"b"), wire::frame(FIN, b"c")];
    for frame in &frames {
        peer.feed(frame);
    }
    assert_eq!(peer.session.held(), 0);
    for byte in frames.concat() {
        peer.feed([byte]);
    }
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn what_is_unfinished_is_held_and_counted() {
    let mut peer = Driver::open();
    peer.feed(wire::frame(BINARY, &[0; 20_000]));
    let held = peer.session.held();
    assert!((20_000..=40_000 + OVERHEAD).contains(&held), "{held} for 20,000");
    peer.feed(wire::frame(CONTINUATION, &[0; 40_000]));
    let held = peer.session.held();
    assert!((60_000..=120_000 + OVERHEAD).contains(&held), "{held} for 60,000");
    peer.feed(wire::frame(FIN, b""));
    peer.expect([binary(&[0; 60_000])]);
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn nothing_is_reserved_on_the_word_of_a_header() {
    let mut peer = Driver::open_with(Setup::limited(|limits| limits.message = 1 << 30));
    peer.feed(wire::header(BINARY, 1 << 30));
    assert!(peer.session.held() <= OVERHEAD, "{} for a header", peer.session.held());
    peer.feed([7; 100]);
    assert!(peer.session.held() <= OVERHEAD, "{} for a hundred bytes", peer.session.held());
}

#[test]
fn fragments_cost_their_bytes_alone() {
    let mut peer = Driver::open_with(Setup::limited(|limits| limits.fragments = 100_000));
    peer.feed(wire::frame(BINARY, b""));
    for _ in 0..50 {
        peer.feed(wire::frame(CONTINUATION, b"").repeat(1000));
    }
    assert!(peer.session.held() <= OVERHEAD, "{} for 50,000 empty fragments", peer.session.held());
    assert!(peer.session.is_open());
}

#[test]
fn every_end_gives_back_what_was_held() {
    type End<'a> = (&'a str, &'a dyn Fn(&mut Driver));
    let ends: [End<'_>; 6] = [
        ("a fault", &|peer| peer.feed(b"\xff")),
        ("their close", &|peer| peer.feed(wire::close(1000, ""))),
        ("our close", &|peer| peer.close(1000, "")),
        ("the end of their side", &Driver::eof),
        ("the time", &|peer| peer.pass(Duration::from_secs(30))),
        ("the limit", &|peer| peer.feed(wire::header(FIN, 70_000))),
    ];
    for (name, end) in ends {
        let mut peer = Driver::open();
        peer.feed(wire::frame(TEXT, &[b'x'; 5000]));
        assert!(peer.session.held() >= 5000);
        end(&mut peer);
        assert!(!peer.session.is_open(), "{name} ends it");
        assert_eq!(peer.session.held(), 0, "after {name}");
        assert!(peer.spare.capacity() >= 5000 && peer.spare.is_empty(), "after {name}, for the next message");
    }
}

#[test]
fn the_spare_buffer_goes_round() {
    let mut peer = Driver::open();
    let message = [wire::frame(TEXT, &[b'x'; 5000]), wire::frame(FIN, &[b'y'; 5000])].concat();
    peer.feed(&message);
    let (capacity, place) = (peer.spare.capacity(), peer.spare.as_ptr());
    assert!(capacity >= 10_000);
    for _ in 0..3 {
        let (start, end) = message.split_at(100);
        peer.feed(start);
        assert_eq!(peer.spare.capacity(), 0, "in use");
        assert!(peer.session.held() >= capacity, "and counted, however little of it is filled");
        peer.feed(end);
        assert_eq!((peer.spare.capacity(), peer.spare.as_ptr()), (capacity, place));
    }
    // A buffer as large as few messages need it is not kept.
    let mut peer = Driver::open_with(Setup::limited(|limits| limits.message = 1 << 20));
    peer.feed(wire::frame(BINARY, &vec![0; 300 * 1024]));
    peer.feed(wire::frame(FIN, b""));
    assert_eq!(peer.spare.capacity(), 0);
}

#[test]
fn a_head_holds_what_has_come_of_it() {
    let mut peer = Driver::new(Setup::default());
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16_000));
    for piece in head.as_bytes().chunks(100) {
        peer.feed(piece);
    }
    let held = peer.session.held();
    assert!((head.len()..=2 * head.len() + OVERHEAD).contains(&held), "{held} for {}", head.len());
    peer.feed("x".repeat(1000));
    assert!(peer.session.is_silent(), "over the limit");
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn the_next_message_does_not_see_the_last() {
    let mut peer = Driver::open();
    peer.feed([wire::frame(TEXT, b"a long message that was here before"), wire::frame(FIN, b"")].concat());
    peer.feed([wire::frame(TEXT, b"sho"), wire::frame(FIN, b"rt")].concat());
    peer.expect([text("a long message that was here before"), text("short")]);
}

//! Messages in fragments, and control frames between them (RFC 6455, section 5.4).

use crate::driver::wire::{self, BINARY, CONTINUATION, FIN, TEXT};
use crate::driver::{Driver, Setup, binary, by_peer, failed, sent_close, sent_pong, sent_text, text};

const NOT_UTF8: &str = "text that is not UTF-8";
const STRAY: &str = "continuation of no message";
const INSIDE: &str = "new message inside another";

/// `payload` in frames of one byte, behind an empty first one.
fn in_single_bytes(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frames = wire::frame(opcode, b"");
    for byte in payload {
        frames.extend(wire::frame(CONTINUATION, &[*byte]));
    }
    frames.extend(wire::frame(FIN, b""));
    frames
}

#[test]
fn fragments_make_one_message() {
    let mut peer = Driver::open();
    peer.feed([wire::frame(TEXT, b"Hel"), wire::frame(CONTINUATION, b""), wire::frame(FIN, b"lo")].concat());
    peer.expect([text("Hello")]);
    peer.feed_each([wire::frame(BINARY, b"\xff"), wire::frame(FIN, b"\xfe")]);
    peer.expect([binary(b"\xff\xfe")]);
    peer.feed([wire::frame(TEXT, b""), wire::frame(FIN, b"")].concat());
    peer.expect([text("")]);
    assert!(peer.session.is_open());
}

#[test]
fn a_message_in_fragments_of_one_byte() {
    let mut peer = Driver::open_with(Setup::limited(|limits| limits.fragments = 100));
    for reads in [1, 7, 1000] {
        let payload = "Grüße, 世界 😀, and more of it";
        for piece in in_single_bytes(TEXT, payload.as_bytes()).chunks(reads) {
            peer.feed(piece);
        }
        peer.expect([text(payload)]);
    }
    peer.feed(in_single_bytes(BINARY, &[0xff; 20]));
    peer.expect([binary(&[0xff; 20])]);
}

#[test]
fn nothing_is_delivered_before_the_last_fragment() {
    let mut peer = Driver::open();
    peer.feed_each([wire::frame(TEXT, b"one "), wire::frame(CONTINUATION, b"two ")]);
    peer.expect_nothing();
    peer.feed([wire::frame(FIN, b"three"), wire::text("four")].concat());
    peer.expect([text("one two three"), text("four")]);
}

#[test]
fn a_message_can_follow_another_in_every_form() {
    let whole = |word: &str| wire::text(word);
    let pieces =
        |word: &str| [wire::frame(TEXT, &word.as_bytes()[..1]), wire::frame(FIN, &word.as_bytes()[1..])].concat();
    let mut peer = Driver::open();
    peer.feed([whole("ab"), pieces("cd"), pieces("ef"), whole("gh"), pieces("ij"), whole("kl")].concat());
    peer.expect(["ab", "cd", "ef", "gh", "ij", "kl"].map(text));
}

#[test]
fn a_continuation_needs_a_message() {
    for (before, first) in [
        (vec![], CONTINUATION),
        (vec![], FIN),
        (wire::text("whole"), CONTINUATION),
        (wire::text("whole"), FIN),
        ([wire::frame(TEXT, b"who"), wire::frame(FIN, b"le")].concat(), FIN),
        (wire::ping(b""), FIN),
    ] {
        let mut peer = Driver::open();
        peer.feed(before);
        peer.take_steps();
        // Seen from the header alone.
        peer.feed(wire::header(first, 10));
        peer.expect_failure(1002, STRAY);
        let mut peer = Driver::open();
        peer.feed([wire::frame(first, b"tail"), wire::text("more")].concat());
        peer.expect_failure(1002, STRAY);
    }
}

#[test]
fn a_message_does_not_begin_inside_another() {
    for opcode in [TEXT, BINARY] {
        for next in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
            let mut peer = Driver::open();
            peer.feed(wire::frame(opcode, b"begun"));
            peer.feed(wire::header(next, 10));
            peer.expect_failure(1002, INSIDE);
            let mut peer = Driver::open();
            peer.feed([wire::frame(opcode, b""), wire::frame(next, b"another")].concat());
            peer.expect_failure(1002, INSIDE);
        }
    }
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message() {
    let mut peer = Driver::open_with(Setup { acknowledgement: Some("next"), ..Setup::default() });
    peer.feed(
        [wire::frame(TEXT, b"Hel"), wire::ping(b"there?"), wire::pong(b""), wire::frame(FIN, b"lo"), wire::ping(b"")]
            .concat(),
    );
    peer.expect([sent_pong(b"there?"), text("Hello"), sent_text("next"), sent_pong(b"")]);

    peer.feed(wire::frame(TEXT, b"Hel"));
    peer.feed(wire::ping(b"at once"));
    peer.expect([sent_pong(b"at once")]);
    peer.feed(wire::frame(FIN, b"lo"));
    peer.expect([text("Hello"), sent_text("next")]);
}

#[test]
fn a_control_frame_cut_between_fragments() {
    let mut peer = Driver::open();
    let ping = wire::ping(b"cut");
    let (start, end) = ping.split_at(7);
    peer.feed([wire::frame(TEXT, b"Hel").as_slice(), start].concat());
    peer.expect_nothing();
    peer.feed([end, &wire::frame(FIN, b"lo")].concat());
    peer.expect([sent_pong(b"cut"), text("Hello")]);
}

#[test]
fn a_control_frame_inside_a_frame_is_payload() {
    let mut peer = Driver::open();
    let inside = wire::ping(b"no");
    peer.feed(wire::header(FIN | BINARY, inside.len() as u64));
    peer.feed(wire::masked(&inside));
    peer.expect([binary(&inside)]);
}

#[test]
fn a_close_between_fragments_ends_the_message_unsaid() {
    let mut peer = Driver::open();
    peer.feed([wire::frame(TEXT, b"Hel"), wire::close(1001, "off"), wire::frame(FIN, b"lo")].concat());
    peer.expect([sent_close(1001, ""), by_peer(1001, "off")]);
    assert!(peer.session.is_silent());
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let payload = "aé€😀".as_bytes();
    for cut in 0..=payload.len() {
        let (start, end) = payload.split_at(cut);
        let mut peer = Driver::open();
        peer.feed([wire::frame(TEXT, start), wire::ping(b"\xff"), wire::frame(FIN, end)].concat());
        peer.expect([sent_pong(b"\xff"), text("aé€😀")]);
    }
}

#[test]
fn bad_utf8_is_seen_across_fragments() {
    let fails_at_last = |fragments: &[&[u8]]| {
        let mut peer = Driver::open();
        let (last, others) = fragments.split_last().expect("a fragment");
        let mut first = TEXT;
        for fragment in others {
            peer.feed(wire::frame(first, fragment));
            peer.expect_nothing();
            first = CONTINUATION;
        }
        // The message is not at its end, and the frame isn't either.
        peer.feed(wire::header(CONTINUATION, 50));
        peer.expect_nothing();
        peer.feed(wire::masked(last));
        peer.expect_failure(1007, NOT_UTF8);
    };
    fails_at_last(&[b"\xed", b"\xa0"]);
    fails_at_last(&[b"\xf0", b"\x9f", b"\x98", b"a"]);
    fails_at_last(&[b"\xe2\x82", b"\xc3"]);
    fails_at_last(&[b"\xf4", b"", b"\x90"]);
    fails_at_last(&["all good".as_bytes(), b"\x80"]);
}

#[test]
fn a_message_does_not_end_inside_a_character() {
    for (start, end) in [(&b"a\xc3"[..], &b""[..]), (b"", b"\xe2\x82"), (b"\xf0\x9f", b"\x98"), (b"\xe2", b"\x82")] {
        let mut peer = Driver::open();
        peer.feed([wire::frame(TEXT, start), wire::frame(FIN, end)].concat());
        peer.expect_failure(1007, NOT_UTF8);
    }
    // Nor does the next message go on with it.
    let mut peer = Driver::open();
    peer.feed([wire::frame(TEXT, b"\xc3"), wire::frame(FIN, b"\xa9"), wire::frame(TEXT, b"\xc3")].concat());
    peer.expect([text("é")]);
    peer.feed(wire::frame(FIN, b"("));
    peer.expect(failed(1007, NOT_UTF8));
}

#[test]
fn binary_fragments_are_any_bytes() {
    let mut peer = Driver::open();
    peer.feed(
        [wire::frame(BINARY, b"\xc3"), wire::frame(CONTINUATION, b"\xff"), wire::frame(FIN, b"\xe2\x82")].concat(),
    );
    peer.expect([binary(b"\xc3\xff\xe2\x82")]);
}

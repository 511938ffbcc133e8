//! Frames, good and bad, and the UTF-8 in them (RFC 6455, sections 5.1, 5.2, 5.5 and 8.1).

use crate::driver::wire::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use crate::driver::{Driver, Setup, binary, by_peer, failed, sent_close, sent_pong, sent_text, text};

const RESERVED_OPCODE: &str = "reserved opcode";
const RESERVED_BIT: &str = "reserved bit set";
const MASK: &str = "frame not masked as its sender must";
const CONTROL: &str = "control frame fragmented or too long";
const LENGTH: &str = "payload length not in its shortest form";
const TOO_BIG: &str = "message over the limit";
const CLOSE_CODE: &str = "close code that may not be sent";
const NOT_UTF8: &str = "text that is not UTF-8";

/// Sequences that are no UTF-8 (RFC 3629), each with the number of bytes after which that shows.
const BAD: [(&[u8], usize); 13] = [
    (b"\xff", 1),
    (b"\x80", 1),
    (b"\xc0\x80", 1),
    (b"\xc1\xbf", 1),
    (b"\xe0\x80\x80", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xed\xbf\xbf", 2),
    (b"\xf0\x80\x80\x80", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xf8\x88\x80\x80\x80", 1),
    (b"\xe2\x28\xa1", 2),
    (b"\xf0\x9f\x98\x28", 4),
];

/// Characters begun and not ended.
const CUT: [&[u8]; 4] = [b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x98"];

#[track_caller]
fn fails(bytes: &[u8], code: u16, why: &str) {
    let mut peer = Driver::open();
    peer.feed(bytes);
    peer.expect_failure(code, why);
}

#[test]
fn messages_of_both_kinds_come_through() {
    let mut peer = Driver::open();
    peer.feed(wire::text("Grüße, 世界 😀"));
    peer.expect([text("Grüße, 世界 😀")]);
    peer.feed(wire::binary(b"\x00\xff\xfe"));
    peer.expect([binary(b"\x00\xff\xfe")]);
    peer.feed([wire::text(""), wire::binary(b"")].concat());
    peer.expect([text(""), binary(b"")]);
    peer.feed(wire::text("\u{0}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffe}\u{ffff}\u{10000}\u{10ffff}"));
    peer.expect([text("\u{0}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffe}\u{ffff}\u{10000}\u{10ffff}")]);
    assert!(peer.session.is_open());
}

#[test]
fn every_form_of_a_length_is_read() {
    for length in [1, 7, 8, 9, 124, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let ascii: String = (0..length).map(|index| char::from(b' ' + (index % 90) as u8)).collect();
        let mut peer = Driver::open();
        peer.feed([wire::binary(&payload), wire::text(&ascii)].concat());
        peer.expect([binary(&payload), text(&ascii)]);
    }
}

#[test]
fn many_frames_in_one_read_are_all_taken_in_order() {
    let words: Vec<String> = (0..200).map(|number| format!("message {number}")).collect();
    let mut peer = Driver::open_with(Setup { acknowledgement: Some("next"), ..Setup::default() });
    peer.feed(words.iter().flat_map(|word| wire::text(word)).collect::<Vec<_>>());
    peer.expect(words.iter().flat_map(|word| [text(word), sent_text("next")]));
}

#[test]
fn reserved_bits_fail_the_connection_at_the_first_byte() {
    for bit in [0x10, 0x20, 0x40, 0x70] {
        for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
            fails(&[FIN | bit | opcode], 1002, RESERVED_BIT);
            fails(&wire::frame(FIN | bit | opcode, b"\x03\xe8"), 1002, RESERVED_BIT);
        }
    }
    fails(&[wire::frame(TEXT, b"a"), vec![FIN | 0x40]].concat(), 1002, RESERVED_BIT);
}

#[test]
fn reserved_opcodes_fail_the_connection_at_the_first_byte() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        fails(&[FIN | opcode], 1002, RESERVED_OPCODE);
        fails(&[opcode], 1002, RESERVED_OPCODE);
        fails(&wire::frame(FIN | opcode, b"data"), 1002, RESERVED_OPCODE);
    }
}

#[test]
fn frames_without_a_mask_are_not_acted_on() {
    for (first, payload) in [
        (FIN | TEXT, &b"hi"[..]),
        (FIN | BINARY, b""),
        (TEXT, b"part"),
        (FIN | PING, b"x"),
        (FIN | PONG, b""),
        (FIN | CLOSE, b"\x03\xe8"),
        (FIN | CLOSE, b""),
    ] {
        fails(&wire::unmasked(first, payload), 1002, MASK);
        fails(&wire::unmasked(first, payload)[..2], 1002, MASK);
    }
}

#[test]
fn lengths_that_are_not_minimal_fail_the_connection() {
    for length in
        [&[0xfe, 0, 0][..], &[0xfe, 0, 125], &[0xff, 0, 0, 0, 0, 0, 0, 0, 1], &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]]
    {
        for opcode in [FIN | TEXT, BINARY] {
            fails(&[&[opcode], length].concat(), 1002, LENGTH);
        }
    }
}

#[test]
fn lengths_beyond_63_bits_fail_the_connection() {
    for length in [1 << 63, u64::MAX, (1 << 63) | 5] {
        fails(&wire::header(FIN | BINARY, length), 1002, LENGTH);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_at_the_header() {
    for length in [70_001, 1 << 30, 1 << 32, (1 << 32) + 5, 1 << 62, (1 << 63) - 1] {
        fails(&wire::header(FIN | BINARY, length), 1009, TOO_BIG);
        fails(&wire::header(TEXT, length), 1009, TOO_BIG);
    }
    // The sum of the payloads must not wrap around.
    fails(&[wire::frame(BINARY, b"abc"), wire::header(FIN, (1 << 63) - 2)].concat(), 1009, TOO_BIG);
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [CLOSE, PING, PONG] {
        fails(&[opcode], 1002, CONTROL);
        fails(&wire::frame(opcode, b"\x03\xe8"), 1002, CONTROL);
        fails(&[FIN | opcode, 0x80 | 126], 1002, CONTROL);
        fails(&wire::frame(FIN | opcode, &[b'x'; 126]), 1002, CONTROL);
        fails(&wire::header(FIN | opcode, 1 << 40), 1002, CONTROL);
    }
}

#[test]
fn pings_are_answered_with_their_payload() {
    let mut peer = Driver::open();
    for payload in [&b""[..], b"x", b"\xff\x00\xed\xa0\x80", &[0xfe; 124], &[b'p'; 125]] {
        peer.feed(wire::ping(payload));
        peer.expect([sent_pong(payload)]);
    }
    peer.feed([wire::ping(b"1"), wire::text("a"), wire::ping(b"2")].concat());
    peer.expect([sent_pong(b"1"), text("a"), sent_pong(b"2")]);
    assert!(peer.session.is_open());
}

#[test]
fn pongs_are_taken_without_a_word() {
    let mut peer = Driver::open();
    peer.feed([wire::pong(b""), wire::pong(b"unasked"), wire::pong(&[0xff; 125])].concat());
    peer.expect_nothing();
    assert!(peer.session.is_open());
}

#[test]
fn close_codes_that_may_not_be_sent_are_a_fault() {
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535] {
        fails(&wire::close(code, ""), 1002, CLOSE_CODE);
        fails(&wire::close(code, "reason"), 1002, CLOSE_CODE);
    }
    fails(&wire::frame(FIN | CLOSE, b"\x03"), 1002, "half a close code");
}

#[test]
fn a_close_reason_is_utf8_and_fits() {
    for (bad, _) in BAD {
        fails(&wire::close_bytes(1000, bad), 1007, NOT_UTF8);
    }
    for cut in CUT {
        fails(&wire::close_bytes(1000, &[b"ok", cut].concat()), 1007, NOT_UTF8);
    }
    fails(&wire::close(1000, &"x".repeat(124)), 1002, CONTROL);
    let longest = "é".repeat(61) + "x";
    let mut peer = Driver::open();
    peer.feed(wire::close(1000, &longest));
    peer.expect([sent_close(1000, ""), by_peer(1000, &longest)]);
}

#[test]
fn what_came_before_a_fault_counts_and_what_comes_behind_it_does_not() {
    let mut peer = Driver::open();
    peer.feed([wire::text("good"), wire::frame(0x83, b""), wire::text("late"), wire::ping(b"late")].concat());
    peer.expect([text("good")].into_iter().chain(failed(1002, RESERVED_OPCODE)));
    assert!(peer.session.is_silent());
}

#[test]
fn text_that_is_not_utf8_is_never_delivered() {
    for (bad, _) in BAD {
        for around in ["", "plain", "Grüße "] {
            fails(&wire::frame(FIN | TEXT, &[around.as_bytes(), bad, around.as_bytes()].concat()), 1007, NOT_UTF8);
        }
    }
    for cut in CUT {
        fails(&wire::frame(FIN | TEXT, &[b"ok ", cut].concat()), 1007, NOT_UTF8);
    }
    let mut peer = Driver::open();
    for (bad, _) in BAD {
        peer.feed(wire::binary(bad));
        peer.expect([binary(bad)]);
    }
}

#[test]
fn long_text_is_checked_to_its_last_byte() {
    for length in [4095, 4096, 4103, 20_000] {
        let plain = "x".repeat(length - 2);
        for end in ["é", "zz"] {
            let mut peer = Driver::open();
            peer.feed(wire::text(&format!("{plain}{end}")));
            peer.expect([text(&format!("{plain}{end}"))]);
        }
        fails(&wire::frame(FIN | TEXT, &[plain.as_bytes(), b"z\xc3"].concat()), 1007, NOT_UTF8);
        for at in (0..9).chain(length - 9..length) {
            let mut bytes = vec![b'x'; length];
            bytes[at] = 0xff;
            fails(&wire::frame(FIN | TEXT, &bytes), 1007, NOT_UTF8);
        }
    }
}

#[test]
fn text_fails_at_the_first_bad_byte_of_an_unfinished_frame() {
    for (bad, shows) in BAD {
        let mut peer = Driver::open();
        peer.feed(wire::header(FIN | TEXT, 1000));
        let bytes = wire::masked(&[b"so far so good ", bad].concat());
        let good = b"so far so good ".len() + shows - 1;
        peer.feed(&bytes[..good]);
        peer.expect_nothing();
        assert!(peer.session.is_open(), "{} has not shown yet", bad.escape_ascii());
        peer.feed(&bytes[good..=good]);
        peer.expect_failure(1007, NOT_UTF8);
        // The same in one read: the frame is unfinished all the same.
        fails(&[wire::header(TEXT, 1000), bytes].concat(), 1007, NOT_UTF8);
    }
}

#[test]
fn a_second_request_is_no_frame_even_in_mid_message() {
    let mut peer = Driver::open();
    peer.feed(wire::frame(TEXT, b"half"));
    peer.feed("HEAD / HTTP/1.1\r\n");
    peer.expect_failure(1002, RESERVED_BIT);
}

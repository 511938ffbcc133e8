//! How a connection ends: their Close, ours, a failure, an end without a word (RFC 6455, sections 5.5.1 and 7).

use std::borrow::Cow;
use std::time::Duration;

use websock::proto::CloseCode;
use websock::proto::session::End;

use crate::driver::wire::{self, FIN, TEXT};
use crate::driver::{Driver, Sent, Setup, Step, UPGRADE, by_peer, by_us, failed, sent_close, sent_pong, text};

const CLOSE_WAIT: Duration = Duration::from_secs(5);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A connection that we have closed.
fn closing() -> Driver {
    let mut peer = Driver::open();
    peer.close(1001, "server is stopping");
    peer.expect([sent_close(1001, "server is stopping"), by_us(1001, "server is stopping")]);
    assert!(!peer.session.is_open() && !peer.session.is_silent() && !peer.is_over());
    peer
}

/// A connection that has failed.
fn failed_one() -> Driver {
    let mut peer = Driver::open();
    peer.feed(b"\x83");
    peer.expect(failed(1002, "reserved opcode"));
    assert!(peer.session.is_silent() && !peer.is_over());
    peer
}

#[test]
fn a_close_is_answered_with_its_code() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        for reason in ["", "going elsewhere", "ça y est"] {
            let mut peer = Driver::open();
            peer.feed(wire::close(code, reason));
            peer.expect([sent_close(code, ""), by_peer(code, reason)]);
            assert!(!peer.session.is_open() && peer.session.is_silent());
            assert!(!peer.is_over(), "the peer is to end the connection first");
            peer.eof();
            peer.expect_nothing();
            assert!(peer.is_over());
        }
    }
}

#[test]
fn an_empty_close_is_answered_with_one() {
    let mut peer = Driver::open();
    peer.feed(wire::empty_close());
    peer.expect([Step::Sent(Sent::Close(None, String::new())), Step::ByPeer(None, String::new())]);
    assert_eq!(peer.sent(), b"\x88\x00");
    assert!(peer.session.is_silent());
}

#[test]
fn what_comes_behind_a_close_is_ignored() {
    let late = [wire::text("late"), wire::ping(b"late"), wire::close(1000, "again"), b"\xff\xff".to_vec()].concat();
    let mut peer = Driver::open();
    peer.feed([wire::text("in time"), wire::close(1000, ""), late.clone()].concat());
    peer.expect([text("in time"), sent_close(1000, ""), by_peer(1000, "")]);
    peer.feed(&late);
    late.iter().for_each(|byte| peer.feed([*byte]));
    peer.expect_nothing();
    assert!(!peer.is_over());
}

#[test]
fn a_close_cut_by_the_network_is_acted_on_when_it_is_whole() {
    let mut peer = Driver::open();
    let close = wire::close(3001, "bye");
    close[..close.len() - 1].chunks(2).for_each(|piece| peer.feed(piece));
    peer.expect_nothing();
    assert!(peer.session.is_open());
    peer.feed(&close[close.len() - 1..]);
    peer.expect([sent_close(3001, ""), by_peer(3001, "bye")]);
}

#[test]
fn our_close_is_followed_by_theirs() {
    let mut peer = closing();
    peer.feed(wire::close(1001, ""));
    peer.expect_nothing();
    assert!(peer.session.is_silent() && !peer.is_over(), "one Close each is enough");
    peer.eof();
    peer.expect_nothing();
    assert!(peer.is_over());
}

#[test]
fn messages_and_pings_behind_our_close_are_ignored() {
    let mut peer = closing();
    peer.feed([wire::text("late"), wire::ping(b"late"), wire::pong(b"")].concat());
    peer.feed_each([wire::frame(TEXT, b"la"), wire::ping(b""), wire::frame(FIN, b"te")]);
    wire::text("in pieces").chunks(3).for_each(|piece| peer.feed(piece));
    peer.expect_nothing();
    assert!(!peer.session.is_silent(), "their Close is still to come");
    peer.feed([wire::text("last"), wire::close(1000, ""), wire::text("too late")].concat());
    peer.expect_nothing();
    assert!(peer.session.is_silent());
}

#[test]
fn our_close_gives_up_a_message_of_theirs() {
    let mut peer = Driver::open();
    peer.feed(wire::frame(TEXT, b"half of a "));
    peer.close(1000, "");
    peer.expect([sent_close(1000, ""), by_us(1000, "")]);
    assert_eq!(peer.session.held(), 0);
}

#[test]
fn faults_behind_our_close_end_it_without_another() {
    for fault in [
        b"\xff".to_vec(),
        wire::unmasked(0x81, b"x"),
        wire::close(1005, ""),
        wire::frame(FIN | TEXT, b"\xff"),
        wire::header(0x82, 1 << 40),
        wire::frame(FIN, b"stray"),
    ] {
        let mut peer = closing();
        peer.feed([fault, wire::close(1000, "")].concat());
        peer.expect_nothing();
        assert!(peer.session.is_silent() && !peer.is_over());
    }
}

#[test]
fn a_connection_is_closed_once() {
    let mut peer = closing();
    peer.close(1000, "again");
    peer.expect_nothing();
    let mut peer = failed_one();
    peer.close(1000, "again");
    peer.expect_nothing();
    let mut peer = Driver::open();
    peer.feed(wire::close(1000, ""));
    peer.take_steps();
    peer.close(1000, "again");
    peer.expect_nothing();
    assert!(peer.session.is_silent());
}

#[test]
fn an_unanswered_close_has_its_time() {
    for end in [CLOSE_WAIT, Duration::from_secs(500)] {
        let mut peer = closing();
        peer.pass(CLOSE_WAIT - MILLISECOND);
        // Talking on does not help.
        peer.feed([wire::text("wait"), wire::ping(b"wait"), wire::pong(b"")].concat());
        assert!(!peer.is_over());
        peer.pass(end - CLOSE_WAIT + MILLISECOND);
        peer.expect_nothing();
        assert!(peer.is_over());
    }
}

#[test]
fn a_peer_that_does_not_end_the_connection_has_its_time() {
    let mut peer = failed_one();
    peer.pass(CLOSE_WAIT - MILLISECOND);
    peer.feed(b"and on and on");
    assert!(!peer.is_over());
    peer.pass(MILLISECOND);
    assert!(peer.is_over());

    // After both Closes it begins anew: it is another wait.
    let mut peer = closing();
    peer.pass(CLOSE_WAIT - MILLISECOND);
    peer.feed(wire::close(1001, ""));
    peer.pass(CLOSE_WAIT - MILLISECOND);
    assert!(!peer.is_over());
    peer.pass(MILLISECOND);
    assert!(peer.is_over());
    peer.expect_nothing();
}

#[test]
fn an_end_without_a_word() {
    let cut = wire::text("cut");
    for (before, steps) in [
        (&b""[..], vec![]),
        (&wire::frame(TEXT, b"unfinished"), vec![]),
        (&cut[..1], vec![]),
        (&cut[..5], vec![]),
        (&cut[..8], vec![]),
        (&wire::ping(b"?"), vec![sent_pong(b"?")]),
    ] {
        for half_closed in [true, false] {
            let mut peer = Driver::open();
            peer.feed(before);
            peer.expect(steps.clone());
            if half_closed {
                peer.eof()
            } else {
                peer.lose()
            }
            peer.expect([Step::Vanished]);
            assert!(!peer.session.is_open() && peer.session.is_silent() && peer.is_over());
            // Only once.
            peer.eof();
            peer.lose();
            peer.expect_nothing();
        }
    }
}

#[test]
fn an_end_outside_of_open_is_no_news() {
    let opening = |bytes: &str| {
        let mut peer = Driver::new(Setup::default());
        peer.feed(bytes);
        peer.take_steps();
        peer
    };
    for make in [&|| opening(""), &|| opening(&UPGRADE[..50]), &|| opening("nonsense\r\n"), &closing, &failed_one]
        as [&dyn Fn() -> Driver; 5]
    {
        let mut peer = make();
        peer.eof();
        peer.expect_nothing();
        assert!(peer.is_over());
        assert!(peer.session.is_silent() && peer.session.held() == 0);
        let mut peer = make();
        peer.lose();
        peer.expect_nothing();
        assert!(peer.is_over());
    }
}

#[test]
fn output_still_goes_out_to_a_peer_that_has_ended_its_side() {
    let mut peer = Driver::open();
    peer.feed(wire::ping(b"and bye"));
    peer.eof();
    assert!(!peer.session.is_over(false), "the pong is still to go");
    assert!(peer.session.is_over(true));
    let mut peer = Driver::open();
    peer.lose();
    assert!(peer.session.is_over(false), "a broken connection takes no output");
}

#[test]
fn the_end_of_their_side_does_not_buy_time() {
    for make in [failed_one, closing] {
        let mut peer = make();
        if !peer.session.is_silent() {
            peer.feed(wire::close(1000, ""));
        }
        let deadline = peer.session.deadline();
        peer.pass(CLOSE_WAIT - MILLISECOND);
        peer.eof();
        assert_eq!(peer.session.deadline(), deadline, "until which output may wait");
    }
}

#[test]
fn an_upgrade_and_the_end_of_input_at_once() {
    let mut peer = Driver::new(Setup::default());
    peer.feed([UPGRADE.as_bytes(), &wire::text("only this")].concat());
    peer.take_steps();
    peer.eof();
    peer.expect([Step::Vanished]);
    assert!(peer.is_over());
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let why = "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé";
    let mut peer = Driver::open();
    peer.close(4000, why);
    peer.expect([sent_close(4000, &"é".repeat(61)), by_us(4000, why)]);
}

#[test]
fn ends_in_words() {
    let code = CloseCode::received(4001);
    for (end, words) in [
        (End::ByPeer(code, "".into()), "closed by peer, 4001"),
        (End::ByPeer(code, "two\nlines".into()), r#"closed by peer, 4001 "two\nlines""#),
        (End::ByPeer(None, "".into()), "closed by peer, no code"),
        (End::ByUs(CloseCode::GOING_AWAY, Cow::Borrowed("stopping")), "closed with 1001: stopping"),
        (End::Vanished, "peer vanished"),
    ] {
        assert_eq!(end.to_string(), words);
    }
}

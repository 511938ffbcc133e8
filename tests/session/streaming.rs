//! A stream of events: what a session writes by itself, what it takes, and how it ends.

use std::borrow::Cow;
use std::time::Duration;

use websock::clock::Moment;
use websock::proto::CloseCode;
use websock::proto::deflate::Codec;
use websock::proto::input::Input;
use websock::proto::session::{End, Limits, Session, Turn};
use websock::proto::tally::Tally;

use crate::driver::Setup;

const GET: &[u8] = b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n";
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// A stream, and what it has said since it was asked last.
struct Stream {
    session: Session,
    limits: Limits,
    now: Moment,
    latest: u64,
    out: Vec<u8>,
    spare: Vec<u8>,
    codec: Codec,
    tally: Tally,
}

impl Stream {
    /// A connection whose request has been answered with a stream; `behind`: what came with the request.
    fn open(behind: &[u8]) -> Self {
        let limits = Setup::limited(|limits| limits.ping_interval = PING_INTERVAL).limits;
        let now = Moment::from_millis(1_000);
        let (session, out, spare) = (Session::new(now, &limits), Vec::new(), Vec::new());
        let (codec, tally) = (Codec::default(), Tally::default());
        let mut stream = Self { session, limits, now, latest: 7, out, spare, codec, tally };
        let mut bytes = [GET, behind].concat();
        let mut input = Input::new(&mut bytes);
        let request = stream.call(|session, turn| session.next(&mut input, turn).is_some());
        assert!(request && !stream.session.is_open());
        stream.call(|session, turn| session.stream(&["Vary: Origin"], "me".into(), 1500, turn));
        let said = stream.said();
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("Vary: Origin\r\n\r\nretry: 1500\n\n"),
            "{said}"
        );
        assert!(stream.call(|session, turn| session.next(&mut input, turn).is_none()));
        assert!(input.is_empty(), "what comes behind the request is dropped");
        stream
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Session, &mut Turn<'_>) -> T) -> T {
        let Self { session, limits, now, latest, out, spare, codec, tally } = self;
        call(session, &mut Turn { now: *now, limits, out, spare, codec, tally, latest: *latest })
    }

    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).expect("UTF-8")
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let event = self.call(|session, turn| session.tick(turn).is_some());
        assert!(!event, "time alone ends no stream");
    }
}

#[test]
fn it_is_open_and_gives_signs_of_life() {
    let mut stream = Stream::open(b"");
    assert!(stream.session.is_open() && !stream.session.is_plain() && !stream.session.is_silent());
    assert_eq!(stream.session.stream_owner(), Some("me"));
    stream.pass(PING_INTERVAL - Duration::from_millis(1));
    assert_eq!(stream.said(), "");
    assert_eq!(stream.session.deadline(), stream.now.after(Duration::from_millis(1)));
    stream.pass(Duration::from_millis(1));
    assert_eq!(stream.said(), ":\nid: 7-me\n\n");
    // Nobody is to answer: they go on for ever.
    for latest in 8..20 {
        stream.latest = latest;
        stream.pass(PING_INTERVAL);
        assert_eq!(stream.said(), format!(":\nid: {latest}-me\n\n"));
    }
    assert!(stream.session.is_open());
    assert_eq!(stream.session.held(), 0);
}

#[test]
fn where_no_pings_are_sent_there_are_no_signs_of_life() {
    let mut stream = Stream::open(b"");
    stream.limits.ping_interval = Duration::ZERO;
    stream.pass(PING_INTERVAL);
    assert_eq!(stream.said(), ":\nid: 7-me\n\n", "this one was due already");
    assert_eq!(stream.session.deadline(), Moment::NEVER);
}

#[test]
fn what_comes_in_is_dropped() {
    let mut stream = Stream::open(b"GET / HTTP/1.1\r\n\r\n\x81\x85");
    for bytes in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x88\x80\x00\x00\x00\x00", &[0xff; 10_000]] {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        stream.session.heard();
        assert!(stream.call(|session, turn| session.next(&mut input, turn).is_none()));
        assert!(input.is_empty() && stream.session.is_open());
    }
    assert_eq!((stream.said(), stream.session.held()), (String::new(), 0));
    assert_eq!((stream.tally.frames, stream.tally.received.of(websock::proto::frame::Opcode::Text).messages), (0, 0));
}

#[test]
fn closed_by_us_it_says_why_once_and_then_waits_for_the_end() {
    let mut stream = Stream::open(b"");
    let close = |session: &mut Session, turn: &mut Turn<'_>| {
        session.close(CloseCode::GOING_AWAY, Cow::Borrowed("server is \"stopping\""), turn)
    };
    let end = stream.call(close);
    assert_eq!(end, Some(End::ByUs(CloseCode::GOING_AWAY, Cow::Borrowed("server is \"stopping\""))));
    let told = r#"{"opcode":"close","code":1001,"error":"server is \"stopping\""}"#;
    assert_eq!(stream.said(), format!("event: close\ndata: {told}\n\n"));
    assert!(!stream.session.is_open() && stream.session.is_silent() && !stream.session.is_over(true));
    assert_eq!(stream.session.stream_owner(), None, "no message goes to it any more");
    assert_eq!(stream.call(close), None);
    stream.pass(stream.limits.close_wait);
    assert!(stream.session.is_over(false));
    assert_eq!(stream.said(), "");
}

#[test]
fn the_peers_end_is_the_streams() {
    let mut stream = Stream::open(b"");
    assert_eq!(stream.call(|session, turn| session.eof(turn)), Some(End::Vanished));
    assert!(!stream.session.is_open() && !stream.session.is_over(false) && stream.session.is_over(true));
    let mut stream = Stream::open(b"");
    assert_eq!(stream.session.lost(), Some(End::Vanished));
    assert!(stream.session.is_over(false));
    assert!(stream.call(|session, turn| session.tick(turn)).is_none());
}

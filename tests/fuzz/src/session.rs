//! Target `session`: one connection from its first byte to its end, driven as the loop drives it.
//!
//! The input is a sequence of operations, each a letter and what belongs to it; see `Op`. Permitted, and nothing
//! besides:
//!
//! - A session that was accepted gives one [`End`], in the very call in which it stops being open; one that never was
//!   gives none. Unless its peer has vanished, a Close frame goes with it. Messages come while it is open, requests and
//!   refusals before.
//! - All output is whole: first responses, then unmasked frames, or events. After a refusal, a Close frame or the last event
//!   there is none, nor once the session has said that it is silent. Silent and over are for good.
//! - A peer that has not been heard of since a ping is not pinged again.
//! - To a paced script a frame goes out only when the one before is proved to be read, or its time has passed.
//! - After a tick, and whatever is held having been released, the deadline lies ahead, but for a session that is over.
//! - What is held is bounded by the limits and by what was handed to it.
//! - Closed by us, and heard of no more, it is over after a bounded number of deadlines.

use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use websock::clock::Moment;
use websock::proto::CloseCode;
use websock::proto::deflate::Codec;
use websock::proto::frame::{self, Header, Opcode, Sender};
use websock::proto::handshake;
use websock::proto::http::{self, MAX_HEAD, Refusal, Request};
use websock::proto::incoming::Posted;
use websock::proto::input::Input;
use websock::proto::message::Assembly;
use websock::proto::pacing::Pacer;
use websock::proto::session::{End, Event, Limits, Session, Terms, Turn};
use websock::proto::tally::Tally;

const GREETING: Duration = Duration::from_millis(30);

/// Between two frames to a paced script; the second is for those whose administrator has set it to nothing.
const GAPS: [Duration; 2] = [Duration::from_millis(20), Duration::ZERO];

const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The longest message that any of [`limits`] allows, in bytes.
const MESSAGE: usize = 600;

/// A buffer up to this capacity is used again for the next message in pieces: see `give_spare`.
const SPARE: usize = 256 * 1024;

const UPGRADE: &[u8] = b"GET /web HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Letters, so that an input can be written by hand, and stays what it is when an operation is added. A byte that is
/// no letter of these does nothing.
#[derive(Clone, Copy, Debug)]
enum Op<'a> {
    /// `U`, `G`: a request to upgrade, or another.
    Request(&'a [u8]),
    /// `B`, a length, bytes: they come.
    Bytes(&'a [u8]),
    /// `F`, a first byte, a length, bytes: they come as the masked payload of a frame that begins with the first byte.
    Frame(u8, &'a [u8]),
    /// `C`, a length: from here on what comes does so in pieces of this length; zero: whole.
    Cut(u8),
    /// `A`, a letter of [`Answer`]: how requests are answered from here on.
    Answer(u8),
    /// `W`, a number: its square in milliseconds passes.
    Wait(u8),
    /// `D`: the time until the deadline passes.
    Deadline,
    /// `S`, `s`, a length: a text is to be sent to the peer; the small letter: it is urgent.
    Send(u8, bool),
    /// `X`: we close.
    Close,
    /// `E`: the peer ends its side.
    Eof,
    /// `L`: the connection breaks.
    Lost,
    /// `T`, a number: other limits hold from here on.
    Limits(u8),
    Nothing,
}

impl<'a> Arbitrary<'a> for Op<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let letter: u8 = u.arbitrary()?;
        Ok(match letter {
            b'U' => Self::Request(UPGRADE),
            b'G' => Self::Request(GET),
            b'B' => Self::Bytes(counted(u)?),
            b'F' => Self::Frame(u.arbitrary()?, counted(u)?),
            b'C' => Self::Cut(u.arbitrary()?),
            b'A' => Self::Answer(u.arbitrary()?),
            b'W' => Self::Wait(u.arbitrary()?),
            b'D' => Self::Deadline,
            b'S' | b's' => Self::Send(u.arbitrary()?, letter == b's'),
            b'X' => Self::Close,
            b'E' => Self::Eof,
            b'L' => Self::Lost,
            b'T' => Self::Limits(u.arbitrary()?),
            _ => Self::Nothing,
        })
    }
}

fn counted<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = usize::from(u8::arbitrary(u)?);
    u.bytes(length.min(u.len()))
}

/// How a request is answered, where it can be answered so.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// `b`
    Browser,
    /// `s`
    Script,
    /// `p`, `0`: the gap between its frames is one of [`GAPS`].
    PacedScript(Duration),
    /// `r`
    Refuse,
    /// `k`, `l`: by a response; the second: the last on this connection.
    Respond { last: bool },
    /// `e`: by a stream of events.
    Stream,
}

fn limits(number: u8) -> Limits {
    let all = |seconds| Limits {
        message: MESSAGE,
        fragments: 4,
        rate: 3,
        head_time: Duration::from_secs(seconds),
        message_time: Duration::from_secs(seconds),
        ping_interval: Duration::from_secs(seconds),
        close_wait: CLOSE_WAIT,
    };
    match number % 3 {
        0 => all(25),
        // Everything that can be switched off is.
        1 => Limits { rate: 0, ..all(0) },
        _ => Limits { message: 125, fragments: 1, rate: 1, ..all(1) },
    }
}

/// See the top.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut driver = Driver::new();
    while !input.is_empty() && !driver.dropped {
        let Ok(op) = Op::arbitrary(&mut input) else { break };
        driver.carry_out(op);
        driver.settle();
    }
    driver.end();
}

/// The loop, as far as one connection is concerned, and what it has seen.
struct Driver {
    session: Session,
    now: Moment,
    limits: Limits,
    out: Vec<u8>,
    spare: Vec<u8>,
    codec: Codec,
    tally: Tally,
    cut: usize,
    answer: Answer,
    accepted: bool,
    /// As a stream of events.
    streaming: bool,
    ends: usize,
    /// The peer will send no more.
    eof: bool,
    lost: bool,
    /// It was over when a turn ended.
    dropped: bool,
    /// A ping has gone out, and nothing was heard since.
    pinged: bool,
    /// A refusal or a Close frame has gone out.
    last_word: bool,
    silent: bool,
    /// Of a paced script: when the next frame may go, and the gap.
    pace: Option<(Moment, Duration)>,
    /// Frames handed to the session to be held, and their bytes.
    held: (usize, usize),
    /// Bytes that it has released.
    released: usize,
}

impl Driver {
    fn new() -> Self {
        let limits = limits(0);
        Self {
            session: Session::new(Moment::START, &limits),
            now: Moment::START,
            limits,
            out: Vec::new(),
            spare: Vec::new(),
            codec: Codec::default(),
            tally: Tally::default(),
            cut: 0,
            answer: Answer::Browser,
            accepted: false,
            streaming: false,
            ends: 0,
            eof: false,
            lost: false,
            dropped: false,
            pinged: false,
            last_word: false,
            silent: false,
            pace: None,
            held: (0, 0),
            released: 0,
        }
    }

    fn carry_out(&mut self, op: Op<'_>) {
        match op {
            Op::Request(head) => self.receive(head),
            Op::Bytes(bytes) => self.receive(bytes),
            Op::Frame(first, payload) => {
                let mut frame = Vec::new();
                frame::write_masked_frame(&mut frame, Opcode::Binary, payload, [3, 0, 0x80, 0xff]);
                frame[0] = first;
                self.receive(&frame);
            }
            Op::Cut(length) => self.cut = usize::from(length),
            Op::Answer(letter) => {
                self.answer = match letter {
                    b's' => Answer::Script,
                    b'p' => Answer::PacedScript(GAPS[0]),
                    b'0' => Answer::PacedScript(GAPS[1]),
                    b'r' => Answer::Refuse,
                    b'k' => Answer::Respond { last: false },
                    b'l' => Answer::Respond { last: true },
                    b'e' => Answer::Stream,
                    _ => Answer::Browser,
                }
            }
            Op::Wait(root) => {
                self.now = self.now.after(Duration::from_millis(u64::from(root) * u64::from(root)));
                self.tick();
            }
            Op::Deadline => {
                if self.session.deadline() < Moment::NEVER {
                    self.now = self.now.max(self.session.deadline());
                    self.tick();
                }
            }
            Op::Send(length, urgent) => self.send(usize::from(length), urgent),
            Op::Close => {
                self.call(|session, turn| session.close(CloseCode::GOING_AWAY, "over and out".into(), turn));
            }
            Op::Eof => {
                self.eof = true;
                self.call(Session::eof);
            }
            Op::Lost => {
                self.lost = true;
                self.call(|session, _| session.lost());
            }
            Op::Limits(number) => self.limits = limits(number),
            Op::Nothing => {}
        }
    }

    /// What the peer sends comes, in pieces, as reads.
    fn receive(&mut self, bytes: &[u8]) {
        if self.eof {
            return;
        }
        let most = if self.cut == 0 { bytes.len().max(1) } else { self.cut };
        for piece in bytes.to_vec().chunks_mut(most) {
            self.session.heard();
            self.pinged = false;
            self.pace = self.pace.map(|(_, gap)| (Moment::START, gap));
            let mut input = Input::new(piece);
            let mut before = usize::MAX;
            while let Some(event) = self.call(|session, turn| session.next(&mut input, turn)) {
                let last = matches!(event, Event::Closed(_));
                assert!(input.len() < before || last, "an event takes something of the input");
                before = input.len();
                match event {
                    Event::Request(head) => self.reply(&head),
                    Event::Body(posted) => self.reply_to_body(&posted),
                    Event::Message(message) => {
                        assert!(self.session.is_open(), "a message while open");
                        assert!(message.data.len() <= MESSAGE, "a message of {} bytes", message.data.len());
                    }
                    Event::Closed(_) => {}
                    Event::Refused(_) => self.last_word = true,
                }
            }
            let listens = !self.accepted || self.session.is_open();
            assert!(input.is_empty() || !listens, "input is used up, or kept, or of no interest any more");
        }
    }

    /// Answers a request, as the loop does, before anything else is asked of the session.
    fn reply(&mut self, head: &[u8]) {
        assert!(!self.accepted, "no request comes after the upgrade");
        assert!(head.len() <= MAX_HEAD && head.ends_with(b"\r\n\r\n"), "a head of {} bytes", head.len());
        let mut room = http::fields();
        let request = Request::parse(head, &mut room);
        if let Ok(request) = request
            && request.method == "POST"
        {
            let waits = request.waits_for_continue().unwrap_or(false);
            let taken =
                self.call(|session, turn| session.take_body(head.to_vec(), request.framing, MESSAGE, waits, turn));
            if let Err(refusal) = taken {
                self.refuse(refusal);
            }
            return;
        }
        let key = request.and_then(|request| handshake::check(&request));
        let (browser, gap) = match (self.answer, key) {
            (Answer::Respond { last }, _) => {
                self.call(|session, turn| session.answered(last, turn));
                return;
            }
            (Answer::Stream, _) => {
                self.call(|session, turn| session.stream(&[], "owner".into(), 1000, turn));
                assert!(self.session.is_open());
                (self.accepted, self.streaming) = (true, true);
                return;
            }
            (Answer::Refuse, _) | (_, Err(_)) => {
                self.refuse(Refusal::new(400, "no"));
                return;
            }
            (Answer::Browser, _) => (true, None),
            (Answer::Script, _) => (false, None),
            (Answer::PacedScript(gap), _) => (false, Some(gap)),
        };
        let Ok(key) = key else { return };
        let pacer = gap.map(|gap| Pacer::new(self.now, GREETING, gap));
        self.call(|session, turn| {
            session.accept(key, Terms { browser, pacer, subprotocol: None, deflate: None }, turn)
        });
        assert!(self.session.is_open());
        self.accepted = true;
        self.pace = gap.map(|gap| (self.now.after(GREETING), gap));
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.call(|session, turn| session.refuse(refusal, turn));
        self.last_word = true;
    }

    fn reply_to_body(&mut self, posted: &Posted) {
        assert!(posted.head.ends_with(b"\r\n\r\n"));
        match &posted.body {
            Err(refusal) => {
                assert!(matches!(refusal.status, 400 | 408 | 413), "{refusal}");
                self.refuse(*refusal);
            }
            Ok(body) => {
                assert!(body.len() <= MESSAGE);
                self.call(|session, turn| session.answered(false, turn));
            }
        }
    }

    /// Hands a frame to the session as the loop does: only while it is open.
    fn send(&mut self, length: usize, urgent: bool) {
        // To a stream nothing goes through the session.
        if !self.session.is_open() || self.streaming {
            return;
        }
        let mut frame = Vec::new();
        frame::write_frame(&mut frame, Opcode::Text, &b"x".repeat(length));
        if self.session.pass(urgent, self.now) {
            self.check_frames(&frame);
        } else {
            assert!(self.pace.is_some(), "only paced scripts are kept waiting");
            self.held = (self.held.0 + 1, self.held.1 + frame.len());
            self.session.hold(frame, urgent);
        }
    }

    fn tick(&mut self) {
        if self.session.deadline() > self.now {
            return;
        }
        match self.call(Session::tick) {
            Some(Event::Refused(_)) => self.last_word = true,
            Some(Event::Body(posted)) => self.reply_to_body(&posted),
            _ => {}
        }
        self.settle();
        let ahead = match self.pace {
            // Frames without a gap between them may all go at once, but do so one a turn.
            Some((_, Duration::ZERO)) => self.session.deadline() >= self.now,
            _ => self.session.deadline() > self.now,
        };
        assert!(ahead || self.dropped, "{:?}, and it is {:?}", self.session.deadline(), self.now);
    }

    /// What the loop does at the end of each turn; all output is written then.
    fn settle(&mut self) {
        if self.dropped {
            return;
        }
        let now = self.now;
        let mut released = 0;
        self.call(|session, turn| {
            session.release(now, turn.out);
            // What nobody handed over are control frames: an answer to a ping, and a Close.
            released = if turn.out.first().is_some_and(|first| first & 0x08 != 0) { 0 } else { turn.out.len() };
        });
        self.released += released;
        let session = &self.session;
        let paced = session.paced();
        let control_frames = 2 * 127;
        assert!(paced + self.released <= self.held.1 + control_frames, "{paced} bytes are paced");
        let unfinished = (2 * MAX_HEAD).max(size_of::<Assembly>() + SPARE.max(2 * MESSAGE));
        assert!(session.held() <= paced + unfinished, "{} bytes are held", session.held());
        assert!(!self.silent || session.is_silent(), "silent for good");
        self.silent = session.is_silent();
        assert_eq!(self.ends, usize::from(self.accepted && !session.is_open()), "one End");
        self.dropped = self.lost || session.is_over(true);
    }

    fn end(&mut self) {
        if !self.dropped {
            self.carry_out(Op::Close);
            // Each held frame has a deadline of its own; besides, there are those of what is unfinished, of the closing
            // and of the lingering.
            for _ in 0..self.held.0 + 4 {
                self.settle();
                if self.dropped {
                    break;
                }
                assert!(self.session.deadline() < Moment::NEVER, "it waits for nothing");
                self.carry_out(Op::Deadline);
            }
            assert!(self.dropped, "it ends");
        }
    }

    /// A call into the session, and what holds for each.
    fn call<T: Told>(&mut self, call: impl FnOnce(&mut Session, &mut Turn<'_>) -> T) -> T {
        let (was_open, was_over) = (self.session.is_open(), self.session.is_over(false));
        let mut out = std::mem::take(&mut self.out);
        let mut turn = Turn {
            now: self.now,
            limits: &self.limits,
            out: &mut out,
            spare: &mut self.spare,
            codec: &mut self.codec,
            tally: &mut self.tally,
            latest: 0,
        };
        let told = call(&mut self.session, &mut turn);
        assert!(self.spare.is_empty() && self.spare.capacity() <= SPARE);
        assert!(!was_over || self.session.is_over(false), "over for good");
        let closed = was_open && !self.session.is_open();
        assert_eq!(told.end().is_some(), closed, "an End where it stops being open, and only there");
        self.ends += usize::from(closed);
        // What is said on a broken connection goes nowhere.
        if !self.lost {
            if self.streaming {
                self.check_events(&out);
            } else if self.accepted {
                self.check_frames(&out);
            } else {
                self.check_response(&out);
            }
        }
        if let Some(End::ByPeer(..) | End::ByUs(..)) = told.end() {
            assert!(self.last_word || self.session.paced() > 0, "a Close frame has gone out, or waits to");
        }
        out.clear();
        self.out = out;
        told
    }

    fn check_response(&self, out: &[u8]) {
        if !out.is_empty() {
            assert!(!self.last_word && !self.silent, "nothing is said after a refusal");
            let whole = out.starts_with(b"HTTP/1.1 ") && out.windows(4).any(|bytes| bytes == b"\r\n\r\n");
            assert!(whole, "a response: {}", out.escape_ascii());
        }
    }

    /// Signs of life, and the last event.
    fn check_events(&mut self, out: &[u8]) {
        if !out.is_empty() {
            assert!(!self.last_word && !self.silent, "nothing is said after the last event");
            self.last_word = out.starts_with(b"event: close\ndata: {");
            let whole = out.ends_with(b"\n\n") && out.windows(2).filter(|bytes| bytes == b"\n\n").count() == 1;
            assert!(whole && (self.last_word || out.starts_with(b":\nid: ")), "{}", out.escape_ascii());
        }
    }

    fn check_frames(&mut self, mut out: &[u8]) {
        while !out.is_empty() {
            let header = Header::parse(out, Sender::Server).expect("a good frame").expect("a whole header");
            let length = header.size + usize::try_from(header.length).expect("a length");
            assert!(header.fin && length <= out.len(), "a whole frame");
            out = &out[length..];
            assert!(!self.last_word && !self.silent, "no {:?} after the last word", header.opcode);
            self.last_word = header.opcode == Opcode::Close;
            if header.opcode == Opcode::Ping {
                assert!(!self.pinged, "a peer that has not answered a ping is not pinged again");
                self.pinged = true;
            }
            if let Some((clear, gap)) = &mut self.pace {
                assert!(*clear <= self.now, "{:?} to a paced script {:?} early", header.opcode, self.now.until(*clear));
                *clear = self.now.after(*gap);
            }
        }
    }
}

/// What a call into a session gives, which may be its end.
trait Told {
    fn end(&self) -> Option<&End>;
}

impl Told for () {
    fn end(&self) -> Option<&End> {
        None
    }
}

impl Told for Result<(), Refusal> {
    fn end(&self) -> Option<&End> {
        None
    }
}

impl Told for Option<End> {
    fn end(&self) -> Option<&End> {
        self.as_ref()
    }
}

impl Told for Option<Event<'_>> {
    fn end(&self) -> Option<&End> {
        match self {
            Some(Event::Closed(end)) => Some(end),
            _ => None,
        }
    }
}

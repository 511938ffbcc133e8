//! Drives a [`Session`] as the loop does: feeds it reads, answers its requests, lets virtual time pass, and writes down
//! what it says in the order in which it says it.
//!
//! It keeps to the contract at the top of `proto::session`, and panics where the session doesn't. It knows no socket, no
//! clock and no application beyond a greeting and an acknowledgement.

#[path = "driver/wire.rs"]
pub(crate) mod wire;

use std::borrow::Cow;
use std::time::Duration;

use websock::clock::Moment;
use websock::proto::deflate::Codec;
use websock::proto::handshake;
use websock::proto::http::{self, Refusal, Request, Response};
use websock::proto::incoming::Posted;
use websock::proto::input::Input;
use websock::proto::message::{Kind, Message};
use websock::proto::pacing::Pacer;
use websock::proto::reader::give_spare;
use websock::proto::session::{End, Event, Limits, Session, Terms, Turn};
use websock::proto::tally::Tally;
use websock::proto::{CloseCode, frame};

/// A good upgrade request, with the key of RFC 6455, section 1.3.
pub(crate) const UPGRADE: &str = "GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Longest body of a request.
pub(crate) const MAX_BODY: usize = 20;

/// A request for a page; [`Driver`] answers it with `page /page`.
pub(crate) const PAGE: &str = "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Until a paced script is greeted.
pub(crate) const GREETING_DELAY: Duration = Duration::from_millis(30);

/// Between two frames to a paced script that has not said anything.
pub(crate) const FRAME_GAP: Duration = Duration::from_millis(20);

/// One thing that a session said: to its peer, or to whoever drives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// A request head: its method and target.
    Request(String),
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The peer closed.
    ByPeer(Option<u16>, String),
    /// We closed.
    ByUs(u16, String),
    /// The peer went without a word.
    Vanished,
    /// A head that was no head was answered with this status.
    Refused(u16),
    /// To the peer.
    Sent(Sent),
}

/// What a peer gets to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// A status and a body.
    Response(u16, String),
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

pub(crate) fn request(line: &str) -> Step {
    Step::Request(line.to_owned())
}

pub(crate) fn text(text: &str) -> Step {
    Step::Text(text.to_owned())
}

pub(crate) fn binary(bytes: &[u8]) -> Step {
    Step::Binary(bytes.to_vec())
}

pub(crate) fn by_peer(code: u16, reason: &str) -> Step {
    Step::ByPeer(Some(code), reason.to_owned())
}

pub(crate) fn by_us(code: u16, why: &str) -> Step {
    Step::ByUs(code, why.to_owned())
}

pub(crate) fn sent_response(status: u16, body: &str) -> Step {
    Step::Sent(Sent::Response(status, body.to_owned()))
}

/// The `101`.
pub(crate) fn switched() -> Step {
    sent_response(101, "")
}

pub(crate) fn sent_text(text: &str) -> Step {
    Step::Sent(Sent::Text(text.to_owned()))
}

pub(crate) fn sent_ping() -> Step {
    Step::Sent(Sent::Ping(Vec::new()))
}

pub(crate) fn sent_pong(payload: &[u8]) -> Step {
    Step::Sent(Sent::Pong(payload.to_vec()))
}

pub(crate) fn sent_close(code: u16, why: &str) -> Step {
    Step::Sent(Sent::Close(Some(code), why.to_owned()))
}

/// What a session says when it fails a connection: the Close frame, then the event.
pub(crate) fn failed(code: u16, why: &str) -> [Step; 2] {
    [sent_close(code, why), by_us(code, why)]
}

/// Who connects, and what is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    /// A browser rather than a script.
    pub(crate) browser: bool,
    /// Paced, as a script is that reads as the original PHP client does.
    pub(crate) paced: bool,
    /// Every request that is whole gets this.
    pub(crate) refusal: Option<Refusal>,
    /// Agreed on in the `101`.
    pub(crate) subprotocol: Option<&'static str>,
    /// Said at once when a connection is upgraded.
    pub(crate) greeting: Option<&'static str>,
    /// Said at once to every message.
    pub(crate) acknowledgement: Option<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits {
                message: 70_000,
                fragments: 16,
                rate: 0,
                head_time: Duration::from_secs(10),
                message_time: Duration::from_secs(30),
                ping_interval: Duration::ZERO,
                close_wait: Duration::from_secs(5),
            },
            browser: true,
            paced: false,
            refusal: None,
            subprotocol: None,
            greeting: None,
            acknowledgement: None,
        }
    }
}

impl Setup {
    /// The usual one with other limits.
    pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }

    /// A script that is paced.
    pub(crate) fn paced() -> Self {
        Self { browser: false, paced: true, ..Self::default() }
    }
}

/// A session, and all that it says.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) now: Moment,
    pub(crate) spare: Vec<u8>,
    codec: Codec,
    pub(crate) tally: Tally,
    setup: Setup,
    /// Output that is not in `steps` yet.
    out: Vec<u8>,
    /// All output there has been.
    sent: Vec<u8>,
    steps: Vec<Step>,
    upgraded: bool,
    ended: bool,
}

/// The turn that a call of the session gets. A macro, since the session is borrowed beside it.
macro_rules! turn {
    ($driver:ident) => {
        Turn {
            now: $driver.now,
            limits: &$driver.setup.limits,
            out: &mut $driver.out,
            spare: &mut $driver.spare,
            codec: &mut $driver.codec,
            tally: &mut $driver.tally,
            latest: 0,
        }
    };
}

impl Driver {
    /// A connection just accepted, at no particular moment.
    pub(crate) fn new(setup: Setup) -> Self {
        let now = Moment::from_millis(12_345);
        Self {
            session: Session::new(now, &setup.limits),
            now,
            spare: Vec::new(),
            codec: Codec::default(),
            tally: Tally::default(),
            setup,
            out: Vec::new(),
            sent: Vec::new(),
            steps: Vec::new(),
            upgraded: false,
            ended: false,
        }
    }

    /// A connection that has been upgraded.
    pub(crate) fn open() -> Self {
        Self::open_with(Setup::default())
    }

    /// A connection that has been upgraded.
    pub(crate) fn open_with(setup: Setup) -> Self {
        let mut driver = Self::new(setup);
        driver.feed(UPGRADE);
        assert!(driver.session.is_open(), "a good upgrade");
        driver.steps.clear();
        driver.sent.clear();
        driver
    }

    // --- What happens to it -----------------------------------------------------------------------------------------

    /// One read.
    pub(crate) fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref().to_vec();
        let silent = self.session.is_silent();
        let before = self.steps.len();
        self.session.heard();
        let mut input = Input::new(&mut bytes);
        loop {
            let event = self.session.next(&mut input, &mut turn!(self));
            self.note_output();
            match event {
                None => break,
                Some(Event::Request(head)) => self.answer(&head),
                Some(Event::Body(posted)) => self.answer_body(&posted),
                Some(Event::Message(message)) => self.take(message),
                Some(event) => self.note(event),
            }
        }
        assert!(input.is_empty() || self.session.is_silent(), "a read is used up unless nothing more is of interest");
        self.settle();
        assert!(!silent || self.steps.len() == before, "a silent session stays silent: {:?}", &self.steps[before..]);
    }

    /// Several reads.
    pub(crate) fn feed_each(&mut self, reads: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        reads.into_iter().for_each(|read| self.feed(read));
    }

    /// Lets time pass, and does what becomes due when it does.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now.after(time);
        while self.session.deadline() <= until && !self.is_over() {
            let due = self.session.deadline();
            self.now = self.now.max(due);
            self.tick();
            assert!(self.session.deadline() > due || self.is_over(), "what was due is done");
        }
        self.now = until;
    }

    /// Asks the session to do what is due, be it anything or not.
    pub(crate) fn tick(&mut self) {
        let event = self.session.tick(&mut turn!(self));
        self.note_output();
        match event {
            None => {}
            Some(Event::Body(posted)) => self.answer_body(&posted),
            Some(event) => self.note(event),
        }
        self.settle();
    }

    /// The peer ends its side.
    pub(crate) fn eof(&mut self) {
        let end = self.session.eof(&mut turn!(self));
        self.note_end(end);
    }

    /// The connection breaks.
    pub(crate) fn lose(&mut self) {
        let end = self.session.lost();
        self.note_end(end);
    }

    /// We close.
    pub(crate) fn close(&mut self, code: u16, why: &'static str) {
        let code = CloseCode::received(code).expect("a code that may be sent");
        let end = self.session.close(code, Cow::Borrowed(why), &mut turn!(self));
        self.note_end(end);
    }

    /// An application sends text, or has it held; `urgent` as a greeting is.
    pub(crate) fn say(&mut self, text: &str, urgent: bool) {
        assert!(self.session.is_open(), "messages go to open connections");
        let mut bytes = Vec::new();
        frame::write_frame(&mut bytes, frame::Opcode::Text, text.as_bytes());
        if self.session.pass(urgent, self.now) {
            self.out.extend_from_slice(&bytes);
        } else {
            self.session.hold(bytes, urgent);
        }
        self.note_output();
    }

    // --- What it says -----------------------------------------------------------------------------------------------

    /// What it has said since it was asked last must be this, in this order.
    #[track_caller]
    pub(crate) fn expect(&mut self, steps: impl IntoIterator<Item = Step>) {
        assert_eq!(self.take_steps(), Vec::from_iter(steps));
    }

    /// It must have said nothing since it was asked last.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        self.expect([]);
    }

    /// It must have failed the connection, and be deaf from then on.
    #[track_caller]
    pub(crate) fn expect_failure(&mut self, code: u16, why: &str) {
        self.expect(failed(code, why));
        assert!(self.session.is_silent() && !self.is_over(), "it lingers");
        self.feed([wire::text("more"), wire::ping(b"more"), wire::close(1000, "")].concat());
        self.expect_nothing();
        assert_eq!(self.session.held(), 0, "nothing is kept");
    }

    /// What it has said since it was asked last.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// All output there has been since it was opened, as bytes.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// Whether the loop would drop the connection; all output is taken to be out.
    pub(crate) fn is_over(&self) -> bool {
        self.session.is_over(true)
    }

    // --- Underneath -------------------------------------------------------------------------------------------------

    fn answer(&mut self, head: &[u8]) {
        let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        assert_eq!(end, Some(head.len()), "a head ends at its empty line");
        let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        self.steps.push(Step::Request(line.rsplit_once(' ').map_or(&*line, |(line, _)| line).to_owned()));
        let mut room = http::fields();
        match Request::parse(head, &mut room) {
            Err(refusal) => self.session.refuse(refusal, &mut turn!(self)),
            Ok(request) if request.method == "POST" => {
                let waits = request.waits_for_continue().expect("a good Expect");
                let mut turn = turn!(self);
                let taken = self.session.take_body(head.to_vec(), request.framing, MAX_BODY, waits, &mut turn);
                if let Err(refusal) = taken {
                    self.session.refuse(refusal, &mut turn);
                }
            }
            Ok(request) => self.answer_request(&request),
        }
        self.note_output();
    }

    /// A request with a body is answered with that.
    fn answer_body(&mut self, posted: &Posted) {
        assert!(posted.head.ends_with(b"\r\n\r\n"));
        let mut turn = turn!(self);
        match &posted.body {
            Err(refusal) => self.session.refuse(*refusal, &mut turn),
            Ok(body) => {
                assert!(body.len() <= MAX_BODY);
                let content_type = "text/plain";
                Response { status: 200, fields: &[], content_type, body, head_only: false, close: false }
                    .write(turn.out);
                self.session.answered(false, &mut turn);
            }
        }
        self.note_output();
    }

    fn answer_request(&mut self, request: &Request<'_>) {
        let mut turn = turn!(self);
        if let Some(refusal) = self.setup.refusal {
            return self.session.refuse(refusal, &mut turn);
        }
        if !handshake::is_upgrade(request) {
            let (close, body) = (!request.keeps_alive(), format!("page {}", request.path));
            // HEAD gets a body too: who reads the output does not know which request it answers.
            let (content_type, head_only) = ("text/plain", false);
            Response { status: 200, fields: &[], content_type, body: body.as_bytes(), head_only, close }
                .write(turn.out);
            return self.session.answered(close, &mut turn);
        }
        match handshake::check(request) {
            Err(refusal) => self.session.refuse(refusal, &mut turn),
            Ok(key) => {
                let pacer = self.setup.paced.then(|| Pacer::new(turn.now, GREETING_DELAY, FRAME_GAP));
                let (browser, subprotocol) = (self.setup.browser, self.setup.subprotocol);
                let terms = Terms { browser, pacer, subprotocol, deflate: None };
                self.session.accept(key, terms, &mut turn);
                if let Some(greeting) = self.setup.greeting {
                    self.say(greeting, true);
                }
            }
        }
    }

    fn take(&mut self, message: Message<'_>) {
        assert!(!self.ended, "no message comes after the end: {message:?}");
        let text = message.text().map(str::to_owned);
        self.steps.push(match (message.kind, text) {
            (Kind::Text, Some(text)) => Step::Text(text),
            (Kind::Text, None) => panic!("a text that is not UTF-8"),
            (Kind::Binary, _) => Step::Binary(message.data.to_vec()),
        });
        if let Some(acknowledgement) = self.setup.acknowledgement {
            self.say(acknowledgement, true);
        }
        if let Cow::Owned(data) = message.data {
            give_spare(&mut self.spare, data);
        }
    }

    /// What ends a turn of the loop.
    fn settle(&mut self) {
        self.session.release(self.now, &mut self.out);
        self.note_output();
    }

    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Closed(end) => self.note_end(Some(end)),
            Event::Refused(refusal) => self.steps.push(Step::Refused(refusal.status)),
            Event::Request(_) | Event::Body(_) | Event::Message(_) => panic!("{event:?} without input"),
        }
    }

    fn note_end(&mut self, end: Option<End>) {
        self.note_output();
        if let Some(end) = end {
            assert!(!self.ended, "a connection ends once");
            self.ended = true;
            self.steps.push(match end {
                End::ByPeer(code, reason) => Step::ByPeer(code.map(CloseCode::get), reason.into()),
                End::ByUs(code, why) => Step::ByUs(code.get(), why.into_owned()),
                End::Vanished => Step::Vanished,
            });
        }
        assert!(!(self.ended && self.session.is_open()), "what has ended is not open");
    }

    fn note_output(&mut self) {
        self.sent.extend_from_slice(&self.out);
        self.steps.extend(wire::read(&self.out, &mut self.upgraded));
        self.out.clear();
    }
}

//! The state machine of one connection: HTTP until it is upgraded, RFC 6455 from then on; or a stream of events.
//!
//! ```text
//!           request          accept            our Close           their Close, or a protocol error
//!   Head ───────────▶ Asked ────────▶ Open ───────────▶ Closing ─────┐
//!    ▲                 │▲               └─────────────────────────────┴──▶ Lingering ──▶ Over
//!    │       take_body ▼│ body                                               ▲
//!    │                 Body                                                  │
//!    └──────────────────┴─ answered ─────── refused, answered for good ──────┤
//!                       │ stream                              our close      │
//!                       └──────▶ Streaming ──────────────────────────────────┘
//! ```
//!
//! It has no socket and no clock. **The contract of driving: after a read call [`Session::heard`] once, then
//! [`Session::next`] until it gives `None`; whatever any call appends to [`Turn::out`] is output for this connection
//! and comes before all later output; a [`Event::Request`] is answered before the next call; when a call gives an
//! [`End`], the connection has left `Open` and gets no more messages. Ask [`Session::deadline`] before sleeping, and
//! call [`Session::tick`] when it has come.** Nothing here fails: bad input becomes output and an [`End`].
//!
//! Read it with section 5 (frames), 7 (closing) and 8 (UTF-8) of RFC 6455 at hand; of events, [`events`] knows the form.

use std::borrow::Cow;
use std::time::Duration;

use super::body::BodyReader;
use super::deflate::{Codec, Deflate, Packing};
use super::events;
use super::frame::{self, CloseCode, Opcode};
use super::handshake::{self, Key};
use super::http::{self, Framing, Refusal};
use super::incoming::Incoming;
use super::input::Input;
use super::pacing::Pacer;
use super::reader::{Item, Reader};
pub use super::turn::{End, Event, Limits, Terms, Turn};
use crate::clock::Moment;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A request head is coming in, or none has begun.
    Head,
    /// [`Event::Request`] or [`Event::Body`] was given out and not answered yet.
    Asked,
    /// The answer to it comes later.
    Suspended,
    /// The body of a request is coming in.
    Body,
    /// A WebSocket.
    Open,
    /// The answer to a request, which lasts: server-sent events. What comes in is dropped.
    Streaming,
    /// Our Close is sent, theirs is awaited; their messages are dropped.
    Closing,
    /// All is said. What still comes in is dropped, until the peer ends the connection or the time is up.
    Lingering,
    /// Nothing to wait for.
    Over,
}

/// One connection. 32 bytes while it is idle: nothing else is kept until something is unfinished.
#[derive(Debug)]
pub struct Session {
    state: State,
    browser: bool,
    /// A ping went out, and nothing was heard since.
    unanswered: bool,
    /// The peer will send no more.
    eof: bool,
    /// Bytes of output so far, modulo 2^32: see [`Session::output`].
    output: u32,
    /// By when: the head must be whole, the next ping is due, the peer must have closed.
    due: Moment,
    reader: Reader,
    /// What few connections have.
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    /// A request that is not whole. While there is one, there is nothing else in here.
    request: Incoming,
    pacer: Option<Pacer>,
    deflate: Option<Deflate>,
    /// Of a stream of events, what stands behind the number in their ids; empty for others.
    owner: Box<str>,
    /// The second in which messages are being counted, and how many came.
    rate: (u64, u32),
}

impl Session {
    /// A connection just accepted.
    pub fn new(now: Moment, limits: &Limits) -> Self {
        Self {
            state: State::Head,
            browser: false,
            unanswered: false,
            eof: false,
            output: 0,
            due: now.limit(limits.head_time),
            reader: Reader::default(),
            extra: None,
        }
    }

    /// It was connected for `wait` before it was accepted: the time that its first request head has is shorter by that.
    pub fn deferred(&mut self, wait: Duration) {
        self.due = self.due.before(wait);
    }

    /// Whether it is a WebSocket, or a stream of events, that messages may be sent to.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Streaming)
    }

    /// Of an open stream of events, what stands behind the number in their ids. `None`: it isn't one.
    pub fn stream_owner(&self) -> Option<&str> {
        (self.state == State::Streaming).then(|| self.owner())
    }

    /// Whether it is HTTP, and no request is being answered.
    pub fn awaits_request(&self) -> bool {
        self.state == State::Head
    }

    /// Whether no more will be said, so that our side of the connection is to be shut once the output is out.
    pub fn is_silent(&self) -> bool {
        match self.state {
            State::Lingering => self.paced() == 0,
            State::Over => true,
            _ => false,
        }
    }

    /// Whether the connection can be dropped, given whether all output is `out`.
    pub fn is_over(&self, out: bool) -> bool {
        self.state == State::Over || (self.eof && out)
    }

    /// Bytes of memory that unfinished input and paced output hold.
    pub fn held(&self) -> usize {
        self.request_held() + self.reader.held() + self.paced()
    }

    /// Bytes of output that wait for a script to read.
    pub fn paced(&self) -> usize {
        self.pacer().map_or(0, Pacer::held)
    }

    /// Bytes of output so far, modulo 2^32, so that it can be said later how far a message has got: what was appended to
    /// [`Turn::out`] and what others have sent, as whoever drives the session [notes](Self::note_output) it.
    pub fn output(&self) -> u32 {
        self.output
    }

    /// So many bytes of output go out on this connection.
    pub fn note_output(&mut self, bytes: usize) {
        self.output = self.output.wrapping_add(u32::try_from(bytes).unwrap_or_default());
    }

    /// When [`Session::tick`] is to be called, if nothing happens before.
    pub fn deadline(&self) -> Moment {
        let paced = self.pacer().map_or(Moment::NEVER, Pacer::due);
        self.due.min(self.reader.deadline()).min(paced)
    }

    /// Bytes have come from the peer: it is alive, and has read what was sent to it.
    pub fn heard(&mut self) {
        self.unanswered = false;
        if let Some(pacer) = self.pacer_mut() {
            pacer.proof();
        }
    }

    /// The next event in `input`. `None`: all of `input` is used up, or kept until more comes.
    pub fn next<'a>(&mut self, input: &mut Input<'a>, turn: &mut Turn<'_>) -> Option<Event<'a>> {
        match self.state {
            State::Open | State::Closing => self.next_frame(input, turn),
            State::Head => self.next_head(input, turn),
            State::Body => self.next_body(input),
            State::Asked | State::Suspended | State::Streaming | State::Lingering | State::Over => {
                debug_assert!(
                    !matches!(self.state, State::Asked | State::Suspended),
                    "a request is answered before the next call"
                );
                input.clear();
                None
            }
        }
    }

    /// Answers a request with `101`: from here on it is a WebSocket.
    pub fn accept(&mut self, key: Key<'_>, terms: Terms, turn: &mut Turn<'_>) {
        debug_assert!(self.state == State::Asked, "there is a request to answer");
        handshake::write_101(turn.out, key, terms.subprotocol, terms.deflate);
        let deflate = terms.deflate.map(Deflate::new);
        self.state = State::Open;
        self.browser = terms.browser;
        if terms.pacer.is_some() || deflate.is_some() {
            self.extra = Some(Box::new(Extra { pacer: terms.pacer, deflate, ..Extra::default() }));
        }
        self.due = if terms.browser { turn.now.limit(turn.limits.ping_interval) } else { Moment::NEVER };
    }

    /// Answers a request with a stream of events, which lasts until [`Session::close`]. `fields`: see
    /// [`events::write_head`]; `owner`: see [`Session::stream_owner`]; `retry`: milliseconds after which a browser connects
    /// again once it has ended.
    pub fn stream(&mut self, fields: &[&str], owner: Box<str>, retry: u64, turn: &mut Turn<'_>) {
        debug_assert!(self.state == State::Asked, "there is a request to answer");
        events::write_head(turn.out, fields);
        events::write_retry(turn.out, retry);
        self.state = State::Streaming;
        self.extra = Some(Box::new(Extra { owner, ..Extra::default() }));
        self.due = turn.now.limit(turn.limits.ping_interval);
    }

    /// Goes on to read the body of a request, at most `limit` bytes of it, within [`Limits::message_time`]. `promise`: the
    /// client waits to be told to send it.
    ///
    /// # Errors
    ///
    /// The body can't be taken: 413. The request is still to be answered.
    pub fn take_body(
        &mut self,
        head: Vec<u8>,
        framing: Framing,
        limit: usize,
        promise: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        debug_assert!(self.state == State::Asked, "there is a request whose body to take");
        let reader = BodyReader::new(framing, limit)?;
        if promise {
            turn.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.with_request(|request| request.begin_body(head, reader));
        self.state = State::Body;
        self.due = turn.now.limit(turn.limits.message_time);
        Ok(())
    }

    /// The request is answered later: until then nothing that comes in is looked at. Ask [`Session::is_suspended`] before
    /// reading, and [keep](Self::keep) what has been read already.
    pub fn suspend(&mut self) {
        debug_assert!(self.state == State::Asked, "there is a request to answer");
        self.state = State::Suspended;
        self.due = Moment::NEVER;
    }

    /// Whether a request is answered later.
    pub fn is_suspended(&self) -> bool {
        self.state == State::Suspended
    }

    /// Keeps what has been read behind a request that is answered later.
    pub fn keep(&mut self, input: &mut Input<'_>) {
        if !input.is_empty() {
            let rest = input.take(input.peek().len()).to_vec();
            self.with_request(|request| request.keep(rest));
        }
    }

    /// The request has been answered: gives what was kept, which is to be fed as if it had just been read.
    pub fn resume(&mut self) -> Vec<u8> {
        self.with_request(Incoming::take_kept)
    }

    /// The request was answered by a response that the caller has written. `last`: no further request is taken.
    pub fn answered(&mut self, last: bool, turn: &mut Turn<'_>) {
        if last {
            self.linger(turn);
        } else {
            self.state = State::Head;
            self.due = turn.now.limit(turn.limits.head_time);
        }
    }

    /// Answers a request with an error, which ends the connection.
    pub fn refuse(&mut self, refusal: Refusal, turn: &mut Turn<'_>) {
        http::write_refusal(turn.out, refusal);
        self.linger(turn);
    }

    /// Closes an open connection with `code` and `why`, which the peer gets to read. `None`: it was not open.
    pub fn close(&mut self, code: CloseCode, why: Cow<'static, str>, turn: &mut Turn<'_>) -> Option<End> {
        match self.state {
            State::Open => {
                self.write_close(code, &why, turn);
                self.state = State::Closing;
                self.due = turn.now.after(turn.limits.close_wait);
                self.recycle(turn);
                Some(End::ByUs(code, why))
            }
            State::Streaming => {
                events::write_close(turn.out, code, &why);
                self.linger(turn);
                Some(End::ByUs(code, why))
            }
            // Nobody is waiting for an answer.
            State::Head | State::Body => {
                self.state = State::Over;
                None
            }
            _ => None,
        }
    }

    /// The peer will send no more.
    pub fn eof(&mut self, turn: &mut Turn<'_>) -> Option<End> {
        self.eof = true;
        let open = self.is_open();
        if !matches!(self.state, State::Lingering | State::Over) {
            self.linger(turn);
        }
        open.then_some(End::Vanished)
    }

    /// The connection is broken, or given up: nothing more can be sent.
    pub fn lost(&mut self) -> Option<End> {
        let open = self.is_open();
        self.state = State::Over;
        open.then_some(End::Vanished)
    }

    /// Does what is due at [`Turn::now`], if anything is.
    pub fn tick(&mut self, turn: &mut Turn<'_>) -> Option<Event<'static>> {
        if self.reader.deadline() <= turn.now {
            let end = self.fail(CloseCode::POLICY_VIOLATION, "message not complete in time", turn);
            return end.map(Event::Closed);
        }
        if self.due > turn.now {
            return None;
        }
        const TOO_LATE: Refusal = Refusal::new(408, "the request took too long");
        match self.state {
            State::Head if self.request_held() > 0 => {
                self.refuse(TOO_LATE, turn);
                Some(Event::Refused(TOO_LATE))
            }
            State::Body => {
                self.state = State::Asked;
                self.with_request(|request| request.give_up_body(TOO_LATE)).map(Event::Body)
            }
            State::Open if self.unanswered => {
                self.fail(CloseCode::GOING_AWAY, "no answer to a ping", turn).map(Event::Closed)
            }
            State::Open => {
                frame::write_frame(turn.out, Opcode::Ping, b"");
                turn.tally.sent.add(Opcode::Ping, 0);
                self.unanswered = true;
                self.due = turn.now.limit(turn.limits.ping_interval);
                None
            }
            State::Streaming => {
                events::write_beat(turn.out, turn.latest, self.owner());
                self.due = turn.now.limit(turn.limits.ping_interval);
                None
            }
            // A silent connection, or one that had its time to end.
            State::Head | State::Asked | State::Suspended | State::Closing | State::Lingering | State::Over => {
                self.state = State::Over;
                None
            }
        }
    }

    /// Whether it is neither paced nor packed nor a stream of events: frames go to it as they are, and at once.
    pub const fn is_plain(&self) -> bool {
        self.extra.is_none()
    }

    /// Whether a frame for this connection may go out now; if not it is to be [held](Self::hold). Always true but for
    /// scripts that are paced.
    pub fn pass(&mut self, urgent: bool, now: Moment) -> bool {
        self.pacer_mut().is_none_or(|pacer| pacer.pass(urgent, now))
    }

    /// Who packs a message for this connection. `None`: messages go to it as they are.
    pub fn packing(&self) -> Option<Packing> {
        self.extra.as_ref()?.deflate.as_ref().map(|deflate| deflate.packing())
    }

    /// Packs a message with the connection's own compressor, which must be used for each that is packed at all, and gives
    /// it in the codec's scratch buffer. `None`: it has none.
    pub fn pack<'c>(&mut self, codec: &'c mut Codec, payload: &[u8]) -> Option<&'c [u8]> {
        self.extra.as_mut()?.deflate.as_mut().map(|deflate| deflate.pack(codec, payload))
    }

    /// Keeps a frame that may not go out yet.
    pub fn hold(&mut self, frame: Vec<u8>, urgent: bool) {
        let pacer = self.pacer_mut();
        debug_assert!(pacer.is_some(), "only paced connections hold frames");
        if let Some(pacer) = pacer {
            pacer.hold(frame, urgent);
        }
    }

    /// Says something that no application sends: one frame with this opcode, which `write` appends. It keeps to the pace
    /// like any other.
    pub fn say(&mut self, opcode: Opcode, urgent: bool, turn: &mut Turn<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = turn.out.len();
        write(turn.out);
        turn.tally.sent.add(opcode, frame::payload_of(&turn.out[start..]).len());
        if !self.pass(urgent, turn.now) {
            self.hold(turn.out.split_off(start), urgent);
        }
    }

    /// Appends the held frame that may go out now, if there is one.
    pub fn release(&mut self, now: Moment, out: &mut Vec<u8>) {
        if let Some(frame) = self.pacer_mut().and_then(|pacer| pacer.release(now)) {
            out.extend_from_slice(&frame);
        }
    }

    // --- HTTP -------------------------------------------------------------------------------------------------------

    fn next_head<'a>(&mut self, input: &mut Input<'a>, turn: &mut Turn<'_>) -> Option<Event<'a>> {
        if input.is_empty() {
            return None;
        }
        match self.with_request(|request| request.head(input)) {
            Ok(head) => {
                let head = head?;
                self.state = State::Asked;
                Some(Event::Request(head))
            }
            Err(refusal) => {
                input.clear();
                self.refuse(refusal, turn);
                Some(Event::Refused(refusal))
            }
        }
    }

    fn next_body<'a>(&mut self, input: &mut Input<'a>) -> Option<Event<'a>> {
        let posted = self.with_request(|request| request.body(input))?;
        if posted.body.is_err() {
            input.clear();
        }
        self.state = State::Asked;
        Some(Event::Body(posted))
    }

    // --- Frames -----------------------------------------------------------------------------------------------------

    fn next_frame<'a>(&mut self, input: &mut Input<'a>, turn: &mut Turn<'_>) -> Option<Event<'a>> {
        loop {
            let deflate = self.extra.as_mut().and_then(|extra| extra.deflate.as_mut());
            match self.reader.next(input, deflate, turn) {
                Ok(None) => return None,
                Ok(Some(Item::Message(message))) => {
                    turn.tally.received.add(message.kind.opcode(), message.data.len());
                    // After our Close their messages and pings are of no interest.
                    if self.state == State::Closing {
                        continue;
                    }
                    if self.is_too_fast(turn) {
                        let end = self.fail(CloseCode::POLICY_VIOLATION, "more messages a second than allowed", turn);
                        return end.map(Event::Closed);
                    }
                    return Some(Event::Message(message));
                }
                Ok(Some(Item::Ping(payload))) => {
                    turn.tally.received.add(Opcode::Ping, payload.len());
                    if self.state != State::Closing {
                        self.pong(&payload, turn);
                    }
                }
                Ok(Some(Item::Pong(length))) => turn.tally.received.add(Opcode::Pong, length),
                Ok(Some(Item::Close(code, reason))) => {
                    turn.tally.received.add(Opcode::Close, code.map_or(0, |_| 2 + reason.len()));
                    return self.closed_by_peer(code, reason, turn).map(Event::Closed);
                }
                Err(fault) => return self.fail(fault.close_code(), fault.why(), turn).map(Event::Closed),
            }
        }
    }

    fn pong(&mut self, payload: &[u8], turn: &mut Turn<'_>) {
        if self.pass(false, turn.now) {
            frame::write_frame(turn.out, Opcode::Pong, payload);
        } else if let Some(pacer) = self.pacer_mut() {
            let mut frame = Vec::new();
            frame::write_frame(&mut frame, Opcode::Pong, payload);
            if pacer.hold_pong(frame) {
                return;
            }
        }
        turn.tally.sent.add(Opcode::Pong, payload.len());
    }

    /// RFC 6455, section 5.5.1: a Close is answered with a Close, and the code it carried.
    fn closed_by_peer(&mut self, code: Option<CloseCode>, reason: Box<str>, turn: &mut Turn<'_>) -> Option<End> {
        let open = self.is_open();
        if open {
            match code {
                Some(code) => self.write_close(code, "", turn),
                None => self.say(Opcode::Close, false, turn, |out| frame::write_frame(out, Opcode::Close, b"")),
            }
        }
        self.linger(turn);
        open.then_some(End::ByPeer(code, reason))
    }

    /// Fails the connection (RFC 6455, section 7.1.7): says why, and takes nothing more from the peer.
    fn fail(&mut self, code: CloseCode, why: &'static str, turn: &mut Turn<'_>) -> Option<End> {
        let open = self.is_open();
        if open {
            self.write_close(code, why, turn);
        }
        self.linger(turn);
        open.then_some(End::ByUs(code, Cow::Borrowed(why)))
    }

    fn write_close(&mut self, code: CloseCode, why: &str, turn: &mut Turn<'_>) {
        self.say(Opcode::Close, false, turn, |out| frame::write_close(out, code, why));
    }

    /// Bytes that a request holds which is not whole; zero: none has begun.
    fn request_held(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.request.held())
    }

    /// Reads on in a request. It needs a place of its own only where it is not whole afterwards.
    fn with_request<T>(&mut self, read: impl FnOnce(&mut Incoming) -> T) -> T {
        let mut request = self.extra.take().map(|extra| extra.request).unwrap_or_default();
        let read = read(&mut request);
        if !request.is_empty() {
            self.extra = Some(Box::new(Extra { request, ..Extra::default() }));
        }
        read
    }

    fn owner(&self) -> &str {
        self.extra.as_ref().map_or("", |extra| &extra.owner)
    }

    fn pacer(&self) -> Option<&Pacer> {
        self.extra.as_ref()?.pacer.as_ref()
    }

    fn pacer_mut(&mut self) -> Option<&mut Pacer> {
        self.extra.as_mut()?.pacer.as_mut()
    }

    fn linger(&mut self, turn: &mut Turn<'_>) {
        self.state = State::Lingering;
        self.due = turn.now.after(turn.limits.close_wait);
        self.recycle(turn);
    }

    /// Gives back the memory of unfinished input.
    fn recycle(&mut self, turn: &mut Turn<'_>) {
        if let Some(extra) = &mut self.extra {
            extra.request.clear();
        }
        self.reader.clear(turn);
    }

    fn is_too_fast(&mut self, turn: &Turn<'_>) -> bool {
        if turn.limits.rate == 0 || !self.browser {
            return false;
        }
        let second = turn.now.as_millis() / 1000;
        let (counted, count) = &mut self.extra.get_or_insert_default().rate;
        if *counted != second {
            (*counted, *count) = (second, 0);
        }
        *count += 1;
        *count > turn.limits.rate
    }
}

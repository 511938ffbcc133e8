//! What has happened lately, and to whom: the memory behind `websock why`, the live page, and what became of a push.
//!
//! One ring of bytes of a fixed size, written in a few nanoseconds and read only when somebody asks: then all of it is
//! gone through. What is new pushes out what is oldest, so a busy server looks back minutes and a quiet one days. It
//! refuses to know who asks, and what a moment is by the clock on the wall.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::registry::{Address, Client, ClientKind};
use crate::clock::Moment;
use crate::id::{ClientId, MessageId};
use crate::metrics::Closer;
use crate::proto::utf8;

/// Longest text of a record in bytes. What is longer is cut.
const MAX_TEXT: usize = 256;

/// Most bytes of a record: three texts, and numbers.
const MAX_RECORD: usize = 3 * MAX_TEXT + 128;

/// The length that stands before each record.
const PREFIX: usize = 2;

/// A connection, in records: its [serial](crate::id::ConnectionKey::serial), which outlives the connection itself.
pub type Serial = u32;

/// Something that has happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Event<'a> {
    /// A client has come.
    Opened {
        /// Who.
        client: Serial,
        /// The UUID issued to it.
        id: ClientId,
        /// From where: the client's own address, as far as that is known, and the port of the connection.
        from: (IpAddr, u16),
        /// Browser or script.
        script: bool,
        /// The path it was opened with.
        #[serde(borrow)]
        path: Cow<'a, str>,
        /// The position of what serves it, or [`Event::STREAM`].
        application: u8,
        /// The name it gave itself; empty for none.
        #[serde(borrow)]
        ident: Cow<'a, str>,
        /// The page that it comes from; empty where it didn't say.
        #[serde(borrow)]
        origin: Cow<'a, str>,
    },
    /// A client has gone.
    Closed {
        /// Who.
        client: Serial,
        /// The UUID that it had.
        id: ClientId,
        /// The name it gave itself; empty for none.
        #[serde(borrow)]
        ident: Cow<'a, str>,
        /// Whether the server closed it.
        by_server: bool,
        /// The code that was sent, or 1005 and 1006 as in [`Closes`](crate::metrics::Closes).
        code: u16,
        /// The reason, by whoever closed.
        #[serde(borrow)]
        why: Cow<'a, str>,
        /// How much it was sent, as [`Event::Handed`] counts it.
        sent: u32,
        /// Bytes of that which it has not received, as far as that is known.
        outstanding: Option<u32>,
    },
    /// Somebody wants a message to be sent.
    Pushed {
        /// The message.
        message: MessageId,
        /// By whom; `None`: by the control API, or through the queue.
        from: Option<Serial>,
        /// What was asked for: `feedback`, say.
        #[serde(borrow)]
        what: Cow<'a, str>,
        /// Its bytes, as they came.
        bytes: u32,
    },
    /// A message was handed to a connection.
    Handed {
        /// The message.
        message: MessageId,
        /// To whom.
        to: Serial,
        /// Bytes that this connection had been sent then, this message included; modulo 2^32.
        end: u32,
    },
    /// A message was handed to so many of one application's clients that they are not recorded each.
    HandedToMany {
        /// The message.
        message: MessageId,
        /// The position of the application.
        application: u8,
        /// How many there were.
        clients: u32,
    },
    /// A message could not be handed to a client, since too much waits for it.
    Overrun {
        /// The message.
        message: MessageId,
        /// Whose.
        to: Serial,
    },
    /// A message was for somebody who isn't connected.
    Missed {
        /// The message.
        message: MessageId,
        /// The UUID that it was for; `None`: it was for an ident.
        id: Option<ClientId>,
        /// The ident that it was for; empty: it was for a UUID.
        #[serde(borrow)]
        ident: Cow<'a, str>,
    },
    /// A client has confirmed a message.
    Acknowledged {
        /// The message.
        message: MessageId,
        /// By whom.
        by: Serial,
    },
    /// A request was answered with an error, or a client turned away.
    Refused {
        /// From where.
        from: (IpAddr, u16),
        /// The HTTP status; 1013 for who was turned away at a limit.
        status: u16,
        /// The path, as far as it is known.
        #[serde(borrow)]
        path: Cow<'a, str>,
        /// Why.
        #[serde(borrow)]
        why: Cow<'a, str>,
    },
}

/// What kind of event it is: in the order of [`Event`], which is how it stands in a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the events are described")]
pub enum Kind {
    Opened,
    Closed,
    Pushed,
    Handed,
    HandedToMany,
    Overrun,
    Missed,
    Acknowledged,
    Refused,
}

impl<'a> Event<'a> {
    /// In place of an application: a stream of events, which is sent what the clients of others are.
    pub const STREAM: u8 = u8::MAX;

    /// A client has come to `path`, from a page of `origin`.
    pub fn opened(client: &'a Client, path: &'a str, origin: &'a str) -> Self {
        Self::Opened {
            client: client.key.serial,
            id: client.id,
            from: place(client.address),
            script: client.kind() == ClientKind::Script,
            path: short(path),
            application: if client.is_stream() { Self::STREAM } else { client.application().0 },
            ident: short(client.ident().unwrap_or_default()),
            origin: short(origin),
        }
    }

    /// A client has gone: `sent` and `outstanding` as in [`Event::Closed`].
    pub fn closed(
        client: &'a Client,
        (by, code, why): (Closer, u16, &'a str),
        sent: u32,
        outstanding: Option<usize>,
    ) -> Self {
        Self::Closed {
            client: client.key.serial,
            id: client.id,
            ident: short(client.ident().unwrap_or_default()),
            by_server: by == Closer::Server,
            code,
            why: short(why),
            sent,
            outstanding: outstanding.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)),
        }
    }

    /// A request from `address` was refused with `status`.
    pub fn refused(address: Address, status: u16, path: &'a str, why: &'a str) -> Self {
        Self::Refused { from: place(address), status, path: short(path), why: short(why) }
    }

    /// A message was for somebody who isn't connected: the one with this UUID, or where that says nothing, this ident.
    pub fn missed(message: MessageId, id: Option<ClientId>, ident: &'a str) -> Self {
        Self::Missed { message, id, ident: short(ident) }
    }
}

impl Event<'_> {
    /// The event, with texts of its own.
    pub fn into_owned(self) -> Event<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Opened { client, id, from, script, path, application, ident, origin } => {
                let (path, ident, origin) = (own(path), own(ident), own(origin));
                Event::Opened { client, id, from, script, path, application, ident, origin }
            }
            Self::Closed { client, id, ident, by_server, code, why, sent, outstanding } => {
                let (ident, why) = (own(ident), own(why));
                Event::Closed { client, id, ident, by_server, code, why, sent, outstanding }
            }
            Self::Pushed { message, from, what, bytes } => Event::Pushed { message, from, what: own(what), bytes },
            Self::Handed { message, to, end } => Event::Handed { message, to, end },
            Self::HandedToMany { message, application, clients } => {
                Event::HandedToMany { message, application, clients }
            }
            Self::Overrun { message, to } => Event::Overrun { message, to },
            Self::Missed { message, id, ident } => Event::Missed { message, id, ident: own(ident) },
            Self::Acknowledged { message, by } => Event::Acknowledged { message, by },
            Self::Refused { from, status, path, why } => {
                Event::Refused { from, status, path: own(path), why: own(why) }
            }
        }
    }
}

fn place(address: Address) -> (IpAddr, u16) {
    (address.ip(), address.port())
}

/// As much of a text as is recorded.
fn short(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(utf8::cut(text, MAX_TEXT))
}

/// The ring.
pub struct Recorder {
    ring: Box<[u8]>,
    /// Positions count on for ever; where they are in the ring is their remainder.
    start: u64,
    end: u64,
    /// Where a record is written before its length is known.
    scratch: Box<[u8; PREFIX + MAX_RECORD]>,
}

impl Recorder {
    /// Nothing has happened. `size` in bytes; below 1 KiB nothing is recorded.
    ///
    /// All of its memory is used from now on, so that what a client costs later is what the client costs.
    pub fn new(size: usize) -> Self {
        // Not zero: memory of zeroes is not there until something is written to it.
        let size = if size < 1024 { 0 } else { size };
        Self {
            ring: vec![0xff; size].into_boxed_slice(),
            start: 0,
            end: 0,
            scratch: Box::new([0; PREFIX + MAX_RECORD]),
        }
    }

    /// How large it is, in bytes.
    pub const fn size(&self) -> usize {
        self.ring.len()
    }

    /// Records what happened at `now`.
    pub fn record(&mut self, now: Moment, event: &Event<'_>) {
        if self.ring.is_empty() {
            return;
        }
        let Ok(written) = postcard::to_slice(&(now.as_millis(), event), &mut self.scratch[PREFIX..]) else {
            debug_assert!(false, "no event is longer than {MAX_RECORD} bytes");
            return;
        };
        let length = written.len();
        self.scratch[..PREFIX].copy_from_slice(&u16::try_from(length).unwrap_or_default().to_le_bytes());
        let length = PREFIX + length;
        while self.end + length as u64 > self.start + self.ring.len() as u64 {
            self.start += (PREFIX + self.length_at(self.start)) as u64;
        }
        self.put(length);
    }

    /// Goes through what has happened, the oldest first.
    pub fn each(&self, mut see: impl FnMut(Moment, Event<'_>)) {
        self.walk(
            |_| true,
            |at, event| {
                see(at, event);
                true
            },
        );
    }

    /// The same, for events of some kinds: the others are passed over, which is much faster than to read them.
    pub fn each_of(&self, kinds: &[Kind], mut see: impl FnMut(Moment, Event<'_>)) {
        self.walk(
            |kind| kinds.iter().any(|wanted| *wanted as u8 == kind),
            |at, event| {
                see(at, event);
                true
            },
        );
    }

    /// Since when everything is remembered; `None`: nothing is.
    pub fn oldest(&self) -> Option<Moment> {
        let mut oldest = None;
        self.walk(
            |_| true,
            |at, _| {
                oldest = Some(at);
                false
            },
        );
        oldest
    }

    /// Reads the records whose kind is wanted until `see` says that it has seen enough.
    fn walk(&self, is_wanted: impl Fn(u8) -> bool, mut see: impl FnMut(Moment, Event<'_>) -> bool) {
        let mut record = [0; MAX_RECORD];
        let mut at = self.start;
        let mut go_on = true;
        while at < self.end && go_on {
            let length = self.length_at(at);
            let body = at + PREFIX as u64;
            at = body + length as u64;
            if !is_wanted(self.kind_at(body)) {
                continue;
            }
            let body_bytes = &mut record[..length];
            self.get(body, body_bytes);
            match postcard::from_bytes::<(u64, Event<'_>)>(body_bytes) {
                Ok((millis, event)) => go_on = see(Moment::from_millis(millis), event),
                Err(error) => debug_assert!(false, "what was written can be read: {error}"),
            }
        }
    }

    /// The kind of the event of a record. A moment stands before it, in bytes of which all but the last have their highest
    /// bit set.
    fn kind_at(&self, body: u64) -> u8 {
        let mut at = body;
        while self.ring[self.place(at)] & 0x80 != 0 {
            at += 1;
        }
        self.ring[self.place(at + 1)]
    }

    fn length_at(&self, at: u64) -> usize {
        let mut length = [0; PREFIX];
        self.get(at, &mut length);
        usize::from(u16::from_le_bytes(length))
    }

    /// The place in the ring of a position.
    fn place(&self, at: u64) -> usize {
        usize::try_from(at % self.ring.len() as u64).unwrap_or_default()
    }

    /// Puts what stands in the scratch buffer behind all else.
    fn put(&mut self, length: usize) {
        let start = self.place(self.end);
        let bytes = &self.scratch[..length];
        let first = bytes.len().min(self.ring.len() - start);
        self.ring[start..start + first].copy_from_slice(&bytes[..first]);
        self.ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        self.end += bytes.len() as u64;
    }

    fn get(&self, at: u64, bytes: &mut [u8]) {
        let start = self.place(at);
        let first = bytes.len().min(self.ring.len() - start);
        let rest = bytes.len() - first;
        bytes[..first].copy_from_slice(&self.ring[start..start + first]);
        bytes[first..].copy_from_slice(&self.ring[..rest]);
    }
}

impl Default for Recorder {
    /// Records nothing.
    fn default() -> Self {
        Self::new(0)
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("size", &self.size()).field("used", &(self.end - self.start)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(number: u64) -> Event<'static> {
        let path = Cow::Owned("x".repeat(usize::try_from(number % 90).unwrap()));
        Event::Refused { from: ([127, 0, 0, 1].into(), 1), status: 404, path, why: Cow::Owned(number.to_string()) }
    }

    fn all(recorder: &Recorder) -> Vec<(u64, Event<'static>)> {
        let mut seen = Vec::new();
        recorder.each(|at, event| seen.push((at.as_millis(), event.into_owned())));
        seen
    }

    #[test]
    fn what_is_new_pushes_out_what_is_oldest_wherever_the_ring_wraps() {
        for size in [1024, 1500, 1777, 4096] {
            let mut recorder = Recorder::new(size);
            for number in 0..1000 {
                recorder.record(Moment::from_millis(number * 1000), &refused(number));
                let seen = all(&recorder);
                assert!(seen.len() > 7.min(usize::try_from(number).unwrap()), "room for some of them");
                let first = number + 1 - seen.len() as u64;
                let expected: Vec<_> = (first..=number).map(|number| (number * 1000, refused(number))).collect();
                assert_eq!(seen, expected, "the last ones, in order");
            }
        }
    }

    #[test]
    fn events_of_a_kind_are_found_among_the_others_wherever_the_ring_wraps() {
        let events = |number: u64| {
            let (client, id, message) =
                (u32::try_from(number).unwrap(), ClientId::from_random([7; 16]), MessageId::default());
            let (from, text) = (([127, 0, 0, 1].into(), 1), Cow::Borrowed("text"));
            let (path, ident, origin, why, what) =
                (text.clone(), text.clone(), text.clone(), text.clone(), text.clone());
            let opened = Event::Opened { client, id, from, script: false, path, application: 0, ident, origin };
            let (sent, outstanding, by_server, ident) = (1, None, true, text.clone());
            [
                (Kind::Opened, opened),
                (Kind::Closed, Event::Closed { client, id, ident, by_server, code: 1000, why, sent, outstanding }),
                (Kind::Pushed, Event::Pushed { message, from: Some(client), what, bytes: 1 }),
                (Kind::Handed, Event::Handed { message, to: client, end: 1 }),
                (Kind::HandedToMany, Event::HandedToMany { message, application: 0, clients: 1 }),
                (Kind::Overrun, Event::Overrun { message, to: client }),
                (Kind::Missed, Event::Missed { message, id: None, ident: text.clone() }),
                (Kind::Acknowledged, Event::Acknowledged { message, by: client }),
                (Kind::Refused, Event::Refused { from, status: 404, path: text.clone(), why: text }),
            ]
        };
        let mut recorder = Recorder::new(1500);
        for number in 0..300 {
            // Moments of one byte and of several.
            let at = Moment::from_millis(number * number);
            for (kind, event) in events(number) {
                recorder.record(at, &event);
                let mut last = None;
                recorder.each_of(&[kind], |at, event| last = Some((at, format!("{event:?}"))));
                assert_eq!(last, Some((at, format!("{event:?}"))));
            }
            let count = |kinds: &[Kind]| {
                let mut count = 0;
                recorder.each_of(kinds, |_, _| count += 1);
                count
            };
            let all = events(0).map(|(kind, _)| kind);
            let mut whole = 0;
            recorder.each(|_, _| whole += 1);
            assert_eq!((count(&[]), count(&all)), (0, whole));
            assert_eq!(all.iter().map(|kind| count(&[*kind])).sum::<usize>(), whole);
        }
        let mut first = None;
        recorder.each(|at, _| first = first.or(Some(at)));
        assert_eq!((recorder.oldest(), Recorder::new(1500).oldest()), (first, None));
    }

    #[test]
    fn a_text_without_end_is_cut_between_characters() {
        let mut recorder = Recorder::new(4096);
        let long = "é".repeat(10_000);
        let address = Address::from(std::net::SocketAddr::from(([192, 0, 2, 1], 80)));
        recorder.record(Moment::START, &Event::refused(address, 404, &long, &format!("x{long}")));
        let [(_, Event::Refused { path, why, .. })] = &all(&recorder)[..] else { panic!("one event") };
        assert_eq!((path.len(), why.len()), (256, 255));
    }

    #[test]
    fn where_there_is_no_room_nothing_is_recorded() {
        let mut recorder = Recorder::new(100);
        recorder.record(Moment::START, &refused(1));
        assert!(all(&recorder).is_empty());
        assert_eq!(recorder.size(), 0);
    }
}

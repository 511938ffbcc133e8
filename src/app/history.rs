//! What was sent lately, for streams of events that come again: one ring for all, bounded by count, age and bytes.
//!
//! A browser that lost its stream shows the id of the last event it got. The id says which number that was and whose
//! stream, and proves that this server gave that stream this UUID: others know the UUID too, since whoever reports to a
//! page must. So it goes on under its UUID with what it has missed, or is told that something may be missing.
//!
//! What is said to one stream alone is kept only while that stream is here or may come back. Nothing at all is kept, and
//! every number is zero, where no resource is a stream.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::wanted::Wanted;
use crate::clock::Moment;
use crate::config;
use crate::id::{ClientId, MessageId};

/// Most streams that are remembered as gone; past it the one that left first is forgotten.
const MAX_AWAY: usize = 10_000;

/// Bytes of a proof, of the 20 that HMAC-SHA-1 gives (RFC 2104, section 5).
const PROOF: usize = 16;

/// Bytes of the key: a block of SHA-1.
pub const SECRET: usize = 64;

/// What one stream that is away takes, in the table and in the queue behind it.
const AWAY_SIZE: usize = 2 * size_of::<(ClientId, Moment)>() + size_of::<usize>();

/// Whom a message is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whom<T> {
    /// Every browser.
    Everyone,
    /// The one with this UUID.
    One(ClientId),
    /// Who listens to a channel of a domain.
    Channel {
        /// The domain.
        domain: T,
        /// The channel.
        name: T,
    },
    /// Who has a token of a domain.
    Token {
        /// The domain.
        domain: T,
        /// The token.
        name: T,
    },
}

impl Whom<&str> {
    fn owned(self) -> Whom<Box<str>> {
        match self {
            Self::Everyone => Whom::Everyone,
            Self::One(id) => Whom::One(id),
            Self::Channel { domain, name } => Whom::Channel { domain: domain.into(), name: name.into() },
            Self::Token { domain, name } => Whom::Token { domain: domain.into(), name: name.into() },
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Everyone | Self::One(_) => 0,
            Self::Channel { domain, name } | Self::Token { domain, name } => domain.len() + name.len(),
        }
    }
}

impl Whom<Box<str>> {
    /// Whether it is for the stream `id`, whose URL asked for `wanted`.
    pub fn includes(&self, id: ClientId, wanted: &Wanted) -> bool {
        match self {
            Self::Everyone => true,
            Self::One(one) => *one == id,
            Self::Channel { domain, name } => *domain == wanted.domain && wanted.channels.contains(name),
            Self::Token { domain, name } => {
                *domain == wanted.domain && *name == wanted.token && !wanted.token.is_empty()
            }
        }
    }
}

/// A message that is kept.
#[derive(Debug)]
pub struct Entry {
    /// Whom it is for.
    pub whom: Whom<Box<str>>,
    /// Its text.
    pub payload: Box<[u8]>,
    /// Which message it is, where somebody has pushed it.
    pub message: Option<MessageId>,
    at: Moment,
    size: usize,
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Start {
    /// It has had everything up to this number, or is told that it may not have.
    pub after: u64,
    /// Why something may be missing; `None`: nothing is.
    pub gap: Option<&'static str>,
}

/// What was sent lately, and who may come back for it.
pub struct History {
    /// Some resource is a stream.
    on: bool,
    limits: config::Sse,
    secret: [u8; SECRET],
    /// The number of the latest message that was forgotten. One at the start, since zero is the number of none.
    forgotten: u64,
    entries: VecDeque<Entry>,
    /// Sizes of all entries.
    bytes: usize,
    /// Streams that have left, and until when they may come back; never: that is not settled yet.
    away: HashMap<ClientId, Moment>,
    /// The same in the order of time. One that has come back and left again stands here twice.
    leaving: VecDeque<(Moment, ClientId)>,
}

impl History {
    /// Nothing was sent yet. `secret`: random bytes that are this process's own.
    pub fn new(limits: config::Sse, secret: [u8; SECRET]) -> Self {
        Self {
            on: true,
            limits,
            secret,
            forgotten: 1,
            entries: VecDeque::new(),
            bytes: 0,
            away: HashMap::new(),
            leaving: VecDeque::new(),
        }
    }

    /// The limits have changed.
    pub fn configure(&mut self, limits: config::Sse) {
        self.limits = limits;
    }

    /// The number of the latest message.
    pub fn latest(&self) -> u64 {
        self.forgotten + self.entries.len() as u64
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.bytes + self.leaving.len() * AWAY_SIZE
    }

    /// Whether what is said to `id` is to be kept though nobody is here under this UUID.
    pub fn expects(&self, id: ClientId) -> bool {
        self.away.contains_key(&id)
    }

    /// Keeps a message and gives its number. Zero: nothing is kept here.
    pub fn keep(&mut self, whom: Whom<&str>, payload: &[u8], message: Option<MessageId>, now: Moment) -> u64 {
        if !self.on {
            return 0;
        }
        let size = size_of::<Entry>() + whom.len() + payload.len();
        if size > self.limits.history_bytes || self.limits.history_count == 0 {
            self.forget();
            self.forgotten += 1;
        } else {
            self.entries.push_back(Entry { whom: whom.owned(), payload: payload.into(), message, at: now, size });
            self.bytes += size;
        }
        self.trim(now);
        self.latest()
    }

    /// Forgets all messages. `false`: there were none.
    pub fn forget(&mut self) -> bool {
        let any = !self.entries.is_empty();
        self.forgotten = self.latest();
        self.entries = VecDeque::new();
        self.bytes = 0;
        any
    }

    /// The messages behind `number`, with their numbers.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skip = usize::try_from(number.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let numbers = (self.forgotten + 1)..;
        numbers.zip(&self.entries).skip(skip)
    }

    // --- Who may come back ------------------------------------------------------------------------------------------

    /// A stream has left. [`History::expect_back`] says for how long it is expected.
    pub fn left(&mut self, id: ClientId) {
        if self.on {
            self.away.insert(id, Moment::NEVER);
        }
    }

    /// A stream left at this moment: as long as what it misses is kept, it may come back for it.
    pub fn expect_back(&mut self, id: ClientId, now: Moment) {
        let until = now.after(self.limits.history_age);
        if let Some(known) = self.away.get_mut(&id) {
            *known = until;
            self.leaving.push_back((until, id));
        }
        self.trim(now);
    }

    /// What stands behind the number in the ids of a stream's events: its UUID, and the proof that it was given to it.
    pub fn owner(&self, id: ClientId) -> Box<str> {
        let proof = self.mac(id).finalize().into_bytes();
        format!("{id}-{}", URL_SAFE_NO_PAD.encode(&proof[..PROOF])).into()
    }

    /// Reads the id of an event that this server gave out: the UUID of its stream, and its number.
    pub fn recognize(&self, event: &[u8]) -> Option<(ClientId, u64)> {
        let (number, owner) = std::str::from_utf8(event).ok()?.split_once('-')?;
        let (uuid, proof) = owner.split_at_checked(36)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (number, id) = (number.parse().ok()?, ClientId::parse(uuid)?);
        let proof = URL_SAFE_NO_PAD.decode(proof.strip_prefix('-')?).ok().filter(|proof| proof.len() == PROOF)?;
        // In a time that says nothing about the right one.
        self.mac(id).verify_truncated_left(&proof).ok()?;
        Some((id, number))
    }

    /// Where a stream begins that has not been here before.
    pub fn start(&self) -> Start {
        Start { after: self.latest(), gap: None }
    }

    /// Where a stream begins that shows an id which is none of ours.
    pub fn start_unknown(&self) -> Start {
        Start { gap: Some("this Last-Event-ID is not known here: the server was restarted, perhaps"), ..self.start() }
    }

    /// Where the stream `id` goes on that has left and got everything up to `number`. It is no longer away.
    pub fn start_again(&mut self, id: ClientId, number: u64, now: Moment) -> Start {
        self.trim(now);
        let expected = self.away.remove(&id).is_some();
        let gap = if number > self.latest() {
            Some("this Last-Event-ID is one that was not given out yet")
        } else if !expected {
            Some("the stream was away for too long: messages to it alone were not kept")
        } else if number < self.forgotten {
            Some("some of what was sent since then is no longer kept")
        } else {
            None
        };
        Start { after: number.min(self.latest()), gap }
    }

    fn mac(&self, id: ClientId) -> Hmac<Sha1> {
        let mut mac = Hmac::<Sha1>::new(&self.secret.into());
        mac.update(id.encode(&mut [0; 36]).as_bytes());
        mac
    }

    /// Forgets what is beyond the limits.
    fn trim(&mut self, now: Moment) {
        let config::Sse { history_count, history_age, history_bytes } = self.limits;
        while let Some(first) = self.entries.front()
            && (self.entries.len() > history_count || self.bytes > history_bytes || first.at.after(history_age) <= now)
        {
            self.bytes -= first.size;
            self.forgotten += 1;
            self.entries.pop_front();
        }
        while let Some((until, id)) = self.leaving.front()
            && (*until <= now || self.leaving.len() > MAX_AWAY)
        {
            if self.away.get(id) == Some(until) {
                self.away.remove(id);
            }
            self.leaving.pop_front();
        }
    }
}

/// Where no resource is a stream.
impl Default for History {
    fn default() -> Self {
        Self { on: false, ..Self::new(config::Sse::default(), [0; SECRET]) }
    }
}

/// The secret stays one.
impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, away) = (self.entries.len(), self.away.len());
        f.debug_struct("History")
            .field("latest", &self.latest())
            .field("entries", &entries)
            .field("away", &away)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    fn history(history_count: usize, history_bytes: usize) -> History {
        History::new(config::Sse { history_count, history_age: AGE, history_bytes }, [7; SECRET])
    }

    fn id(number: u8) -> ClientId {
        ClientId::from_random([number; 16])
    }

    fn kept(history: &History, after: u64) -> Vec<(u64, String)> {
        let text = |entry: &Entry| String::from_utf8(entry.payload.to_vec()).unwrap();
        history.after(after).map(|(number, entry)| (number, text(entry))).collect()
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn messages_are_numbered_and_the_latest_are_kept() {
        let mut history = history(2, 1 << 20);
        for (number, text) in (2..).zip(["a", "b", "c"]) {
            assert_eq!(history.keep(Whom::Everyone, text.as_bytes(), None, at(1)), number);
        }
        assert_eq!(kept(&history, 0), [(3, "b".to_owned()), (4, "c".to_owned())]);
        assert_eq!(kept(&history, 3), [(4, "c".to_owned())]);
        assert_eq!((kept(&history, 4), kept(&history, u64::MAX)), (vec![], vec![]));
    }

    #[test]
    fn bytes_and_age_are_limits_too() {
        let mut history = history(100, 2000);
        for _ in 0..10 {
            history.keep(Whom::Everyone, &[b'x'; 900], None, at(1));
            assert!(history.held() <= 2000, "{}", history.held());
        }
        assert_eq!(history.after(0).count(), 2);
        assert_eq!(history.keep(Whom::Everyone, &[b'x'; 2000], None, at(1)), 12, "too large by itself, and counted");
        assert_eq!((history.after(0).count(), history.held()), (0, 0));
        history.keep(Whom::Everyone, b"old", None, at(2));
        history.keep(Whom::Everyone, b"new", None, at(61));
        assert_eq!(history.after(0).count(), 2);
        history.keep(Whom::Everyone, b"newer", None, at(62));
        assert_eq!(kept(&history, 0), [(14, "new".to_owned()), (15, "newer".to_owned())]);
        assert!(history.forget() && !history.forget());
        assert_eq!((history.latest(), history.held()), (15, 0));
    }

    #[test]
    fn where_there_are_no_streams_nothing_is_kept() {
        let mut history = History::default();
        assert_eq!(history.keep(Whom::Everyone, b"x", None, at(1)), 0);
        history.left(id(1));
        assert!(!history.expects(id(1)));
        assert_eq!((history.held(), history.latest()), (0, 1));
    }

    #[test]
    fn an_id_is_known_again_and_a_forged_one_is_not() {
        let history = history(1, 1);
        let owner = history.owner(id(1));
        let event = |number: &str, owner: &str| history.recognize(format!("{number}-{owner}").as_bytes());
        assert_eq!(event("17", &owner), Some((id(1), 17)));
        let other = history.owner(id(2));
        let (uuid, proof) = (&owner[..36], &other[36..]);
        for (number, owner) in [
            ("17", &*format!("{uuid}{proof}")),
            ("17", uuid),
            ("17", &owner[..owner.len() - 1]),
            ("17", &format!("{owner}A")),
            ("17", &format!("{owner}=")),
            ("17", &owner.replacen('-', "+", 5)),
            ("", &owner),
            ("+1", &owner),
            ("18446744073709551616", &owner),
            (&"9".repeat(400), &owner),
            ("17", ""),
        ] {
            assert_eq!(event(number, owner), None, "{number} {owner}");
        }
        for event in [&b""[..], b"-", b"-1", b"1", b"\xff\xfe", "1-\u{fc}".repeat(20).as_bytes()] {
            assert_eq!(history.recognize(event), None);
        }
        let later = History::new(config::Sse::default(), [8; SECRET]);
        assert_eq!(later.recognize(format!("17-{owner}").as_bytes()), None, "another process");
    }

    #[test]
    fn who_left_may_come_back_as_long_as_messages_are_kept() {
        let mut history = history(2, 1 << 20);
        history.keep(Whom::Everyone, b"1", None, at(1));
        history.left(id(1));
        assert!(history.expects(id(1)));
        history.expect_back(id(1), at(1));
        history.keep(Whom::One(id(1)), b"2", None, at(2));
        assert_eq!(history.start_again(id(1), 2, at(2)), Start { after: 2, gap: None });
        assert!(!history.expects(id(1)), "it is here");
        let too_long = history.start_again(id(1), 2, at(2));
        assert!(too_long.after == 2 && too_long.gap.is_some_and(|why| why.contains("too long")));
        // Left again, and late.
        history.left(id(1));
        history.expect_back(id(1), at(3));
        assert!(history.start_again(id(1), 2, at(63)).gap.is_some());
        // In time, and too much has happened.
        history.left(id(1));
        history.expect_back(id(1), at(64));
        for number in 3..6 {
            history.keep(Whom::Everyone, b"x", None, at(number));
        }
        let overtaken = history.start_again(id(1), 2, at(65));
        assert!(overtaken.after == 2 && overtaken.gap.is_some_and(|why| why.contains("no longer kept")));
        // A number that there was not.
        history.left(id(1));
        let ahead = history.start_again(id(1), 7, at(65));
        assert!(ahead.after == 6 && ahead.gap.is_some());
    }

    #[test]
    fn who_is_away_takes_little_and_is_forgotten() {
        let mut history = history(10, 1 << 20);
        for number in 0..u32::try_from(MAX_AWAY).unwrap() + 10 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.to_ne_bytes());
            history.left(ClientId::from_random(bytes));
            history.expect_back(ClientId::from_random(bytes), at(1));
        }
        assert_eq!((history.away.len(), history.leaving.len()), (MAX_AWAY, MAX_AWAY));
        assert_eq!(history.held(), MAX_AWAY * AWAY_SIZE);
        history.keep(Whom::Everyone, b"x", None, at(61));
        assert_eq!((history.away.len(), history.leaving.len()), (0, 0));
    }

    #[test]
    fn a_stream_gets_what_it_asked_for() {
        let wanted = Wanted { domain: "d".into(), token: "kim".into(), channels: vec!["a".into(), "b".into()] };
        let (domain, name) = ("d", "a");
        for (whom, is_for) in [
            (Whom::Everyone, true),
            (Whom::One(id(1)), true),
            (Whom::One(id(2)), false),
            (Whom::Channel { domain, name }, true),
            (Whom::Channel { domain: "", name }, false),
            (Whom::Channel { domain, name: "kim" }, false),
            (Whom::Token { domain, name: "kim" }, true),
            (Whom::Token { domain: "e", name: "kim" }, false),
            (Whom::Token { domain, name: "a" }, false),
        ] {
            assert_eq!(whom.owned().includes(id(1), &wanted), is_for, "{whom:?}");
        }
    }
}

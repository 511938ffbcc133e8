//! Those who do their worst, each in a way of its own, and hold on to their connections for as long as they can.

use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Actor, Crowd, Fate, Line};
use crate::server::{CLOSE, PING, TEXT, masked, masked_header, upgrade};

/// A receive buffer that is soon full.
const SMALL: usize = 4096;

/// How much of a flood is sent before it is the next one's turn.
const SPATE: usize = 64 * 1024;

/// How long the server waits for a peer to end a connection that is over.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The settings that bound what they can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake: Duration,
    pub(crate) message: Duration,
    pub(crate) ping: Duration,
    pub(crate) backlog: Duration,
}

impl Limits {
    /// The settings, as lines of `[limits]`.
    pub(crate) fn ini(&self) -> String {
        format!(
            "handshakeTimeout = {}\nmessageTimeout = {}\npingInterval = {}\nmaxBacklogTime = {}\n",
            self.handshake.as_secs(),
            self.message.as_secs(),
            self.ping.as_secs(),
            self.backlog.as_secs()
        )
    }
}

/// What it goes on doing.
#[derive(Debug)]
enum Then {
    Nothing,
    /// Sends a byte of this now and then, over and over.
    Drip(Vec<u8>, Duration),
    /// Sends this over and over, as fast as it is taken.
    Flood(Vec<u8>),
    /// Resets its connection after a moment, and comes again.
    Reset(Duration),
}

/// What it reads.
#[derive(Clone, Copy, Debug)]
enum Reads {
    All,
    Nothing,
    /// A byte, now and then.
    Trickle(Duration),
}

/// A way of being hostile.
#[derive(Debug)]
pub(crate) struct Vice {
    pub(crate) name: &'static str,
    /// What it begins with.
    opening: Vec<u8>,
    then: Then,
    reads: Reads,
    /// How long the server lets it be at most. `None`: it goes by itself.
    pub(crate) limit: Option<Duration>,
    /// That time begins once the buffers of two kernels are full, which it fills as fast as the server answers.
    pub(crate) fills: bool,
}

/// This over and over, in pieces large enough for one call each.
fn flood(bytes: &[u8]) -> Then {
    Then::Flood(bytes.repeat((SPATE / 2).div_ceil(bytes.len())))
}

/// All of them. `pace`: how long those wait who do something now and then.
pub(crate) fn vices(limits: &Limits, pace: Duration) -> Vec<Rc<Vice>> {
    let echo = upgrade("/echo", "").into_bytes();
    let relay = upgrade("/", "").into_bytes();
    let and = |bytes: &[u8]| [&echo[..], bytes].concat();
    let large = masked(TEXT, &[b'x'; 1000]);
    // Told to go, they don't; and before they are told, output must have begun to wait.
    let unread = limits.backlog.min(limits.ping * 2) + CLOSE_WAIT;
    let vice = |name, opening: &[u8], then, reads, limit: Duration| {
        let fills = matches!(then, Then::Flood(_)) && !matches!(reads, Reads::All);
        Rc::new(Vice { name, opening: opening.to_vec(), then, reads, limit: Some(limit), fills })
    };
    vec![
        vice("silent", b"", Then::Nothing, Reads::All, limits.handshake),
        vice("half a head", &echo[..40], Then::Nothing, Reads::Nothing, limits.handshake + CLOSE_WAIT),
        vice("a head in drips", b"", Then::Drip(echo.clone(), pace), Reads::All, limits.handshake + CLOSE_WAIT),
        vice("echoes never read", &echo, flood(&large), Reads::Nothing, unread),
        vice("pongs never read", &echo, flood(&masked(PING, &[b'?'; 125])), Reads::Nothing, unread),
        vice("echoes read in drips", &echo, flood(&large), Reads::Trickle(pace), unread),
        vice("broadcasts never read", &relay, Then::Nothing, Reads::Nothing, limits.ping * 2 + CLOSE_WAIT),
        vice("broadcasts read in drips", &relay, Then::Nothing, Reads::Trickle(pace), limits.ping * 2 + CLOSE_WAIT),
        vice(
            "a frame announced",
            &and(&masked_header(TEXT, 1_000_000)),
            Then::Nothing,
            Reads::Nothing,
            limits.message + CLOSE_WAIT,
        ),
        vice(
            "a frame in drips",
            &and(&masked_header(TEXT, 1_000_000)),
            Then::Drip(b"77777777".to_vec(), pace),
            Reads::All,
            limits.message + CLOSE_WAIT,
        ),
        vice(
            "fragments without end",
            &and(&masked(0x01, b"once")),
            flood(&masked(0x00, b"more")),
            Reads::All,
            limits.message + CLOSE_WAIT,
        ),
        vice("pings never answered", &relay, Then::Nothing, Reads::All, limits.ping * 2 + CLOSE_WAIT),
        vice("talks on after a fault", &and(b"\x83\x80"), flood(&masked(TEXT, b"so?")), Reads::All, CLOSE_WAIT),
        vice(
            "talks on after a Close",
            &and(&masked(CLOSE, &1000_u16.to_be_bytes())),
            flood(&masked(TEXT, b"and")),
            Reads::Nothing,
            CLOSE_WAIT,
        ),
        Rc::new(Vice {
            name: "connect and reset",
            opening: relay[..20].to_vec(),
            then: Then::Reset(pace),
            reads: Reads::Nothing,
            limit: None,
            fills: false,
        }),
    ]
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Hostile {
    vice: Rc<Vice>,
    began: Instant,
    /// Where in what it goes on with.
    at: usize,
    /// When the next drip is due.
    drip: Instant,
    trickle: Instant,
    /// How long it holds on to a connection, even one of which it is not told that it is over. `None`: for ever.
    holds: Option<Duration>,
    ended: bool,
}

impl Hostile {
    /// It holds on to its connection for ever.
    pub(crate) fn new(vice: &Rc<Vice>) -> Self {
        let now = Instant::now();
        Self { vice: Rc::clone(vice), began: now, at: 0, drip: now, trickle: now, holds: None, ended: false }
    }

    /// It comes again when its connection is over, or must be.
    pub(crate) fn insistent(vice: &Rc<Vice>) -> Self {
        let holds = vice.limit.unwrap_or_default() + Duration::from_secs(1);
        Self { holds: Some(holds), ..Self::new(vice) }
    }
}

impl<W> Actor<W> for Hostile {
    fn buffer(&self) -> Option<usize> {
        (!matches!(self.vice.reads, Reads::All)).then_some(SMALL)
    }

    fn begin(&mut self, line: &mut Line, world: &mut W, now: Instant) -> Fate {
        (self.began, self.drip, self.trickle, self.at, self.ended) = (now, now, now, 0, false);
        line.will_reset();
        line.say(&self.vice.opening);
        self.act(line, world, now)
    }

    fn act(&mut self, line: &mut Line, _world: &mut W, now: Instant) -> Fate {
        let until = self.holds.map(|holds| self.began + holds);
        // Who comes again need not hold on to what is broken.
        if until.is_some_and(|until| until <= now || line.is_broken()) {
            return Fate::Again(now + Duration::from_millis(10));
        }
        let mut next = until.unwrap_or(now + Duration::from_secs(3600));
        match self.vice.reads {
            Reads::All if !self.ended => self.ended = !line.discard(),
            Reads::Trickle(every) => {
                if self.trickle <= now {
                    line.read(&mut Vec::new(), 1);
                    self.trickle = now + every;
                }
                next = next.min(self.trickle);
            }
            Reads::All | Reads::Nothing => {}
        }
        match &self.vice.then {
            Then::Nothing => {}
            Then::Drip(bytes, every) => {
                if self.drip <= now {
                    line.offer(&bytes[self.at % bytes.len()..][..1]);
                    self.at += 1;
                    self.drip = now + *every;
                }
                next = next.min(self.drip);
            }
            Then::Flood(bytes) => {
                // A frame that is cut goes on where it was cut.
                let mut sent = 0;
                while sent < SPATE {
                    let start = self.at % bytes.len();
                    let taken = line.offer(&bytes[start..]);
                    self.at += taken;
                    sent += taken;
                    if taken < bytes.len() - start {
                        break;
                    }
                }
                if sent >= SPATE {
                    next = next.min(now + Duration::from_millis(5));
                }
            }
            Then::Reset(after) => {
                if now >= self.began + *after {
                    return Fate::Again(now);
                }
                next = next.min(self.began + *after);
            }
        }
        if line.is_broken() { Fate::Stays } else { Fate::Until(next) }
    }
}

/// From here on this thread runs only where no other wants to: what the honest ones do is not to wait for it. Where that is
/// refused, figures are only worse.
fn yield_to_all() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let _ = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
}

/// Hostile connections on a thread of their own, which come again as often as they are dropped.
#[derive(Debug)]
pub(crate) struct Attack {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Attack {
    /// So many, of every kind alike that has `only` in its name. They come within some seconds.
    pub(crate) fn begin(to: SocketAddr, count: usize, limits: Limits, only: &str) -> Self {
        let only = only.to_owned();
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || {
                yield_to_all();
                let mut vices = vices(&limits, Duration::from_secs(1));
                vices.retain(|vice| vice.name.contains(&only));
                assert!(!vices.is_empty(), "nobody is called {only}");
                let mut crowd = Crowd::new(to);
                for number in 0..count {
                    crowd.add(Hostile::insistent(&vices[number % vices.len()]), &mut ());
                    if number % 20 == 0 {
                        crowd.run(Instant::now() + Duration::from_millis(10), &mut ());
                    }
                }
                while !ends.load(Ordering::Relaxed) {
                    crowd.run(Instant::now() + Duration::from_millis(50), &mut ());
                }
            }
        });
        Self { ends, thread }
    }

    /// Drops them all.
    pub(crate) fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the attackers themselves are well");
    }
}

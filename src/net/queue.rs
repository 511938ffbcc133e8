//! The queue: a socket that backends push messages to, which are taken out in bites between everything else.
//!
//! How many wait in it does not matter to anybody else: a bite is as much work as the loop grants to those who send much,
//! and what is left waits for the next turn. What can't be used is dropped, counted, and told in the log, at most a line a
//! second. This file knows no ZeroMQ, which is the inlet's; and what a message means is for the applications.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use log::{debug, error, warn};
use mio::{Registry, Token};

use super::hub::{Hub, MUCH_A_TURN, world};
use super::server::StartError;
use super::socket::Socket;
use super::zeromq::Inlet;
use crate::app::World;
use crate::app::gate::is_listed;
use crate::app::queue::{self, Unusable};
use crate::clock::Moment;
use crate::config::Config;

/// What it takes to get a message, however small, in the hub's units of work; and bytes of it that take a unit to read:
/// to be looked through by an application, more than once, takes a multiple of what a frame takes.
const MESSAGE: usize = 32;
const BYTES: usize = 16;

/// Bites that a server which is stopping still takes: a few milliseconds.
const LAST_BITES: usize = 32;

/// Between two lines about messages that can't be used.
const QUIET: Duration = Duration::from_secs(1);

/// Most of a message that the log shows, in characters.
const SHOWN: usize = 80;

/// A message from the inlet, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) bytes: &'a [u8],
    /// Who sent it. `None`: somebody whom the permissions of a Unix socket have let in.
    pub(super) from: Option<IpAddr>,
    /// More parts of the same message follow.
    pub(super) more: bool,
}

/// A socket that backends push messages to.
#[derive(Debug)]
pub(super) struct Queue {
    inlet: Inlet,
    /// There may be messages that no event will tell of.
    pending: bool,
    /// How many parts there were of a message that is not at its end.
    parts: usize,
    complaints: Complaints,
}

impl Queue {
    /// Opens the queue, if the configuration wants one, and has `registry` tell under `token` when something may be in it.
    pub(super) fn bind(config: &Config, registry: &Registry, token: Token) -> Result<Option<Self>, StartError> {
        let endpoint = &config.zmq.bind;
        if endpoint.is_empty() {
            return Ok(None);
        }
        let inlet = Inlet::bind(config).map_err(|error| StartError::Listen(endpoint.clone(), error))?;
        inlet.register(registry, token).map_err(StartError::Loop)?;
        Ok(Some(Self { inlet, pending: true, parts: 0, complaints: Complaints::default() }))
    }

    /// The poll says that there may be something.
    pub(super) const fn ready(&mut self) {
        self.pending = true;
    }

    /// Whether there may be more, so that the next poll is not to wait.
    pub(super) const fn has_more(&self) -> bool {
        self.pending
    }

    /// When [`Queue::take`] is to be called, whatever the poll says.
    pub(super) const fn deadline(&self) -> Moment {
        self.complaints.due()
    }

    /// Takes a bite.
    pub(super) fn take<S: Socket>(&mut self, hub: &mut Hub<S>, now: Moment) {
        self.complaints.tell(now);
        let (at, mut work) = (self.inlet.ip(), 0);
        while self.pending && work < MUCH_A_TURN {
            match self.inlet.receive() {
                Ok(Some(received)) => {
                    work += received.bytes.len() / BYTES + MESSAGE;
                    if received.more {
                        self.parts += 1;
                        continue;
                    }
                    let parts = std::mem::take(&mut self.parts) + 1;
                    let deliveries = hub.metrics.deliveries;
                    match hub.act_on(received, parts, at, now) {
                        Ok(handed) => debug!("handed a message from the queue to {handed} clients"),
                        Err(why) => self.complaints.add(received, &why, now),
                    }
                    work += usize::try_from(hub.metrics.deliveries - deliveries).unwrap_or(usize::MAX);
                }
                // What comes later comes with an event of its own.
                Ok(None) => self.pending = false,
                Err(error) => {
                    error!("the queue can't be read: {error}");
                    self.pending = false;
                }
            }
        }
    }

    /// Ends it: takes no more in, and hands out what has come already, as far as that is soon done.
    pub(super) fn close<S: Socket>(mut self, registry: &Registry, hub: &mut Hub<S>, now: Moment) {
        if let Err(error) = self.inlet.close(registry) {
            warn!("the queue at {self} is still open: {error}");
        }
        self.pending = true;
        for _ in 0..LAST_BITES {
            self.take(hub, now);
        }
        if self.pending {
            warn!("what was left in the queue is lost");
        }
        self.complaints.tell_all();
    }
}

/// The endpoint.
impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inlet.fmt(f)
    }
}

impl<S: Socket> Hub<S> {
    /// Does what a message asks for. `at`: the address that the queue is at. Gives to how many clients it was handed.
    fn act_on(
        &mut self,
        received: Received<'_>,
        parts: usize,
        at: Option<IpAddr>,
        now: Moment,
    ) -> Result<usize, Unusable> {
        let Received { bytes, from, .. } = received;
        if let Some(from) = from
            && at != Some(from)
            && !is_listed(&self.config, &self.listening, from)
        {
            self.metrics.queue.forbidden += 1;
            return Err("its sender is not on the allow list".into());
        }
        let outcome = if parts > 1 {
            Err(Cow::Owned(format!("it has {parts} parts, where one was expected")))
        } else if bytes.len() > self.config.limits.max_message {
            Err(Cow::Owned(format!("it has {} bytes, over maxMessage", bytes.len())))
        } else {
            queue::take(&mut self.routes, world!(self, now), &mut self.outbox, bytes)
        };
        let tally = &mut self.metrics.queue;
        *match outcome {
            Ok(0) => &mut tally.nobody,
            Ok(_) => &mut tally.delivered,
            Err(_) => &mut tally.unusable,
        } += 1;
        self.deliver(None, now);
        self.write_early(now);
        outcome
    }
}

/// What is told of messages that can't be used: a line a second, since a flood of them must not flood the log.
#[derive(Debug, Default)]
struct Complaints {
    /// Until then the next are only counted.
    quiet: Moment,
    untold: u64,
}

impl Complaints {
    fn add(&mut self, received: Received<'_>, why: &str, now: Moment) {
        if now < self.quiet {
            self.untold += 1;
            return;
        }
        self.quiet = now.after(QUIET);
        let from = received.from.map_or_else(|| "local".to_owned(), |from| from.to_string());
        match start_of(received.bytes) {
            start if start.is_empty() => warn!(address:% = from; "a message from the queue can't be used: {why}"),
            start => warn!(address:% = from; "a message from the queue can't be used: {why}; it begins {start:?}"),
        }
    }

    const fn due(&self) -> Moment {
        if self.untold > 0 { self.quiet } else { Moment::NEVER }
    }

    fn tell(&mut self, now: Moment) {
        if self.due() <= now {
            self.quiet = now.after(QUIET);
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        if self.untold > 0 {
            warn!("{} more messages from the queue could not be used", self.untold);
            self.untold = 0;
        }
    }
}

/// As much of a message as the log shows, whatever its bytes are.
fn start_of(bytes: &[u8]) -> String {
    // No character has more than four bytes.
    let start = &bytes[..bytes.len().min(4 * SHOWN)];
    String::from_utf8_lossy(start).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_once_a_second() {
        let mut complaints = Complaints::default();
        let received = Received { bytes: b"x", from: None, more: false };
        let at = |millis| Moment::START.after(Duration::from_millis(millis));
        assert_eq!(complaints.due(), Moment::NEVER);
        complaints.add(received, "told", at(0));
        assert_eq!((complaints.untold, complaints.due()), (0, Moment::NEVER), "that one was told");
        complaints.add(received, "kept", at(1));
        complaints.add(received, "kept", at(999));
        assert_eq!((complaints.untold, complaints.due()), (2, at(1000)));
        complaints.tell(at(999));
        assert_eq!(complaints.untold, 2, "too early");
        complaints.tell(at(1000));
        assert_eq!((complaints.untold, complaints.due()), (0, Moment::NEVER));
        complaints.add(received, "kept", at(1999));
        assert_eq!((complaints.untold, complaints.due()), (1, at(2000)), "the count was a line as well");
        complaints.tell(at(2500));
        complaints.add(received, "told", at(3500));
        assert_eq!(complaints.untold, 0);
    }

    #[test]
    fn the_log_shows_the_start_whatever_it_is() {
        assert_eq!(start_of(b""), "");
        assert_eq!(start_of(b"a\xff\n"), "a\u{fffd}\n");
        assert_eq!(start_of("ä".repeat(1000).as_bytes()), "ä".repeat(SHOWN));
        assert_eq!(start_of(&vec![0xf0; 10_000]).chars().count(), SHOWN);
    }
}

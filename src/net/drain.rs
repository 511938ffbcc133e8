//! The good-bye of a stopping server: everyone is told, a thousand at a time.
//!
//! Who is told reconnects, and most pages do so at once. Up to a thousand are told in one go; more of them in waves half
//! a second apart, closer together where that would take more than half of `drainTimeout`, so that the last ones too have
//! time to read what waits for them and to answer. Until its turn comes a client is served like on any other day.

use std::borrow::Cow;
use std::time::Duration;

use super::hub::{Hub, world};
use super::socket::Socket;
use crate::app::{Context, World};
use crate::clock::Moment;
use crate::id::ConnectionKey;
use crate::proto::CloseCode;

/// Clients told at once.
const WAVE: usize = 1000;

/// From one wave to the next, where `drainTimeout` leaves room for it.
const STEP: Duration = Duration::from_millis(500);

/// Those who have still to be told.
#[derive(Debug)]
pub(super) struct Leaving {
    keys: Vec<ConnectionKey>,
    /// When the next wave is told; never, where nobody is left.
    next: Moment,
    step: Duration,
}

impl Leaving {
    /// Nobody is to leave.
    pub(super) const NONE: Self = Self { keys: Vec::new(), next: Moment::NEVER, step: STEP };

    /// When the next wave is due.
    pub(super) const fn due(&self) -> Moment {
        self.next
    }
}

impl<S: Socket> Hub<S> {
    /// Starts the end: clients are told that the server goes, all of them within half of `drainTimeout`; [`Hub::expire`] goes
    /// on with it. What waits for a request stays, and is answered with 503: so a load balancer that keeps its connection
    /// learns at its next check that this server goes.
    pub fn drain(&mut self, now: Moment) {
        self.stopping = true;
        self.tell_fates(now);
        let all: Vec<_> = self.unfinished().map(|slot| self.connections[slot].key(slot)).collect();
        let (clients, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|key| self.connections[key.slot as usize].session.is_open());
        for key in others {
            self.tell_to_go(key, now);
        }
        let waves = u32::try_from(clients.len().div_ceil(WAVE)).unwrap_or(u32::MAX).max(1);
        let step = STEP.min(self.config.limits.drain_timeout / 2 / waves);
        self.leaving = Leaving { keys: clients, next: now, step };
        self.tell_next(now);
    }

    /// Tells those whose turn has come.
    pub(super) fn tell_next(&mut self, now: Moment) {
        while self.leaving.next <= now {
            let rest = self.leaving.keys.len().saturating_sub(WAVE);
            for key in self.leaving.keys.split_off(rest) {
                self.tell_to_go(key, now);
            }
            let next = self.leaving.next.after(self.leaving.step);
            self.leaving.next = if rest == 0 { Moment::NEVER } else { next };
        }
    }

    fn tell_to_go(&mut self, key: ConnectionKey, now: Moment) {
        if let Some(client) = self.registry.get(key) {
            let application = self.routes.application_mut(client.application());
            application.on_stopping(&mut Context::new(client, world!(self, now), &mut self.outbox));
            self.deliver(None, now);
        }
        self.close(key, CloseCode::GOING_AWAY, Cow::Borrowed("server is stopping"), now);
    }
}

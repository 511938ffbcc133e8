//! What became of messages, as the loop sees it: recorded for who asks later, and told to those who wait for it.
//!
//! What a fate is, and when there is nothing left to wait for, is [`app::fates`](crate::app::fates)' business.

use log::warn;
use slab::Slab;

use super::connection::Connection;
use super::hub::{Hub, world};
use super::outgoing::Outgoing;
use super::socket::Socket;
use crate::app::fates::{Asker, Fate, Outlook, Progress, Watch};
use crate::app::outbox::Run;
use crate::app::recorder::Event;
use crate::app::registry::{Address, Client};
use crate::app::{Context, World};
use crate::clock::Moment;
use crate::id::{ConnectionKey, MessageId};
use crate::metrics::Closer;
use crate::proto::http::Refusal;
use crate::proto::session::End;

/// Up to so many clients that a message goes to are recorded one by one.
const RECORDED: usize = 64;

/// How far output has got, in the middle of a turn.
pub(super) struct Sight<'a, S> {
    pub(super) connections: &'a Slab<Connection<S>>,
    pub(super) outgoing: &'a Outgoing,
}

impl<S: Socket> Outlook for Sight<'_, S> {
    fn progress(&self, client: ConnectionKey) -> Option<Progress> {
        let connection = self.connections.get(client.slot as usize)?;
        (connection.serial == client.serial).then(|| connection.progress(self.outgoing))
    }
}

impl<S> std::fmt::Debug for Sight<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sight")
    }
}

impl<S: Socket> Hub<S> {
    /// Records to whom a message was handed.
    pub(super) fn record_handed(&mut self, message: MessageId, to: Run, handed: usize, now: Moment) {
        let one_by_one = to.len() <= RECORDED;
        let watched = self.outbox.fates.is_watched(message);
        if !one_by_one {
            // Streams of events are sent what other applications' clients are.
            let mut clients = self.outbox.targets[to.range()].iter().filter_map(|target| self.registry.get(*target));
            let first = clients.find(|client| !client.is_stream());
            let application = first.map_or(u8::MAX, |client| client.application().0);
            let clients = u32::try_from(handed).unwrap_or(u32::MAX);
            self.outbox.recorder.record(now, &Event::HandedToMany { message, application, clients });
        }
        if !one_by_one && !watched {
            return;
        }
        for target in to.range() {
            let key = self.outbox.targets[target];
            let Some(client) = self.registry.get(key) else { continue };
            let Some(connection) = self.connections.get(key.slot as usize) else { continue };
            // What a script's pace holds back comes behind all that is out.
            let end = connection.session.output().wrapping_add(u32::try_from(connection.session.paced()).unwrap_or(0));
            if one_by_one {
                self.outbox.recorder.record(now, &Event::Handed { message, to: key.serial, end });
            }
            if watched {
                self.outbox.fates.handed(message, client, end, Fate::Queued);
            }
        }
    }

    /// Records that a message could not be handed to a client.
    pub(super) fn record_overrun(&mut self, message: MessageId, key: ConnectionKey, now: Moment) {
        self.outbox.recorder.record(now, &Event::Overrun { message, to: key.serial });
        if let Some(client) = self.registry.get(key) {
            let why = Fate::Dropped("too much was waiting for it already".to_owned());
            self.outbox.fates.handed(message, client, 0, why);
        }
    }

    /// Records that a client has gone, and how much of its output it has not received.
    pub(super) fn record_closed(
        &mut self,
        slot: usize,
        client: &Client,
        end: &End,
        (by, code): (Closer, u16),
        now: Moment,
    ) {
        let connection = &self.connections[slot];
        let mut progress = connection.progress(&self.outgoing);
        let (why, close_frame) = match end {
            End::ByPeer(code, reason) => (&**reason, if code.is_some() { 4 } else { 2 }),
            End::ByUs(_, why) => (&**why, 4 + why.len()),
            End::Vanished => ("", 0),
        };
        // Our own Close frame, which has just been said, is nothing that anybody misses.
        let close_frame = close_frame.min(progress.waiting);
        progress.waiting -= close_frame;
        progress.output = progress.output.wrapping_sub(u32::try_from(close_frame).unwrap_or_default());
        let outstanding = progress.unreceived.map(|bytes| bytes + progress.waiting);
        self.outbox.recorder.record(now, &Event::closed(client, (by, code, why), progress.output, outstanding));
        if !self.outbox.fates.is_empty() {
            self.outbox.fates.closed(client.key, end, progress, now);
        }
    }

    /// A request is refused: says so in the log and where it is asked for later.
    pub(super) fn note_refused(&mut self, address: Address, path: &str, refusal: Refusal, now: Moment) {
        match path {
            "" => warn!(address:% = address; "refused, {refusal}"),
            path => warn!(address:% = address, path = path; "refused, {refusal}"),
        }
        self.metrics.refusals.add(refusal.status);
        self.outbox.recorder.record(now, &Event::refused(address, refusal.status, path, refusal.why));
    }

    /// Tells those for whom there is nothing to wait for any more.
    pub(super) fn tell_fates(&mut self, now: Moment) {
        while !self.outbox.fates.is_empty() {
            if self.stopping {
                self.outbox.fates.hurry(now);
            }
            let sight = Sight { connections: &self.connections, outgoing: &self.outgoing };
            let settled = self.outbox.fates.settled(now, &sight);
            if settled.is_empty() {
                break;
            }
            for watch in &settled {
                self.tell_fate(watch, now);
            }
        }
    }

    /// Tells a client what became of its last message before its next is looked at, so that answers keep their order.
    pub(super) fn tell_fate_first(&mut self, asker: ConnectionKey, now: Moment) {
        let sight = Sight { connections: &self.connections, outgoing: &self.outgoing };
        if let Some(watch) = self.outbox.fates.take(asker, &sight) {
            self.tell_fate(&watch, now);
        }
    }

    fn tell_fate(&mut self, watch: &Watch, now: Moment) {
        let report = watch.report(&self.outbox.recorder, now, (self.wall_clock)());
        match watch.asker {
            Asker::Client(key) => {
                // Who asked may have gone.
                let Some(client) = self.registry.get(key) else { return };
                let application = self.routes.application_mut(client.application());
                application.on_settled(&mut Context::new(client, world!(self, now), &mut self.outbox), watch, &report);
                self.deliver(None, now);
            }
            Asker::Call => self.answer_waiting_call(watch.message, &report, now),
        }
    }
}

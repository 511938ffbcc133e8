//! Output: carrying out what applications asked for, and settling a turn.
//!
//! A frame is encoded once, whoever gets it. Every connection that something happened to is settled once a turn: its
//! output is written, its interest and its timer are brought up to date, and it is dropped if it is over. Callers can't
//! forget a step.

use std::borrow::Cow;
use std::io;

use log::{Level, debug, info, log, warn};

use super::connection::Connection;
use super::hub::{ARENA_HIGH, Hub, SLICES_HIGH, turn, world};
use super::outgoing::{Outgoing, Places, Source};
use super::socket::Socket;
use crate::app::World;
use crate::app::outbox::{Body, Closing, Command, Run};
use crate::clock::Moment;
use crate::id::ConnectionKey;
use crate::metrics::{Closer, Closes};
use crate::proto::deflate::Packing;
use crate::proto::events::Label;
use crate::proto::frame;
use crate::proto::session::{End, Event, Turn};
use crate::proto::{CloseCode, Kind, Message};

/// From here on a message is sent from where it lies; below, copying it behind its header is at least as fast.
const LARGE: usize = 4096;

/// An arena that has grown past this is given back.
const ARENA_KEPT: usize = 4 * 1024 * 1024;

/// A message on its way to any number of connections.
#[derive(Clone, Copy)]
pub(super) struct Sending<'m> {
    pub(super) kind: Kind,
    /// Its frame in the arena: all of it, or where it is large the header alone.
    pub(super) plain: Run,
    /// The rest of its frame, in the message that is being handled.
    pub(super) received: &'m [u8],
    urgent: bool,
    /// What it is to streams of events.
    pub(super) label: Label,
}

/// A frame of a message for one connection: what stands in the arena, and what follows in the message being handled.
type Frame<'m> = (Run, &'m [u8]);

impl<S: Socket> Hub<S> {
    /// Carries out what the application asked for, which has just handled `received`.
    pub(super) fn deliver(&mut self, received: Option<&Message<'_>>, now: Moment) {
        // By index: whatever is called meanwhile adds no command, since applications run at no other time.
        for index in 0..self.outbox.commands.len() {
            match self.outbox.commands[index] {
                Command::Send { to, kind, body, urgent, push, label } => {
                    let (plain, received) = match (body, received) {
                        (Body::Built(frame), _) => (frame, &[][..]),
                        (Body::Received, Some(message)) => self.frame_of(message),
                        (Body::Received, None) => continue,
                    };
                    let sending = Sending { kind, plain, received, urgent, label };
                    let kept = self.outbox.arena.len();
                    let mut handed = 0;
                    for target in to.range() {
                        handed += usize::from(self.hand(self.outbox.targets[target], &sending, now));
                        // Only frames packed for one connection each get to be so many.
                        if self.outbox.arena.len() > kept + ARENA_HIGH {
                            self.flush_all(sending.received, kept, now);
                            self.forget_encoded();
                        }
                    }
                    self.forget_encoded();
                    self.count(&sending, to.len(), handed);
                    if let Some(message) = push {
                        self.record_handed(message, to, handed, now);
                    }
                }
                Command::Overrun(client, push) => {
                    self.metrics.undelivered_slow += 1;
                    if let Some(message) = push {
                        self.record_overrun(message, client, now);
                    }
                    let why = Cow::Borrowed("reads too slowly: too much is waiting");
                    if self.close(client, CloseCode::TRY_AGAIN_LATER, why, now) {
                        self.metrics.dropped_backlog += 1;
                    }
                }
                Command::Acknowledges(client) => self.registry.set_acknowledges(client),
                Command::Close => {
                    if let Some(Closing { client, code, why }) = self.outbox.closings.pop_front() {
                        self.close(client, code, why, now);
                    }
                }
            }
        }
        self.outbox.commands.clear();
        self.outbox.targets.clear();
        self.outbox.push = None;
    }

    /// The other forms that a message was encoded in are another message's no more.
    #[inline]
    fn forget_encoded(&mut self) {
        self.packed.clear();
        self.event = None;
    }

    /// The frame of a message that is sent on as it came: all of it in the arena, or only the header where it is large.
    fn frame_of<'m>(&mut self, message: &'m Message<'_>) -> Frame<'m> {
        let arena = &mut self.outbox.arena;
        let start = arena.len();
        if message.data.len() >= LARGE {
            frame::write_header(arena, message.kind.opcode(), message.data.len());
            return (Run::new(start, arena.len()), &message.data);
        }
        frame::write_frame(arena, message.kind.opcode(), &message.data);
        (Run::new(start, arena.len()), &[])
    }

    /// Counts a message that went to `handed` of the `meant` clients it was for.
    #[inline]
    fn count(&mut self, sending: &Sending<'_>, meant: usize, handed: usize) {
        let length = match sending.received {
            [] => frame::payload_length(sending.plain.len()),
            received => received.len(),
        };
        self.metrics.frames.sent.add_many(sending.kind.opcode(), handed, length);
        self.metrics.undelivered_gone += (meant - handed) as u64;
        if !sending.urgent {
            self.metrics.deliveries += handed as u64;
        }
    }

    /// Hands a message to a connection. `false`: it has gone.
    #[inline]
    fn hand(&mut self, key: ConnectionKey, sending: &Sending<'_>, now: Moment) -> bool {
        let slot = key.slot as usize;
        let Some(connection) = self.connections.get_mut(slot) else { return false };
        if connection.serial != key.serial || !connection.session.is_open() {
            return false;
        }
        if connection.session.is_plain() {
            link(&mut self.outgoing, connection, (sending.plain, sending.received));
        } else {
            return self.hand_specially(slot, sending, now);
        }
        self.mark(slot);
        true
    }

    /// Hands a message to a connection that has agreed on compression, or is paced, or is a stream of events.
    fn hand_specially(&mut self, slot: usize, sending: &Sending<'_>, now: Moment) -> bool {
        self.mark(slot);
        if self.connections[slot].session.stream_owner().is_some() {
            return self.hand_event(slot, sending);
        }
        let frame = match self.connections[slot].session.packing() {
            None => (sending.plain, sending.received),
            Some(packing) => self.packed(slot, packing, sending),
        };
        let connection = &mut self.connections[slot];
        if connection.session.pass(sending.urgent, now) {
            link(&mut self.outgoing, connection, frame);
        } else {
            let whole = [&self.outbox.arena[frame.0.range()], frame.1].concat();
            connection.session.hold(whole, sending.urgent);
        }
        true
    }

    /// The frame of a message for a connection that has agreed on compression.
    fn packed<'m>(&mut self, slot: usize, packing: Packing, sending: &Sending<'m>) -> Frame<'m> {
        let plain = (sending.plain, sending.received);
        if let Packing::Shared(bits) = packing
            && let Some((_, frame)) = self.packed.iter().find(|(known, _)| *known == bits)
        {
            return frame.map_or(plain, |frame| (frame, &[]));
        }
        let payload = match sending.received {
            [] => frame::payload_of(&self.outbox.arena[sending.plain.range()]),
            received => received,
        };
        if payload.len() < self.config.deflate.threshold {
            return plain;
        }
        let packed = match packing {
            Packing::Shared(bits) => Some(self.codec.pack(bits, payload)),
            Packing::Own => self.connections[slot].session.pack(&mut self.codec, payload),
        };
        let Some(packed) = packed else { return plain };
        let smaller = packed.len() < payload.len();
        let start = self.outbox.arena.len();
        frame::write_packed_frame(&mut self.outbox.arena, sending.kind.opcode(), packed);
        let frame = Run::new(start, self.outbox.arena.len());
        match packing {
            // What does not get smaller is sent as it is, to all who share this window. One's own compressor counts on
            // the message having been seen.
            Packing::Shared(bits) => {
                let frame = smaller.then_some(frame);
                self.packed.push((bits, frame));
                frame.map_or(plain, |frame| (frame, &[]))
            }
            Packing::Own => (frame, &[]),
        }
    }

    /// Closes a connection with `code` and `why`. `false`: it was not open.
    pub(super) fn close(&mut self, key: ConnectionKey, code: CloseCode, why: Cow<'static, str>, now: Moment) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        let start = self.outbox.arena.len();
        let end = self.connections[slot].session.close(code, why, &mut turn!(self, now));
        self.link_output(slot, start);
        self.mark(slot);
        let closed = end.is_some();
        self.left(slot, end.map(Event::Closed), now);
        closed
    }

    /// A connection is broken.
    pub(super) fn lose(&mut self, slot: usize, error: &io::Error, now: Moment) {
        let connection = &mut self.connections[slot];
        let address = connection.address;
        match connection.socket.unfinished() {
            Some(what) => info!(address:% = address; "{what} failed: {error}"),
            None if error.kind() == io::ErrorKind::InvalidData => {
                info!(address:% = address; "connection failed: {error}")
            }
            None => debug!(address:% = address; "connection lost: {error}"),
        }
        let end = connection.session.lost();
        self.mark(slot);
        self.left(slot, end.map(Event::Closed), now);
    }

    /// Takes a client that is no longer open out of the registry at once, so that nothing is handed to it any more. Its
    /// application is told when the turn is settled.
    pub(super) fn left(&mut self, slot: usize, event: Option<Event<'_>>, now: Moment) {
        let connection = &self.connections[slot];
        match event {
            Some(Event::Closed(end)) => {
                let Some(client) = self.registry.remove(connection.key(slot)) else { return };
                let (by, code, level) = match &end {
                    End::ByPeer(code, _) => (Closer::Client, code.map_or(Closes::NO_CODE, CloseCode::get), Level::Info),
                    End::Vanished => (Closer::Client, Closes::VANISHED, Level::Info),
                    End::ByUs(code, _) => {
                        let expected = matches!(*code, CloseCode::NORMAL | CloseCode::GOING_AWAY);
                        (Closer::Server, code.get(), if expected { Level::Info } else { Level::Warn })
                    }
                };
                self.metrics.closes.add(by, code);
                self.record_closed(slot, &client, &end, (by, code), now);
                if client.is_stream() {
                    self.outbox.history.left(client.id);
                }
                let path = self.routes.path(client.resource);
                log!(level, client:% = client.id, address:% = client.address, path = path; "{end}");
                self.departed.push_back((client, end));
            }
            Some(Event::Refused(refusal)) => {
                self.note_refused(connection.address, "", refusal, now);
            }
            Some(Event::Message(_) | Event::Request(_) | Event::Body(_)) | None => {}
        }
    }

    /// Ends a turn: tells applications who has left, writes all output, arms timers, drops what is over.
    pub fn settle(&mut self, now: Moment) {
        loop {
            while let Some((client, end)) = self.departed.pop_front() {
                self.routes.on_close(&client, world!(self, now), &mut self.outbox, &end);
                self.deliver(None, now);
                // Many may leave at once, and each of them be told to all others.
                self.write_early(now);
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            for slot in dirty.drain(..) {
                self.settle_one(slot, now);
            }
            if self.dirty.is_empty() {
                // Nothing came of it, as almost always: the vector is used again.
                self.dirty = dirty;
                if self.departed.is_empty() && !self.evict(now) {
                    break;
                }
            }
        }
        self.outgoing.clear();
        self.outbox.arena.clear();
        self.outbox.arena.shrink_to(ARENA_KEPT);
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    fn settle_one(&mut self, slot: usize, now: Moment) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        let start = self.outbox.arena.len();
        connection.session.release(now, &mut self.outbox.arena);
        self.link_output(slot, start);
        let connection = &mut self.connections[slot];
        connection.dirty = false;
        let places = Places { arena: &self.outbox.arena, received: &[] };
        if let Err(error) = connection.flush(&self.outgoing, &places, now) {
            self.lose(slot, &error, now);
            return;
        }
        let mut flushed = connection.is_flushed();
        let key = connection.key(slot);
        if connection.session.is_over(flushed) {
            self.held -= connection.counted as usize;
            self.connections.remove(slot);
            return;
        }
        if flushed && connection.session.is_silent() && !connection.shut {
            connection.socket.shut();
            connection.shut = true;
            connection.note_held_output(now);
            flushed = connection.is_flushed();
        }
        if connection.watched_writable == flushed {
            connection.watched_writable = !flushed;
            if let Err(error) = connection.socket.watch(&self.poll, slot, !flushed, false) {
                self.lose(slot, &error, now);
                return;
            }
        }
        let deadline = connection.deadline(self.config.limits.max_backlog_time);
        if deadline < connection.armed {
            connection.armed = deadline;
            self.timers.arm(deadline, key);
        }
        self.note_full(slot);
        let application = self.registry.get(key).map_or(0, |client| self.routes.held_for(client));
        let connection = &mut self.connections[slot];
        let held = u32::try_from(connection.held() + application).unwrap_or(u32::MAX);
        self.held = self.held - connection.counted as usize + held as usize;
        connection.counted = held;
    }

    /// Notes in the registry whether anything more may be handed to a connection.
    #[inline]
    pub(super) fn note_full(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        let full = connection.waiting() > self.config.limits.max_backlog;
        self.registry.set_full(connection.key(slot), full);
    }

    /// Writes all output that there is so far, if it has become much.
    #[inline]
    pub(super) fn write_early(&mut self, now: Moment) {
        if self.outbox.arena.len() > ARENA_HIGH || self.outgoing.len() > SLICES_HIGH {
            self.flush_all(&[], 0, now);
        }
    }

    /// Writes all output that there is so far, since it refers to the message `received` or has become much. The first
    /// `kept` bytes of the arena stay.
    pub(super) fn flush_all(&mut self, received: &[u8], kept: usize, now: Moment) {
        for index in 0..self.dirty.len() {
            let slot = self.dirty[index];
            let places = Places { arena: &self.outbox.arena, received };
            if let Some(connection) = self.connections.get_mut(slot)
                && let Err(error) = connection.flush(&self.outgoing, &places, now)
            {
                self.lose(slot, &error, now);
            }
        }
        self.outgoing.clear();
        self.outbox.arena.truncate(kept);
    }

    /// Where all together hold more than `maxMemory`, closes the one that holds most. `false`: there was no need.
    fn evict(&mut self, now: Moment) -> bool {
        if self.held() <= self.config.limits.max_memory {
            return false;
        }
        // What may be asked for goes before what is wanted now.
        if self.outbox.history.forget() {
            warn!("what was kept for streams of events is forgotten: maxMemory is used up");
            return true;
        }
        let largest = self.connections.iter().max_by_key(|(_, connection)| connection.counted).map(|(slot, _)| slot);
        let Some(slot) = largest else { return false };
        let connection = &mut self.connections[slot];
        let key = connection.key(slot);
        warn!(
            address:% = connection.address;
            "holds {} bytes, the most of all, and maxMemory is used up", connection.counted
        );
        self.metrics.dropped_memory += 1;
        if connection.session.is_open() && connection.cut_backlog() {
            self.close(key, CloseCode::TRY_AGAIN_LATER, Cow::Borrowed("server is out of memory for you"), now);
        } else {
            self.lose(slot, &io::ErrorKind::OutOfMemory.into(), now);
        }
        true
    }

    /// What must be true whenever a turn has been settled.
    #[cfg(debug_assertions)]
    fn check_invariants(&self) {
        use crate::app::registry::ClientKind;
        for client in self.registry.iter() {
            let connection = &self.connections[client.key.slot as usize];
            assert_eq!(connection.serial, client.key.serial, "a client is its connection's");
            assert!(connection.session.is_open(), "a client in the registry is open");
        }
        let waiting = self.unread.iter().filter(|key| self.slot(**key).is_some()).count();
        let marked = self.connections.iter().filter(|(_, connection)| connection.unread).count();
        assert_eq!(waiting, marked, "who is to be read from stands in the list once");
        let populations = self.routes.paths().flat_map(|(resource, _)| ClientKind::ALL.map(|kind| (resource, kind)));
        let counted: usize = populations.map(|(resource, kind)| self.registry.population(resource, kind).now).sum();
        assert_eq!(counted, self.registry.len(), "every client is one of its resource's");
        let mut held = 0;
        for (_, connection) in &self.connections {
            assert!(connection.chain.is_empty() && !connection.dirty, "all output is written or waits");
            let deadline = connection.deadline(self.config.limits.max_backlog_time);
            assert!(connection.armed <= deadline, "armed for its deadline");
            assert!(connection.watched_writable != connection.is_flushed(), "watched while output waits");
            held += connection.counted as usize;
        }
        assert_eq!(held, self.held, "memory is counted");
    }
}

/// Appends a frame to what a connection is sent.
#[inline]
pub(super) fn link<S>(outgoing: &mut Outgoing, connection: &mut Connection<S>, (arena, received): Frame<'_>) {
    outgoing.link(&mut connection.chain, Source::Arena, arena.range());
    if !received.is_empty() {
        outgoing.link(&mut connection.chain, Source::Received, 0..received.len());
    }
    connection.session.note_output(arena.len() + received.len());
}

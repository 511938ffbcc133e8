//! A turn of the loop without its poll: what happens to connections when there is something to read, room to write, or
//! a deadline has come.
//!
//! Whoever drives it calls, in this order: [`Hub::go_on`] for input left over, [`Hub::ready`] and [`Hub::open`] for what the
//! poll tells, [`Hub::expire`] for deadlines, and then [`Hub::settle`], once, which writes. All reads come before
//! all writes: that beats alternating where many connections are busy. Only a large message is written at once, since
//! it is sent from where it lies in the read buffer.
//!
//! Nothing is removed outside [`Hub::settle`]; everything else marks. A key that no longer resolves is skipped.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::{error, info, warn};
use slab::Slab;

use super::calls::WaitingCall;
use super::connection::{Connection, Sends};
use super::drain::Leaving;
use super::outgoing::{Outgoing, Source};
use super::socket::Socket;
use super::timers::Timers;
use crate::app::history::History;
use crate::app::outbox::{Outbox, Run};
use crate::app::recorder;
use crate::app::registry::{Address, Client, Registry};
use crate::app::{Context, Handler, Routes, World};
use crate::clock::Moment;
use crate::config::Config;
use crate::id::{ClientIds, ConnectionKey};
use crate::metrics::{Metrics, Process};
use crate::proto::deflate::Codec;
use crate::proto::frame;
use crate::proto::input::Input;
use crate::proto::reader::give_spare;
use crate::proto::session::{End, Event, Limits, Session, Turn};
use crate::proto::{CloseCode, Message};

/// Most bytes of one read. A message of 64 KiB and its header fit with room to spare, so it takes one read and no copy.
const READ: usize = 128 * 1024;

/// Most bytes of a read from one that sends many small frames.
const SMALL_READ: usize = 4 * 1024;

/// What it takes to read a frame, and so many bytes: a unit of work, some 50 ns.
const UNIT: usize = 256;

/// A read that was so much work is much; so many frames in one are many.
const MUCH: usize = 64;
const MANY: u64 = 256;

/// Once those who send much have been so much work in a turn, the others of them wait for the next, since who sends little
/// is not to wait for all of them: a tenth of a millisecond.
pub(super) const MUCH_A_TURN: usize = 1024;

/// Where a read begins in its buffer, so that the payload behind a header of 14 bytes is aligned to 64.
const READ_OFFSET: usize = 64 - frame::MAX_HEADER;

/// Connections for which tables get their place at the start. It costs addresses, not memory: a page that nothing was
/// written to is not there. Tables that grow leave holes behind them instead, 80 bytes a connection at 10,000.
const EXPECTED: usize = 65_536;

/// How long a peer has to answer a Close frame, and then to end the connection.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The arena is written out early when a turn has filled it this far.
pub(super) const ARENA_HIGH: usize = 1024 * 1024;

/// All output is written out early when it has become so many slices: a burst of small broadcasts makes many.
pub(super) const SLICES_HIGH: usize = 64 * 1024;

/// The Turn of a call into a session: borrowed field by field, so that the session may be borrowed as well.
macro_rules! turn {
    ($hub:ident, $now:expr) => {
        Turn {
            now: $now,
            limits: &$hub.limits,
            out: &mut $hub.outbox.arena,
            spare: &mut $hub.spare,
            codec: &mut $hub.codec,
            tally: &mut $hub.metrics.frames,
            latest: $hub.outbox.history.latest(),
        }
    };
}
pub(super) use turn;

/// What an application gets to see: borrowed field by field, so that the applications may be borrowed as well.
macro_rules! world {
    ($hub:ident, $now:expr) => {
        World {
            clients: &$hub.registry,
            metrics: &$hub.metrics,
            outlook: &crate::net::watches::Sight { connections: &$hub.connections, outgoing: &$hub.outgoing },
            now: $now,
            wall_clock: $hub.wall_clock,
            load: crate::app::Load { connections: $hub.connections.len(), held: $hub.held },
            random: $hub.ids.source(),
        }
    };
}
pub(super) use world;

/// All connections, and everything that is theirs.
pub struct Hub<S: Socket> {
    pub(super) connections: Slab<Connection<S>>,
    /// The serial of the connection accepted last.
    serial: u32,
    pub(super) registry: Registry,
    pub(super) routes: Routes,
    pub(super) outbox: Outbox,
    pub(super) outgoing: Outgoing,
    /// The one read buffer.
    buffer: Vec<u8>,
    pub(super) spare: Vec<u8>,
    pub(super) codec: Codec,
    /// Of the message being sent, its frame in the arena as packed for those who share a window size; `None` where that
    /// did not make it smaller.
    pub(super) packed: Vec<(u8, Option<Run>)>,
    /// Of the message being sent, its data in the arena as streams of events get them.
    pub(super) event: Option<Run>,
    /// Calls of the control API that are answered later.
    pub(super) waiting_calls: Vec<WaitingCall>,
    /// Slots of connections that something happened to.
    pub(super) dirty: Vec<usize>,
    /// Connections with input that no event will tell of.
    pub(super) unread: VecDeque<ConnectionKey>,
    /// The work that those who send much have been in this turn.
    much: usize,
    /// Clients that have left the registry and whose application does not know yet.
    pub(super) departed: VecDeque<(Client, End)>,
    pub(super) timers: Timers,
    /// Where the server is stopping: who has still to be told.
    pub(super) leaving: Leaving,
    pub(super) ids: ClientIds,
    pub(super) poll: S::Poll,
    pub(super) limits: Limits,
    pub(super) config: Config,
    pub(super) listening: Vec<IpAddr>,
    /// Bytes that unfinished messages and waiting output of all connections hold.
    pub(super) held: usize,
    pub(super) told_of_proxy: bool,
    /// Nobody else is let in.
    pub(super) stopping: bool,
    pub(super) metrics: Metrics,
    /// Says how long it is since 1970 began.
    pub(super) wall_clock: fn() -> Duration,
    /// Says what the operating system knows of this process.
    pub(super) process: fn() -> Process,
}

impl<S: Socket> Hub<S> {
    /// No connections yet. `listening`: the addresses listened on, wildcards left out.
    pub fn new(config: Config, handlers: &[Handler], listening: Vec<IpAddr>, poll: S::Poll, ids: ClientIds) -> Self {
        let expected = config.limits.max_clients.min(EXPECTED);
        let routes = Routes::with(handlers, &config);
        let mut outbox = Outbox::new(config.recorder.size);
        if routes.have_streams() {
            outbox.history = History::new(config.sse, ids.secret());
        }
        Self {
            connections: Slab::with_capacity(expected),
            serial: 0,
            registry: Registry::new(config.limits.max_per_ip > 0, expected),
            routes,
            outbox,
            outgoing: Outgoing::default(),
            buffer: vec![0; READ_OFFSET + READ],
            spare: Vec::new(),
            codec: Codec::default(),
            packed: Vec::new(),
            event: None,
            waiting_calls: Vec::new(),
            dirty: Vec::new(),
            unread: VecDeque::new(),
            much: 0,
            departed: VecDeque::new(),
            timers: Timers::new(expected),
            leaving: Leaving::NONE,
            ids,
            poll,
            limits: limits(&config),
            config,
            listening,
            held: 0,
            told_of_proxy: false,
            stopping: false,
            metrics: Metrics::default(),
            wall_clock: || Duration::ZERO,
            process: Process::default,
        }
    }

    /// How many connections there are, upgraded or not.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Who is connected.
    pub const fn clients(&self) -> &Registry {
        &self.registry
    }

    /// The slots of those that a stopping server waits for: all but connections that wait for a request themselves.
    pub fn unfinished(&self) -> impl Iterator<Item = usize> {
        self.connections.iter().filter(|(_, connection)| !connection.session.awaits_request()).map(|(slot, _)| slot)
    }

    /// Bytes that unfinished messages and waiting output of all connections hold, and what is kept for streams of events.
    pub fn held(&self) -> usize {
        self.held + self.outbox.history.held()
    }

    /// Whether there is input to go on with, so that the next poll is not to wait.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// When [`Hub::expire`] is to be called.
    pub fn deadline(&self) -> Moment {
        self.timers.next().min(self.leaving.due()).min(self.routes.due()).min(self.outbox.fates.due())
    }

    /// Takes in a connection and reads what it has sent so far: its request, as a rule. `deferred`: where that is not the
    /// case, how long ago it connected. Gives its slot, which is what [`Hub::ready`] is to be told.
    pub fn open(&mut self, socket: S, peer: SocketAddr, deferred: Duration, now: Moment) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let session = Session::new(now, &self.limits);
        let slot = self.connections.insert(Connection::new(socket, session, self.serial, Address::from(peer)));
        self.metrics.accepted += 1;
        let came = self.read(slot, now);
        let connection = &mut self.connections[slot];
        if !came && connection.socket.unfinished().is_none() {
            connection.session.deferred(deferred);
        }
        // Not before the read: the poll would tell of what has been read by then.
        if let Err(error) = connection.socket.watch(&self.poll, slot, false, true) {
            error!(address:% = peer; "can't be watched: {error}");
            self.lose(slot, &error, now);
        }
        slot
    }

    /// The poll says that a connection is readable or writable. `ended`: its peer has ended its side, or it is broken.
    pub fn ready(&mut self, slot: usize, writable: bool, ended: bool, now: Moment) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        connection.ended |= ended;
        if writable || ended {
            if let Err(error) = connection.drain() {
                self.lose(slot, &error, now);
                return;
            }
            // What has drained is as good as never having waited for a message that comes with the same event.
            self.note_full(slot);
            self.mark(slot);
        }
        let connection = &self.connections[slot];
        if connection.unread {
            // It is read on in its turn, however often more comes.
        } else if connection.sends != Sends::Little && self.much >= MUCH_A_TURN {
            self.read_later(slot);
        } else {
            self.read(slot, now);
        }
    }

    /// Begins a turn: reads on where earlier turns left off, as far as one turn goes.
    pub fn go_on(&mut self, now: Moment) {
        self.much = 0;
        for _ in 0..self.unread.len() {
            if self.much >= MUCH_A_TURN {
                break;
            }
            let Some(key) = self.unread.pop_front() else { break };
            if let Some(slot) = self.slot(key) {
                self.connections[slot].unread = false;
                self.read(slot, now);
            }
        }
    }

    /// Does what is due.
    pub fn expire(&mut self, now: Moment) {
        self.tell_next(now);
        if self.routes.due() <= now {
            self.routes.on_time(world!(self, now), &mut self.outbox);
            self.deliver(None, now);
        }
        self.tell_fates(now);
        while let Some((at, key)) = self.timers.pop(now) {
            let Some(slot) = self.slot(key) else { continue };
            let connection = &mut self.connections[slot];
            if connection.armed == at {
                connection.armed = Moment::NEVER;
            }
            self.mark(slot);
            let connection = &self.connections[slot];
            if connection.slow_at(self.config.limits.max_backlog_time) <= now {
                self.metrics.dropped_backlog_time += 1;
                self.close(key, CloseCode::TRY_AGAIN_LATER, Cow::Borrowed("reads too slowly"), now);
            }
            let start = self.outbox.arena.len();
            let event = self.connections[slot].session.tick(&mut turn!(self, now));
            self.link_output(slot, start);
            let connection = &self.connections[slot];
            if connection.session.is_over(false)
                && let Some(what) = connection.socket.unfinished()
            {
                info!(address:% = connection.address; "{what} failed: not done in time");
            }
            match event {
                Some(Event::Body(posted)) => self.call(slot, &posted, now),
                event => self.left(slot, event, now),
            }
        }
    }

    /// Goes on with another configuration, and disconnects nobody. What can't change while the server runs is named in
    /// the log and stays as it was.
    pub fn reconfigure(&mut self, mut config: Config) {
        let old = &self.config;
        let fixed = [
            ("address", config.listen != old.listen),
            ("socketMode", config.socket_mode != old.socket_mode),
            ("pidFile", config.pid_file != old.pid_file),
            ("[resources]", config.resources != old.resources),
            ("[zmq] bind", config.zmq != old.zmq),
        ];
        for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
            warn!("{key} can't change while the server runs: it stays as it was until a restart");
        }
        config.listen.clone_from(&old.listen);
        config.socket_mode = old.socket_mode;
        config.pid_file.clone_from(&old.pid_file);
        config.resources.clone_from(&old.resources);
        config.zmq.clone_from(&old.zmq);
        if config.recorder != old.recorder {
            self.outbox.recorder = recorder::Recorder::new(config.recorder.size);
        }
        self.limits = limits(&config);
        self.registry.count_addresses(config.limits.max_per_ip > 0);
        self.routes.configure(&config);
        self.outbox.history.configure(config.sse);
        self.config = config;
        // Limits that have become tighter hold for those who are here already.
        for slot in self.connections.iter().map(|(slot, _)| slot).collect::<Vec<_>>() {
            self.mark(slot);
        }
    }

    /// The connection's slot, unless it has gone.
    pub(super) fn slot(&self, key: ConnectionKey) -> Option<usize> {
        let slot = key.slot as usize;
        self.connections.get(slot).filter(|connection| connection.serial == key.serial).map(|_| slot)
    }

    /// Something has happened to a connection: it will be settled.
    #[inline]
    pub(super) fn mark(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    // --- Reading ----------------------------------------------------------------------------------------------------

    /// Reads once, or until its end where the peer has ended its side, and acts on what came. `false`: nothing did.
    fn read(&mut self, slot: usize, now: Moment) -> bool {
        let mut came = false;
        self.mark(slot);
        // The buffer leaves the hub while its contents are looked at, so that the rest of the hub can be used.
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let connection = &mut self.connections[slot];
            // Read on when it has drained: the event that says so comes here as well.
            if connection.session.is_suspended() || connection.is_congested() && !connection.ended {
                break;
            }
            let room = match connection.sends {
                Sends::Many => connection.socket.least_room().clamp(SMALL_READ, READ),
                Sends::Little | Sends::Much => READ,
            };
            let read = match connection.socket.read(&mut buffer[READ_OFFSET..READ_OFFSET + room]) {
                Ok(0) => {
                    let start = self.outbox.arena.len();
                    let end = connection.session.eof(&mut turn!(self, now));
                    self.link_output(slot, start);
                    self.left(slot, end.map(Event::Closed), now);
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.lose(slot, &error, now);
                    break;
                }
            };
            came = true;
            connection.session.heard();
            let before = self.metrics.frames.frames;
            self.process(slot, &mut buffer[READ_OFFSET..READ_OFFSET + read], now);
            self.note_work(slot, read, self.metrics.frames.frames - before);
            if !self.connections[slot].socket.is_drained(read, room) {
                // There may be more: next turn, after the others.
                self.read_later(slot);
                break;
            }
            // A short read has emptied the socket; what comes later comes with an event of its own. Where the end has
            // been announced already, no further event will tell of it.
            if !self.connections[slot].ended {
                break;
            }
        }
        self.buffer = buffer;
        came
    }

    pub(super) fn read_later(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if !connection.unread {
            connection.unread = true;
            self.unread.push_back(connection.key(slot));
        }
    }

    /// Notes what it took to read so many bytes with so many frames in them.
    #[inline]
    fn note_work(&mut self, slot: usize, bytes: usize, frames: u64) {
        let work = bytes / UNIT + usize::try_from(frames).unwrap_or(usize::MAX);
        let sends = match work {
            ..MUCH => Sends::Little,
            _ if frames < MANY => Sends::Much,
            _ => Sends::Many,
        };
        if sends != Sends::Little {
            self.much += work;
        }
        self.connections[slot].sends = sends;
    }

    pub(super) fn process(&mut self, slot: usize, bytes: &mut [u8], now: Moment) {
        let mut input = Input::new(bytes);
        let key = self.connections[slot].key(slot);
        loop {
            let start = self.outbox.arena.len();
            let event = self.connections[slot].session.next(&mut input, &mut turn!(self, now));
            self.link_output(slot, start);
            // By reference: moving an event costs as much as all the rest that is done for a small message.
            match &event {
                None => break,
                Some(Event::Message(message)) => {
                    if !self.outbox.fates.is_empty() {
                        self.tell_fate_first(key, now);
                    }
                    let Some(client) = self.registry.get(key) else { continue };
                    let application = self.routes.application_mut(client.application());
                    application.on_message(&mut Context::new(client, world!(self, now), &mut self.outbox), message);
                    self.deliver(Some(message), now);
                    if self.outgoing.is_urgent() {
                        self.flush_all(&message.data, 0, now);
                    }
                }
                Some(Event::Request(head)) => self.admit(slot, head, now),
                Some(Event::Body(_) | Event::Closed(_) | Event::Refused(_)) => {}
            }
            match event {
                Some(Event::Message(Message { data: Cow::Owned(data), .. })) => give_spare(&mut self.spare, data),
                Some(Event::Body(posted)) => {
                    self.call(slot, &posted, now);
                    if self.connections[slot].session.is_suspended() {
                        self.connections[slot].session.keep(&mut input);
                        break;
                    }
                }
                Some(Event::Closed(_) | Event::Refused(_)) => self.left(slot, event, now),
                _ => {}
            }
            self.write_early(now);
        }
    }

    /// What a session has appended to the arena is this connection's output.
    #[inline]
    pub(super) fn link_output(&mut self, slot: usize, start: usize) {
        let end = self.outbox.arena.len();
        if end > start {
            let connection = &mut self.connections[slot];
            self.outgoing.link(&mut connection.chain, Source::Arena, start..end);
            connection.session.note_output(end - start);
            self.mark(slot);
        }
    }
}

/// The limits that sessions hold their peers to.
fn limits(config: &Config) -> Limits {
    let set = &config.limits;
    Limits {
        message: set.max_message,
        fragments: set.max_fragments,
        rate: set.max_rate,
        head_time: set.handshake_timeout,
        message_time: set.message_timeout,
        ping_interval: set.ping_interval,
        close_wait: CLOSE_WAIT,
    }
}

impl<S: Socket> fmt::Debug for Hub<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("connections", &self.len()).field("clients", &self.registry.len()).finish()
    }
}

//! Thousands of connections on one thread: a poll, timers, and an [`Actor`] on each connection that decides what it does.
//!
//! It knows bytes and time. Who is good and who is bad is known to [`hostile`] and [`honest`] alone.

#![allow(dead_code, reason = "every user of this uses another part of it")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

#[path = "crowd/honest.rs"]
pub(crate) mod honest;
#[path = "crowd/hostile.rs"]
pub(crate) mod hostile;

/// Most bytes read of one connection before it is the next one's turn.
const READ: usize = 256 * 1024;

/// What becomes of an actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It is called again when something happens, at the latest then.
    Until(Instant),
    /// It is called again when something happens.
    Stays,
    /// Its connection is dropped, and it gets a new one then.
    Again(Instant),
    /// It is dropped with its connection.
    Done,
}

/// Who sits at a connection. `W` is what all of them share.
pub(crate) trait Actor<W> {
    /// How large a receive buffer it asks for; the kernel's own choice where it doesn't.
    fn buffer(&self) -> Option<usize> {
        None
    }

    /// It has a connection.
    fn begin(&mut self, line: &mut Line, world: &mut W, now: Instant) -> Fate;

    /// Something has come, more can be sent, the connection has ended, or its time has come: it looks for itself. The
    /// poll tells only of what is new, so whoever wants to hear of more reads all there is.
    fn act(&mut self, line: &mut Line, world: &mut W, now: Instant) -> Fate;
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    unsent: Vec<u8>,
    /// Nothing more comes, or can be sent.
    broken: bool,
}

impl Line {
    fn connect(to: SocketAddr, buffer: Option<usize>) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        if let Some(bytes) = buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket));
        Ok(Self { stream, unsent: Vec::new(), broken: false })
    }

    /// The port that the server sees.
    pub(crate) fn port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Whether nothing more comes, or can be sent.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends bytes, now or when the kernel takes them.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.flush();
    }

    /// Goes on sending. Gives how much is left.
    pub(crate) fn flush(&mut self) -> usize {
        let unsent = std::mem::take(&mut self.unsent);
        let sent = self.offer(&unsent);
        self.unsent = unsent;
        self.unsent.drain(..sent);
        self.unsent.len()
    }

    /// Sends what the kernel takes of it now. Gives how much that was.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() && !self.broken {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
        sent
    }

    /// Appends what there is to read, at most `most` bytes. `false`: the server has ended its side.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>, most: usize) -> bool {
        let mut left = most;
        while left > 0 && !self.broken {
            let before = into.len();
            into.resize(before + left.min(16 * 1024), 0);
            let read = self.stream.read(&mut into[before..]);
            into.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return false,
                Ok(count) => left -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotConnected) => {}
                Err(_) => self.broken = true,
            }
        }
        !self.broken
    }

    /// Reads all there is and forgets it. `false`: the server has ended its side.
    pub(crate) fn discard(&mut self) -> bool {
        let mut bytes = Vec::new();
        self.read(&mut bytes, READ)
    }

    /// When it is dropped, it is reset.
    pub(crate) fn will_reset(&self) {
        // It can only fail where there is nothing left to reset.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

struct Member<W> {
    actor: Box<dyn Actor<W>>,
    line: Option<Line>,
    /// The earliest entry among the timers.
    armed: Option<Instant>,
}

/// Everyone.
pub(crate) struct Crowd<W> {
    poll: Poll,
    events: Events,
    to: SocketAddr,
    members: Vec<Option<Member<W>>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Whether those who want to come again may.
    pub(crate) goes_on: bool,
}

impl<W> Crowd<W> {
    /// Nobody yet.
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self {
            poll: Poll::new().expect("a poll"),
            events: Events::with_capacity(1024),
            to,
            members: Vec::new(),
            timers: BinaryHeap::new(),
            goes_on: true,
        }
    }

    /// Takes somebody in, who connects at once.
    pub(crate) fn add(&mut self, actor: impl Actor<W> + 'static, world: &mut W) -> usize {
        let index = self.members.len();
        self.members.push(Some(Member { actor: Box::new(actor), line: None, armed: None }));
        self.connect(index, world);
        index
    }

    /// Takes somebody in, who connects then.
    pub(crate) fn add_at(&mut self, at: Instant, actor: impl Actor<W> + 'static) {
        let index = self.members.len();
        self.members.push(Some(Member { actor: Box::new(actor), line: None, armed: Some(at) }));
        self.timers.push(Reverse((at, index)));
    }

    /// How many are connected.
    pub(crate) fn connected(&self) -> usize {
        self.members.iter().flatten().filter(|member| member.line.is_some()).count()
    }

    /// The port of somebody who is connected.
    pub(crate) fn port(&self, index: usize) -> Option<u16> {
        self.members[index].as_ref()?.line.as_ref().map(Line::port)
    }

    /// Drops somebody with a reset.
    pub(crate) fn drop(&mut self, index: usize) {
        if let Some(Member { line: Some(line), .. }) = self.members[index].take() {
            line.will_reset();
        }
    }

    /// Lets everyone act until then.
    pub(crate) fn run(&mut self, until: Instant, world: &mut W) {
        loop {
            let now = Instant::now();
            if now >= until {
                return;
            }
            let next = self.timers.peek().map_or(until, |Reverse((at, _))| (*at).min(until));
            match self.poll.poll(&mut self.events, Some(next.saturating_duration_since(now))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => panic!("the poll: {error}"),
                _ => {}
            }
            let ready: Vec<_> = self
                .events
                .iter()
                .map(|event| (event.token().0, event.is_error() || event.is_write_closed()))
                .collect();
            for (index, broken) in ready {
                let Some(Some(Member { line: Some(line), .. })) = self.members.get_mut(index) else { continue };
                line.broken |= broken;
                self.act(index, world);
            }
            let now = Instant::now();
            while let Some(Reverse((at, index))) = self.timers.peek().copied()
                && at <= now
            {
                self.timers.pop();
                let Some(member) = &mut self.members[index] else { continue };
                if member.armed == Some(at) {
                    member.armed = None;
                    if member.line.is_some() {
                        self.act(index, world);
                    } else {
                        self.connect(index, world);
                    }
                }
            }
        }
    }

    fn connect(&mut self, index: usize, world: &mut W) {
        let Some(member) = &mut self.members[index] else { return };
        let now = Instant::now();
        let fate = match Line::connect(self.to, member.actor.buffer()) {
            Ok(mut line) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut line.stream, Token(index), interest).expect("it can be watched");
                member.actor.begin(member.line.insert(line), world, now)
            }
            // Ports may be short for a moment.
            Err(Errno::ADDRNOTAVAIL) => Fate::Again(now + Duration::from_millis(100)),
            Err(error) => panic!("connecting: {error}"),
        };
        self.settle(index, fate);
    }

    fn act(&mut self, index: usize, world: &mut W) {
        let Some(Member { actor, line: Some(line), .. }) = &mut self.members[index] else { return };
        line.flush();
        let fate = actor.act(line, world, Instant::now());
        self.settle(index, fate);
    }

    fn settle(&mut self, index: usize, fate: Fate) {
        let Some(member) = &mut self.members[index] else { return };
        let at = match fate {
            Fate::Stays => return,
            Fate::Until(at) => at,
            Fate::Again(at) if self.goes_on => {
                member.line = None;
                member.armed = None;
                at
            }
            Fate::Again(_) | Fate::Done => {
                self.members[index] = None;
                return;
            }
        };
        if member.armed.is_none_or(|armed| at < armed) {
            member.armed = Some(at);
            self.timers.push(Reverse((at, index)));
        }
    }
}

/// The ports of all connections that a server on `port` has open, as its kernel tells: those that the server's process has
/// given up, and the kernel has not, are not among them.
pub(crate) fn held_by_server(port: u16) -> Vec<u16> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's list of sockets");
    let port_of = |address: &str| address.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
    let mut ports = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // Without an inode no process has it.
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = columns[..] else { continue };
        if state != "0A" && inode != "0" && port_of(local) == Some(port) {
            ports.extend(port_of(remote));
        }
    }
    ports
}

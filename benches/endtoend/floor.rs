//! The floor: what a server on this machine can't do without. An epoll loop that makes one `recv` and one `send` for what
//! has come in and looks at nothing in between: no frames, no masks, no clients with names, no timers, no limits.
//!
//! It is this same program, started with another argument: see [`serve`].

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Events taken from one poll, connections that the kernel keeps, bytes of one read: as many as websock's.
const EVENTS: usize = 1024;
const QUEUE: i32 = 4096;
const READ: usize = 128 * 1024;

/// The event data of the listener; connections have their index.
const LISTENER: u64 = u64::MAX;

/// Whom bytes are sent to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Back to their sender.
    Echo,
    /// To everyone but their sender. Only the first line of a connection comes back to it, as a handshake would.
    FanOut,
}

impl Kind {
    /// The argument that [`FromStr`] reads.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::FanOut => "fan-out",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let kind = [Self::Echo, Self::FanOut].into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("{name} is no kind of floor"))
    }
}

/// Listens on a port of the kernel's choice, says on standard error which, and serves until the process is ended, at the
/// latest with its parent.
pub(crate) fn serve(kind: Kind) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Connections inherit it, which spares a call for each.
    sockopt::set_tcp_nodelay(&listener, true)?;
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&listener, QUEUE)?;
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&listener)?)?;
    eprintln!("listening on ws://{address}");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN | EventFlags::ET)?;
    Floor { kind, listener, epoll, peers: Vec::new(), free: Vec::new(), unsent: HashMap::new() }.run()
}

struct Peer {
    socket: OwnedFd,
    greeted: bool,
}

struct Floor {
    kind: Kind,
    listener: OwnedFd,
    epoll: OwnedFd,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    /// What the kernel would not take yet, by peer.
    unsent: HashMap<usize, Vec<u8>>,
}

impl Floor {
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::<Event>::with_capacity(EVENTS);
        let mut buffer = vec![0; READ];
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for event in &events {
                // Packed in the kernel's structure: no references into it.
                let (flags, token) = (event.flags, event.data.u64());
                let Ok(index) = usize::try_from(token) else { continue };
                if token == LISTENER {
                    self.accept()?;
                    continue;
                }
                if flags.contains(EventFlags::OUT) {
                    self.send_rest(index);
                }
                self.read(index, &mut buffer);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            let index = self.free.pop().unwrap_or(self.peers.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN | EventFlags::ET)?;
            let peer = Some(Peer { socket, greeted: false });
            match self.peers.get_mut(index) {
                Some(place) => *place = peer,
                None => self.peers.push(peer),
            }
        }
    }

    /// Reads until the socket is empty, which a short read says.
    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        while let Some(Some(peer)) = self.peers.get_mut(index) {
            match rustix::net::recv(&peer.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((count @ 1.., _)) => {
                    let fan_out = self.kind == Kind::FanOut && std::mem::replace(&mut peer.greeted, true);
                    if fan_out {
                        for other in (0..self.peers.len()).filter(|other| *other != index) {
                            self.send(other, &buffer[..count]);
                        }
                    } else {
                        self.send(index, &buffer[..count]);
                    }
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => self.drop(index),
            }
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        let Some(Some(peer)) = self.peers.get(index) else { return };
        if !self.unsent.is_empty()
            && let Some(unsent) = self.unsent.get_mut(&index)
        {
            unsent.extend_from_slice(bytes);
            return;
        }
        match rustix::net::send(&peer.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) if count == bytes.len() => {}
            Ok(count) => self.keep(index, &bytes[count..]),
            Err(Errno::AGAIN | Errno::INTR) => self.keep(index, bytes),
            Err(_) => self.drop(index),
        }
    }

    fn keep(&mut self, index: usize, rest: &[u8]) {
        self.unsent.insert(index, rest.to_vec());
        self.watch(index, EventFlags::IN | EventFlags::OUT | EventFlags::ET);
    }

    fn send_rest(&mut self, index: usize) {
        if let Some(rest) = self.unsent.remove(&index) {
            self.send(index, &rest);
            if !self.unsent.contains_key(&index) {
                self.watch(index, EventFlags::IN | EventFlags::ET);
            }
        }
    }

    fn watch(&mut self, index: usize, flags: EventFlags) {
        let Some(Some(peer)) = self.peers.get(index) else { return };
        if epoll::modify(&self.epoll, &peer.socket, EventData::new_u64(index as u64), flags).is_err() {
            self.drop(index);
        }
    }

    fn drop(&mut self, index: usize) {
        self.unsent.remove(&index);
        if let Some(place) = self.peers.get_mut(index)
            && place.take().is_some()
        {
            self.free.push(index);
        }
    }
}

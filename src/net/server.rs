//! The loop: one poll, the listeners, the signals, the clock.
//!
//! The order of a turn stands in the [crate docs](crate); it is never changed casually.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::{error, info, warn};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::hub::Hub;
use crate::clock::Moment;
use crate::config::Config;
use crate::id::ClientIds;

/// Events taken from one poll.
const EVENTS: usize = 1024;

/// Connections accepted from one listener in one turn.
const ACCEPTS: usize = 64;

/// Connections that the kernel keeps for a listener while we are busy.
const QUEUE: i32 = 4096;

/// How long accepting pauses when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Descriptors kept for everything that isn't a client.
const RESERVED: usize = 64;

/// Tokens of what is no connection; connections have those from zero.
const SIGNALS: Token = Token(usize::MAX);
const FIRST_LISTENER: usize = usize::MAX - 1024;

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address that is no address, or can't be listened on.
    Listen(String, io::Error),
    /// The poll, or the signals, can't be had.
    Loop(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Loop(error) => write!(f, "can't set up the loop: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the loop asks of the program around it.
pub trait Host {
    /// A turn has ended, and the loop is about to sleep: log lines are to be written.
    fn after_turn(&mut self);

    /// HUP: the log is to be reopened, and the configuration read again. `None`: it can't be used, which has been logged,
    /// and the old one stays.
    fn reload(&mut self) -> Option<Config>;
}

/// The server, bound and ready to run.
pub struct Server {
    poll: Poll,
    signals: Signals,
    listeners: Vec<Listener>,
    hub: Hub<TcpStream>,
    began: Instant,
    phase: Phase,
    drain_timeout: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// No more is accepted; everyone has been told to go, and has until then.
    Draining(Moment),
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// There may be connections that no event will tell of.
    pending: bool,
    /// Descriptors have run out: nothing is accepted before then.
    paused: Option<Moment>,
}

impl Server {
    /// Listens on every address that the configuration names. Port 0 lets the kernel choose: see [`Server::addresses`].
    pub fn bind(mut config: Config) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::Loop)?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(StartError::Loop)?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(StartError::Loop)?;
        let mut addresses = Vec::new();
        for listen in &config.listen {
            let resolved = listen.resolve().map_err(|error| StartError::Listen(listen.to_string(), error))?;
            addresses.extend(resolved.into_iter().filter(|address| !addresses.contains(address)).collect::<Vec<_>>());
        }
        let mut listeners = Vec::new();
        let mut failed = None;
        for (index, address) in addresses.iter().enumerate() {
            // `[::]` takes IPv4 as well, unless that is listened on by itself.
            let only_v6 = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            match listen(*address, only_v6) {
                Ok(mut socket) => {
                    let address = socket.local_addr().map_err(StartError::Loop)?;
                    let token = Token(FIRST_LISTENER + index);
                    poll.registry().register(&mut socket, token, Interest::READABLE).map_err(StartError::Loop)?;
                    listeners.push(Listener { socket, address, pending: true, paused: None });
                }
                // A machine without IPv6 resolves localhost to ::1 all the same.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && addresses.len() > 1 => {
                    warn!("can't listen on {address}: {error}");
                    failed = Some((address, error));
                }
                Err(error) => return Err(StartError::Listen(address.to_string(), error)),
            }
        }
        if let (true, Some((address, error))) = (listeners.is_empty(), failed) {
            return Err(StartError::Listen(address.to_string(), error));
        }
        config.limits.max_clients = most_clients(config.limits.max_clients);
        let listening: Vec<IpAddr> = listeners
            .iter()
            .map(|listener| listener.address.ip().to_canonical())
            .filter(|ip| !ip.is_unspecified())
            .collect();
        let registry = poll.registry().try_clone().map_err(StartError::Loop)?;
        let drain_timeout = config.limits.drain_timeout;
        Ok(Self {
            poll,
            signals,
            listeners,
            hub: Hub::new(config, listening, registry, ClientIds::new(random)),
            began: Instant::now(),
            phase: Phase::Running,
            drain_timeout,
        })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// Runs until it is told to stop.
    pub fn run(mut self, host: &mut impl Host) -> io::Result<()> {
        for listener in &self.listeners {
            info!("listening on ws://{}", listener.address);
        }
        let mut events = Events::with_capacity(EVENTS);
        loop {
            host.after_turn();
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let now = self.now();
            self.hub.go_on(now);
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        if self.signalled(host, now) {
                            host.after_turn();
                            return Ok(());
                        }
                    }
                    Token(token) if token >= FIRST_LISTENER => {
                        if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                            listener.pending = true;
                        }
                    }
                    Token(slot) => {
                        let ended = event.is_read_closed() || event.is_error();
                        self.hub.ready(slot, event.is_writable(), ended, now);
                    }
                }
            }
            self.accept(now);
            self.hub.expire(now);
            self.hub.settle(now);
            if let Phase::Draining(until) = self.phase
                && (self.hub.is_empty() || until <= now)
            {
                info!("stopped, {} connections left", self.hub.len());
                host.after_turn();
                return Ok(());
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How long the poll may sleep.
    fn timeout(&self) -> Option<Duration> {
        let accepting = self.listeners.iter().any(|listener| listener.pending && listener.paused.is_none());
        if self.hub.has_unread() || accepting {
            return Some(Duration::ZERO);
        }
        let mut deadline = self.hub.deadline();
        for listener in &self.listeners {
            deadline = deadline.min(listener.paused.unwrap_or(Moment::NEVER));
        }
        if let Phase::Draining(until) = self.phase {
            deadline = deadline.min(until);
        }
        // A millisecond more: a poll rounds down, and would wake just before the deadline.
        (deadline != Moment::NEVER).then(|| self.now().until(deadline) + Duration::from_millis(1))
    }

    /// Reads the signals that came. `true`: stop at once.
    fn signalled(&mut self, host: &mut impl Host, now: Moment) -> bool {
        for signal in self.signals.pending() {
            if signal == SIGHUP {
                if let Some(mut config) = host.reload() {
                    config.limits.max_clients = most_clients(config.limits.max_clients);
                    self.drain_timeout = config.limits.drain_timeout;
                    self.hub.reconfigure(config);
                    info!("configuration read again");
                }
                continue;
            }
            if self.phase != Phase::Running {
                info!("stopped at once, {} connections left", self.hub.len());
                return true;
            }
            info!("stopping: {} connections", self.hub.len());
            self.phase = Phase::Draining(now.after(self.drain_timeout));
            self.listeners.clear();
            self.hub.drain(now);
        }
        false
    }

    fn accept(&mut self, now: Moment) {
        for listener in &mut self.listeners {
            if listener.paused.is_some_and(|until| until <= now) {
                listener.paused = None;
            }
            if !listener.pending || listener.paused.is_some() {
                continue;
            }
            for _ in 0..ACCEPTS {
                match listener.socket.accept() {
                    Ok((stream, peer)) => {
                        if let Err(error) = self.hub.open(stream, peer, now) {
                            error!("- {peer} - can't be watched: {error}");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.pending = false;
                        break;
                    }
                    // The peer has gone before it was accepted; the next one may be fine.
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        warn!("accepting on {} pauses: {error}", listener.address);
                        listener.paused = Some(now.after(PAUSE));
                        break;
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).field("hub", &self.hub).finish()
    }
}

/// A listening socket. What is set on it, its connections inherit.
fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A server that is started anew must not wait for the connections of the old one to be forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // What is written is written at the end of a turn, whole: waiting for more would only delay it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, QUEUE)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Errors of accept(2) that say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut)
}

/// How many clients there may be: as many as asked for, and no more than there are descriptors for. The soft limit is
/// raised to the hard one first.
fn most_clients(asked: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let descriptors = if raised.is_ok() { limit.maximum } else { limit.current };
    let most = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let most = most.saturating_sub(RESERVED).max(1);
    if asked > most {
        warn!("maxClients is lowered from {asked} to {most}: there are no descriptors for more");
    }
    if asked == 0 { most } else { asked.min(most) }
}

/// Fills `bytes` with the kernel's randomness.
pub(crate) fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            // A UUID that can be guessed must not be given out.
            Err(error) => panic!("no randomness to be had: {error}"),
        }
    }
}

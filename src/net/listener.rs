//! The sockets that connections come from.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::warn;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::server::StartError;
use crate::clock::Moment;
use crate::config::ListenAddress;

/// Connections accepted from one listener in one turn.
const ACCEPTS: usize = 64;

/// Connections that the kernel keeps for a listener while we are busy.
const QUEUE: i32 = 4096;

/// How long accepting pauses when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the kernel keeps a connection to itself whose client has sent nothing yet. Who sends its request at once,
/// as all do that mean it, is accepted and read in one go, which saves a wake-up and a fifth of what an upgrade costs.
pub(super) const DEFERRED: Duration = Duration::from_secs(1);

sockopt_impl!(
    /// `TCP_DEFER_ACCEPT` of tcp(7), in seconds.
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// A listening socket, and what is known of the connections that wait in it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// There may be connections that no event will tell of.
    pending: bool,
    /// Descriptors have run out: nothing is accepted before then.
    paused: Option<Moment>,
}

impl Listener {
    /// Listens on every address that `names` stand for.
    pub(super) fn bind(names: &[ListenAddress]) -> Result<Vec<Self>, StartError> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for name in names {
            let resolved = name.resolve().map_err(|error| StartError::Listen(name.to_string(), error))?;
            addresses.extend(resolved.into_iter().filter(|address| !addresses.contains(address)).collect::<Vec<_>>());
        }
        let mut listeners = Vec::new();
        let mut failed = None;
        for address in &addresses {
            // `[::]` takes IPv4 as well, unless that is listened on by itself.
            let only_v6 = addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            match Self::listen(*address, only_v6) {
                Ok(listener) => listeners.push(listener),
                // A machine without IPv6 resolves localhost to ::1 all the same.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && addresses.len() > 1 => {
                    warn!("can't listen on {address}: {error}");
                    failed = Some(StartError::Listen(address.to_string(), error));
                }
                Err(error) => return Err(StartError::Listen(address.to_string(), error)),
            }
        }
        match failed {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(listeners),
        }
    }

    /// What is set on the socket, its connections inherit.
    fn listen(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
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
        let seconds = u32::try_from(DEFERRED.as_secs()).unwrap_or(u32::MAX);
        nix::sys::socket::setsockopt(&socket, DeferAccept, &seconds)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, QUEUE)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self { socket, address, pending: true, paused: None })
    }

    /// Has `registry` tell under `token` when connections come.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// The address listened on.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address listened on, without its port, as peers of the same family name it. `None`: it is a wildcard.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        Some(self.address.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
    }

    /// The poll says that connections have come.
    pub(super) const fn ready(&mut self) {
        self.pending = true;
    }

    /// Whether connections may be waiting, so that the next poll is not to.
    pub(super) const fn has_more(&self) -> bool {
        self.pending && self.paused.is_none()
    }

    /// When a pause ends.
    pub(super) fn deadline(&self) -> Moment {
        self.paused.unwrap_or(Moment::NEVER)
    }

    /// Accepts the connections that wait, at most so many that others get their turn.
    pub(super) fn accept(&mut self, now: Moment, mut open: impl FnMut(TcpStream, SocketAddr)) {
        self.paused = self.paused.filter(|until| *until > now);
        if !self.has_more() {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.socket.accept() {
                Ok((stream, peer)) => open(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = false;
                    break;
                }
                // The peer has gone before it was accepted; the next one may be fine.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!("accepting on {} pauses: {error}", self.address);
                    self.paused = Some(now.after(PAUSE));
                    break;
                }
            }
        }
    }
}

/// Errors of accept(2) that say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut)
}

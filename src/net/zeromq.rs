//! The queue's socket: a ZeroMQ PULL socket, as far as the loop has to know it.
//!
//! libzmq reads from the senders in a thread of its own, so none of them can keep the loop waiting. It tells through a
//! descriptor that something may have changed, once: whoever is told receives until there is nothing left. Messages come
//! whole, so the parts of one are all there when its first is.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use rustix::net::SocketAddrUnix;

use super::listener::remove_stale;
use super::queue::Received;
use crate::config::Config;

/// Bytes of messages that wait here for one sender, about: past it the sender's own queue fills.
const WAITING: usize = 64 << 20;

/// Messages that wait here for one sender, at least and at most: `ZMQ_RCVHWM`, which counts them and not their bytes.
const HIGH_WATER: [usize; 2] = [8, 1000];

/// How many times `maxMessage` a message may have before libzmq ends its sender's connection, of which nobody is told. What
/// is smaller gets here, and can be complained of.
const CUT: usize = 2;

/// A silent sender is asked so often whether it is still there, and has so long to answer, in milliseconds. The libraries
/// answer by themselves; else every one whose cable was pulled would keep a descriptor for good.
const HEARTBEAT: i32 = 30_000;
const HEARTBEAT_WAIT: i32 = 10_000;

/// The socket.
pub(super) struct Inlet {
    socket: zmq::Socket,
    /// Tells that something may have changed.
    descriptor: RawFd,
    /// Where it is, with the port that it got.
    endpoint: String,
    /// Its address; `None`: all of them, or a path.
    ip: Option<IpAddr>,
    /// Its senders have come through a Unix socket.
    local: bool,
    /// The message received last.
    message: zmq::Message,
}

impl Inlet {
    /// Opens the socket at `[zmq] bind`.
    pub(super) fn bind(config: &Config) -> io::Result<Self> {
        let endpoint = config.zmq.bind.as_str();
        let socket = zmq::Context::new().socket(zmq::PULL)?;
        let most = config.limits.max_message.saturating_mul(CUT);
        let waiting = (WAITING / config.limits.max_message).clamp(HIGH_WATER[0], HIGH_WATER[1]);
        socket.set_maxmsgsize(i64::try_from(most).unwrap_or(i64::MAX))?;
        socket.set_rcvhwm(i32::try_from(waiting).unwrap_or(i32::MAX))?;
        socket.set_linger(0)?;
        socket.set_heartbeat_ivl(HEARTBEAT)?;
        socket.set_heartbeat_timeout(HEARTBEAT_WAIT)?;
        socket.set_ipv6(endpoint.contains('['))?;
        let path = endpoint.strip_prefix("ipc://").map(Path::new);
        match path {
            Some(path) => bind_at(&socket, endpoint, path, config.socket_mode)?,
            None => socket.bind(endpoint)?,
        }
        // With the port, where any would do.
        let endpoint = socket.get_last_endpoint()?.unwrap_or_else(|_| endpoint.to_owned());
        let address = endpoint.strip_prefix("tcp://").and_then(|address| address.parse::<SocketAddr>().ok());
        Ok(Self {
            descriptor: socket.get_fd()?,
            socket,
            ip: address.map(|address| address.ip().to_canonical()).filter(|ip| !ip.is_unspecified()),
            local: path.is_some(),
            endpoint,
            message: zmq::Message::new(),
        })
    }

    /// Has `registry` tell under `token` when there may be messages.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.descriptor), token, Interest::READABLE)
    }

    /// The address that it is at. `None`: a path, or all addresses.
    pub(super) const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The next message, or the next part of one. `None`: there is none, and the poll will tell of the next.
    pub(super) fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        loop {
            match self.socket.recv(&mut self.message, zmq::DONTWAIT) {
                Ok(()) => break,
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let more = self.message.get_more();
        // Of whom libzmq can't say where it is, is nowhere, which is on no list.
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let from = if self.local || more {
            None
        } else {
            Some(self.message.gets("Peer-Address").and_then(address_in).unwrap_or(nowhere))
        };
        Ok(Some(Received { bytes: &self.message, from, more }))
    }

    /// Lets no more senders in. What has come can still be received.
    pub(super) fn close(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.descriptor))?;
        Ok(self.socket.unbind(&self.endpoint)?)
    }
}

/// The endpoint.
impl fmt::Display for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint)
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inlet({self})")
    }
}

/// The address that a text says, which may have a zone behind it: `fe80::1%eth0`.
fn address_in(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Binds to a path, with these permissions. What an earlier server has left there is replaced.
fn bind_at(socket: &zmq::Socket, endpoint: &str, path: &Path, mode: u32) -> io::Result<()> {
    // libzmq would remove whatever is there.
    match remove_stale(path, &SocketAddrUnix::new(path)?) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // It binds and listens in one go: nobody is to get in before the permissions are what they should be.
    let usual = rustix::process::umask(Mode::from_raw_mode(0o777));
    let bound = socket.bind(endpoint);
    rustix::process::umask(usual);
    bound?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_known_by_its_address_whatever_its_zone() {
        for (text, address) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("::ffff:127.0.0.1", Some("127.0.0.1")),
            ("fe80::1", Some("fe80::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("fe80::1%2", Some("fe80::1")),
            ("", None),
            ("%eth0", None),
            ("eth0%fe80::1", None),
        ] {
            assert_eq!(address_in(text), address.map(|address| address.parse().expect("an address")), "{text}");
        }
    }
}

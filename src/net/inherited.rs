//! Listening sockets that were open before the process was: socket activation, as in sd_listen_fds(3).
//!
//! Whoever holds such a socket goes on holding it while the server is started anew; who connects meanwhile waits in it and
//! is refused by nobody. Which of the configured addresses a socket stands for is told by what it is bound to.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::net::sockopt;

/// A socket that listens already.
#[derive(Debug)]
pub struct Inherited {
    pub(super) socket: OwnedFd,
    pub(super) place: Place,
    /// What `LISTEN_FDNAMES` calls it; empty for nothing.
    name: String,
}

/// What a socket is bound to.
#[derive(Debug)]
pub(super) enum Place {
    /// `dual`: it takes IPv4 as well.
    Tcp {
        address: SocketAddr,
        dual: bool,
    },
    Unix(PathBuf),
}

impl Inherited {
    /// Takes the sockets that `LISTEN_FDS` announces to this process (`LISTEN_PID`). They are given once: the variables are
    /// gone from the environment afterwards, which is why this comes before any thread.
    ///
    /// # Errors
    ///
    /// A descriptor that is no socket of streams that listens, in words that name it.
    pub fn from_env() -> io::Result<Vec<Self>> {
        // A name can't have a colon (systemd.socket(5), FileDescriptorName=).
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            let taken = match passed.take_unix_listener(index) {
                Ok(Some(socket)) => Self::unix(socket, name),
                _ => passed.take_tcp_listener(index).and_then(|socket| {
                    let socket = socket.ok_or(io::ErrorKind::NotFound)?;
                    Self::tcp(socket, name)
                }),
            };
            let socket = taken.map_err(|error| {
                io::Error::new(error.kind(), format!("inherited socket {} ({name:?}) is of no use: {error}", index + 1))
            })?;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    fn tcp(socket: TcpListener, name: &str) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let dual = address.ip() == Ipv6Addr::UNSPECIFIED && !sockopt::ipv6_v6only(&socket)?;
        Self::new(socket.into(), Place::Tcp { address, dual }, name)
    }

    fn unix(socket: UnixListener, name: &str) -> io::Result<Self> {
        let address = socket.local_addr()?;
        // One in the abstract namespace is nowhere.
        let path = address.as_pathname().unwrap_or_else(|| Path::new("-")).to_owned();
        Self::new(socket.into(), Place::Unix(path), name)
    }

    fn new(socket: OwnedFd, place: Place, name: &str) -> io::Result<Self> {
        if !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen (Accept=yes in its unit?)"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, place, name: name.to_owned() })
    }

    /// Whether a connection to `address` would come to this socket.
    pub(super) fn covers(&self, address: SocketAddr) -> bool {
        let Place::Tcp { address: bound, dual } = &self.place else { return false };
        let (own, ip) = (bound.ip(), address.ip());
        let wildcard = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4();
        bound.port() == address.port() && (own == ip || wildcard || *dual && ip.is_ipv4())
    }

    /// Whether it is the Unix socket of this name.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        matches!(&self.place, Place::Unix(own) if own == path)
    }

    /// Whether its name asks for TLS, which is for TCP.
    pub(super) fn is_secure(&self) -> bool {
        self.name == "wss" && matches!(self.place, Place::Tcp { .. })
    }
}

impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { address, .. } => write!(f, "inherited socket {address} ({:?})", self.name),
            Place::Unix(path) => write!(f, "inherited socket {} ({:?})", path.display(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(to: &str) -> Inherited {
        Inherited::tcp(TcpListener::bind(to).unwrap(), "").unwrap()
    }

    fn port(socket: &Inherited) -> u16 {
        let Place::Tcp { address, .. } = socket.place else { panic!("{socket}") };
        address.port()
    }

    #[test]
    fn a_socket_covers_what_would_come_to_it() {
        let local = bound("127.0.0.1:0");
        let bound_to = port(&local);
        let covers = |socket: &Inherited, ip: &str, port| socket.covers(SocketAddr::new(ip.parse().unwrap(), port));
        assert!(covers(&local, "127.0.0.1", bound_to));
        assert!(!covers(&local, "127.0.0.1", bound_to ^ 1));
        assert!(
            !covers(&local, "127.0.0.2", bound_to)
                && !covers(&local, "0.0.0.0", bound_to)
                && !covers(&local, "::1", bound_to)
        );

        let four = bound("0.0.0.0:0");
        let bound_to = port(&four);
        assert!(covers(&four, "127.0.0.1", bound_to) && covers(&four, "0.0.0.0", bound_to));
        assert!(!covers(&four, "::1", bound_to) && !covers(&four, "::", bound_to));

        // A machine without IPv6 has none to cover.
        let Ok(six) = TcpListener::bind("[::]:0") else { return };
        let mut six = Inherited::tcp(six, "wss").unwrap();
        let bound_to = port(&six);
        assert!(
            matches!(six.place, Place::Tcp { dual: true, .. }),
            "what the standard library binds takes IPv4 as well"
        );
        assert!(
            covers(&six, "::1", bound_to) && covers(&six, "127.0.0.1", bound_to) && covers(&six, "0.0.0.0", bound_to)
        );
        let Place::Tcp { dual, .. } = &mut six.place else { panic!("{six}") };
        *dual = false;
        assert!(covers(&six, "::1", bound_to) && !covers(&six, "127.0.0.1", bound_to));
        assert!(six.is_secure() && six.to_string().ends_with(" (\"wss\")"), "{six}");
    }
}

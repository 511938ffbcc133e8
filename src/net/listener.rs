//! The sockets that connections come from.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

use super::inherited::{Inherited, Place};
use super::server::StartError;
use super::transport::Transport;
use crate::clock::Moment;
use crate::config::{Config, ListenAddress};

/// Connections accepted from one listener in one turn. Most are upgraded at once, which takes ten times as long.
const ACCEPTS: usize = 16;

/// What every socket is.
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Connections that the kernel keeps for a listener while we are busy.
const QUEUE: i32 = 4096;

/// How long accepting pauses when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the kernel keeps a connection to itself whose client has sent nothing yet. Who sends its request at once,
/// as all do that mean it, is accepted and read in one go, which saves a wake-up and a fifth of what an upgrade costs.
const DEFERRED: Duration = Duration::from_secs(1);

/// Who a client on a Unix socket is: this machine. It has no port.
pub(super) const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// After so long a silence the kernel asks the peer's whether it is there, so often, and this far apart.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_COUNT: u32 = 4;
const KEEP_INTERVAL: Duration = Duration::from_secs(15);

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
    kind: Kind,
    /// There may be connections that no event will tell of.
    pending: bool,
    /// Descriptors have run out: nothing is accepted before then.
    paused: Option<Moment>,
}

#[derive(Debug)]
enum Kind {
    Tcp { socket: TcpListener, address: SocketAddr, secure: bool },
    Unix { socket: UnixListener, file: SocketFile },
}

/// The URL that is listened on.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp { address, secure: false, .. } => write!(f, "ws://{address}"),
            Kind::Tcp { address, secure: true, .. } => write!(f, "wss://{address}"),
            Kind::Unix { file, .. } => write!(f, "unix:{}", file.path.display()),
        }
    }
}

impl Listener {
    /// Listens on every address that the configuration names. An inherited socket takes the place of those that would come
    /// to it anyway; one that no name stands for is served as well, since whoever opened it wants that.
    pub(super) fn bind(config: &Config, inherited: Vec<Inherited>) -> Result<Vec<Self>, StartError> {
        let mut addresses: Vec<(SocketAddr, bool)> = Vec::new();
        let mut paths: Vec<&Path> = Vec::new();
        let mut failed = None;
        for name in &config.listen {
            let name = match name {
                ListenAddress::Tcp(name) => name,
                ListenAddress::Unix(path) => {
                    paths.push(path);
                    continue;
                }
            };
            let resolved = name.resolve().map_err(|error| StartError::Listen(name.to_string(), error))?;
            for address in resolved {
                // Two names may well mean the same; but with and without TLS it is a mistake, which binding finds.
                if address.port() == 0 || !addresses.contains(&(address, name.secure)) {
                    addresses.push((address, name.secure));
                }
            }
        }
        // `[::]` takes IPv4 as well, unless that is listened on by itself.
        let v4_ports: Vec<u16> =
            addresses.iter().map(|(at, _)| at).filter(|at| at.is_ipv4()).map(|at| at.port()).collect();
        let mut listeners = Self::adopt(config, inherited, &mut addresses, &mut paths)?;
        let alternatives = addresses.len() + listeners.len() > 1;
        for (address, secure) in &addresses {
            let only_v6 = v4_ports.contains(&address.port());
            match listen(*address, only_v6).and_then(|socket| Self::tcp(socket, *secure)) {
                Ok(listener) => listeners.push(listener),
                // A machine without IPv6 resolves localhost to ::1 all the same.
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && alternatives => {
                    warn!("can't listen on {address}: {error}");
                    failed = Some(StartError::Listen(address.to_string(), error));
                }
                Err(error) => return Err(StartError::Listen(address.to_string(), error)),
            }
        }
        if let Some(error) = failed.filter(|_| listeners.is_empty()) {
            return Err(error);
        }
        for path in paths {
            let listener = listen_at(path, config.socket_mode).and_then(|(socket, file)| Self::unix(socket, file));
            listeners.push(listener.map_err(|error| StartError::Listen(format!("unix:{}", path.display()), error))?);
        }
        Ok(listeners)
    }

    /// Goes on where somebody else has begun to listen; the addresses and paths that this stands for are taken out.
    fn adopt(
        config: &Config,
        inherited: Vec<Inherited>,
        addresses: &mut Vec<(SocketAddr, bool)>,
        paths: &mut Vec<&Path>,
    ) -> Result<Vec<Self>, StartError> {
        let mut listeners = Vec::new();
        for socket in inherited {
            let what = socket.to_string();
            let covered: Vec<_> = addresses.extract_if(.., |(address, _)| socket.covers(*address)).collect();
            let named = paths.extract_if(.., |path| socket.is_at(path)).count() + covered.len() > 0;
            info!("{what} is {} of the addresses in the settings", if named { "one" } else { "none" });
            let secure = covered.first().map_or_else(|| socket.is_secure(), |(_, secure)| *secure);
            let listener = if secure && config.cert_file.is_none() {
                Err(io::Error::other("it asks for TLS by its name, and there is no certFile"))
            } else {
                match socket.place {
                    Place::Tcp { .. } => Self::tcp(socket.socket, secure),
                    Place::Unix(path) => Self::unix(socket.socket, SocketFile { path, made: None }),
                }
            };
            listeners.push(listener.map_err(|error| StartError::Listen(what, error))?);
        }
        Ok(listeners)
    }

    /// Makes a listener of a TCP socket that is bound and listens. What is set on the socket, its connections inherit.
    /// `secure`: they speak TLS.
    pub(super) fn tcp(socket: OwnedFd, secure: bool) -> io::Result<Self> {
        // What is written is written at the end of a turn, whole: waiting for more would only delay it.
        sockopt::set_tcp_nodelay(&socket, true)?;
        // Scripts are not pinged: the kernel finds out about those that are gone without a word, in two minutes.
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEP_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEP_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEP_COUNT)?;
        let seconds = u32::try_from(DEFERRED.as_secs()).unwrap_or(u32::MAX);
        nix::sys::socket::setsockopt(&socket, DeferAccept, &seconds)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self::new(Kind::Tcp { socket, address, secure }))
    }

    /// Makes a listener of a Unix socket that is bound and listens. `file`: its place.
    pub(super) fn unix(socket: OwnedFd, file: SocketFile) -> io::Result<Self> {
        let socket = UnixListener::from_std(socket.into());
        Ok(Self::new(Kind::Unix { socket, file }))
    }

    const fn new(kind: Kind) -> Self {
        Self { kind, pending: true, paused: None }
    }

    /// Has `registry` tell under `token` when connections come.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp { socket, .. } => registry.register(socket, token, Interest::READABLE),
            Kind::Unix { socket, .. } => registry.register(socket, token, Interest::READABLE),
        }
    }

    /// Has `registry` tell no more. Closing the socket does not do that where another process has it open as well.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.kind {
            Kind::Tcp { socket, .. } => registry.deregister(socket),
            Kind::Unix { socket, .. } => registry.deregister(socket),
        }
    }

    /// The address listened on. `None`: it is a path.
    pub(super) const fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { address, .. } => Some(*address),
            Kind::Unix { .. } => None,
        }
    }

    /// The address listened on, without its port, as peers of the same family name it. `None`: it is a wildcard, or a
    /// path.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip().to_canonical()).filter(|ip| !ip.is_unspecified())
    }

    /// Whether its connections speak TLS.
    pub(super) const fn is_secure(&self) -> bool {
        matches!(self.kind, Kind::Tcp { secure: true, .. })
    }

    /// For how long the kernel keeps a connection to itself whose client is silent.
    pub(super) const fn deferred(&self) -> Duration {
        match self.kind {
            Kind::Tcp { .. } => DEFERRED,
            Kind::Unix { .. } => Duration::ZERO,
        }
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

    /// Accepts the connections that wait, at most so many that others get their turn. They are given as they are, without
    /// TLS.
    pub(super) fn accept(&mut self, now: Moment, mut open: impl FnMut(Transport, SocketAddr)) {
        self.paused = self.paused.filter(|until| *until > now);
        if !self.has_more() {
            return;
        }
        for _ in 0..ACCEPTS {
            let accepted = match &self.kind {
                Kind::Tcp { socket, .. } => socket.accept().map(|(stream, peer)| (Transport::Tcp(stream), peer)),
                Kind::Unix { socket, .. } => socket.accept().map(|(stream, _)| (Transport::Unix(stream), LOCAL)),
            };
            match accepted {
                Ok((stream, peer)) => open(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = false;
                    break;
                }
                // The peer has gone before it was accepted; the next one may be fine.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    warn!("accepting on {self} pauses: {error}");
                    self.paused = Some(now.after(PAUSE));
                    break;
                }
            }
        }
    }
}

/// A TCP socket that listens on `address`.
fn listen(address: SocketAddr, only_v6: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, FLAGS, Some(ipproto::TCP))?;
    // A server that is started anew must not wait for the connections of the old one to be forgotten.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, only_v6)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, QUEUE)?;
    Ok(socket)
}

/// A Unix socket that listens at `path`, with these permissions. What an earlier server has left there is replaced.
fn listen_at(path: &Path, mode: u32) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path, &address)?;
            rustix::net::bind(&socket, &address)?;
        }
        result => result?,
    }
    // Before it listens, so that nobody gets in who is not to.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let file = SocketFile::ours(path)?;
    rustix::net::listen(&socket, QUEUE)?;
    Ok((socket, file))
}

/// Removes the socket at `path`, unless somebody answers there.
pub(super) fn remove_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of this name, and it is no socket"));
    }
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {
            info!("{} was left behind by a server that is no more: replaced", path.display());
            fs::remove_file(path)
        }
        // One whose queue is full lives as well.
        Ok(()) | Err(Errno::AGAIN) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error.into()),
    }
}

/// The place of a Unix socket. Where it is ours, it is removed when we no longer listen.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file that we made.
    made: Option<(u64, u64)>,
}

impl SocketFile {
    /// A socket that we made.
    fn ours(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), made: Some(identity(path)?) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have made its own in the meantime.
        if self.made.is_some() && identity(&self.path).ok() == self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Errors of accept(2) that say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut)
}

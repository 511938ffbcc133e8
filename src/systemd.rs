//! What the service manager that started the process is told: ready, reloading, stopping, alive.
//!
//! The protocol of sd_notify(3), which is a line or two in a datagram, and so needs no library. Where `NOTIFY_SOCKET` is
//! not set nothing happens. The watchdog is fed by the loop itself and by no thread: one that lived on beside a loop
//! that is stuck would hide just what the watchdog is there to find.
//!
//! Knows nothing of the loop. Sockets that are inherited are [`net::inherited`](crate::net::inherited)'s.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use log::warn;
use rustix::time::{ClockId, clock_gettime};

/// How long a service manager that takes nothing may hold the loop up. What it does not take by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The line to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Finds it by the environment that the service manager has set. A `NOTIFY_SOCKET` that can't be used is logged.
    pub fn from_env() -> Self {
        let to = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            open(&name).inspect_err(|error| warn!("NOTIFY_SOCKET {name:?} can't be used: {error}")).ok()
        });
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // A watchdog of whoever started us is not ours.
        let ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros);
        Self { to, watchdog }
    }

    /// How often [`Notifier::alive`] is due: half of the time after which a silent process is taken for stuck. `None`: never.
    pub fn heartbeat(&self) -> Option<Duration> {
        self.to.as_ref().and(self.watchdog).map(|limit| limit / 2)
    }

    /// All addresses are listened on; or what [`Notifier::reloading`] began is over.
    pub fn ready(&self) {
        self.send(format_args!("READY=1"));
    }

    /// The settings are read again. The time is for units of `Type=notify-reload`, which tell by it which of several reloads is
    /// meant.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(format_args!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// No more is accepted, and all is over `within` that time: a unit whose `TimeoutStopSec` is shorter gets so much more.
    pub fn stopping(&self, within: Duration) {
        let micros = (within + PATIENCE).as_micros();
        self.send(format_args!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}"));
    }

    /// The loop goes round.
    pub fn alive(&self, connections: usize) {
        self.send(format_args!("WATCHDOG=1\nSTATUS={connections} connections"));
    }

    /// Nothing depends on its arriving but the service manager's picture of us, so a failure is a line in the log.
    fn send(&self, state: fmt::Arguments<'_>) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(state.to_string().as_bytes(), address) {
            warn!("the service manager was not told {:?}: {error}", state.to_string());
        }
    }
}

/// `@NAME` is a name in the abstract namespace, everything else a path (unix(7)).
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

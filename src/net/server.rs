//! The loop: one poll, the listeners, the signals, the clock.
//!
//! The order of a turn stands in the [crate docs](crate); it is never changed casually.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::{error, info, warn};
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::certificates::{CertificateError, Certificates};
use super::hub::Hub;
use super::inherited::Inherited;
use super::listener::{LOCAL, Listener};
use super::process;
use super::queue::Queue;
use super::stopwatch::Stopwatch;
use super::tls::{Scratch, Tls};
use super::transport::Transport;
use crate::app::Handler;
use crate::clock::Moment;
use crate::config::{Config, ListenAddress};
use crate::id::{ClientIds, MessageId};
use crate::logging::LogState;
use crate::metrics::Metrics;

/// Events taken from one poll.
const EVENTS: usize = 1024;

/// Descriptors kept for everything that isn't a client.
const RESERVED: usize = 64;

/// Tokens of what is no connection; connections have those from zero.
const SIGNALS: Token = Token(usize::MAX);
const QUEUE: Token = Token(usize::MAX - 1);
const FIRST_LISTENER: usize = usize::MAX - 1024;

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    /// The certificate or its key can't be used.
    Certificate(CertificateError),
    /// An address that is no address, or can't be listened on.
    Listen(String, io::Error),
    /// The poll, or the signals, can't be had.
    Loop(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(error) => error.fmt(f),
            Self::Listen(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::Loop(error) => write!(f, "can't set up the loop: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the loop asks of the program around it.
pub trait Host {
    /// A turn has ended, and the loop is about to sleep: log lines are to be written, as far as they are taken at once.
    fn after_turn(&mut self) -> LogState;

    /// HUP: the log is to be reopened, and the configuration read again. `None`: it can't be used, which has been logged,
    /// and the old one stays.
    fn reload(&mut self) -> Option<Config>;

    /// All addresses are listened on; or a reload is over, whatever came of it.
    fn ready(&mut self);

    /// No more is accepted, and the loop ends within so long.
    fn stopping(&mut self, within: Duration);

    /// How often the loop is to say that it is [alive](Host::alive). `None`: never.
    fn heartbeat(&self) -> Option<Duration>;

    /// The loop goes round, with so many connections.
    fn alive(&mut self, connections: usize);
}

/// The server, bound and ready to run.
pub struct Server {
    poll: Poll,
    signals: Signals,
    listeners: Vec<Listener>,
    /// Where backends push messages to, if they may.
    queue: Option<Queue>,
    hub: Hub<Transport>,
    /// For the listeners with TLS, if there are any.
    certificates: Option<Certificates>,
    /// What the connections with TLS share.
    scratch: Rc<Cell<Scratch>>,
    clock: Stopwatch,
    phase: Phase,
    drain_timeout: Duration,
    /// When the host is told next that the loop is alive.
    heartbeat: Moment,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Running,
    /// No more is accepted, so that whoever comes next finds the server that takes this one's place, or nobody; everyone
    /// has been told to go, and has until then.
    Draining(Moment),
}

impl Server {
    /// Listens on every address that the configuration names, and on the inherited sockets. Port 0 lets the kernel choose:
    /// see [`Server::addresses`]. `handlers`: the applications that `[resources]` may name.
    pub fn bind(mut config: Config, handlers: &[Handler], inherited: Vec<Inherited>) -> Result<Self, StartError> {
        let poll = Poll::new().map_err(StartError::Loop)?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(StartError::Loop)?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(StartError::Loop)?;
        // Whoever can't serve anybody does not take the port.
        let secure = config.listen.iter().any(ListenAddress::is_secure) || inherited.iter().any(Inherited::is_secure);
        let certificates = match secure.then(|| Certificates::load(&config, Moment::START, SystemTime::now())) {
            Some(loaded) => loaded.map_err(StartError::Certificate)?,
            None => None,
        };
        let mut listeners = Listener::bind(&config, inherited)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(FIRST_LISTENER + index)).map_err(StartError::Loop)?;
        }
        let queue = Queue::bind(&config, poll.registry(), QUEUE)?;
        config.limits.max_clients = most_clients(config.limits.max_clients);
        let listening = listeners.iter().filter_map(Listener::ip).collect();
        let registry = poll.registry().try_clone().map_err(StartError::Loop)?;
        let drain_timeout = config.limits.drain_timeout;
        let mut hub = Hub::new(config, handlers, listening, registry, ClientIds::new(random));
        hub.wall_clock = wall_clock;
        hub.process = process::look;
        rehearse(&mut hub).map_err(StartError::Loop)?;
        hub.metrics.started = wall_clock();
        hub.outbox.next_message = MessageId::first(wall_clock());
        hub.metrics.certificate_expires = certificates.as_ref().map(Certificates::expires);
        Ok(Self {
            poll,
            signals,
            listeners,
            queue,
            hub,
            certificates,
            scratch: Rc::default(),
            clock: Stopwatch::start(),
            phase: Phase::Running,
            drain_timeout,
            heartbeat: Moment::NEVER,
        })
    }

    /// The addresses that are listened on, paths left out.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// Runs until it is told to stop.
    pub fn run(mut self, host: &mut impl Host) -> io::Result<()> {
        for listener in &self.listeners {
            info!("listening on {listener}");
        }
        if let Some(queue) = &self.queue {
            info!("taking messages from the queue at {queue}");
        }
        host.ready();
        let every = host.heartbeat();
        if every.is_some() {
            self.heartbeat = Moment::START;
        }
        let mut events = Events::with_capacity(EVENTS);
        let mut woken = Instant::now();
        loop {
            let log = host.after_turn();
            self.hub.metrics.log_lines_lost = log.lost;
            let asleep = Instant::now();
            self.hub.metrics.turns.add(asleep - woken);
            let timeout = self.timeout(asleep, log.retry);
            let polled = self.poll.poll(&mut events, timeout);
            woken = Instant::now();
            // Looked at in any case: what was slept is not to be taken for standing still.
            let (now, _) = self.moment(woken, timeout);
            match polled {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.hub.go_on(now);
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        if self.signalled(host, now) {
                            host.after_turn();
                            return Ok(());
                        }
                    }
                    QUEUE => {
                        if let Some(queue) = &mut self.queue {
                            queue.ready();
                        }
                    }
                    Token(token) if token >= FIRST_LISTENER => {
                        if let Some(listener) = self.listeners.get_mut(token - FIRST_LISTENER) {
                            listener.ready();
                        }
                    }
                    Token(slot) => {
                        let ended = event.is_read_closed() || event.is_error();
                        self.hub.ready(slot, event.is_writable(), ended, now);
                    }
                }
            }
            self.accept(now);
            if let Some(queue) = &mut self.queue {
                queue.take(&mut self.hub, now);
            }
            self.look_after_certificates(now);
            self.hub.expire(now);
            self.hub.settle(now);
            if self.heartbeat <= now {
                host.alive(self.hub.len());
                self.heartbeat = every.map_or(Moment::NEVER, |every| now.after(every));
            }
            if let Phase::Draining(until) = self.phase
                && (until <= now || self.hub.unfinished().next().is_none())
            {
                info!("stopped, {} connections left", self.hub.unfinished().count());
                host.after_turn();
                return Ok(());
            }
        }
    }

    /// The moment that it is, and whether the loop has stood still. `sleep`: how long it may have slept since the last look.
    fn moment(&mut self, at: Instant, sleep: Option<Duration>) -> (Moment, bool) {
        let (now, stood_still) = self.clock.look(at, sleep);
        if let Some(time) = stood_still {
            warn!("the loop stood still for {:.1} s: that time is held against nobody", time.as_secs_f64());
        }
        (now, stood_still.is_some())
    }

    /// How long the poll may sleep. `log`: when the log is to be tried again.
    fn timeout(&mut self, now: Instant, log: Option<Duration>) -> Option<Duration> {
        let queued = self.queue.as_ref().is_some_and(Queue::has_more);
        if self.hub.has_unread() || queued || self.listeners.iter().any(Listener::has_more) {
            return Some(Duration::ZERO);
        }
        let mut deadline = self.hub.deadline().min(self.heartbeat);
        if let Some(queue) = &self.queue {
            deadline = deadline.min(queue.deadline());
        }
        for listener in &self.listeners {
            deadline = deadline.min(listener.deadline());
        }
        if let Some(certificates) = &self.certificates {
            deadline = deadline.min(certificates.deadline());
        }
        if let Phase::Draining(until) = self.phase {
            deadline = deadline.min(until);
        }
        let (now, stood_still) = self.moment(now, Some(Duration::ZERO));
        if stood_still {
            // There is a line to be written.
            return Some(Duration::ZERO);
        }
        if let Some(wait) = log {
            deadline = deadline.min(now.after(wait));
        }
        // A millisecond more: a poll rounds down, and would wake just before the deadline.
        (deadline != Moment::NEVER).then(|| now.until(deadline) + Duration::from_millis(1))
    }

    /// Reads the signals that came. `true`: stop at once.
    fn signalled(&mut self, host: &mut impl Host, now: Moment) -> bool {
        for signal in self.signals.pending() {
            if signal == SIGHUP {
                let config = host.reload();
                if let Some(certificates) = &mut self.certificates {
                    certificates.reload(config.as_ref(), now, SystemTime::now());
                    self.hub.metrics.certificate_expires = Some(certificates.expires());
                }
                if let Some(mut config) = config {
                    config.limits.max_clients = most_clients(config.limits.max_clients);
                    self.drain_timeout = config.limits.drain_timeout;
                    self.hub.reconfigure(config);
                    info!("configuration read again");
                }
                host.ready();
                continue;
            }
            if self.phase != Phase::Running {
                info!("stopped at once, {} connections left", self.hub.len());
                return true;
            }
            info!("stopping: {} connections", self.hub.len());
            self.phase = Phase::Draining(now.after(self.drain_timeout));
            host.stopping(self.drain_timeout);
            for mut listener in self.listeners.drain(..) {
                if let Err(error) = listener.deregister(self.poll.registry()) {
                    warn!("{listener} is still watched: {error}");
                }
            }
            // Before everyone is told to go, since what has come is for them.
            if let Some(queue) = self.queue.take() {
                queue.close(self.poll.registry(), &mut self.hub, now);
            }
            self.hub.drain(now);
        }
        false
    }

    fn accept(&mut self, now: Moment) {
        for listener in &mut self.listeners {
            let deferred = listener.deferred();
            let tls = listener.is_secure().then(|| self.certificates.as_ref().map(Certificates::current));
            listener.accept(now, |stream, peer| {
                let stream = match (&tls, stream) {
                    (None, stream) => stream,
                    (Some(Some(config)), Transport::Tcp(stream)) => {
                        match Tls::new(stream, Arc::clone(config), Rc::clone(&self.scratch)) {
                            Ok(tls) => Transport::Tls(Box::new(tls)),
                            Err(error) => return error!(address:% = peer; "can't be served with TLS: {error}"),
                        }
                    }
                    // Nobody is served without TLS who was promised it.
                    (Some(_), _) => {
                        return error!(address:% = peer; "can't be served with TLS: there is no certificate");
                    }
                };
                self.hub.open(stream, peer, deferred, now);
            });
        }
    }

    /// New handshakes get the certificate that is in the files now, more or less.
    fn look_after_certificates(&mut self, now: Moment) {
        if let Some(certificates) = &mut self.certificates
            && certificates.deadline() <= now
        {
            certificates.look(now, SystemTime::now());
            self.hub.metrics.certificate_expires = Some(certificates.expires());
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses()).field("hub", &self.hub).finish()
    }
}

/// Has the hub answer a request before there are clients: who says that it is ready has shown it, and the pages of the
/// program that it takes are in memory, so that what clients cost from then on is what they cost.
fn rehearse(hub: &mut Hub<Transport>) -> io::Result<()> {
    let (mut client, server) = std::os::unix::net::UnixStream::pair()?;
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    server.set_nonblocking(true)?;
    let server = Transport::Unix(UnixStream::from_std(server));
    let slot = hub.open(server, LOCAL, Duration::ZERO, Moment::START);
    hub.settle(Moment::START);
    let mut answer = String::new();
    client.set_nonblocking(true)?;
    client.read_to_string(&mut answer)?;
    drop(client);
    hub.ready(slot, false, true, Moment::START);
    hub.settle(Moment::START);
    // Nobody was here.
    hub.metrics = Metrics::default();
    if answer.starts_with("HTTP/1.1 200 ") && hub.is_empty() { Ok(()) } else { Err(io::Error::other(answer)) }
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

/// How long it is since 1970 began.
fn wall_clock() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
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

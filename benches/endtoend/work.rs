//! The work that servers are measured at, and how one run of it goes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::Result;
use crate::figures::grouped;
use crate::floor;
use crate::load::{Load, Part, Rhythm};
use crate::measure;
use crate::servers::{Programs, Subject};
use crate::wire::{self, Door};

/// Connections that echo while others are idle, and what they say.
const BESIDE_IDLE: (usize, usize) = (50, 20);

/// Messages that each client says or hears before anything is measured: the kernel acknowledges the first segments of a
/// connection one by one, which costs.
const WARM_UP: usize = 20;

/// Descriptors of this program and of a server that are no clients.
const OTHER_DESCRIPTORS: u64 = 100;

/// A kind of work.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Work {
    /// Clients get back what they send. Measured a message.
    Echo {
        /// How many clients.
        clients: usize,
        /// Bytes of a message.
        size: usize,
        /// Messages that each has on their way.
        depth: usize,
    },
    /// [`Work::Echo`] of 50 clients and 20 bytes, beside others that say nothing.
    BesideIdle {
        /// How many say nothing.
        idle: usize,
    },
    /// A script sends to all browsers; the next message when all have the last. Measured a browser and message.
    Broadcast {
        /// How many browsers.
        browsers: usize,
        /// Bytes of the member `message`; on the floor, of all.
        size: usize,
    },
    /// Scripts send to a browser each; the next message when the last is acknowledged. Measured a message. The floor's
    /// work is an echo of as many clients.
    Relay {
        /// How many scripts, and how many browsers.
        pairs: usize,
        /// Bytes of the member `message`; on the floor, of all.
        size: usize,
    },
    /// Browsers connect. Measured a handshake.
    Connect {
        /// How many browsers.
        browsers: usize,
    },
}

/// What one run has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// CPU time of the server for each unit of work, in microseconds.
    pub(crate) micros: f64,
    /// Memory of the server for each connection, in bytes, where that is measured.
    pub(crate) bytes: Option<f64>,
}

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Before anything is measured; it takes longer where so many messages do.
    pub(crate) warm_up: Duration,
    /// While it is.
    pub(crate) measured: Duration,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Echo { clients, size, depth } => {
                write!(f, "echo, {} × {} B, {depth} in flight", grouped(clients), grouped(size))
            }
            Self::BesideIdle { idle } => {
                let (clients, size) = BESIDE_IDLE;
                write!(f, "echo, {clients} × {size} B, beside {} idle", grouped(idle))
            }
            Self::Broadcast { browsers, size } => write!(f, "broadcast, {size} B to {}", grouped(browsers)),
            Self::Relay { pairs, size } => write!(f, "relay with ack, {pairs} pairs, {size} B"),
            Self::Connect { browsers } => write!(f, "upgrade of {}", grouped(browsers)),
        }
    }
}

impl Work {
    /// Who is measured at it, the floor first. The peers are libraries, of which an echo server is made in a few lines;
    /// a relay made of them would be our own work again.
    pub(crate) const fn subjects(self) -> &'static [Subject] {
        match self {
            Self::Echo { .. } | Self::BesideIdle { .. } | Self::Connect { .. } => {
                &[Subject::Floor, Subject::Websock, Subject::Tungstenite, Subject::Fastwebsockets]
            }
            Self::Broadcast { .. } | Self::Relay { .. } => &[Subject::Floor, Subject::Websock],
        }
    }

    /// Descriptors that this program needs for it, and about as many a server.
    pub(crate) const fn descriptors(self) -> u64 {
        let clients = match self {
            Self::Echo { clients, .. } => clients,
            Self::BesideIdle { idle } => BESIDE_IDLE.0 + idle,
            Self::Broadcast { browsers, .. } => browsers + 1,
            Self::Relay { pairs, .. } => 2 * pairs,
            Self::Connect { browsers } => browsers,
        };
        clients as u64 + OTHER_DESCRIPTORS
    }

    /// Lets a server of this kind do it, once.
    pub(crate) fn run(
        self,
        subject: Subject,
        programs: &Programs,
        windows: Windows,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Sample> {
        let floor = if matches!(self, Self::Broadcast { .. }) { floor::Kind::FanOut } else { floor::Kind::Echo };
        let server = programs.start(subject, floor)?;
        let mut load = Load::new(server.address, interrupted)?;
        if let Self::Connect { browsers } = self {
            let memory = measure::resident(server.id())?;
            let cpu = measure::cpu_at_rest(server.id())?;
            load.open(browsers, &browser(subject))?;
            let cpu = measure::cpu_at_rest(server.id())? - cpu;
            let memory = measure::resident(server.id())?.saturating_sub(memory);
            let bytes = Some(memory as f64 / browsers as f64);
            return Ok(Sample { micros: micros(cpu, browsers as u64), bytes });
        }
        let turn = self.set_up(subject, &mut load)?;
        load.play(windows.warm_up, WARM_UP, turn.rhythm, turn.answers)?;
        let cpu = measure::cpu_at_rest(server.id())?;
        let messages = load.play(windows.measured, 1, turn.rhythm, turn.answers)?;
        let cpu = measure::cpu_at_rest(server.id())? - cpu;
        Ok(Sample { micros: micros(cpu, messages * turn.units), bytes: None })
    }

    /// Connects the clients and gives them their parts.
    fn set_up(self, subject: Subject, load: &mut Load) -> Result<Turn> {
        let bare = subject == Subject::Floor;
        match self {
            Self::Echo { clients, size, depth } => {
                let clients = load.open(clients, &echo(subject))?;
                load.assign(clients, wire::echo(&wire::text(size), bare), depth);
                Ok(Turn { rhythm: Rhythm::Each { depth }, answers: 1, units: 1 })
            }
            Self::BesideIdle { idle } => {
                let (clients, size) = BESIDE_IDLE;
                load.open(idle, &browser(subject))?;
                Self::Echo { clients, size, depth: 1 }.set_up(subject, load)
            }
            Self::Relay { pairs, size } if bare => Self::Echo { clients: pairs, size, depth: 1 }.set_up(subject, load),
            Self::Relay { pairs, size } => {
                let scripts = load.open(pairs, &SCRIPT)?;
                let browsers = load.open(pairs, &browser(subject))?;
                for (script, browser) in scripts.zip(browsers) {
                    let uuid = load.uuid(browser)?;
                    let message = wire::text(size);
                    let text = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{message}"}}"#);
                    let part = Part { says: wire::said(&text), hears: wire::acknowledged(1) };
                    load.assign(script..script + 1, part, 1);
                    load.assign(browser..browser + 1, Part { says: Vec::new(), hears: wire::heard(&text) }, 1);
                }
                // The acknowledgement and the message itself.
                Ok(Turn { rhythm: Rhythm::Each { depth: 1 }, answers: 2, units: 1 })
            }
            Self::Broadcast { browsers: count, size } => {
                let script = load.open(1, if bare { &Door::Line } else { &SCRIPT })?;
                let browsers = load.open(count, &browser(subject))?;
                let message = wire::text(size);
                let (part, heard) = if bare {
                    (Part { says: message.clone().into(), hears: Vec::new() }, message.into())
                } else {
                    let text = format!(r#"{{"opcode":"broadcast","message":"{message}"}}"#);
                    (Part { says: wire::said(&text), hears: wire::acknowledged(count) }, wire::heard(&text))
                };
                let acknowledgement = u64::from(!part.hears.is_empty());
                load.assign(script, part, 1);
                load.assign(browsers, Part { says: Vec::new(), hears: heard }, 1);
                let count = count as u64;
                Ok(Turn { rhythm: Rhythm::Together, answers: count + acknowledgement, units: count })
            }
            Self::Connect { .. } => Err("connecting is all that is measured here".into()),
        }
    }
}

/// How the parts are played.
struct Turn {
    rhythm: Rhythm,
    /// What comes for a message, to whomever.
    answers: u64,
    /// What a message counts for.
    units: u64,
}

const SCRIPT: Door = Door::Upgrade { path: "/php", script: true, greets: true };

/// Where a browser connects. The peers have one door for all, and no greeting.
const fn browser(subject: Subject) -> Door {
    match subject {
        Subject::Floor => Door::Line,
        Subject::Websock => Door::Upgrade { path: "/web", script: false, greets: true },
        Subject::Tungstenite | Subject::Fastwebsockets => echo(subject),
    }
}

/// Where there is an echo.
const fn echo(subject: Subject) -> Door {
    match subject {
        Subject::Floor => Door::Line,
        _ => Door::Upgrade { path: "/echo", script: false, greets: false },
    }
}

fn micros(nanos: u64, units: u64) -> f64 {
    nanos as f64 / 1000.0 / units as f64
}

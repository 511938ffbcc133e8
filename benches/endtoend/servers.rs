//! The servers that are compared: how each is built, started, found and ended.
//!
//! Each run gets a server of its own: nothing that an earlier run has left in its memory or its tables counts.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::floor;
use crate::measure::Cpus;
use crate::plot;

/// How long a server has to say where it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every server says on standard error once it does.
const LISTENING: &str = "listening on ws://";

/// The defaults, on any free port and without pings: who is idle is to cost nothing that a run may or may not catch.
const SETTINGS: &str = "address = ws://127.0.0.1:0\nconsole = true\n[limits]\npingInterval = 0\n";

/// A server that is measured.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Subject {
    /// The raw loop that all are divided by.
    Floor,
    /// This project's.
    Websock,
    /// tokio-tungstenite on one thread.
    Tungstenite,
    /// fastwebsockets, with hyper, on one thread.
    Fastwebsockets,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Floor => "floor",
            Self::Websock => "websock",
            Self::Tungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
        })
    }
}

impl plot::Subject for Subject {
    fn color(self) -> &'static str {
        match self {
            Self::Floor => "grey",
            Self::Websock => "blue",
            Self::Tungstenite => "orange",
            Self::Fastwebsockets => "green",
        }
    }
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    itself: PathBuf,
    peers: PathBuf,
    scratch: PathBuf,
    cpus: Option<Cpus>,
}

impl Programs {
    /// Builds the peers and writes websock's settings. websock itself cargo has built, in the profile of this benchmark,
    /// which is the release profile.
    pub(crate) fn build(cpus: Option<Cpus>) -> Result<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("endtoend-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        fs::write(scratch.join("websock.ini"), SETTINGS)?;
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/Cargo.toml");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
        command.arg("--target-dir").arg(&target);
        if !command.status()?.success() {
            return Err("the peers can't be built".into());
        }
        Ok(Self { itself: env::current_exe()?, peers: target.join("release"), scratch, cpus })
    }

    /// Starts a server. `floor`: which one, where it is the floor that is wanted.
    pub(crate) fn start(&self, subject: Subject, floor: floor::Kind) -> Result<Server> {
        let mut command = match subject {
            Subject::Floor => Command::new(&self.itself),
            Subject::Websock => Command::new(env!("CARGO_BIN_EXE_websock")),
            Subject::Tungstenite => Command::new(self.peers.join("tungstenite")),
            Subject::Fastwebsockets => Command::new(self.peers.join("fastwebsockets")),
        };
        match subject {
            Subject::Floor => command.args(["--floor", floor.name()]),
            Subject::Websock => command.arg("-i").arg(self.scratch.join("websock.ini")),
            Subject::Tungstenite | Subject::Fastwebsockets => &mut command,
        };
        // A file takes what a server logs at any time; a pipe would have to be read, on the CPU of the load.
        let said = self.scratch.join("stderr");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
        let child = match self.cpus {
            Some(cpus) => cpus.start(&mut command),
            None => command.spawn(),
        };
        // From here on it is ended whatever happens.
        let mut server = Server { child: child?, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        server.address = server.listens_on(&said)?;
        Ok(server)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // What can't be removed lies in cargo's own directory for such things.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn listens_on(&mut self, said: &Path) -> Result<SocketAddr> {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(said)?;
            let line = text.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains(LISTENING));
            if let Some((_, address)) = line.and_then(|line| line.split_once(LISTENING)) {
                return Ok(address.trim().parse()?);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}, saying {text:?}").into());
            }
            if Instant::now() > until {
                return Err(format!("it does not listen, and says {text:?}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

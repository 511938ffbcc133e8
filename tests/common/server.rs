//! The built server as a process on loopback; [`Client`] talks to it.
//!
//! Every wait has a deadline, every port is the kernel's choice, every process is stopped by its id. It needs Linux:
//! some of what is waited for is told by `/proc` alone.

#![allow(dead_code, unused_imports, reason = "every test file uses another part of this")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

mod client;
mod stream;

pub(crate) use client::*;
pub(crate) use stream::*;

/// How long anything may take that should take no time. Less than the five seconds that the server gives a peer to end
/// a connection, so that a connection it forgets to end is seen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// A directory of its own, gone with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("websock-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and gives its whole name.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a temporary file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What glibc must be told for memory to go back to the system: left to itself it keeps what was freed between small pieces
/// that were not, some tens of megabytes after an attack (docs/faults.md).
pub(crate) const GIVES_BACK: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "65536");

/// The built program, in an environment that doesn't change what it logs.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websock"));
    command.env_remove("RUST_LOG");
    command
}

/// The lines of a process's standard error, as they come.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Waits until `find` finds something among the lines, and panics with `what` and the log after `patience`.
    fn wait<T>(&self, patience: Duration, what: &str, find: impl Fn(&Lines) -> Option<T>) -> T {
        let until = Instant::now() + patience;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            // What has ended logs nothing more.
            assert!(!left.is_zero() && !lines.ended, "no {what} in the log:\n{}", lines.lines.join("\n"));
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
            self.changed.notify_all();
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_all();
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    folder: Folder,
}

impl Server {
    /// Starts a server with these settings on a port of its own.
    pub(crate) fn start(ini: &str) -> Self {
        Self::start_as(program(), ini, "ws://127.0.0.1:0")
    }

    /// Starts `command`, which is or becomes a server, with these settings; `addresses` as `--address` takes them.
    pub(crate) fn start_as(mut command: Command, ini: &str, addresses: &str) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_input(command, ini, addresses)
    }

    /// As [`Server::start_as`], and standard input is the command's own.
    pub(crate) fn start_with_input(mut command: Command, ini: &str, addresses: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write("websock.ini", ini);
        command.args(["--address", addresses, "-i"]).arg(file).current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || log.read(stderr)
        });
        // From here on a panic stops the process.
        let mut server = Self { child, log, reader: Some(reader), addresses: Vec::new(), folder };
        let expected = addresses.split(',').count();
        server.addresses = server.log.wait(PATIENCE, "address to connect to", |lines| {
            let found: Vec<_> = lines.lines.iter().filter_map(|line| line.split_once("listening on ")).collect();
            // In JSON a quote follows.
            let address = |text: &str| text.split('"').next().and_then(|text| text.parse().ok());
            // Paths have no port that would have to be found out.
            let urls = found.iter().filter_map(|(_, url)| url.split_once("://"));
            (found.len() >= expected)
                .then(|| urls.map(|(_, rest)| address(rest).expect("an address in the log")).collect())
        });
        server
    }

    /// The first address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that it listens on, in their order, paths left out.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its directory, where `websock.ini` is.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of the log that has `part` in it, once there is one.
    pub(crate) fn wait_for_line(&self, part: &str) -> String {
        self.log.wait(PATIENCE, part, |lines| lines.lines.iter().find(|line| line.contains(part)).cloned())
    }

    /// The lines of the log so far that have `part` in them.
    pub(crate) fn lines_with(&self, part: &str) -> Vec<String> {
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.lines.iter().filter(|line| line.contains(part)).cloned().collect()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server is there");
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        // Its end of the pipe is closed when it ends, and a pipe can be waited for with a deadline.
        self.log.wait(PATIENCE, "end of the process", |lines| lines.ended.then_some(()));
        self.child.wait().expect("the server can be waited for")
    }

    /// Stops it in its tracks, until it gets [`Signal::CONT`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let is_stopped = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the server is there");
            status.contains("\nState:\tT")
        };
        wait_until("the server stands still", is_stopped);
    }

    /// How many files, sockets and the like it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("the server is there").count()
    }

    /// CPU time that it has used, all but what it is using at this moment.
    pub(crate) fn cpu(&self) -> Duration {
        self.schedule(0)
    }

    /// How long it was ready to run, and had to wait for a CPU.
    pub(crate) fn waited(&self) -> Duration {
        self.schedule(1)
    }

    /// A time of those that the kernel's scheduler counts.
    fn schedule(&self, field: usize) -> Duration {
        let times = fs::read_to_string(format!("/proc/{}/schedstat", self.id())).expect("the server is there");
        let time = times.split_whitespace().nth(field).and_then(|time| time.parse().ok());
        Duration::from_nanos(time.expect("a time in nanoseconds"))
    }

    /// Bytes of memory of its own, without what the kernel holds for its sockets (`VmRSS`).
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the server is there");
        let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
        size.and_then(|size| size.trim().parse::<u64>().ok()).expect("a size in KiB") * 1024
    }

    /// How often it has gone to sleep so far, waiting for something to happen.
    pub(crate) fn sleeps(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the server is there");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse().ok()).expect("a count of context switches")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what it was to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let panics = self.lines_with("panicked at");
        assert!(panics.is_empty() || thread::panicking(), "the server panicked: {panics:?}");
    }
}

/// Looks every few milliseconds whether something is so that nothing tells of.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}, which has not come about");
        thread::sleep(Duration::from_millis(2));
    }
}

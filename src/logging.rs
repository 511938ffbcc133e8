//! The logger: `log` and `env_logger` for what is logged, and a buffer that the loop writes out once a turn.
//!
//! A record becomes a line in memory (`line`); [`LogHandle::flush`] hands what has gathered to standard error, the file or both,
//! in one call for each. A place that takes nothing, be it full, gone, stopped or asleep, keeps the loop waiting no more
//! than one that does: `outlet` says what becomes of its lines.
//!
//! Knows nothing of what is logged, nor of the loop.

mod line;
mod outlet;

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use crate::config::LogFormat;
use line::Style;
use outlet::{Outlet, Sink, append_to, reason, standard_error};

#[cfg(test)]
mod tests;

/// What is logged when `RUST_LOG` doesn't say.
const FILTER: &str = "info";
/// Bytes that may gather between two flushes; what comes on top is lost and counted.
const GATHERED: usize = 1 << 20;
/// Bytes of buffer that are kept for the next turn; a burst's memory is given back.
const KEPT: usize = 1 << 16;
/// When lines are offered again to a place that has just taken some, and to one that has taken none.
const MOVING: Duration = Duration::from_millis(1);
const STUCK: Duration = Duration::from_millis(100);
/// How long the last lines of a process are offered to a place that doesn't take them.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where lines go, and how they look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogSettings {
    /// The file they are appended to; none: no file.
    pub file: Option<PathBuf>,
    /// Whether they go to standard error.
    pub console: bool,
    /// How they look.
    pub format: LogFormat,
}

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogState {
    /// Lines lost since the start, each counted for every place that it should have gone to.
    pub lost: u64,
    /// Some have not been taken yet: when to try again, though nothing may be logged until then.
    pub retry: Option<Duration>,
}

/// Installs the logger of the process and opens the log file.
///
/// With neither file nor console, warnings and errors still go to standard error. `RUST_LOG` sets what is logged; without it, `info`
/// and above. The file is appended to, and made where it is missing.
///
/// Nothing fails: a file that can't be opened is said on standard error and the log goes on there, and a process that has another
/// logger already keeps it, which is said there too.
pub fn init(settings: LogSettings) -> LogHandle {
    let handle = LogHandle::new(standard_error(), settings);
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = if filter.is_empty() { FILTER } else { &filter };
    let logger = line::logger(Box::new(handle.gatherer.clone()), &handle.style, filter);
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(most);
    } else {
        lock(&handle.outlets).complain("log: this process has another logger, which gets the lines");
    }
    handle
}

/// What the loop holds of the logger. Dropping it writes what has gathered, for which it waits a moment where it must;
/// `std::process::exit` doesn't, so flush before.
pub struct LogHandle {
    gatherer: Gatherer,
    style: Arc<Style>,
    outlets: Mutex<Outlets>,
}

impl LogHandle {
    fn new(stderr: Box<dyn Sink>, settings: LogSettings) -> Self {
        let style = Arc::<Style>::default();
        let outlets = Outlets {
            style: Arc::clone(&style),
            stderr: Outlet::new(stderr),
            settings: LogSettings::default(),
            file: None,
            batch: Vec::new(),
            lost: 0,
        };
        let handle = Self { gatherer: Gatherer::default(), style, outlets: Mutex::new(outlets) };
        lock(&handle.outlets).configure(settings);
        handle
    }

    /// Writes what has gathered since the last call, in one call for each place it goes to, as far as it is taken at once.
    pub fn flush(&self) -> LogState {
        self.flush_to(&mut lock(&self.outlets))
    }

    /// Opens the log file anew, for log rotation: what has gathered still goes to the old one.
    ///
    /// A file that can't be opened is said on standard error and the log goes on there; the next call tries again.
    pub fn reopen(&self) {
        let mut outlets = lock(&self.outlets);
        self.flush_to(&mut outlets);
        outlets.open(true);
    }

    /// Goes on with other settings; opens the file anew in any case. What has gathered still goes where it was to go.
    pub fn configure(&self, settings: LogSettings) {
        let mut outlets = lock(&self.outlets);
        self.flush_to(&mut outlets);
        outlets.configure(settings);
    }

    fn flush_to(&self, outlets: &mut Outlets) -> LogState {
        let lost = {
            let mut gathered = lock(&self.gatherer.0);
            mem::swap(&mut gathered.bytes, &mut outlets.batch);
            mem::take(&mut gathered.lost)
        };
        let before = outlets.waiting();
        outlets.write_batch(lost);
        let waiting = outlets.waiting();
        let retry = (waiting > 0).then_some(if waiting < before { MOVING } else { STUCK });
        LogState { lost: outlets.lost, retry }
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        let until = Instant::now() + FAREWELL;
        while self.flush().retry.is_some() && Instant::now() < until {
            thread::sleep(MOVING);
        }
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle").finish_non_exhaustive()
    }
}

/// A panic while a lock is held leaves bytes behind it, nothing that could be inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines between two flushes.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    lost: u64,
}

/// Where `env_logger` writes: it hands over a whole line in each call.
#[derive(Clone, Default)]
struct Gatherer(Arc<Mutex<Gathered>>);

impl Gatherer {
    fn take(&self) -> Vec<u8> {
        mem::take(&mut lock(&self.0).bytes)
    }
}

impl Write for Gatherer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = lock(&self.0);
        if gathered.bytes.len() + line.len() <= GATHERED {
            gathered.bytes.extend_from_slice(line);
        } else {
            gathered.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The places that lines go to.
struct Outlets {
    style: Arc<Style>,
    stderr: Outlet,
    settings: LogSettings,
    file: Option<Outlet>,
    /// The lines being written; its memory changes places with the gathered ones'.
    batch: Vec<u8>,
    lost: u64,
}

impl Outlets {
    fn configure(&mut self, settings: LogSettings) {
        let quiet = settings.file.is_none() && !settings.console;
        self.style.set(settings.format, quiet);
        let same = settings.file == self.settings.file;
        self.settings = settings;
        if self.settings.file.is_none() {
            self.close();
        }
        self.open(same);
    }

    /// The file is not to be written to any more.
    fn close(&mut self) {
        if let Some(file) = self.file.take() {
            self.lost += file.abandoned();
        }
    }

    /// Opens the file, where there is one; what the old one has lost is said in the new one. `same`: it is the same path.
    fn open(&mut self, same: bool) {
        let Some(path) = self.settings.file.clone() else { return };
        match append_to(&path) {
            Ok(file) => {
                let same = same && file.metadata().is_ok_and(|metadata| metadata.len() > 0);
                self.file = Some(match self.file.take() {
                    None => Outlet::new(Box::new(file)),
                    Some(old) => {
                        let (new, lost) = Outlet::in_place_of(old, Box::new(file), same);
                        self.lost += lost;
                        new
                    }
                });
            }
            Err(e) => {
                self.close();
                self.complain(&cannot_open(&path, &e));
            }
        }
    }

    fn complain(&mut self, text: &str) {
        self.lost += self.stderr.write(&line::own(&self.style, Level::Error, text), &self.style);
    }

    /// Bytes that have not been taken yet.
    fn waiting(&self) -> usize {
        self.stderr.waiting() + self.file.as_ref().map_or(0, Outlet::waiting)
    }

    fn write_batch(&mut self, overflow: u64) {
        if overflow > 0 {
            let text = format!("log: {overflow} lines lost: more than {GATHERED} bytes at once");
            self.batch.extend(line::own(&self.style, Level::Warn, &text));
            self.lost += overflow;
        }
        if self.batch.is_empty() && self.waiting() == 0 {
            return;
        }
        if !self.batch.is_empty() && self.file.as_ref().is_some_and(Outlet::is_gone) {
            // Somebody has removed it, and forgot to send HUP: lines are not to vanish with it.
            self.open(true);
        }
        if let Some(file) = &mut self.file {
            self.lost += file.write(&self.batch, &self.style);
        }
        // Without a file this is the last resort, console or not.
        let here = self.settings.console || self.file.is_none();
        self.lost += self.stderr.write(if here { &self.batch } else { &[] }, &self.style);
        self.batch.clear();
        self.batch.shrink_to(KEPT);
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!("log: can't open {}: {}; the log goes on here", path.display(), reason(error))
}

//! The logger: `log` and `env_logger` for what is logged and how it looks, and a buffer that the loop writes out once a turn.
//!
//! A record becomes a line in memory; [`LogHandle::flush`] hands what has gathered to standard error, the file or both, in one
//! call for each. A place that can't be written to loses its lines and counts them, and once it takes lines again the first one
//! says how many are missing. So a full disk costs lines, never the loop. What blocks is not helped: a terminal
//! that is stopped, or a pipe whose reader sleeps, stops the loop for as long, like any other write to it.
//!
//! Knows nothing of what is logged, nor of the loop.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use env_logger::{Builder, Logger, Target};
use log::{Level, Log as _, Record};

#[cfg(test)]
mod tests;

/// What is logged when `RUST_LOG` doesn't say.
const FILTER: &str = "info";
/// Bytes that may gather between two flushes; what comes on top is lost and counted.
const GATHERED: usize = 1 << 20;
/// Bytes of buffer that are kept for the next turn; a burst's memory is given back.
const KEPT: usize = 1 << 16;

/// Installs the logger of the process and opens the log file.
///
/// With neither file nor console, warnings and errors still go to standard error. `RUST_LOG` sets what is logged; without it, `info`
/// and above. The file is appended to, and made where it is missing.
///
/// Nothing fails: a file that can't be opened is said on standard error and the log goes on there, and a process that has another
/// logger already keeps it, which is said there too.
pub fn init(log_file: Option<&Path>, console: bool) -> LogHandle {
    let handle = LogHandle::new(Box::new(io::stderr()), log_file, console);
    let quiet = log_file.is_none() && !console;
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let logger = logger(&handle.gathered, quiet, if filter.is_empty() { FILTER } else { &filter });
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(most);
    } else {
        handle.complain("log: this process has another logger, which gets the lines");
    }
    handle
}

/// What the loop holds of the logger. Dropping it writes what has gathered; `std::process::exit` doesn't, so flush before.
pub struct LogHandle {
    gathered: Arc<Mutex<Gathered>>,
    outlets: Mutex<Outlets>,
}

impl LogHandle {
    fn new(stderr: Box<dyn Write + Send>, path: Option<&Path>, console: bool) -> Self {
        let handle = Self {
            gathered: Arc::default(),
            outlets: Mutex::new(Outlets {
                stderr: Outlet::new(stderr),
                console,
                file: None,
                path: path.map(Path::to_owned),
                batch: Vec::new(),
                lost: 0,
            }),
        };
        lock(&handle.outlets).open();
        handle
    }

    /// Writes what has gathered since the last call, in one call for each place it goes to.
    pub fn flush(&self) {
        self.flush_to(&mut lock(&self.outlets));
    }

    /// Opens the log file anew, for log rotation: what has gathered still goes to the old one.
    ///
    /// A file that can't be opened is said on standard error and the log goes on there; the next call tries again.
    pub fn reopen(&self) {
        let mut outlets = lock(&self.outlets);
        self.flush_to(&mut outlets);
        outlets.open();
    }

    /// Lines lost since the start, each counted for every place that it should have gone to.
    pub fn lost(&self) -> u64 {
        lock(&self.outlets).lost
    }

    fn flush_to(&self, outlets: &mut Outlets) {
        let lost = {
            let mut gathered = lock(&self.gathered);
            mem::swap(&mut gathered.bytes, &mut outlets.batch);
            mem::take(&mut gathered.lost)
        };
        outlets.write_batch(lost);
    }

    fn complain(&self, text: &str) {
        lock(&self.outlets).complain(text);
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        self.flush();
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
struct Gatherer(Arc<Mutex<Gathered>>);

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
    stderr: Outlet,
    /// Whether lines go to standard error although there is a file.
    console: bool,
    file: Option<Outlet>,
    /// The file that should be open.
    path: Option<PathBuf>,
    /// The lines being written; its memory changes places with the gathered ones'.
    batch: Vec<u8>,
    lost: u64,
}

impl Outlets {
    /// Opens the file, where there is one; what the old one has lost is said in the new one.
    fn open(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(file) => {
                let has_lines = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
                let mut outlet = Outlet::new(Box::new(file));
                if let Some(old) = self.file.take() {
                    outlet.torn = old.torn && has_lines;
                    outlet.lost = old.lost;
                    outlet.why = old.why;
                }
                self.file = Some(outlet);
            }
            Err(e) => {
                self.file = None;
                let text = format!("log: can't open {}: {}; the log goes on here", path.display(), reason(&e));
                self.complain(&text);
            }
        }
    }

    fn complain(&mut self, text: &str) {
        self.lost += self.stderr.write(&line(Level::Error, text));
    }

    fn write_batch(&mut self, overflow: u64) {
        if overflow > 0 {
            let text = format!("log: {overflow} lines lost: more than {GATHERED} bytes at once");
            self.batch.extend(line(Level::Warn, &text));
            self.lost += overflow;
        }
        if self.batch.is_empty() {
            return;
        }
        if let Some(file) = &mut self.file {
            self.lost += file.write(&self.batch);
        }
        // Without a file this is the last resort, console or not.
        if self.console || self.file.is_none() {
            self.lost += self.stderr.write(&self.batch);
        }
        self.batch.clear();
        self.batch.shrink_to(KEPT);
    }
}

/// One place that lines go to.
struct Outlet {
    to: Box<dyn Write + Send>,
    /// Lines lost that nobody has been told of here.
    lost: u64,
    /// Why the last of them was lost.
    why: String,
    /// Whether the last line written is without its end.
    torn: bool,
}

impl Outlet {
    fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to, lost: 0, why: String::new(), torn: false }
    }

    /// Writes whole lines, in one call as long as it takes them all, and returns how many of them were lost.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if self.lost == 0 && !self.torn {
            return self.write_after(&[], lines);
        }
        let mut front = Vec::new();
        if self.torn {
            front.push(b'\n');
        }
        if self.lost > 0 {
            let text = format!("log: {} lines lost: {}", self.lost, self.why);
            front.extend(line(Level::Warn, &text));
        }
        let bytes = [&front, lines].concat();
        self.write_after(&front, &bytes)
    }

    /// Writes `bytes`, which begin with `front`: what is ours to say before the lines.
    fn write_after(&mut self, front: &[u8], bytes: &[u8]) -> u64 {
        let (written, error) = write_all(&mut *self.to, bytes);
        if written > 0 {
            self.torn = bytes[written - 1] != b'\n';
        }
        if written >= front.len() {
            self.lost = 0;
        }
        let Some(error) = error else { return 0 };
        let unwritten = &bytes[written.max(front.len())..];
        let lost = unwritten.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost += lost;
        self.why = reason(&error);
        lost
    }
}

/// Writes as much as is taken; unlike `Write::write_all` it knows how much that was.
fn write_all(to: &mut dyn Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Some(e)),
        }
    }
    (written, None)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The system's words for an error without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A logger that gathers. A quiet one lets only warnings and errors through, whatever the filter says.
fn logger(gathered: &Arc<Mutex<Gathered>>, quiet: bool, filter: &str) -> Logger {
    let most = if quiet { Level::Warn } else { Level::Trace };
    Builder::new()
        .parse_filters(filter)
        .format(move |out, record| {
            if record.level() > most {
                return Ok(());
            }
            write!(out, "{} {:<5} ", out.timestamp_millis(), record.level())?;
            if record.level() >= Level::Debug {
                write!(out, "{}: ", Escaped(record.target()))?;
            }
            writeln!(out, "{}", Escaped(record.args()))
        })
        .target(Target::Pipe(Box::new(Gatherer(Arc::clone(gathered)))))
        .build()
}

/// A line of our own in the form of all others, past the buffer.
fn line(level: Level, text: &str) -> Vec<u8> {
    let gathered = Arc::default();
    logger(&gathered, false, FILTER).log(&Record::builder().level(level).args(format_args!("{text}")).build());
    mem::take(&mut lock(&gathered).bytes)
}

/// Shows a text so that it stays one line and moves no cursor: what clients send gets into the log.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Almost all that is ever logged.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        // The separators are no control characters, and end a line in many viewers all the same.
        let unsafe_to_show = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let mut rest = text;
        while let Some(at) = rest.find(unsafe_to_show) {
            self.0.write_str(&rest[..at])?;
            let mut chars = rest[at..].chars();
            if let Some(c) = chars.next() {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

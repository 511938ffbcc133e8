//! One place that lines go to, which may be full, gone, or asleep.
//!
//! Nothing here ever waits. A pipe whose reader sleeps and a terminal that is stopped take no more for the moment: what
//! they don't take is kept, up to a limit, and tried again. What fails is lost and counted. Once lines are taken again,
//! the first one says how many are missing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags};

use super::line::{self, Style};

/// Bytes kept for a place that takes none now; lines on top of that are lost. One flush of lines is kept in any case.
const WAITING: usize = 1 << 20;

/// Bytes that a pipe takes at once if it takes any (`PIPE_BUF` of Linux).
const AT_ONCE: usize = 4096;

/// Why lines that waited too long are lost.
const ASLEEP: &str = "nobody took them";

/// Something that takes bytes without waiting: where it would have to wait, its error is [`io::ErrorKind::WouldBlock`].
pub(super) trait Sink: Write + Send {
    /// Whether what is written can't be found by anybody any more.
    fn is_gone(&self) -> bool {
        false
    }
}

impl Sink for File {
    fn is_gone(&self) -> bool {
        self.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

impl Sink for io::Stderr {}

/// A descriptor that would wait, and is shared with other programs, so that it can't be told not to.
struct Polled<T>(T);

impl<T: Write + AsFd> Write for Polled<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut asked = [PollFd::new(&self.0, PollFlags::OUT)];
        if rustix::event::poll(&mut asked, Some(&Timespec::default()))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.write(&bytes[..bytes.len().min(AT_ONCE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<T: Write + AsFd + Send> Sink for Polled<T> {}

/// Standard error.
///
/// It may be shared with a shell, or with whatever else writes to the same terminal or pipe; all of them would see a flag
/// that is set on it. So a pipe or a terminal is opened once more: the new description is ours alone, and never waits.
/// Where that can't be (a socket, a terminal of another user), the kernel is asked before each write, and gets no more
/// at once than a pipe with any room takes whole: only what somebody else writes between the two could keep us waiting.
pub(super) fn standard_error() -> Box<dyn Sink> {
    let shared = io::stderr();
    let kind = rustix::fs::fstat(&shared).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile) | Err(_) => Box::new(shared),
        Ok(FileType::Fifo | FileType::CharacterDevice)
            if let Ok(own) = without_waiting(OpenOptions::new().write(true)).open("/proc/self/fd/2") =>
        {
            Box::new(own)
        }
        Ok(_) => Box::new(Polled(shared)),
    }
}

/// Opens a file to append to, and makes it where it is missing. A pipe that nobody reads from can't be opened.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    without_waiting(OpenOptions::new().append(true).create(true)).open(path)
}

/// For a description of our own. `NOCTTY`: no terminal is to become that which controls us.
fn without_waiting(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
}

/// One place that lines go to.
pub(super) struct Outlet {
    to: Box<dyn Sink>,
    /// What it has not taken yet: lines, behind the first so many bytes, which it has.
    waiting: (Vec<u8>, usize),
    /// Lines lost that nobody has been told of here.
    lost: u64,
    /// Why the last of them was lost.
    why: String,
    /// Whether the last line written is without its end.
    torn: bool,
}

impl Outlet {
    pub(super) fn new(to: Box<dyn Sink>) -> Self {
        Self { to, waiting: (Vec::new(), 0), lost: 0, why: String::new(), torn: false }
    }

    /// One that takes the place of `old`, whose lines were the same file's if `same`. Says how many lines of the old one
    /// are lost by that.
    pub(super) fn in_place_of(old: Self, to: Box<dyn Sink>, same: bool) -> (Self, u64) {
        let waited = old.abandoned();
        let mut new = Self { torn: old.torn && same, lost: old.lost, why: old.why, ..Self::new(to) };
        new.lose(waited, ASLEEP.to_owned());
        (new, waited)
    }

    /// How many lines are lost if nothing more is written to it.
    pub(super) fn abandoned(&self) -> u64 {
        count(&self.waiting.0[self.waiting.1..])
    }

    /// Bytes that it has not taken yet.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting.0.len() - self.waiting.1
    }

    /// Whether what is written to it can't be found by anybody any more.
    pub(super) fn is_gone(&self) -> bool {
        self.to.is_gone()
    }

    /// Writes whole lines behind those that wait, in one call as long as it takes them all, and returns how many were lost.
    pub(super) fn write(&mut self, lines: &[u8], style: &Style) -> u64 {
        let waited = self.waiting() > 0;
        if waited {
            let (waiting, start) = mem::take(&mut self.waiting);
            let (written, error) = self.put(&waiting[start..]);
            let start = start + written;
            match error {
                None => {}
                Some(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting = (waiting, start);
                    return self.keep(lines);
                }
                Some(error) => return self.lose(count(&waiting[start..]) + count(lines), reason(&error)),
            }
        }
        let front = self.front(style);
        // That lines are missing is said with the next one, or when what waited has been taken.
        if lines.is_empty() && (front.is_empty() || !waited) {
            return 0;
        }
        let joined = if front.is_empty() { Vec::new() } else { [&front, lines].concat() };
        let bytes = if front.is_empty() { lines } else { &joined };
        let (written, error) = self.put(bytes);
        if written >= front.len() {
            self.lost = 0;
        }
        match error {
            None => 0,
            Some(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A count that can't be said now is said later, and is not the same then.
                let front = if self.lost > 0 { front.len() } else { 0 };
                self.keep(&bytes[written.max(front)..])
            }
            Some(error) => self.lose(count(&bytes[written.max(front.len())..]), reason(&error)),
        }
    }

    /// What is ours to say before the next line.
    fn front(&self, style: &Style) -> Vec<u8> {
        let mut front = Vec::new();
        if self.torn {
            front.push(b'\n');
        }
        if self.lost > 0 {
            let text = format!("log: {} lines lost: {}", self.lost, self.why);
            front.extend(line::own(style, Level::Warn, &text));
        }
        front
    }

    /// Writes as much as is taken, and says how much that was.
    fn put(&mut self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let (written, error) = write_all(&mut *self.to, bytes);
        if written > 0 {
            self.torn = bytes[written - 1] != b'\n';
        }
        (written, error)
    }

    /// Keeps lines that are not taken now, as far as there is room for them; returns how many were lost.
    fn keep(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let (waiting, start) = &mut self.waiting;
        waiting.drain(..mem::take(start));
        let room = match (self.lost, waiting.len()) {
            // Without this, the order would be lost as well.
            (1.., _) => 0,
            (0, 0) => lines.len(),
            (0, length) => WAITING.saturating_sub(length).min(lines.len()),
        };
        let kept = lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        waiting.extend_from_slice(&lines[..kept]);
        self.lose(count(&lines[kept..]), ASLEEP.to_owned())
    }

    fn lose(&mut self, lines: u64, why: String) -> u64 {
        if lines > 0 {
            self.lost += lines;
            self.why = why;
        }
        lines
    }
}

/// How many lines end in `bytes`.
fn count(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes as much as is taken; unlike `Write::write_all` it knows how much that was.
fn write_all(to: &mut dyn Sink, bytes: &[u8]) -> (usize, Option<io::Error>) {
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

/// The system's words for an error without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

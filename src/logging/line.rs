//! How a record looks: a line of text, or a line that is a JSON object.
//!
//! A record may say which client it is about (`client`, `address`, `path`, as key-value pairs of the `log` crate). Text has
//! them in front of the message, in this order and `-` for what is missing; JSON has them as members. Whatever a record
//! says, and clients have their part in it, it stays one line.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use env_logger::fmt::Formatter;
use env_logger::{Builder, Logger, Target};
use log::kv::{Key, Value};
use log::{Level, Log as _, Record};

use crate::config::LogFormat;

/// What lines look like, and which are left out. Loggers that are running follow it when it changes.
#[derive(Debug, Default)]
pub(super) struct Style {
    json: AtomicBool,
    quiet: AtomicBool,
}

impl Style {
    /// A quiet one lets only warnings and errors through, whatever the filter says.
    pub(super) fn set(&self, format: LogFormat, quiet: bool) {
        self.json.store(format == LogFormat::Json, Ordering::Relaxed);
        self.quiet.store(quiet, Ordering::Relaxed);
    }
}

/// A logger that hands whole lines to `to`, one in each call.
pub(super) fn logger(to: Box<dyn Write + Send>, style: &Arc<Style>, filter: &str) -> Logger {
    let style = Arc::clone(style);
    Builder::new()
        .parse_filters(filter)
        .format(move |out, record| {
            if style.quiet.load(Ordering::Relaxed) && record.level() > Level::Warn {
                return Ok(());
            }
            if style.json.load(Ordering::Relaxed) { write_json(out, record) } else { write_text(out, record) }
        })
        .target(Target::Pipe(to))
        .build()
}

/// A line of the logger's own, in the form of all others.
pub(super) fn own(style: &Style, level: Level, text: &str) -> Vec<u8> {
    let line = super::Gatherer::default();
    let same = Arc::new(Style { json: AtomicBool::new(style.json.load(Ordering::Relaxed)), ..Style::default() });
    let logger = logger(Box::new(line.clone()), &same, "trace");
    logger.log(&Record::builder().level(level).args(format_args!("{text}")).build());
    line.take()
}

fn write_text(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    write!(out, "{} {:<5} ", out.timestamp_millis(), record.level())?;
    if record.level() >= Level::Debug {
        write!(out, "{}: ", Escaped(record.target()))?;
    }
    let about = about(record);
    if about.iter().any(|(_, value)| value.is_some()) {
        for (_, value) in about {
            match value {
                Some(value) => write!(out, "{} ", Escaped(value))?,
                None => out.write_all(b"- ")?,
            }
        }
    }
    writeln!(out, "{}", Escaped(record.args()))
}

fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let level = match record.level() {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    write!(out, r#"{{"time":"{}","level":"{level}","message":"#, out.timestamp_millis())?;
    write!(out, "{}", Quoted(record.args()))?;
    for (name, value) in about(record) {
        if let Some(value) = value {
            write!(out, r#","{name}":{}"#, Quoted(value))?;
        }
    }
    if record.level() >= Level::Debug {
        write!(out, r#","target":{}"#, Quoted(record.target()))?;
    }
    out.write_all(b"}\n")
}

/// Whom a record is about.
fn about<'r>(record: &'r Record<'_>) -> [(&'static str, Option<Value<'r>>); 3] {
    let pairs = record.key_values();
    ["client", "address", "path"].map(|name| {
        let value = pairs.get(Key::from_str(name));
        // Some don't always have a path to tell, and leave it empty.
        (name, value.filter(|value| value.to_borrowed_str() != Some("")))
    })
}

/// Shows a text so that it stays one line and moves no cursor.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { to: f, json: false }, "{}", self.0)
    }
}

/// Shows a text as a JSON string (RFC 8259, section 7), with the same care.
struct Quoted<T>(T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping { to: f, json: true }, "{}", self.0)?;
        f.write_char('"')
    }
}

struct Escaping<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    json: bool,
}

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let json = self.json;
        // Almost all that is ever logged.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !(json && matches!(byte, b'"' | b'\\'))) {
            return self.to.write_str(text);
        }
        // The separators are no control characters, and end a line in many viewers all the same.
        let must_be_escaped =
            |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || (json && matches!(c, '"' | '\\'));
        let mut rest = text;
        while let Some(at) = rest.find(must_be_escaped) {
            self.to.write_str(&rest[..at])?;
            let mut chars = rest[at..].chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => write!(self.to, "\\{c}")?,
                // None of them takes more than four digits.
                Some(c) if json => write!(self.to, "\\u{:04x}", u32::from(c))?,
                Some(c) => write!(self.to, "{}", c.escape_default())?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.to.write_str(rest)
    }
}

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
    let (time, level) = (out.timestamp_millis(), record.level());
    let about = about(record);
    if level >= Level::Debug {
        return writeln!(out, "{time} {level:<5} {}: {}{}", Escaped(record.target()), about, Escaped(record.args()));
    }
    writeln!(out, "{time} {level:<5} {about}{}", Escaped(record.args()))
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
    for (name, value) in ABOUT.iter().zip(about(record).0) {
        if let Some(value) = value {
            write!(out, r#","{name}":{}"#, Quoted(value))?;
        }
    }
    if record.level() >= Level::Debug {
        write!(out, r#","target":{}"#, Quoted(record.target()))?;
    }
    out.write_all(b"}\n")
}

/// Whom a record is about: client, address and path.
struct About<'r>([Option<Value<'r>>; ABOUT.len()]);

const ABOUT: [&str; 3] = ["client", "address", "path"];

fn about<'r>(record: &'r Record<'_>) -> About<'r> {
    let pairs = record.key_values();
    // Some don't always have a path to tell, and leave it empty.
    About(ABOUT.map(|name| pairs.get(Key::from_str(name)).filter(|value| value.to_borrowed_str() != Some(""))))
}

/// As it stands in front of a message: nothing where nobody is named.
impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(Option::is_none) {
            return Ok(());
        }
        for value in &self.0 {
            match value {
                Some(value) => Escaped(value).fmt(f)?,
                None => f.write_char('-')?,
            }
            f.write_char(' ')?;
        }
        Ok(())
    }
}

/// Shows a text so that it stays one line and moves no cursor.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping::<'_, '_, false>(f), "{}", self.0)
    }
}

/// Shows a text as a JSON string (RFC 8259, section 7), with the same care.
struct Quoted<T>(T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escaping::<'_, '_, true>(f), "{}", self.0)?;
        f.write_char('"')
    }
}

struct Escaping<'a, 'b, const JSON: bool>(&'a mut fmt::Formatter<'b>);

impl<const JSON: bool> fmt::Write for Escaping<'_, '_, JSON> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_quote = |byte: u8| JSON && matches!(byte, b'"' | b'\\');
        // Almost all that is ever logged. Without a way out at the first odd byte it is done by vectors.
        if !text.bytes().fold(false, |odd, byte| odd | !(b' '..=b'~').contains(&byte) | is_quote(byte)) {
            return self.0.write_str(text);
        }
        // The separators are no control characters, and end a line in many viewers all the same.
        let must_be_escaped =
            |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || u8::try_from(c).is_ok_and(is_quote);
        let mut rest = text;
        while let Some(at) = rest.find(must_be_escaped) {
            self.0.write_str(&rest[..at])?;
            let mut chars = rest[at..].chars();
            match chars.next() {
                Some(c @ ('"' | '\\')) => write!(self.0, "\\{c}")?,
                // None of them takes more than four digits.
                Some(c) if JSON => write!(self.0, "\\u{:04x}", u32::from(c))?,
                Some(c) => write!(self.0, "{}", c.escape_default())?,
                None => {}
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

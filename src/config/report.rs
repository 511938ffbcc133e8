//! How a problem of the INI file is told: `FILE:LINE: [section] key: found …, expected …`.
//!
//! Knows no key and no type; it only sees to it that a message is one line, whatever the file held.

use std::fmt;
use std::path::PathBuf;

/// What a message may show of a value, in characters.
const SHOWN: usize = 120;

/// A value that isn't what it should be. Prints as `found …, expected …`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mismatch {
    /// What stands there.
    pub found: String,
    /// What should stand there.
    pub expected: String,
}

impl Mismatch {
    /// A value to be shown in quotes, and what should stand there instead of it.
    pub(crate) fn value(found: &str, expected: impl Into<String>) -> Self {
        let found = if found.is_empty() { "nothing".to_owned() } else { quoted(found) };
        Self::new(found, expected)
    }

    /// Something described in words, for what is no value or must not be shown.
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

impl std::error::Error for Mismatch {}

/// Lets a key that takes one value and a key that takes a list be handled alike.
impl From<Mismatch> for Vec<Mismatch> {
    fn from(mismatch: Mismatch) -> Self {
        vec![mismatch]
    }
}

/// Where in which file. Prints as `FILE:LINE: [section] key`, without the parts that are missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1; none for the file as a whole.
    pub line: Option<usize>,
    /// The section as written; none for flat keys.
    pub section: Option<String>,
    /// The key as written; none for a section as a whole.
    pub key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match (&self.section, &self.key) {
            (Some(section), Some(key)) => write!(f, ": [{}] {}", shown(section), shown(key)),
            (Some(section), None) => write!(f, ": [{}]", shown(section)),
            (None, Some(key)) => write!(f, ": {}", shown(key)),
            (None, None) => Ok(()),
        }
    }
}

/// A problem that keeps the file from being used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub mismatch: Mismatch,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.mismatch)
    }
}

impl std::error::Error for ConfigError {}

/// Something that an administrator should know and that keeps nothing from working.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// What it is about.
    pub place: Place,
    /// What to know.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A piece of the file in double quotes, fit for a message.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// Escapes what would break a line or can't be seen, and cuts what is too long. Quotes and backslashes stay as they
/// are: a message shows a Windows path the way it stands in the file.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN {
            out.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: Option<usize>, section: Option<&str>, key: Option<&str>) -> String {
        Place {
            file: PathBuf::from("websock.ini"),
            line,
            section: section.map(str::to_owned),
            key: key.map(str::to_owned),
        }
        .to_string()
    }

    #[test]
    fn a_place_prints_the_parts_it_has() {
        assert_eq!(place(Some(3), Some("api"), Some("keys")), "websock.ini:3: [api] keys");
        assert_eq!(place(Some(3), Some("api"), None), "websock.ini:3: [api]");
        assert_eq!(place(Some(3), None, Some("console")), "websock.ini:3: console");
        assert_eq!(place(Some(3), None, None), "websock.ini:3");
        assert_eq!(place(None, None, None), "websock.ini");
    }

    #[test]
    fn a_message_is_one_line_and_bounded() {
        assert_eq!(quoted("a\nb\u{1b}[2J\u{feff}"), r#""a\nb\u{1b}[2J\u{feff}""#);
        assert_eq!(quoted(r"D:\temp"), r#""D:\temp""#);
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), SHOWN + 3);
        assert_eq!(Mismatch::value("", "a number").to_string(), "found nothing, expected a number");
    }
}

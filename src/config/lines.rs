//! The pass over the text of an INI file that finds what the `ini` crate doesn't tell: which line holds which key, what
//! stands there twice, and what the crate would read otherwise than it was meant.
//!
//! The crate cuts a value at `#` and `;` wherever they stand, takes `:` for `=`, keeps quotes and a byte-order mark, lets the last
//! duplicate win and gives up at the first syntax error. So each line is judged here first; the crate then gets the sound ones
//! alone, every one at its own line number, and what it says the values are is what holds.
//! This file knows sections and duplicates by the names in `keys`, and the type of no value.

use std::collections::HashMap;

use super::keys::{self, Section};
use super::report::Mismatch;

/// The section that the crate puts keys in which stand in none.
const SECTIONLESS: &str = "default";

/// Everything the file says, sound and unsound.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) headers: Vec<Header>,
    /// The keys of known sections with their values, no key twice, in the order of the file.
    pub(super) entries: Vec<Entry>,
    pub(super) faults: Vec<Fault>,
}

/// A `[section]` line.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) line: usize,
    pub(super) name: String,
}

/// A `key = value` line, section and key as written.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) section: Option<String>,
    pub(super) key: String,
    /// The value with its quotes, without a comment after it.
    pub(super) value: String,
}

/// A line that can't be used.
#[derive(Debug)]
pub(super) struct Fault {
    /// None when the `ini` crate refuses the text as a whole.
    pub(super) line: Option<usize>,
    pub(super) section: Option<String>,
    pub(super) key: Option<String>,
    pub(super) mismatch: Mismatch,
}

/// Reads the text.
pub(super) fn read(text: &str) -> Lines {
    let mut pass = Pass {
        kind: Section::Flat,
        section: None,
        seen: HashMap::new(),
        sound: String::with_capacity(text.len()),
        lines: Lines::default(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        if pass.line(number, line.trim()) {
            pass.sound.push_str(line);
        }
        pass.sound.push('\n');
    }
    pass.finish()
}

struct Pass {
    /// The section that the pass is in: what it is, and its name as written.
    kind: Section,
    section: Option<String>,
    /// The line of each key so far, under the names that make two spellings one key.
    seen: HashMap<(Section, String), usize>,
    /// The text for the crate.
    sound: String,
    lines: Lines,
}

impl Pass {
    /// Judges a line; true when the crate is to read it.
    fn line(&mut self, number: usize, line: &str) -> bool {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return false;
        }
        if line.starts_with('[') {
            return self.header(number, line);
        }
        if self.kind == Section::Ignored {
            return false;
        }
        match split(line) {
            Ok(key) => self.entry(number, key),
            Err((key, mismatch)) => {
                self.fault(number, key, mismatch);
                false
            }
        }
    }

    fn header(&mut self, number: usize, line: &str) -> bool {
        let bare = line.find(['#', ';']).map_or(line, |at| &line[..at]);
        let name = bare
            .trim_end()
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .filter(|name| !name.contains(['[', ']']));
        let Some(name) = name.map(str::trim) else {
            // What follows belongs to a section that can't be told: better not judged than judged as the one before.
            self.kind = Section::Unknown;
            self.section = None;
            self.fault(number, None, Mismatch::value(line, "[section]"));
            return false;
        };
        self.kind = keys::section(name);
        self.section = Some(name.to_owned());
        self.lines.headers.push(Header { line: number, name: name.to_owned() });
        self.kind.is_read()
    }

    fn entry(&mut self, number: usize, key: &str) -> bool {
        if !self.kind.is_read() {
            return false;
        }
        let identity = (self.kind, keys::canonical(self.kind, key).to_owned());
        if let Some(first) = self.seen.get(&identity) {
            let found = format!("it in line {first} and again in line {number}");
            self.fault(number, Some(key), Mismatch::new(found, "it once"));
            return false;
        }
        self.seen.insert(identity, number);
        self.lines.entries.push(Entry {
            line: number,
            section: self.section.clone(),
            key: key.to_owned(),
            value: String::new(),
        });
        true
    }

    fn fault(&mut self, line: usize, key: Option<&str>, mismatch: Mismatch) {
        self.lines.faults.push(Fault {
            line: Some(line),
            section: self.section.clone(),
            key: key.map(str::to_owned),
            mismatch,
        });
    }

    /// Lets the crate read the sound lines and takes the values from it.
    fn finish(mut self) -> Lines {
        let values = match ini::inistr!(safe cs &self.sound) {
            Ok(values) => values,
            Err(why) => {
                // Not known to happen; a text that is judged wrongly must not look like an empty one.
                self.lines.faults.push(Fault {
                    line: None,
                    section: None,
                    key: None,
                    mismatch: Mismatch::value(&why, "an INI file"),
                });
                return self.lines;
            }
        };
        for entry in &mut self.lines.entries {
            let section = entry.section.as_deref().unwrap_or(SECTIONLESS);
            let value = values.get(section).and_then(|keys| keys.get(&entry.key));
            entry.value = value.cloned().flatten().unwrap_or_default();
        }
        self.lines
    }
}

/// The key of a `key = value` line, once the line is known to mean to the crate what it means to its reader.
/// The error comes with the key where there is one. It shows no value: the value may be a secret.
fn split(line: &str) -> Result<&str, (Option<&str>, Mismatch)> {
    const KEY_VALUE: &str = "KEY = VALUE";
    let without_sign = (None, Mismatch::new("a line without =", KEY_VALUE));
    let Some(at) = line.find(['=', ':', '#', ';']) else {
        return Err(without_sign);
    };
    let key = line[..at].trim_end();
    match &line[at..=at] {
        "=" if key.is_empty() => Err((None, Mismatch::new("nothing before =", KEY_VALUE))),
        "=" => match judge(&line[at + 1..]) {
            Ok(()) => Ok(key),
            Err(mismatch) => Err((Some(key), mismatch)),
        },
        ":" => {
            let key = (!key.is_empty()).then_some(key);
            Err((key, Mismatch::new("a : after the key", "an = there")))
        }
        _ if key.len() < at || !line.contains('=') => Err(without_sign),
        sign => {
            let expected = "a key without it (a comment needs a blank in front)";
            Err((None, Mismatch::new(format!("{sign} in the key"), expected)))
        }
    }
}

/// Whether what stands after `=` is a value and perhaps a comment, with nothing in it that would be cut or kept by mistake.
fn judge(after: &str) -> Result<(), Mismatch> {
    const UNCUT: &str = "neither # nor ; there: the value would end at it \
                         (a comment needs a blank in front; a value with either can come from the environment, as ${NAME})";
    if let Some(c) = after.chars().find(|c| c.is_control() && *c != '\t') {
        let found = format!("the control character {}", c.escape_debug());
        return Err(Mismatch::new(found, "text"));
    }
    let value = after.trim_start();
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let Some((inside, rest)) = value[1..].split_once(quote) else {
            return Err(lone_quote(quote));
        };
        if let Some(sign) = inside.chars().find(|c| matches!(c, '#' | ';')) {
            return Err(Mismatch::new(format!("{sign} inside the quotes"), UNCUT));
        }
        return match rest.trim_start().chars().next() {
            None => Ok(()),
            Some('#' | ';') if rest.starts_with(char::is_whitespace) => Ok(()),
            Some(sign @ ('#' | ';')) => Err(Mismatch::new(format!("{sign} right after the value"), UNCUT)),
            Some(_) => {
                Err(Mismatch::new(format!("text after the closing {quote}"), "quotes around the whole value, or none"))
            }
        };
    }
    let bare = match after.find(['#', ';']) {
        None => after,
        Some(at) if after[..at].ends_with(char::is_whitespace) => &after[..at],
        Some(at) => {
            let found = format!("{} inside the value", &after[at..=at]);
            return Err(Mismatch::new(found, UNCUT));
        }
    };
    match bare.trim_end().chars().next_back() {
        Some(quote @ ('"' | '\'')) => Err(lone_quote(quote)),
        _ => Ok(()),
    }
}

fn lone_quote(quote: char) -> Mismatch {
    Mismatch::new(format!("a single {quote}"), "quotes on both sides of the value, or none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(after: &str) -> Result<String, String> {
        let lines = read(&format!("logfile{after}"));
        match lines.faults.first() {
            Some(fault) => Err(fault.mismatch.found.clone()),
            None => Ok(lines.entries[0].value.clone()),
        }
    }

    #[test]
    fn what_passes_means_the_same_to_the_crate() {
        for (after, expected) in [
            ("=", ""),
            (" = ", ""),
            (" = # nothing", ""),
            ("=a", "a"),
            ("\t=\ta b\t", "a b"),
            (" = a # note", "a"),
            (" = a\t;note; and # more", "a"),
            (" = 'a b' # it's", "'a b'"),
            (" = \"a\"", "\"a\""),
            (" = ''", "''"),
            (" = a=b:c", "a=b:c"),
            (" = D:\\temp\\new.log", "D:\\temp\\new.log"),
            (" = o'brien", "o'brien"),
            (" = [x]", "[x]"),
            (" = ${A}/b", "${A}/b"),
            (" = ü\u{a0}", "ü"),
        ] {
            assert_eq!(value(after).as_deref(), Ok(expected), "{after:?}");
        }
    }

    #[test]
    fn what_the_crate_would_read_otherwise_is_refused() {
        for (after, found) in [
            (" = a;b", "; inside the value"),
            (" = a#b # c", "# inside the value"),
            ("=#a", "# inside the value"),
            (" = 'a # b'", "# inside the quotes"),
            (" = \"a;b\"", "; inside the quotes"),
            (" = 'a'#b", "# right after the value"),
            (" = 'a", "a single '"),
            (" = a\"", "a single \""),
            (" = a' # b", "a single '"),
            (" = '", "a single '"),
            (" = 'a\"", "a single '"),
            (" = 'a', 'b'", "text after the closing '"),
            (" = a\u{1b}b", "the control character \\u{1b}"),
            (" = a\rb", "the control character \\r"),
            (" : a", "a : after the key"),
            (": a = b", "a : after the key"),
            ("", "a line without ="),
            (" # = a", "a line without ="),
            ("#x = a", "# in the key"),
            ("#x", "a line without ="),
        ] {
            assert_eq!(value(after), Err(found.to_owned()), "{after:?}");
        }
    }

    #[test]
    fn lines_are_counted_past_a_mark_comments_and_any_line_end() {
        let lines = read("\u{feff}console = on\r\n; a comment\r\n\r\n  [limits] # b\r\n  maxRate = 1\n[ api ]\nkeys=");
        assert!(lines.faults.is_empty(), "{:?}", lines.faults);
        let entry = |line, section: Option<&str>, key: &str, value: &str| Entry {
            line,
            section: section.map(str::to_owned),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(
            lines.entries,
            [
                entry(1, None, "console", "on"),
                entry(5, Some("limits"), "maxRate", "1"),
                entry(7, Some("api"), "keys", ""),
            ]
        );
        let headers: Vec<_> = lines.headers.iter().map(|h| (h.line, h.name.as_str())).collect();
        assert_eq!(headers, [(4, "limits"), (6, "api")]);
    }

    #[test]
    fn one_bad_line_does_not_hide_the_others() {
        let lines = read("[limits\nx = 1\n= 2\n[limits]\nmaxRate = 3\nmaxRate = 4\n[default]\nconsole = no\n[a]b]\n");
        let faults: Vec<_> = lines.faults.iter().map(|f| f.line).collect();
        assert_eq!(faults, [Some(1), Some(3), Some(6), Some(9)]);
        assert_eq!(lines.entries.len(), 1);
        assert_eq!(lines.entries[0].value, "3", "the first of two, not the crate's last");
    }
}

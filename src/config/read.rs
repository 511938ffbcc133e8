//! From the lines of the file to the [`Config`]: looks each key up in the table, sets it, and collects what is wrong.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::keys::{self, Section};
use super::lines::{self, Entry, Header, Lines};
use super::nearest::{hint, nearest};
use super::report::{ConfigError, Mismatch, Notice, Place};
use super::values::{Value, expanded, unquoted};
use super::{Config, ResourceRow};

/// Bytes that an INI file may have: far more than any needs, far less than would hurt.
const FILE_BYTES: u64 = 1 << 20;

/// The handlers that there are, or will be; what isn't built yet is told apart from what is misspelt.
const HANDLERS: &[&str] = &["relay", "echo", "chat", "commands", "webntf", "wamp", "sse"];

/// The text of the file.
pub(super) fn text(file: &Path) -> Result<String, Vec<ConfigError>> {
    let fail = |line, found: String, expected: String| {
        vec![ConfigError {
            place: Place { file: file.to_owned(), line, section: None, key: None },
            mismatch: Mismatch::new(found, expected),
        }]
    };
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(file)?.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| fail(None, e.to_string(), "a file that can be read".to_owned()))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(fail(None, "too large a file".to_owned(), format!("at most {FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|b| **b == b'\n').count();
        fail(Some(line), "bytes that are not UTF-8".to_owned(), "UTF-8 text".to_owned())
    })
}

/// See [`Config::parse`].
pub(super) fn config(
    text: &str,
    file: &Path,
    handlers: &[&str],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Notice>), Vec<ConfigError>> {
    let Lines { headers, entries, faults } = lines::read(text);
    let mut reading = Reading {
        file,
        config: Config::default(),
        resources: Vec::new(),
        notices: Vec::new(),
        errors: Vec::new(),
        set: HashMap::new(),
        unreadable: HashSet::new(),
    };
    for header in &headers {
        reading.header(header);
    }
    for entry in &entries {
        reading.entry(entry, handlers, env);
    }
    for fault in faults {
        let section = fault.section.as_deref();
        if let Some(key) = &fault.key {
            reading.unreadable.insert(identity(section, key));
        }
        let place = reading.place(fault.line, section, fault.key.as_deref());
        reading.errors.push(ConfigError { place, mismatch: fault.mismatch });
    }
    reading.resources(&headers);
    reading.whole();
    reading.finish()
}

struct Reading<'a> {
    file: &'a Path,
    config: Config,
    resources: Vec<ResourceRow>,
    notices: Vec<Notice>,
    errors: Vec<ConfigError>,
    /// Where each key was set.
    set: HashMap<(Section, String), Place>,
    /// The keys that stand in the file and are at their defaults because of an error.
    unreadable: HashSet<(Section, String)>,
}

impl Reading<'_> {
    fn place(&self, line: Option<usize>, section: Option<&str>, key: Option<&str>) -> Place {
        Place { file: self.file.to_owned(), line, section: section.map(str::to_owned), key: key.map(str::to_owned) }
    }

    fn header(&mut self, header: &Header) {
        let Header { line, name } = header;
        let place = self.place(Some(*line), Some(name), None);
        match keys::section(name) {
            Section::Unknown => {
                let expected = hint(name, &keys::section_names());
                self.errors.push(ConfigError { place, mismatch: Mismatch::new("an unknown section", expected) });
            }
            Section::Ignored => self
                .notices
                .push(Notice { place, text: "ignored, its settings are for the original server".to_owned() }),
            Section::Flat | Section::Resources | Section::Settings(_) => {}
        }
    }

    fn entry(&mut self, entry: &Entry, handlers: &[&str], env: &dyn Fn(&str) -> Option<String>) {
        let place = self.place(Some(entry.line), entry.section.as_deref(), Some(&entry.key));
        let identity = identity(entry.section.as_deref(), &entry.key);
        let set =
            expanded(unquoted(&entry.value), env).and_then(|text| self.set(identity.0, &entry.key, &text, handlers));
        if let Err(mismatches) = set {
            self.unreadable.insert(identity);
            let error = |mismatch| ConfigError { place: place.clone(), mismatch };
            self.errors.extend(mismatches.into_iter().map(error));
        } else {
            self.set.insert(identity, place);
        }
    }

    fn set(&mut self, section: Section, key: &str, text: &str, handlers: &[&str]) -> Result<(), Vec<Mismatch>> {
        if section == Section::Resources {
            self.resources.push(resource(key, text, handlers)?);
            return Ok(());
        }
        match keys::find(section, key) {
            Some(row) => (row.set)(&mut self.config, &Value::new(text)),
            None => Err(unknown_key(section, key).into()),
        }
    }

    /// A `[resources]` section takes the place of the default rows, so one without rows would leave nothing to connect to.
    fn resources(&mut self, headers: &[Header]) {
        let Some(header) = headers.iter().find(|h| keys::section(&h.name) == Section::Resources) else {
            return;
        };
        let any_fault = self.errors.iter().any(|e| e.place.section.as_deref() == Some(header.name.as_str()));
        if self.resources.is_empty() && !any_fault {
            let place = self.place(Some(header.line), Some(&header.name), None);
            let mismatch = Mismatch::new("no resource", "at least one PATH = HANDLER, or no such section");
            self.errors.push(ConfigError { place, mismatch });
        }
        self.config.resources = std::mem::take(&mut self.resources);
    }

    /// What can be told only once every key has been read.
    fn whole(&mut self) {
        for complaint in self.config.complaints() {
            let because = complaint.because.map(|key| identity(complaint.section, key));
            if because.is_some_and(|identity| self.unreadable.contains(&identity)) {
                continue;
            }
            let place = self
                .set
                .get(&identity(complaint.section, complaint.key))
                .cloned()
                .unwrap_or_else(|| self.place(None, complaint.section, Some(complaint.key)));
            self.errors.push(ConfigError { place, mismatch: complaint.mismatch });
        }
    }

    fn finish(mut self) -> Result<(Config, Vec<Notice>), Vec<ConfigError>> {
        if self.errors.is_empty() {
            return Ok((self.config, self.notices));
        }
        self.errors.sort_by_key(|error| error.place.line);
        Err(self.errors)
    }
}

/// What makes two spellings one key.
fn identity(section: Option<&str>, key: &str) -> (Section, String) {
    let section = section.map_or(Section::Flat, keys::section);
    (section, keys::canonical(section, key).to_owned())
}

fn unknown_key(section: Section, key: &str) -> Mismatch {
    let names = keys::names(section);
    let expected = match nearest(key, names.iter().copied()) {
        Some(_) => hint(key, &names),
        None => keys::home(key).unwrap_or_else(|| hint(key, &names)),
    };
    Mismatch::new("an unknown key", expected)
}

fn resource(path: &str, handler: &str, handlers: &[&str]) -> Result<ResourceRow, Mismatch> {
    if !path.starts_with('/') {
        let expected = keys::home(path).unwrap_or_else(|| "a path beginning with /".to_owned());
        return Err(Mismatch::value(path, expected));
    }
    if path.contains('?') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Mismatch::value(path, "a path as it stands in a request, without a query or a blank"));
    }
    if handlers.contains(&handler) {
        return Ok(ResourceRow { path: path.to_owned(), handler: handler.to_owned() });
    }
    if HANDLERS.contains(&handler) {
        let expected = format!("one of {}: this build does not have {handler} yet", handlers.join(", "));
        return Err(Mismatch::value(handler, expected));
    }
    let expected = match nearest(handler, handlers.iter().copied()) {
        Some(near) => format!("a known handler (did you mean {near}?)"),
        None => format!("one of {}", handlers.join(", ")),
    };
    Err(Mismatch::value(handler, expected))
}

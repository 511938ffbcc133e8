//! The table of the keys: one row for each, with its section, its name and how its value gets into the [`Config`].
//!
//! A new key is a field in `config.rs`, its default there, a row here and its lines in `websock.ini`.
//! `[resources]` has no rows, since its keys are paths.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::address;
use super::report::Mismatch;
use super::save_path;
use super::values::{Value, digits};
use super::{BrowsersMay, Config, LogFormat};

/// Bytes that a message may be set to: 2^31.
const MESSAGE_BYTES: u64 = 1 << 31;
/// Bytes that all messages together may be set to: 2^40.
const MEMORY_BYTES: u64 = 1 << 40;
const CLIENTS: u64 = 10_000_000;
const RATE: u64 = 1_000_000;
const EVENTS: u64 = 1_000_000;
/// In seconds.
const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;
/// In milliseconds.
const SCRIPT_WAIT: u64 = 10_000;

/// What kind of section a line stands in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Section {
    /// Before any section, or in `[websocketserver]`.
    Flat,
    /// `[develop]` of the original's file.
    Ignored,
    /// `[resources]`.
    Resources,
    /// A section whose keys have rows here.
    Settings(&'static str),
    Unknown,
}

impl Section {
    /// Whether the keys of such a section mean anything.
    pub(super) fn is_read(self) -> bool {
        !matches!(self, Self::Ignored | Self::Unknown)
    }
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// None for flat keys.
    pub(super) section: Option<&'static str>,
    pub(super) name: &'static str,
    pub(super) set: fn(&mut Config, &Value<'_>) -> Result<(), Vec<Mismatch>>,
}

/// Where the flat keys of the 2026 original stand.
const FLAT_SECTION: &str = "websocketserver";
const IGNORED_SECTION: &str = "develop";
const RESOURCES_SECTION: &str = "resources";

/// The kind of the section with this name.
pub(super) fn section(name: &str) -> Section {
    match name {
        FLAT_SECTION => Section::Flat,
        IGNORED_SECTION => Section::Ignored,
        RESOURCES_SECTION => Section::Resources,
        _ => KEYS
            .iter()
            .filter_map(|key| key.section)
            .find(|section| *section == name)
            .map_or(Section::Unknown, Section::Settings),
    }
}

/// The name under which a key is looked up and can't stand twice.
pub(super) fn canonical(section: Section, key: &str) -> &str {
    if section == Section::Flat && key == "adress" { "address" } else { key }
}

/// The row of a key.
pub(super) fn find(section: Section, key: &str) -> Option<&'static Key> {
    let key = canonical(section, key);
    in_section(section).find(|row| row.name == key)
}

/// The sections that a file may have, as they are named to someone who misspelt one.
pub(super) fn section_names() -> Vec<&'static str> {
    let mut names = vec![RESOURCES_SECTION];
    for section in KEYS.iter().filter_map(|key| key.section) {
        if !names.contains(&section) {
            names.push(section);
        }
    }
    names
}

/// The names of a section's keys.
pub(super) fn names(section: Section) -> Vec<&'static str> {
    in_section(section).map(|row| row.name).collect()
}

/// Where a key that stands in the wrong section belongs, in words.
pub(super) fn home(key: &str) -> Option<String> {
    let name = canonical(Section::Flat, key);
    let row = KEYS.iter().find(|row| row.name == name)?;
    Some(match row.section {
        None => format!("{key} before the first section"),
        Some(section) => format!("{key} in [{section}]"),
    })
}

fn in_section(section: Section) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |row| match section {
        Section::Flat => row.section.is_none(),
        Section::Settings(name) => row.section == Some(name),
        Section::Ignored | Section::Resources | Section::Unknown => false,
    })
}

const fn flat(name: &'static str, set: fn(&mut Config, &Value<'_>) -> Result<(), Vec<Mismatch>>) -> Key {
    Key { section: None, name, set }
}

const fn key(
    section: &'static str,
    name: &'static str,
    set: fn(&mut Config, &Value<'_>) -> Result<(), Vec<Mismatch>>,
) -> Key {
    Key { section: Some(section), name, set }
}

/// Every key, in the order of the shipped file.
pub(super) const KEYS: &[Key] = &[
    flat("address", |config, value| {
        config.listen = address::list(value)?;
        Ok(())
    }),
    flat("socketMode", |config, value| {
        config.socket_mode = socket_mode(value)?;
        Ok(())
    }),
    flat("logfile", |config, value| {
        config.log_file = value.file();
        Ok(())
    }),
    flat("console", |config, value| {
        config.console = value.boolean()?;
        Ok(())
    }),
    flat("logFormat", |config, value| {
        config.log_format = match value.text() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => return Err(vec![Mismatch::value(other, "text or json")]),
        };
        Ok(())
    }),
    flat("certFile", |config, value| {
        config.cert_file = value.file();
        Ok(())
    }),
    flat("pkFile", |config, value| {
        config.key_file = value.file();
        Ok(())
    }),
    flat("pidFile", |config, value| {
        config.pid_file = value.file();
        Ok(())
    }),
    key("limits", "maxClients", |config, value| {
        let meaning = "a whole number of clients, 0 for as many as descriptors allow";
        config.limits.max_clients = value.number(meaning, 0..=CLIENTS)?;
        Ok(())
    }),
    key("limits", "maxPerIP", |config, value| {
        let meaning = "a whole number of clients from one address, 0 for no limit";
        config.limits.max_per_ip = value.number(meaning, 0..=CLIENTS)?;
        Ok(())
    }),
    key("limits", "maxMessage", |config, value| {
        // 125 is the longest control frame, which can't be refused for its size (RFC 6455 section 5.5).
        config.limits.max_message = value.number("a whole number of bytes", 125..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("limits", "maxBacklog", |config, value| {
        config.limits.max_backlog = value.number("a whole number of bytes", 1024..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("limits", "maxMemory", |config, value| {
        config.limits.max_memory = value.number("a whole number of bytes", 1 << 20..=MEMORY_BYTES)?;
        Ok(())
    }),
    key("limits", "maxFragments", |config, value| {
        config.limits.max_fragments = value.number("a whole number of frames", 1..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("limits", "maxBacklogTime", |config, value| {
        config.limits.max_backlog_time = value.seconds("a whole number of seconds, 0 for no limit", 0..=DAY)?;
        Ok(())
    }),
    key("limits", "maxRate", |config, value| {
        let meaning = "a whole number of messages a second, 0 for no limit";
        config.limits.max_rate = value.number(meaning, 0..=RATE)?;
        Ok(())
    }),
    key("limits", "handshakeTimeout", |config, value| {
        config.limits.handshake_timeout = value.seconds("a whole number of seconds", 1..=HOUR)?;
        Ok(())
    }),
    key("limits", "messageTimeout", |config, value| {
        config.limits.message_timeout = value.seconds("a whole number of seconds, 0 for no limit", 0..=DAY)?;
        Ok(())
    }),
    key("limits", "pingInterval", |config, value| {
        config.limits.ping_interval = value.seconds("a whole number of seconds, 0 for never", 0..=DAY)?;
        Ok(())
    }),
    key("limits", "drainTimeout", |config, value| {
        config.limits.drain_timeout = value.seconds("a whole number of seconds", 0..=HOUR)?;
        Ok(())
    }),
    key("access", "allowedIP", |config, value| {
        config.access.allowed_ip = value.each("an address", str::parse)?;
        Ok(())
    }),
    key("access", "allowedOrigins", |config, value| {
        config.access.allowed_origins = value.each("an origin", str::parse)?;
        Ok(())
    }),
    key("access", "trustedProxies", |config, value| {
        config.access.trusted_proxies = value.each("an address", str::parse)?;
        Ok(())
    }),
    key("access", "browsersMay", |config, value| {
        config.access.browsers_may = browsers_may(value)?;
        Ok(())
    }),
    key("script", "greetingDelay", |config, value| {
        config.script.greeting_delay = value.milliseconds("a whole number of milliseconds", 0..=SCRIPT_WAIT)?;
        Ok(())
    }),
    key("script", "frameGap", |config, value| {
        config.script.frame_gap = value.milliseconds("a whole number of milliseconds", 0..=SCRIPT_WAIT)?;
        Ok(())
    }),
    key("api", "keys", |config, value| {
        config.api.keys = value.each("a key", bearer_key)?;
        Ok(())
    }),
    key("api", "allowedOrigins", |config, value| {
        config.api.allowed_origins = value.each("an origin", str::parse)?;
        Ok(())
    }),
    key("jsauth", "require", |config, value| {
        config.session_login.require = value.boolean()?;
        Ok(())
    }),
    key("jsauth", "ssp", |config, value| {
        config.session_login.save_path = save_path::read(value)?;
        Ok(())
    }),
    key("jsauth", "cookie_name", |config, value| {
        config.session_login.cookie_name = cookie_name(value)?;
        Ok(())
    }),
    key("jsauth", "key", |config, value| {
        value.text().clone_into(&mut config.session_login.key);
        Ok(())
    }),
    key("jsauth", "user", |config, value| {
        value.text().clone_into(&mut config.session_login.user);
        Ok(())
    }),
    key("deflate", "enabled", |config, value| {
        config.deflate.enabled = value.boolean()?;
        Ok(())
    }),
    key("deflate", "threshold", |config, value| {
        config.deflate.threshold = value.number("a whole number of bytes", 0..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("deflate", "contextTakeover", |config, value| {
        config.deflate.context_takeover = value.boolean()?;
        Ok(())
    }),
    key("recorder", "size", |config, value| {
        config.recorder.size = value.number("a whole number of bytes", 0..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("sse", "historyCount", |config, value| {
        config.sse.history_count = value.number("a whole number of messages, 0 for none", 0..=EVENTS)?;
        Ok(())
    }),
    key("sse", "historyAge", |config, value| {
        config.sse.history_age = value.seconds("a whole number of seconds", 1..=DAY)?;
        Ok(())
    }),
    key("sse", "historyBytes", |config, value| {
        config.sse.history_bytes = value.number("a whole number of bytes", 0..=MESSAGE_BYTES)?;
        Ok(())
    }),
    key("zmq", "bind", |config, value| {
        config.zmq.bind = endpoint(value)?;
        Ok(())
    }),
    key("wamp", "realm", |config, value| {
        config.wamp.realm = realm(value)?;
        Ok(())
    }),
    key("wamp", "lockGrace", |config, value| {
        config.wamp.lock_grace = value.seconds("a whole number of seconds, 0 for not at all", 0..=HOUR)?;
        Ok(())
    }),
];

/// A list of what is allowed, or `none`, which reads better than nothing.
fn browsers_may(value: &Value<'_>) -> Result<BrowsersMay, Vec<Mismatch>> {
    const EXPECTED: &str = "feedback, broadcast, echo or none";
    let mut may = BrowsersMay { feedback: false, broadcast: false, echo: false };
    if value.text() == "none" {
        return Ok(may);
    }
    let words: Vec<String> = value.each(EXPECTED, |word| match word {
        "feedback" | "broadcast" | "echo" => Ok(word.to_owned()),
        "none" => Err(Mismatch::value(word, "none to stand alone")),
        _ => Err(Mismatch::value(word, EXPECTED)),
    })?;
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    may.feedback = has("feedback");
    may.broadcast = has("broadcast");
    may.echo = has("echo");
    Ok(may)
}

/// Permissions as chmod(1) takes them: octal digits, of which the first may be 0.
fn socket_mode(value: &Value<'_>) -> Result<u32, Mismatch> {
    let text = value.text();
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal);
    mode.ok_or_else(|| Mismatch::value(text, "permissions in octal, like 0660 or 666"))
}

/// A key is sent as `Authorization: Bearer KEY` and is never shown.
fn bearer_key(text: &str) -> Result<String, Mismatch> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        let found = "a key with a blank or another character that a header can't carry";
        Err(Mismatch::new(found, "visible ASCII characters"))
    }
}

/// What RFC 6265 section 4.1.1 allows as a cookie's name.
fn cookie_name(value: &Value<'_>) -> Result<String, Mismatch> {
    let name = value.text();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.bytes().all(is_token) {
        Ok(name.to_owned())
    } else {
        Err(Mismatch::value(name, "a cookie's name, like PHPSESSID"))
    }
}

/// A URI by the loose rule of WAMP v2: components without blanks, separated by dots.
fn realm(value: &Value<'_>) -> Result<String, Mismatch> {
    let name = value.text();
    if name.split('.').all(|part| !part.is_empty()) && !name.contains(char::is_whitespace) {
        Ok(name.to_owned())
    } else {
        Err(Mismatch::value(name, "the name of a realm, like realm1 or com.example.shop"))
    }
}

/// An endpoint as zmq_tcp(7) and zmq_ipc(7) take it for listening. They don't look names up, and of a relative path nobody
/// could say where it is.
fn endpoint(value: &Value<'_>) -> Result<String, Mismatch> {
    let text = value.text();
    let is_path = |path: &str| path.starts_with('/') && path.len() > 1 && !path.contains(char::is_control);
    let is_tcp = |rest: &str| {
        let Some((host, port)) = rest.rsplit_once(':') else { return false };
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_interface = |host: &str| {
            host != "localhost"
                && host.starts_with(|c: char| c.is_ascii_alphabetic())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        (host == "*"
            || v6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
            || host.parse::<Ipv4Addr>().is_ok()
            || is_interface(host))
            && (port == "*" || digits(port).is_some_and(|port| (1..=u64::from(u16::MAX)).contains(&port)))
    };
    let good = match text.split_once("://") {
        Some(("tcp", rest)) => is_tcp(rest),
        Some(("ipc", path)) => is_path(path),
        _ => text.is_empty(),
    };
    if good {
        Ok(text.to_owned())
    } else {
        let expected =
            "an endpoint like tcp://127.0.0.1:5555, with an address, an interface or *, or ipc:///run/websock.ipc";
        Err(Mismatch::value(text, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_are_alike() {
        for (at, row) in KEYS.iter().enumerate() {
            let again = KEYS[..at].iter().any(|other| (other.section, other.name) == (row.section, row.name));
            assert!(!again, "{row:?}");
        }
    }

    #[test]
    fn sections_and_keys_are_found_by_their_exact_names() {
        assert_eq!(section("limits"), Section::Settings("limits"));
        assert_eq!(section("Limits"), Section::Unknown);
        assert_eq!(section(""), Section::Unknown);
        assert_eq!(section("websocketserver"), Section::Flat);
        assert_eq!(find(Section::Flat, "adress").unwrap().name, "address");
        assert!(find(Section::Settings("limits"), "adress").is_none());
        assert!(find(Section::Flat, "Console").is_none());
        assert_eq!(home("adress").unwrap(), "adress before the first section");
        assert_eq!(home("frameGap").unwrap(), "frameGap in [script]");
        assert_eq!(home("colour"), None);
        assert_eq!(
            section_names(),
            ["resources", "limits", "access", "script", "api", "jsauth", "deflate", "recorder", "sse", "zmq", "wamp"]
        );
    }

    #[test]
    fn browsers_may_what_is_listed() {
        let read = |text: &str| browsers_may(&Value::new(text));
        let may = |feedback, broadcast, echo| BrowsersMay { feedback, broadcast, echo };
        assert_eq!(read("echo,feedback").unwrap(), may(true, false, true));
        assert_eq!(read("broadcast").unwrap(), may(false, true, false));
        assert_eq!(read("").unwrap(), may(false, false, false));
        assert_eq!(read("none").unwrap(), may(false, false, false));
        for text in ["none, echo", "Echo", "quit", "echo,", "true"] {
            assert_eq!(read(text).unwrap_err().len(), 1, "{text}");
        }
    }

    #[test]
    fn words_with_a_form_of_their_own() {
        assert_eq!(bearer_key("a+/=.!").unwrap(), "a+/=.!");
        for text in ["x y", "ä", "x\u{7f}"] {
            let error = bearer_key(text).unwrap_err().to_string();
            assert!(!error.contains(text), "{error}");
        }
        assert_eq!(cookie_name(&Value::new("__Host-id")).unwrap(), "__Host-id");
        for text in ["a=b", "a b", "a;b", "ä"] {
            cookie_name(&Value::new(text)).unwrap_err();
        }
        for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0777", 0o777), ("0000", 0), ("007", 0o007)] {
            assert_eq!(socket_mode(&Value::new(text)).unwrap(), mode, "{text}");
        }
        for text in ["", "0", "66", "0668", "1660", "00660", "+660", "rw-"] {
            socket_mode(&Value::new(text)).unwrap_err();
        }
        assert_eq!(realm(&Value::new("com.example")).unwrap(), "com.example");
        for text in ["", "a..b", "a b", ".a"] {
            realm(&Value::new(text)).unwrap_err();
        }
        for text in ["", "tcp://*:5555", "tcp://127.0.0.1:*", "tcp://[::1]:5555", "tcp://eth0:1", "ipc:///run/q"] {
            assert_eq!(endpoint(&Value::new(text)).unwrap(), text);
        }
        for text in [
            "tcp://",
            "5555",
            "udp://x:1",
            "tcp://localhost:5555",
            "tcp://backend.example:5555",
            "tcp://::1:5555",
            "tcp://[127.0.0.1]:5555",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:0",
            "tcp://127.0.0.1:65536",
            "tcp://127.0.0.1:x",
            "tcp://:5555",
            "ipc://",
            "ipc:///",
            "ipc://q",
            "ipc://@q",
            "ipc:///q\0",
            "inproc://q",
        ] {
            endpoint(&Value::new(text)).unwrap_err();
        }
    }
}

//! Target `ini`: the text of a configuration file.
//!
//! The input is the file; what stands behind the first byte 0x1e, if there is one, is the value of the environment's
//! `${A}`. Permitted, and nothing besides:
//!
//! - A configuration within its documented ranges, with a listening address and a resource; or errors, at least one.
//! - Each error and each notice prints as one line of text that a terminal can be trusted with, names the file, and a
//!   line that there is; errors come in the order of the lines. It is bounded, however long the value was.
//! - Addresses, ranges and origins that were read print as text that is read as the same.
//! - With CRLF for each line end, or a byte-order mark, the file means the same.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use websock::app::handler_names;
use websock::config::{Config, ConfigError, Notice};

/// More than any message has: a section, a key and a value, each cut at 120 characters, each of those escaped in ten.
const LONGEST: usize = 4608;

type Parsed = Result<(Config, Vec<Notice>), Vec<ConfigError>>;

/// See the top.
pub fn run(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0x1e);
    // A file that isn't UTF-8 is refused before it is parsed.
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let environment = parts.next().map(String::from_utf8_lossy);
    let parse = |text: &str| {
        Config::parse(text, Path::new("fuzz.ini"), &handler_names(), &|name| {
            environment.as_deref().filter(|_| name == "A").map(str::to_owned)
        })
    };
    let parsed = parse(text);
    match &parsed {
        Ok((config, notices)) => {
            check_config(config);
            notices.iter().for_each(|notice| check_message(text, notice.place.line, notice));
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "an error without a reason");
            assert!(errors.is_sorted_by_key(|error| error.place.line), "errors out of order: {errors:?}");
            errors.iter().for_each(|error| check_message(text, error.place.line, error));
        }
    }
    if !text.contains('\r') {
        same(&parsed, &parse(&text.replace('\n', "\r\n")));
    }
    if !text.starts_with('\u{feff}') {
        same(&parsed, &parse(&format!("\u{feff}{text}")));
    }
}

fn check_config(config: &Config) {
    assert!(!config.listen.is_empty() && !config.resources.is_empty());
    config.listen.iter().for_each(reads_back);
    config.access.allowed_ip.iter().for_each(reads_back);
    config.access.trusted_proxies.iter().for_each(reads_back);
    config.access.allowed_origins.iter().for_each(reads_back);
    for (index, row) in config.resources.iter().enumerate() {
        assert!(row.path.starts_with('/') && handler_names().contains(&row.handler.as_str()), "{row:?}");
        assert!(!config.resources[..index].iter().any(|other| other.path == row.path), "{row:?} twice");
    }
    let limits = &config.limits;
    assert!((125..=1 << 31).contains(&limits.max_message) && limits.max_fragments > 0, "{limits:?}");
    assert!(!limits.handshake_timeout.is_zero(), "{limits:?}");
    assert_eq!(config.cert_file.is_some(), config.key_file.is_some());
}

fn reads_back<T: Debug + Display + FromStr<Err: Debug> + PartialEq>(value: &T) {
    let text = value.to_string();
    let again: T = text.parse().expect("what was read prints as what can be read");
    assert_eq!(&again, value, "{text:?}");
}

fn check_message(text: &str, line: Option<usize>, message: &dyn Display) {
    let printed = message.to_string();
    assert!(printed.starts_with("fuzz.ini"), "{printed:?}");
    // The last three: separators of lines and paragraphs, and what turns the direction of writing around.
    let unseen = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}');
    assert!(!printed.contains(unseen), "not one line of plain text: {printed:?}");
    assert!(printed.len() <= LONGEST, "{} bytes: {printed:.200}", printed.len());
    if let Some(line) = line {
        assert!((1..=text.lines().count()).contains(&line), "line {line} of {}", text.lines().count());
    }
}

fn same(one: &Parsed, other: &Parsed) {
    match (one, other) {
        (Ok((one, _)), Ok((other, _))) => assert_eq!(one, other),
        (Err(one), Err(other)) => assert_eq!(one, other),
        _ => panic!("{one:?} and {other:?}"),
    }
}

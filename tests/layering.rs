//! The architecture, held: a file may use only what stands above it.
//!
//! | where    | knows                | never names                                      |
//! |----------|----------------------|--------------------------------------------------|
//! | `proto/` | the RFCs             | a socket, a clock, randomness, an application    |
//! | `app/`   | clients and messages | `net`, `mio`, TLS, a clock                       |
//! | `net/`   | sockets and time     | JSON, opcodes of messages                        |
//!
//! `config/` and `login/` stand beside them and know neither sockets nor applications.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, its tests included.
const MAX_LINES: usize = 600;

struct Rule {
    directory: &'static str,
    never: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        directory: "proto",
        never: &[
            "mio",
            "rustls",
            "std::net",
            "Instant::now",
            "SystemTime",
            "getrandom",
            "rustix",
            "crate::app",
            "crate::net",
            "crate::config",
            "serde",
            "std::fs",
            "std::thread",
            "std::env",
        ],
    },
    Rule {
        directory: "app",
        never: &[
            "mio",
            "rustls",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "Instant::now",
            "SystemTime",
            "rustix",
            "crate::net",
            "std::thread",
        ],
    },
    Rule { directory: "net", never: &["serde", "\"opcode\":\"next", "\"opcode\":\"ready", "feedback"] },
    Rule {
        directory: "login",
        never: &["crate::app", "crate::net", "mio", "TcpStream", "TcpListener", "Instant::now", "SystemTime", "serde"],
    },
    Rule { directory: "config", never: &["crate::app", "crate::net", "mio", "TcpStream", "TcpListener"] },
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file, without comments and without its tests, which may name what they like.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `code` by itself and not inside a longer name.
fn names(code: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .any(|(at, _)| !is_part(code[..at].chars().next_back()) && !is_part(code[at + word.len()..].chars().next()))
}

#[test]
fn no_file_names_what_its_layer_must_not_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for rule in RULES {
        let files = sources(&root.join(rule.directory));
        assert!(!files.is_empty(), "{} has no sources", rule.directory);
        for file in files {
            let code = code(&fs::read_to_string(&file).expect("a readable file"));
            for word in rule.never.iter().filter(|word| names(&code, word)) {
                broken.push(format!("{} names {word}", file.strip_prefix(&root).unwrap_or(&file).display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Files of `net/` that ask for the date: certificates have one, and the metrics say when the server began.
const DATED: [&str; 2] = ["certificates", "server.rs"];

#[test]
fn deadlines_do_not_ask_for_the_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let timed = sources(&root.join("net")).into_iter().chain([root.join("clock.rs")]);
    for file in timed.filter(|file| !DATED.iter().any(|dated| file.to_string_lossy().contains(dated))) {
        let code = code(&fs::read_to_string(&file).expect("a readable file"));
        assert!(!names(&code, "SystemTime"), "{} names the wall clock, which may be set", file.display());
    }
}

#[test]
fn no_file_is_over_600_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for file in sources(&root.join("src")).into_iter().chain(sources(&root.join("tests"))) {
        let lines = fs::read_to_string(&file).expect("a readable file").lines().count();
        if lines > MAX_LINES {
            long.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_rules_can_be_broken() {
    assert!(names("use mio::net::TcpStream;", "mio"));
    assert!(!names("let mionet = 1;", "mio"));
    assert_eq!(code("use a;\n// use mio;\n#[cfg(test)]\nmod tests {\nuse mio;"), "use a;");
}

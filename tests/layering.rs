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
    let ends_in_name = is_part(word.chars().next_back());
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + word.len()..].chars().next());
        let longer = is_part(before) || (ends_in_name && is_part(after));
        !longer
    })
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
    assert!(names("use relay::Relay;", "relay::") && !names("use prelay::Relay;", "relay::"));
    assert_eq!(code("use a;\n// use mio;\n#[cfg(test)]\nmod tests {\nuse mio;"), "use a;");
}

/// The house knows an application by two lines of `app/mod.rs`, its `mod` and its row, and in no other place. What
/// applications have in common is for them to say.
#[test]
fn an_application_is_one_file_and_two_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let house = code(&fs::read_to_string(root.join("app/mod.rs")).expect("a readable file"));
    let table = house.split_once("const HANDLERS").and_then(|(_, rest)| rest.split_once("\n];"));
    let rows = table.expect("the table of them").0;
    let modules = house.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let (private, own): (Vec<&str>, Vec<_>) = modules.map(|module| (module, root.join("app").join(module))).unzip();
    let applications: Vec<&str> = private.into_iter().filter(|module| names(rows, &format!("{module}::"))).collect();
    assert!(applications.contains(&"relay") && applications.contains(&"echo"), "{applications:?}");
    for file in
        sources(&root).into_iter().filter(|file| !own.iter().any(|own| file.with_extension("").starts_with(own)))
    {
        let code = code(&fs::read_to_string(&file).expect("a readable file")).replace(rows, "");
        for application in &applications {
            for path in [format!("app::{application}::"), format!("super::{application}::")] {
                assert!(!code.contains(&path), "{} names {path}", file.display());
            }
            let at_home = file.ends_with("app/mod.rs") && names(&code, &format!("{application}::"));
            assert!(!at_home, "app/mod.rs names {application} besides its two lines");
        }
    }
}

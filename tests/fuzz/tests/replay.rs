//! The committed corpora: every input is permitted, each target has some, and they stay small.
//!
//! `REPLAY=relay/quit cargo test --manifest-path tests/fuzz/Cargo.toml` plays only inputs whose name contains that.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use websock_fuzz::TARGETS;

/// Most inputs of a target.
const FILES: usize = 200;

/// Most bytes of all inputs of a target.
const BYTES: usize = 300 * 1024;

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_is_permitted() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let wanted = std::env::var("REPLAY").unwrap_or_default();
    let (mut played, mut failed) = (0, Vec::new());
    for (name, run) in TARGETS {
        let inputs = files(&corpora.join(name));
        let mut bytes = 0;
        assert!(!inputs.is_empty() && inputs.len() <= FILES, "{name} has {} inputs", inputs.len());
        for input in &inputs {
            let data = fs::read(input).expect("an input");
            bytes += data.len();
            let path = input.strip_prefix(&corpora).expect("a path in the corpora").display().to_string();
            if !path.contains(&wanted) {
                continue;
            }
            played += 1;
            if catch_unwind(|| run(&data)).is_err() {
                failed.push(path);
            }
        }
        assert!(bytes <= BYTES, "the inputs of {name} are {bytes} bytes");
    }
    assert!(failed.is_empty(), "not permitted: {failed:#?}");
    assert!(played > 0, "no input is called {wanted:?}");
}

/// Nothing at all, and bytes that mean nothing to anyone, in every length that a first read may have.
#[test]
fn meaningless_input_is_permitted() {
    for (_, run) in TARGETS {
        for byte in [0x00, b'\n', b' ', b'a', 0x1e, 0x80, 0xff] {
            (0..64).for_each(|length| run(&vec![byte; length]));
        }
    }
}

#[test]
fn targets_programs_and_corpora_are_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let stems = |directory: &str| -> Vec<String> {
        let stem = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        files(&root.join(directory)).iter().map(stem).collect()
    };
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(stems("corpus"), names);
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(manifest.matches("[[bin]]").count(), names.len());
    for name in names {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name} in Cargo.toml");
    }
}

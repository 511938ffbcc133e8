//! What `websock` must do with any input whatever.
//!
//! Each module is a target: a function that takes any bytes, drives the server's own code with them and panics when
//! that does anything outside the closed set of outcomes which stands at the module's top. The functions know nothing
//! of the fuzzer, so they build on stable Rust: `fuzz_targets/` hands them to libFuzzer, `tests/replay.rs` feeds them
//! the committed corpora.
//!
//! Every input in `corpus/`, on stable (libFuzzer itself is C++, so building needs `c++`):
//!
//! ```text
//! CARGO_TARGET_DIR=target/fuzz cargo test --locked --manifest-path tests/fuzz/Cargo.toml
//! ```
//!
//! Looking for new ones needs nightly Rust and cargo-fuzz. What is found goes into the first directory of those that
//! are named; `-s none` leaves the address sanitizer out, which makes `relay` and `ini` three times as fast:
//!
//! ```text
//! mkdir -p target/found && export CARGO_TARGET_DIR=target/fuzz
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz head target/found tests/fuzz/corpus/head -- -max_total_time=600
//! ```
//!
//! Afterwards, to keep the few that reach code which the corpus doesn't (`cargo fuzz cmin` would rename all of it):
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz head tests/fuzz/corpus/head target/found -- \
//!     -set_cover_merge=1 -use_counters=0
//! ```
//!
//! An input that has found something is committed into `corpus/TARGET/` under a name that says what it found. Inputs
//! made by hand are named after what they are; those with a hash for a name were kept by libFuzzer.

pub mod deflate;
pub mod frames;
pub mod head;
pub mod ini;
pub mod login;
pub mod relay;
pub mod session;
pub mod wamp;

mod pieces;
mod wire;

/// A target: its name, which is also its corpus's, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("head", head::run),
    ("frames", frames::run),
    ("deflate", deflate::run),
    ("session", session::run),
    ("ini", ini::run),
    ("login", login::run),
    ("relay", relay::run),
    ("wamp", wamp::run),
];

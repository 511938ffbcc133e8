//! Scenarios of [`websock::proto::session`]: one connection, in virtual time and without a socket.
//!
//! Each says in a few lines what comes in, and all that must go out and be told for it, in order. What a session makes
//! of a read that is cut elsewhere is `split.rs`'s business.

#[path = "common/driver.rs"]
#[allow(dead_code, reason = "each file of tests uses its part")]
mod driver;

#[path = "session/closing.rs"]
mod closing;
#[path = "session/deadlines.rs"]
mod deadlines;
#[path = "session/fragments.rs"]
mod fragments;
#[path = "session/frames.rs"]
mod frames;
#[path = "session/limits.rs"]
mod limits;
#[path = "session/memory.rs"]
mod memory;
#[path = "session/opening.rs"]
mod opening;
#[path = "session/pacing.rs"]
mod pacing;
#[path = "session/streaming.rs"]
mod streaming;

//! What the RFCs say: HTTP heads, the opening handshake, frames, messages, and the state machine of one connection.
//!
//! The rules of this directory: no socket, no clock, no randomness, no application; nothing panics on what a peer
//! sends, and nothing is reserved on a peer's word.

pub mod body;
pub mod cookie;
pub mod deflate;
pub mod events;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod incoming;
pub mod input;
pub mod message;
pub mod pacing;
pub mod reader;
pub mod session;
pub mod tally;
pub mod turn;
pub mod utf8;

pub use frame::CloseCode;
pub use message::{Kind, Message};

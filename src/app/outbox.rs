//! What applications want done: frames to be sent, connections to be closed. Pure data; the loop carries it out.
//!
//! Frames lie in one arena, the buffer that sessions write to as well. A message is encoded once however many get it,
//! and nothing is allocated for one. The arena is reused every turn.

use std::borrow::Cow;
use std::ops::Range;

use crate::id::ConnectionKey;
use crate::proto::frame;
use crate::proto::{CloseCode, Kind};

/// What to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// The message that is being handled, as it came.
    Received,
    /// A frame that stands here in [`Outbox::arena`].
    Built(Range<usize>),
}

/// What the loop is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Send a message to each of these in [`Outbox::targets`].
    Send {
        /// Who.
        to: Range<usize>,
        /// Text or binary.
        kind: Kind,
        /// What.
        body: Body,
        /// The greeting or an acknowledgement: it goes before what a paced script is still to get.
        urgent: bool,
    },
    /// Close a connection.
    Close {
        /// Whose.
        client: ConnectionKey,
        /// The code.
        code: CloseCode,
        /// The reason, for the peer and the log.
        why: Cow<'static, str>,
    },
}

/// Commands, those they are for, and the bytes they speak of.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Encoded frames and other output of this turn.
    pub arena: Vec<u8>,
    /// Receivers; commands refer to runs of them.
    pub targets: Vec<ConnectionKey>,
    /// In the order in which they are to be carried out.
    pub commands: Vec<Command>,
}

impl Outbox {
    /// Encodes a message and gives the place of its frame.
    pub fn build(&mut self, kind: Kind, payload: &[u8]) -> Body {
        let start = self.arena.len();
        frame::write_frame(&mut self.arena, kind.opcode(), payload);
        Body::Built(start..self.arena.len())
    }

    /// Asks for a message to be sent.
    pub fn send(&mut self, to: Range<usize>, kind: Kind, body: Body, urgent: bool) {
        if !to.is_empty() {
            self.commands.push(Command::Send { to, kind, body, urgent });
        }
    }

    /// Asks for a connection to be closed.
    pub fn close(&mut self, client: ConnectionKey, code: CloseCode, why: Cow<'static, str>) {
        self.commands.push(Command::Close { client, code, why });
    }
}

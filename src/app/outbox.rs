//! What applications want done: frames to be sent, connections to be closed. Pure data; the loop carries it out.
//!
//! Frames lie in one arena, the buffer that sessions write to as well. A message is encoded once however many get it,
//! and nothing is allocated for one. The arena is reused every turn.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::fates::Fates;
use super::history::{History, Whom};
use super::recorder::Recorder;
use crate::id::{ConnectionKey, MessageId};
use crate::proto::events::{Label, Name};
use crate::proto::frame;
use crate::proto::{CloseCode, Kind};

/// A run of elements in one of the outbox's vectors: a range, half as large and `Copy`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Run {
    start: u32,
    end: u32,
}

impl Run {
    /// From `start` to before `end`. A vector of the outbox never gets to 2^32 elements: it is emptied every turn.
    pub fn new(start: usize, end: usize) -> Self {
        let short = |index| u32::try_from(index).unwrap_or(u32::MAX);
        Self { start: short(start), end: short(end) }
    }

    /// The indices of its elements.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// How many elements.
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Body {
    /// The message that is being handled, as it came.
    Received,
    /// A frame that stands here in [`Outbox::arena`].
    Built(Run),
}

/// What the loop is asked to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Send a message to each of these in [`Outbox::targets`].
    Send {
        /// Who.
        to: Run,
        /// Text or binary.
        kind: Kind,
        /// What.
        body: Body,
        /// The greeting or an acknowledgement: it goes before what a paced script is still to get.
        urgent: bool,
        /// Which message it is, where somebody has pushed it.
        push: Option<MessageId>,
        /// What it is to a stream of events.
        label: Label,
    },
    /// A message could not be handed to this client, since more than `maxBacklog` waits for it: close it with 1013.
    Overrun(ConnectionKey, Option<MessageId>),
    /// This client confirms messages whose fate somebody waits for.
    Acknowledges(ConnectionKey),
    /// Close a connection: the next in [`Outbox::closings`].
    Close,
}

/// A connection that is to be closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Closing {
    /// Whose.
    pub client: ConnectionKey,
    /// The code.
    pub code: CloseCode,
    /// The reason, for the peer and the log.
    pub why: Cow<'static, str>,
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
    /// What [`Command::Close`] speaks of, in the same order.
    pub closings: VecDeque<Closing>,
    /// What has happened lately.
    pub recorder: Recorder,
    /// The messages whose fates somebody waits for.
    pub fates: Fates,
    /// The id that the next message gets which somebody pushes.
    pub next_message: MessageId,
    /// The message that is being pushed.
    pub push: Option<MessageId>,
    /// What was sent earlier, for streams of events that come again.
    pub history: History,
}

impl Outbox {
    /// Nothing is to be done. `recorder`: [how large](Recorder::new) the recorder is.
    pub fn new(recorder: usize) -> Self {
        Self { recorder: Recorder::new(recorder), ..Self::default() }
    }

    /// Encodes a message and gives the place of its frame.
    pub fn build(&mut self, kind: Kind, payload: &[u8]) -> Body {
        let start = self.arena.len();
        frame::write_frame(&mut self.arena, kind.opcode(), payload);
        Body::Built(Run::new(start, self.arena.len()))
    }

    /// Encodes a text that is made of pieces and gives the place of its frame.
    pub fn build_text(&mut self, pieces: &[&str]) -> Body {
        let start = self.arena.len();
        frame::write_header(&mut self.arena, Kind::Text.opcode(), pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            self.arena.extend_from_slice(piece.as_bytes());
        }
        Body::Built(Run::new(start, self.arena.len()))
    }

    /// Asks for a message to be sent. What is `urgent` is none that anybody has pushed.
    pub fn send(&mut self, to: Run, kind: Kind, body: Body, urgent: bool, label: Label) {
        if !to.is_empty() {
            let push = if urgent { None } else { self.push };
            self.commands.push(Command::Send { to, kind, body, urgent, push, label });
        }
    }

    /// Asks for what was kept behind `number` to be sent once more, as far as it is `meant`.
    pub fn replay(&mut self, to: Run, number: u64, meant: impl Fn(&Whom<Box<str>>) -> bool) {
        for (number, entry) in self.history.after(number).filter(|(_, entry)| meant(&entry.whom)) {
            let start = self.arena.len();
            frame::write_frame(&mut self.arena, Kind::Text.opcode(), &entry.payload);
            let body = Body::Built(Run::new(start, self.arena.len()));
            let label = Label { number, name: Name::Message };
            let push = entry.message;
            self.commands.push(Command::Send { to, kind: Kind::Text, body, urgent: false, push, label });
        }
    }

    /// Asks for a client to be closed that reads so slowly that a message could not be handed to it.
    pub fn overrun(&mut self, client: ConnectionKey) {
        self.commands.push(Command::Overrun(client, self.push));
    }

    /// Asks for a connection to be closed.
    pub fn close(&mut self, client: ConnectionKey, code: CloseCode, why: Cow<'static, str>) {
        self.closings.push_back(Closing { client, code, why });
        self.commands.push(Command::Close);
    }
}

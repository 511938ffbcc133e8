//! How much has gone through sessions, by opcode (RFC 6455, section 5.2): plain counters that only ever grow.
//!
//! Sessions count here what they read and what they say themselves. A message that an application sends is encoded once
//! and handed to many, so whoever hands it out counts it. Nothing here knows who looks at the figures.

use super::frame::Opcode;

/// A number of messages or control frames, and their payloads' bytes: unmasked, unpacked and without frame headers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Bytes of all their payloads.
    pub bytes: u64,
}

/// What went in one direction, by opcode. A message in fragments is one, under the opcode of its first frame.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// An opcode has four bits.
    counts: [Count; 16],
}

impl Traffic {
    /// Counts one with a payload of `bytes`.
    #[inline]
    pub fn add(&mut self, opcode: Opcode, bytes: usize) {
        let count = &mut self.counts[opcode as usize];
        count.messages += 1;
        count.bytes += bytes as u64;
    }

    /// Counts `messages` with payloads of `bytes` each.
    #[inline]
    pub fn add_many(&mut self, opcode: Opcode, messages: usize, bytes: usize) {
        let count = &mut self.counts[opcode as usize];
        count.messages += messages as u64;
        count.bytes += messages as u64 * bytes as u64;
    }

    /// What was counted under an opcode.
    pub const fn of(&self, opcode: Opcode) -> Count {
        self.counts[opcode as usize]
    }
}

/// What all sessions have read and sent.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames from peers, each fragment by itself: what it takes to read them goes by their number as much as by their
    /// bytes.
    pub frames: u64,
    /// From peers, as far as it was whole and well formed.
    pub received: Traffic,
    /// To peers. What a connection ends before it could be written is counted all the same.
    pub sent: Traffic,
}

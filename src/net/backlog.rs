//! What the kernel would not take yet of one connection's output.
//!
//! It exists only while something waits. It knows where its first whole frame begins, so that the rest can be thrown
//! away, when memory must be had, without leaving the peer in the middle of a frame.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::clock::Moment;
use crate::proto::frame::{self, MAX_HEADER};

/// Output of one connection that waits.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: VecDeque<u8>,
    /// Where the first whole frame begins; `None`: these are no frames, but a response, or events.
    boundary: Option<usize>,
    /// Since when there was no moment of nothing waiting.
    pub(super) since: Moment,
}

impl Backlog {
    /// Nothing waits yet. `boundary`: how far the next byte pushed is from the beginning of a frame.
    pub(super) const fn new(since: Moment, boundary: Option<usize>) -> Self {
        Self { bytes: VecDeque::new(), boundary, since }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory held.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Adds whole frames, or the rest of the first.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// What is to be written.
    pub(super) fn slices(&self) -> [IoSlice<'_>; 2] {
        let (front, back) = self.bytes.as_slices();
        [IoSlice::new(front), IoSlice::new(back)]
    }

    /// The first `count` bytes have been written.
    pub(super) fn advance(&mut self, count: usize) {
        let peek = |at: usize, header: &mut [u8; MAX_HEADER]| {
            let there = self.bytes.range(at.min(self.bytes.len())..).take(header.len());
            there.zip(header).map(|(byte, place)| *place = *byte).count()
        };
        let boundary = self.boundary.and_then(|boundary| frame::boundary_after(boundary, count, peek));
        self.boundary = boundary.map(|boundary| boundary - count);
        self.bytes.drain(..count);
    }

    /// Throws away all but the frame that has been written in part. `false`: there is no saying where that ends.
    pub(super) fn cut(&mut self) -> bool {
        let Some(boundary) = self.boundary else { return false };
        self.bytes.truncate(boundary);
        self.bytes.shrink_to_fit();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::{Opcode, write_frame};

    #[test]
    fn cutting_leaves_the_frame_that_was_begun() {
        let mut stream = Vec::new();
        let mut ends = Vec::new();
        for length in [10, 300, 70_000, 0, 5] {
            write_frame(&mut stream, Opcode::Text, &vec![b'x'; length]);
            ends.push(stream.len());
        }
        for written in (0..400).chain([70_000, 70_320, 70_322, stream.len()]) {
            let mut backlog = Backlog::new(Moment::START, Some(0));
            backlog.push(&stream);
            // In two steps, as the kernel takes it.
            backlog.advance(written / 2);
            backlog.advance(written - written / 2);
            assert_eq!(backlog.len(), stream.len() - written);
            assert!(backlog.cut());
            let end = if written == 0 { 0 } else { *ends.iter().find(|end| **end >= written).unwrap() };
            assert_eq!(backlog.len(), end - written, "after {written} bytes");
        }
    }

    #[test]
    fn what_is_no_frame_is_not_cut() {
        let events =
            ["id: 1-x\ndata: {}\n\n", ":\nid: 1-x\n\n", "event: gap\nid: 1-x\n", "retry: 1\n\n", "data: {}\n\n"];
        for text in events.into_iter().chain(["HTTP/1.1 200 OK\r\n\r\n"]) {
            let mut backlog = Backlog::new(Moment::START, Some(0));
            backlog.push(text.as_bytes());
            backlog.advance(3);
            assert!(!backlog.cut(), "{text}");
            assert_eq!(backlog.len(), text.len() - 3);
        }
    }
}

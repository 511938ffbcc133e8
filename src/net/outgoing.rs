//! What one turn sends, and to whom: for each connection a chain of slices, all chains in one vector.
//!
//! A slice refers to the arena, or to the message that is being handled where it lies in the read buffer; nothing is
//! copied until the kernel refuses it. Slices that touch become one, so the answers to a burst are one write.

use std::ops::Range;

/// No slice.
const NONE: u32 = u32::MAX;

/// Where a slice's bytes lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    /// In the arena, until the turn is settled.
    Arena,
    /// In the message that is being handled, until the next read.
    Received,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    source: Source,
    start: u32,
    end: u32,
    next: u32,
}

/// The first and the last slice of a connection's output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    /// No output.
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    /// Whether there is no output.
    pub(super) const fn is_empty(self) -> bool {
        self.first == NONE
    }
}

/// All slices of a turn.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    slices: Vec<Slice>,
    /// Some slice refers to the message that is being handled.
    received: bool,
}

impl Outgoing {
    /// Appends a slice to a chain.
    pub(super) fn link(&mut self, chain: &mut Chain, source: Source, range: Range<usize>) {
        let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            // A turn's output is flushed long before it gets to 4 GiB, and a message is at most half that.
            debug_assert!(false, "the arena fits in 32 bits");
            return;
        };
        self.received |= source == Source::Received;
        if let Some(last) = self.slices.get_mut(chain.last as usize)
            && last.source == source
            && last.end == start
        {
            last.end = end;
            return;
        }
        let index = u32::try_from(self.slices.len()).unwrap_or(NONE);
        self.slices.push(Slice { source, start, end, next: NONE });
        match self.slices.get_mut(chain.last as usize) {
            Some(last) => last.next = index,
            None => chain.first = index,
        }
        chain.last = index;
    }

    /// How many slices there are.
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether anything must be written before the next read.
    pub(super) const fn is_urgent(&self) -> bool {
        self.received
    }

    /// The bytes of a chain, slice by slice.
    pub(super) fn bytes<'b>(&self, chain: Chain, at: &Places<'b>) -> impl Iterator<Item = &'b [u8]> {
        let mut next = chain.first;
        let places = *at;
        std::iter::from_fn(move || {
            let slice = self.slices.get(next as usize)?;
            next = slice.next;
            let range = slice.start as usize..slice.end as usize;
            Some(match slice.source {
                Source::Arena => &places.arena[range],
                Source::Received => &places.received[range],
            })
        })
    }

    /// How many bytes a chain has.
    pub(super) fn length(&self, chain: Chain) -> usize {
        let mut next = chain.first;
        let slices = std::iter::from_fn(|| {
            let slice = self.slices.get(next as usize)?;
            next = slice.next;
            Some((slice.end - slice.start) as usize)
        });
        slices.sum()
    }

    /// All chains have been written.
    pub(super) fn clear(&mut self) {
        self.slices.clear();
        self.received = false;
    }
}

/// What slices refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'b> {
    pub(super) arena: &'b [u8],
    pub(super) received: &'b [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_keep_their_order_and_touching_slices_are_one() {
        let places = Places { arena: b"0123456789", received: b"abcdef" };
        let mut outgoing = Outgoing::default();
        let (mut one, mut other) = (Chain::EMPTY, Chain::EMPTY);
        outgoing.link(&mut one, Source::Arena, 0..2);
        outgoing.link(&mut one, Source::Arena, 2..4);
        outgoing.link(&mut other, Source::Arena, 2..4);
        outgoing.link(&mut one, Source::Received, 4..6);
        outgoing.link(&mut one, Source::Arena, 6..8);
        let bytes = |chain| outgoing.bytes(chain, &places).collect::<Vec<_>>();
        assert_eq!(bytes(one), [&b"0123"[..], b"ef", b"67"]);
        assert_eq!(bytes(other), [b"23"]);
        assert!(bytes(Chain::EMPTY).is_empty());
        assert!(outgoing.is_urgent());
    }
}

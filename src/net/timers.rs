//! Deadlines: one lazy heap for the whole loop.
//!
//! A connection has one next deadline. It is entered only when it is earlier than what is entered already, and never
//! taken out: when an entry comes up, the connection is asked whether it is really due. So there is no cancelling, no
//! tick, and the sleep is exact. A wheel would need a tick; an ordered map, a removal with every message.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;
use crate::id::ConnectionKey;

/// The deadlines of all connections.
#[derive(Debug)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, ConnectionKey)>>,
}

impl Timers {
    /// No deadlines; room for `expected` before memory is allocated again.
    pub(super) fn new(expected: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(expected) }
    }

    /// Enters a deadline.
    pub(super) fn arm(&mut self, at: Moment, key: ConnectionKey) {
        self.heap.push(Reverse((at, key)));
    }

    /// The earliest entry.
    pub(super) fn next(&self) -> Moment {
        self.heap.peek().map_or(Moment::NEVER, |Reverse((at, _))| *at)
    }

    /// Takes out an entry that has come up.
    pub(super) fn pop(&mut self, now: Moment) -> Option<(Moment, ConnectionKey)> {
        if self.next() > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_in_order_and_not_before() {
        let key = |serial| ConnectionKey { slot: 0, serial };
        let at = Moment::from_millis;
        let mut timers = Timers::new(0);
        timers.arm(at(20), key(2));
        timers.arm(at(10), key(1));
        assert_eq!(timers.next(), at(10));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(25)), Some((at(10), key(1))));
        assert_eq!(timers.pop(at(25)), Some((at(20), key(2))));
        assert_eq!((timers.pop(at(25)), timers.next()), (None, Moment::NEVER));
    }
}

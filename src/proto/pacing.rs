//! Pacing for scripts that read as the original PHP client does.
//!
//! That client reads the `101` with one read and drops what came along behind it, and takes the first frame of any later
//! read and drops the rest. So at most one frame is on its way to such a script that it has not proved to have read.
//! It proves that by sending anything, or a gap of time has passed: then it is taken to have read.
//!
//! What may not go yet is held here. Acknowledgements and the greeting go before everything else: a script that has
//! sent a message waits for its `next` and takes nothing else in its stead.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;

/// What stands between a script and losing frames. Only scripts that need it have one.
#[derive(Debug)]
pub struct Pacer {
    /// The next frame may go from here on.
    clear: Moment,
    gap: Duration,
    /// Greeting and acknowledgements.
    urgent: VecDeque<Vec<u8>>,
    /// The answer to the latest ping, the only one that need be answered (RFC 6455, section 5.5.3).
    pong: Option<Vec<u8>>,
    /// Everything else.
    others: VecDeque<Vec<u8>>,
    /// Bytes in all of them.
    held: usize,
}

impl Pacer {
    /// The first frame goes `greeting` after `now`, when the `101` is written; the others a `gap` after another.
    pub fn new(now: Moment, greeting: Duration, gap: Duration) -> Self {
        Self { clear: now.after(greeting), gap, urgent: VecDeque::new(), pong: None, others: VecDeque::new(), held: 0 }
    }

    /// The script has sent something: it has read what was sent to it.
    pub fn proof(&mut self) {
        self.clear = Moment::START;
    }

    /// Whether a frame may go at once. If so it counts as on its way; if not it is to be [held](Self::hold).
    pub fn pass(&mut self, urgent: bool, now: Moment) -> bool {
        let first = self.urgent.is_empty() && (urgent || (self.pong.is_none() && self.others.is_empty()));
        if first && self.clear <= now {
            self.clear = now.after(self.gap);
            return true;
        }
        false
    }

    /// Keeps a frame until it may go.
    pub fn hold(&mut self, frame: Vec<u8>, urgent: bool) {
        self.held += frame.len();
        if urgent { &mut self.urgent } else { &mut self.others }.push_back(frame);
    }

    /// Keeps the answer to a ping until it may go. `true`: it takes the place of one to an earlier ping.
    pub fn hold_pong(&mut self, frame: Vec<u8>) -> bool {
        self.held += frame.len();
        let earlier = self.pong.replace(frame);
        self.held -= earlier.as_ref().map_or(0, Vec::len);
        earlier.is_some()
    }

    /// The held frame that may go now, if any; it counts as on its way.
    pub fn release(&mut self, now: Moment) -> Option<Vec<u8>> {
        if self.clear > now {
            return None;
        }
        let frame = self.urgent.pop_front().or_else(|| self.pong.take()).or_else(|| self.others.pop_front())?;
        self.held -= frame.len();
        self.clear = now.after(self.gap);
        Some(frame)
    }

    /// When the next held frame may go: [`Moment::NEVER`] while none is held.
    pub fn due(&self) -> Moment {
        let empty = self.urgent.is_empty() && self.pong.is_none() && self.others.is_empty();
        if empty { Moment::NEVER } else { self.clear }
    }

    /// Bytes held.
    pub const fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn pacer() -> Pacer {
        Pacer::new(at(0), Duration::from_millis(30), Duration::from_millis(20))
    }

    #[test]
    fn the_greeting_waits_and_then_one_frame_a_gap() {
        let mut pacer = pacer();
        assert!(!pacer.pass(true, at(0)));
        pacer.hold(b"ready".to_vec(), true);
        pacer.hold(b"one".to_vec(), false);
        pacer.hold(b"two".to_vec(), false);
        assert_eq!(pacer.held(), 11);
        assert_eq!(pacer.due(), at(30));
        assert_eq!(pacer.release(at(29)), None);
        assert_eq!(pacer.release(at(30)), Some(b"ready".to_vec()));
        assert_eq!(pacer.release(at(49)), None);
        assert_eq!(pacer.release(at(50)), Some(b"one".to_vec()));
        assert_eq!(pacer.release(at(70)), Some(b"two".to_vec()));
        assert_eq!((pacer.due(), pacer.held()), (Moment::NEVER, 0));
    }

    #[test]
    fn of_many_pings_the_latest_is_answered() {
        let mut pacer = pacer();
        pacer.hold(b"ready".to_vec(), true);
        pacer.hold(b"text".to_vec(), false);
        for number in 0..100 {
            assert_eq!(pacer.hold_pong(vec![number; 10]), number > 0);
        }
        assert_eq!(pacer.held(), 19);
        assert_eq!(pacer.release(at(30)), Some(b"ready".to_vec()));
        assert_eq!(pacer.release(at(50)), Some(vec![99; 10]));
        assert!(!pacer.pass(false, at(70)), "a text waits");
        assert_eq!(pacer.release(at(70)), Some(b"text".to_vec()));
        assert_eq!((pacer.due(), pacer.held()), (Moment::NEVER, 0));
        pacer.hold_pong(Vec::new());
        assert_eq!(pacer.due(), at(90));
        assert!(!pacer.pass(false, at(90)), "what came first goes first");
        assert!(pacer.pass(true, at(90)), "but for what is urgent");
    }

    #[test]
    fn a_cycle_of_send_and_wait_never_waits() {
        let mut pacer = pacer();
        for millis in 100..200 {
            pacer.proof();
            assert!(pacer.pass(true, at(millis)), "the acknowledgement at {millis}");
            assert!(!pacer.pass(false, at(millis)), "nothing behind it");
        }
    }

    #[test]
    fn an_acknowledgement_goes_before_what_was_held_earlier() {
        let mut pacer = pacer();
        pacer.proof();
        assert!(pacer.pass(false, at(0)));
        pacer.hold(b"feedback".to_vec(), false);
        pacer.proof();
        assert!(pacer.pass(true, at(1)));
        assert_eq!(pacer.release(at(20)), None);
        assert_eq!(pacer.release(at(21)), Some(b"feedback".to_vec()));
    }

    #[test]
    fn acknowledgements_keep_their_order() {
        let mut pacer = pacer();
        pacer.hold(b"1".to_vec(), true);
        pacer.proof();
        assert!(!pacer.pass(true, at(0)), "the first goes first");
        pacer.hold(b"2".to_vec(), true);
        assert_eq!(pacer.release(at(0)), Some(b"1".to_vec()));
        assert_eq!(pacer.release(at(20)), Some(b"2".to_vec()));
    }
}

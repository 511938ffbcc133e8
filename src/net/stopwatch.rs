//! The loop's clock. It counts the time in which the loop runs, and not the time in which it stands still.
//!
//! A process that was stopped, or whose machine was paused, comes back to find that every deadline has passed at once,
//! and nobody is to blame for it: answers lie unread in the kernel, or could not be sent. So the clock of deadlines goes
//! on from where it stood, and everyone has the time left that it had.
//!
//! What is measured is the monotonic clock, so that setting the machine's time moves no deadline.

use std::time::{Duration, Instant};

use crate::clock::Moment;

/// How much longer than its sleep a turn may take before the loop is said to have stood still; of such a turn so much
/// counts, so that time goes on even where every turn is slow.
const SLACK: Duration = Duration::from_secs(1);

/// The loop's clock.
#[derive(Debug)]
pub(super) struct Stopwatch {
    began: Instant,
    /// Since then, when it was looked at last.
    last: Duration,
    /// Time that does not count.
    stood_still: Duration,
}

impl Stopwatch {
    /// Starts at [`Moment::START`].
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), last: Duration::ZERO, stood_still: Duration::ZERO }
    }

    /// The moment at that instant, and for how long the loop has stood still if it has. `sleep`: how long it may have slept since the last look;
    /// `None`: as long as it liked.
    pub(super) fn look(&mut self, at: Instant, sleep: Option<Duration>) -> (Moment, Option<Duration>) {
        self.look_at(at - self.began, sleep)
    }

    fn look_at(&mut self, elapsed: Duration, sleep: Option<Duration>) -> (Moment, Option<Duration>) {
        let passed = elapsed.saturating_sub(self.last);
        self.last = elapsed;
        let late = sleep.is_some_and(|sleep| passed > sleep.saturating_add(SLACK));
        // How long it slept before it stood still is not to be known: of all that time only the slack counts.
        let lost = if late { passed.saturating_sub(SLACK) } else { Duration::ZERO };
        self.stood_still += lost;
        let counted = elapsed.saturating_sub(self.stood_still).as_millis();
        let now = Moment::from_millis(u64::try_from(counted).unwrap_or(u64::MAX));
        (now, late.then_some(lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn time_counts_while_the_loop_runs_and_while_it_sleeps() {
        let mut watch = Stopwatch::start();
        let mut at = Duration::ZERO;
        for (passed, sleep) in [(0, Some(0)), (1, Some(0)), (25, Some(25)), (26, Some(25)), (3, Some(25)), (9000, None)]
        {
            at += seconds(passed);
            let expected = Moment::from_millis(u64::try_from(at.as_millis()).unwrap());
            assert_eq!(watch.look_at(at, sleep.map(seconds)), (expected, None), "{passed} of {sleep:?}");
        }
    }

    #[test]
    fn time_stands_still_with_the_loop_and_goes_on_with_it() {
        let mut watch = Stopwatch::start();
        let at = Moment::from_millis;
        assert_eq!(watch.look_at(seconds(10), Some(seconds(10))), (at(10_000), None));
        // It was to sleep for 5 s, and comes back after 65.
        assert_eq!(watch.look_at(seconds(75), Some(seconds(5))), (at(11_000), Some(seconds(64))));
        assert_eq!(watch.look_at(seconds(76), Some(seconds(5))), (at(12_000), None));
        // Stopped in the middle of its work.
        assert_eq!(watch.look_at(seconds(100), Some(Duration::ZERO)), (at(13_000), Some(seconds(23))));
        // Where every turn is slow, time goes on all the same.
        for turn in 1..=10 {
            let (now, _) = watch.look_at(seconds(100 + 3 * turn), Some(Duration::ZERO));
            assert_eq!(now, at(13_000 + 1000 * turn));
        }
    }
}

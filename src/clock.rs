//! The one measure of time: milliseconds since the loop began.
//!
//! Only [`net`](crate::net) reads a clock. It does so once a turn and passes the [`Moment`] down, so that everything
//! below can be driven in virtual time. Eight bytes and no `Option`: every idle connection holds at least one.

use std::time::Duration;

/// A moment on the loop's monotonic clock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Moment(u64);

impl Moment {
    /// When the loop began.
    pub const START: Self = Self(0);

    /// Later than every other moment: a deadline that is not set.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds after the loop began.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the loop began.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment and `wait` more. A wait of zero is added as zero: see [`Moment::limit`] for settings in which
    /// zero means "no limit".
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// The moment `wait` before this one. Never stays never, and there is nothing before the start.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if self == Self::NEVER { self } else { Self(self.0.saturating_sub(millis)) }
    }

    /// The deadline that a setting of `wait` gives: [`Moment::NEVER`] where it is zero.
    #[must_use]
    pub fn limit(self, wait: Duration) -> Self {
        if wait.is_zero() { Self::NEVER } else { self.after(wait) }
    }

    /// How long it is until `later`; zero where that has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_of_zero_is_no_limit() {
        let now = Moment::from_millis(5);
        assert_eq!(now.limit(Duration::ZERO), Moment::NEVER);
        assert_eq!(now.limit(Duration::from_secs(1)), Moment::from_millis(1005));
        assert_eq!(now.after(Duration::ZERO), now);
    }

    #[test]
    fn never_stays_never() {
        assert_eq!(Moment::NEVER.after(Duration::from_secs(1)), Moment::NEVER);
        assert_eq!(Moment::NEVER.before(Duration::from_secs(1)), Moment::NEVER);
        assert_eq!(Moment::NEVER.until(Moment::START), Duration::ZERO);
    }
}

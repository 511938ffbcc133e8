//! What the server counts of its own work, for `GET /metrics`.
//!
//! Plain integers in one place, incremented where things happen: one thread needs no atomics, and a message costs a few
//! additions to memory that is in the cache anyway. What can be looked up when somebody asks is not counted here.
//! [`exposition`](crate::app::exposition) makes text of it; this file knows neither the text nor who counts.

use std::time::Duration;

use crate::proto::CloseCode;
use crate::proto::tally::Tally;

/// The HTTP statuses that requests are refused with. Whoever adds one to the server adds it here.
pub const STATUSES: [u16; 15] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 431, 500, 501, 503, 505];

/// What has been counted since the server started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Messages and control frames.
    pub frames: Tally,
    /// Connections accepted, whatever became of them.
    pub accepted: u64,
    /// Messages handed to clients on behalf of another client or as their own echo: all but greetings and acknowledgements.
    pub deliveries: u64,
    /// Messages that were not handed to a client, since more than `maxBacklog` waits for it.
    pub undelivered_slow: u64,
    /// Messages that were not handed to a client, since it had left in the same turn.
    pub undelivered_gone: u64,
    /// Clients closed since more than `maxBacklog` waited for them.
    pub dropped_backlog: u64,
    /// Clients closed since output waited for them longer than `maxBacklogTime`.
    pub dropped_backlog_time: u64,
    /// Connections closed to get below `maxMemory`.
    pub dropped_memory: u64,
    /// How clients' connections ended.
    pub closes: Closes,
    /// Upgrades that were completed only to say that `maxClients` is reached.
    pub turned_away_clients: u64,
    /// Upgrades that were completed only to say that `maxPerIP` is reached.
    pub turned_away_address: u64,
    /// Requests answered with an error.
    pub refusals: Refusals,
    /// Messages from the queue.
    pub queue: Queue,
    /// How long turns of the loop took, their sleep not counted, the writing of log lines included.
    pub turns: Histogram,
    /// Log lines lost, each counted for every place that it should have gone to.
    pub log_lines_lost: u64,
    /// When the server started, since 1970-01-01 UTC.
    pub started: Duration,
    /// When the certificate that is served expires, in seconds since 1970-01-01 UTC. `None`: there is no TLS.
    pub certificate_expires: Option<u64>,
}

/// What the operating system knows of this process. `None`: it doesn't say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// CPU time used, user and system together.
    pub cpu: Option<Duration>,
    /// Bytes of memory in use.
    pub resident: Option<u64>,
    /// Descriptors open.
    pub descriptors: Option<u64>,
    /// Descriptors there may be.
    pub max_descriptors: Option<u64>,
}

/// Who ended a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closer {
    /// The client, by a Close frame or by going without one.
    Client,
    /// The server.
    Server,
}

/// Ends of clients' connections, by who closed and with what.
///
/// A client may send 3,015 different codes, and what it sends must not make series without end: codes from 3000 on, which
/// libraries and applications choose freely, are counted by the thousand.
#[derive(Debug, Default)]
pub struct Closes {
    counts: [[u64; Self::KINDS]; 2],
}

impl Closes {
    /// 1000 to 1014, 3000 to 3999, 4000 to 4999.
    const KINDS: usize = 17;
    const LABELS: [&str; Self::KINDS] = [
        "1000", "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012", "1013",
        "1014", "3xxx", "4xxx",
    ];

    /// A Close frame without a code (RFC 6455, section 7.4.1: 1005 says that, and is never sent).
    pub const NO_CODE: u16 = 1005;
    /// No Close frame at all (RFC 6455, section 7.4.1: 1006 says that, and is never sent).
    pub const VANISHED: u16 = 1006;

    /// Counts an end. `code`: [`Self::NO_CODE`], [`Self::VANISHED`], or what was sent.
    pub fn add(&mut self, by: Closer, code: u16) {
        let kind = match code {
            1000..=1014 => usize::from(code - 1000),
            ..4000 => Self::KINDS - 2,
            _ => Self::KINDS - 1,
        };
        self.counts[by as usize][kind] += 1;
    }

    /// The counts for the codes that there can be, each with its label.
    pub fn of(&self, by: Closer) -> impl Iterator<Item = (&'static str, u64)> {
        let can_be = move |label: &str| match label.parse() {
            Ok(Self::NO_CODE | Self::VANISHED) => by == Closer::Client,
            Ok(code) => CloseCode::received(code).is_some(),
            Err(_) => by == Closer::Client,
        };
        let counts = Self::LABELS.into_iter().zip(self.counts[by as usize]);
        counts.filter(move |(label, count)| *count > 0 || can_be(label))
    }
}

/// Messages from the queue, by what became of them.
#[derive(Debug, Default)]
pub struct Queue {
    /// Handed to at least one client.
    pub delivered: u64,
    /// Handed to none, since nobody was there.
    pub nobody: u64,
    /// Not understood, or too large.
    pub unusable: u64,
    /// From an address that is not on the allow list.
    pub forbidden: u64,
}

/// Requests answered with an error, by status.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [u64; STATUSES.len()],
    other: u64,
}

impl Refusals {
    /// Counts one.
    pub fn add(&mut self, status: u16) {
        let place = STATUSES.iter().position(|known| *known == status);
        debug_assert!(place.is_some(), "{status} is missing in STATUSES");
        *place.map_or(&mut self.other, |place| &mut self.counts[place]) += 1;
    }

    /// The counts, each with its label.
    pub fn each(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = STATUSES.iter().map(u16::to_string).zip(self.counts);
        counts.chain((self.other > 0).then(|| ("other".to_owned(), self.other)))
    }
}

/// Durations, by how long they were.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By the first of [`Self::BOUNDS`] that they don't exceed, and behind them those that exceed all.
    counts: [u64; Self::BOUNDS.len() + 1],
    /// Of all, in nanoseconds: enough for 500 years.
    sum: u64,
}

impl Histogram {
    /// From 10 µs, a turn that handled one message, to 1 s, in microseconds; each as the label that it gets.
    pub const BOUNDS: [(u64, &'static str); 16] = [
        (10, "0.00001"),
        (25, "0.000025"),
        (50, "0.00005"),
        (100, "0.0001"),
        (250, "0.00025"),
        (500, "0.0005"),
        (1_000, "0.001"),
        (2_500, "0.0025"),
        (5_000, "0.005"),
        (10_000, "0.01"),
        (25_000, "0.025"),
        (50_000, "0.05"),
        (100_000, "0.1"),
        (250_000, "0.25"),
        (500_000, "0.5"),
        (1_000_000, "1"),
    ];

    /// Counts a duration.
    #[inline]
    pub fn add(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // From the short end: almost all turns are there.
        let place = Self::BOUNDS.iter().position(|(bound, _)| nanos <= bound * 1_000);
        self.counts[place.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    /// How many were as long as a bound or shorter, for each bound, with its label; the last one is `+Inf`, all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = Self::BOUNDS.iter().map(|(_, label)| *label).chain(["+Inf"]);
        let mut total = 0;
        labels.zip(self.counts).map(move |(label, count)| {
            total += count;
            (label, total)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for (nanos, bucket) in [(0, 0), (10_000, 0), (10_001, 1), (1_000_000_000, 15), (1_000_000_001, 16)] {
            let before = histogram.counts;
            histogram.add(Duration::from_nanos(nanos));
            let changed: Vec<_> =
                (0..before.len()).filter(|index| before[*index] != histogram.counts[*index]).collect();
            assert_eq!(changed, [bucket], "{nanos} ns");
        }
        assert_eq!((histogram.count(), histogram.sum()), (5, Duration::from_nanos(2_000_020_002)));
        assert_eq!(histogram.cumulative().last(), Some(("+Inf", 5)));
        assert_eq!(histogram.cumulative().next(), Some(("0.00001", 2)));
    }

    #[test]
    fn labels_of_bounds_say_what_the_bounds_are() {
        for (micros, label) in Histogram::BOUNDS {
            let seconds: f64 = label.parse().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_micros(micros), "{label}");
        }
        assert!(Histogram::BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_a_client_closes_with_makes_no_more_than_a_few_series() {
        let mut closes = Closes::default();
        for code in (0..=u16::MAX).filter_map(CloseCode::received) {
            closes.add(Closer::Client, code.get());
        }
        closes.add(Closer::Client, Closes::NO_CODE);
        closes.add(Closer::Client, Closes::VANISHED);
        let counts: Vec<_> = closes.of(Closer::Client).collect();
        assert_eq!(counts.len(), 16);
        assert!(
            counts.iter().all(|(label, count)| *count == if label.ends_with("xxx") { 1000 } else { 1 }),
            "{counts:?}"
        );
        assert!(closes.of(Closer::Server).all(|(label, count)| count == 0 && label.starts_with("10")));
    }
}

//! How things are, as the live page is told: numbers that the server has anyway, as JSON.
//!
//! Totals since the server started, and not rates: whoever has two of them and the time between has the rate, and a page
//! that was away for a while has it too.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Feed;
use crate::app::Exchange;
use crate::app::registry::{ClientKind, ResourceId};
use crate::metrics::{Closer, Histogram};
use crate::proto::frame::Opcode;
use crate::proto::tally::{Count, Traffic};

/// What doesn't change while the server runs.
#[derive(Serialize)]
struct Hello<'a> {
    tell: &'static str,
    version: &'static str,
    /// In seconds since 1970.
    started: f64,
    /// Seconds that bound the counts of [`Snapshot::turns`]; the last count is of those beyond.
    bounds: Vec<Box<RawValue>>,
    /// Whether there are clients that can be sent a test message.
    relay: bool,
    /// Whether what happens is recorded.
    recorder: bool,
    resources: Vec<Served<'a>>,
}

#[derive(Serialize)]
struct Served<'a> {
    path: &'a str,
    handler: &'a str,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    tell: &'static str,
    /// In seconds since 1970.
    time: f64,
    /// By the rows of [`Hello::resources`].
    clients: Vec<Clients>,
    watchers: usize,
    /// Connections that are not upgraded, or are closed already.
    other: usize,
    /// Connections ever accepted.
    accepted: u64,
    received: Moved,
    sent: Moved,
    deliveries: u64,
    undelivered: u64,
    /// Bytes.
    held: usize,
    max_memory: usize,
    turns: Turns,
    refusals: Counts<'a>,
    closes: Closes<'a>,
    turned_away: Counts<'a>,
    dropped: Counts<'a>,
    log_lines_lost: u64,
}

#[derive(Serialize)]
struct Clients {
    browsers: usize,
    scripts: usize,
    ever: u64,
}

/// Messages, control frames left out.
#[derive(Serialize)]
struct Moved {
    messages: u64,
    bytes: u64,
}

impl Moved {
    fn new(traffic: &Traffic, own: Count) -> Self {
        let (text, binary) = (traffic.of(Opcode::Text), traffic.of(Opcode::Binary));
        Self {
            messages: (text.messages + binary.messages).saturating_sub(own.messages),
            bytes: (text.bytes + binary.bytes).saturating_sub(own.bytes),
        }
    }
}

#[derive(Serialize)]
struct Turns {
    /// Seconds.
    sum: f64,
    /// Cumulative.
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct Closes<'a> {
    client: Counts<'a>,
    server: Counts<'a>,
}

/// What was counted under some names; what there was none of is left out.
struct Counts<'a>(Vec<(std::borrow::Cow<'a, str>, u64)>);

impl<'a> Counts<'a> {
    fn new<N: Into<std::borrow::Cow<'a, str>>>(counts: impl IntoIterator<Item = (N, u64)>) -> Self {
        Self(counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.into(), count)).collect())
    }
}

impl Serialize for Counts<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, count)))
    }
}

impl Feed {
    /// What a watcher is told first.
    pub(super) fn hello(&self, exchange: &Exchange<'_>) -> String {
        let rows = self.paths.iter().zip(&self.handlers);
        json(&Hello {
            tell: "hello",
            version: env!("CARGO_PKG_VERSION"),
            started: exchange.metrics().started.as_secs_f64(),
            bounds: Histogram::BOUNDS
                .iter()
                .filter_map(|(_, label)| RawValue::from_string((*label).to_owned()).ok())
                .collect(),
            relay: self.relay.is_some(),
            recorder: exchange.recorder().size() > 0,
            resources: rows.map(|(path, handler)| Served { path, handler }).collect(),
        })
    }

    /// What all watchers are told.
    pub(super) fn snapshot(&self, exchange: &Exchange<'_>) -> String {
        let (metrics, registry, load) = (exchange.metrics(), exchange.clients(), exchange.load());
        let resources = (0..=u8::MAX).map(ResourceId).zip(&self.paths);
        let clients = resources.map(|(resource, _)| {
            let [browsers, scripts] = ClientKind::ALL.map(|kind| registry.population(resource, kind));
            Clients { browsers: browsers.now, scripts: scripts.now, ever: browsers.ever + scripts.ever }
        });
        json(&Snapshot {
            tell: "snapshot",
            time: exchange.wall_clock().as_secs_f64(),
            clients: clients.collect(),
            watchers: self.watchers.len(),
            other: load.connections.saturating_sub(registry.len()),
            accepted: metrics.accepted,
            received: Moved::new(&metrics.frames.received, self.own.received),
            sent: Moved::new(&metrics.frames.sent, self.own.sent),
            deliveries: metrics.deliveries,
            undelivered: metrics.undelivered_slow + metrics.undelivered_gone,
            held: load.held,
            max_memory: self.max_memory,
            turns: Turns {
                sum: metrics.turns.sum().as_secs_f64(),
                counts: metrics.turns.cumulative().map(|(_, count)| count).collect(),
            },
            refusals: Counts::new(metrics.refusals.each()),
            closes: Closes {
                client: Counts::new(metrics.closes.of(Closer::Client)),
                server: Counts::new(metrics.closes.of(Closer::Server)),
            },
            turned_away: Counts::new([
                ("maxClients", metrics.turned_away_clients),
                ("maxPerIP", metrics.turned_away_address),
            ]),
            dropped: Counts::new([
                ("maxBacklog", metrics.dropped_backlog),
                ("maxBacklogTime", metrics.dropped_backlog_time),
                ("maxMemory", metrics.dropped_memory),
            ]),
            log_lines_lost: metrics.log_lines_lost,
        })
    }
}

/// None of what is told here has a key that JSON can't have.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

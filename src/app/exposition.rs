//! `GET /metrics`: what the server knows of itself, in Prometheus' text format, version 0.0.4.
//!
//! The only place where metrics have names; `docs/metrics.md` lists them, and a test holds the two together. Labels are
//! made of what stands in the configuration or in the code, never of what a peer has sent, so there are only so many.

use std::fmt::{self, Write as _};

use super::Routes;
use super::registry::{ClientKind, Registry};
use crate::metrics::{Closer, Metrics, Process};
use crate::proto::frame::Opcode;

/// The media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is told.
#[derive(Clone, Copy, Debug)]
pub struct Exposition<'a> {
    /// What has been counted.
    pub metrics: &'a Metrics,
    /// What the operating system says.
    pub process: Process,
    /// Which paths there are.
    pub routes: &'a Routes,
    /// Who is connected.
    pub clients: &'a Registry,
    /// Connections, upgraded or not.
    pub connections: usize,
    /// Bytes that unfinished messages and waiting output of all connections hold.
    pub held: usize,
    /// What they may hold.
    pub max_memory: usize,
}

/// The opcodes under which something can be counted; a continuation is part of its message.
const OPCODES: [(Opcode, &str); 5] = [
    (Opcode::Text, "text"),
    (Opcode::Binary, "binary"),
    (Opcode::Ping, "ping"),
    (Opcode::Pong, "pong"),
    (Opcode::Close, "close"),
];

impl Exposition<'_> {
    /// All of it as text.
    pub fn text(&self) -> String {
        // What a server with the four usual resources needs.
        let mut text = Text(String::with_capacity(12 * 1024));
        self.connections(&mut text);
        self.traffic(&mut text);
        self.trouble(&mut text);
        self.process(&mut text);
        text.0
    }

    fn connections(&self, text: &mut Text) {
        text.begin(
            "connections",
            "gauge",
            "Connections now; type other: not upgraded yet, refused, or closed already.",
        );
        for (resource, path) in self.routes.paths() {
            for kind in ClientKind::ALL {
                let now = self.clients.population(resource, kind).now;
                text.sample("connections", &[("resource", path), ("type", kind.name())], now);
            }
        }
        let other = self.connections.saturating_sub(self.clients.len());
        text.sample("connections", &[("resource", ""), ("type", "other")], other);
        text.begin("connections_total", "counter", "Connections that became clients of a resource.");
        for (resource, path) in self.routes.paths() {
            for kind in ClientKind::ALL {
                let ever = self.clients.population(resource, kind).ever;
                text.sample("connections_total", &[("resource", path), ("type", kind.name())], ever);
            }
        }
        text.single(
            "accepted_total",
            "counter",
            "Connections accepted, whatever became of them.",
            self.metrics.accepted,
        );
    }

    fn traffic(&self, text: &mut Text) {
        let Metrics { frames, deliveries, queue, .. } = self.metrics;
        let directions = [("in", &frames.received), ("out", &frames.sent)];
        text.begin("messages_total", "counter", "Messages and control frames.");
        for (direction, traffic) in directions {
            for (opcode, name) in OPCODES {
                let labels = [("direction", direction), ("opcode", name)];
                text.sample("messages_total", &labels, traffic.of(opcode).messages);
            }
        }
        text.begin("message_bytes_total", "counter", "Bytes of their payloads, unpacked and without frame headers.");
        for (direction, traffic) in directions {
            for (opcode, name) in OPCODES {
                let labels = [("direction", direction), ("opcode", name)];
                text.sample("message_bytes_total", &labels, traffic.of(opcode).bytes);
            }
        }
        let help = "Messages handed to clients, but for greetings and acknowledgements.";
        text.single("deliveries_total", "counter", help, deliveries);
        text.begin("queue_messages_total", "counter", "Messages from the queue, by what became of them.");
        for (outcome, count) in [
            ("delivered", queue.delivered),
            ("nobody", queue.nobody),
            ("unusable", queue.unusable),
            ("forbidden", queue.forbidden),
        ] {
            text.sample("queue_messages_total", &[("outcome", outcome)], count);
        }
    }

    fn trouble(&self, text: &mut Text) {
        let metrics = self.metrics;
        text.begin("messages_dropped_total", "counter", "Messages that were not handed to the client they were for.");
        for (reason, count) in [("too_slow", metrics.undelivered_slow), ("gone", metrics.undelivered_gone)] {
            text.sample("messages_dropped_total", &[("reason", reason)], count);
        }
        text.begin("clients_dropped_total", "counter", "Clients closed because of what waited for them.");
        for (reason, count) in [
            ("backlog", metrics.dropped_backlog),
            ("backlog_time", metrics.dropped_backlog_time),
            ("memory", metrics.dropped_memory),
        ] {
            text.sample("clients_dropped_total", &[("reason", reason)], count);
        }
        text.begin("closes_total", "counter", "Ends of clients' connections, by who closed and with which code.");
        for (by, name) in [(Closer::Client, "client"), (Closer::Server, "server")] {
            for (code, count) in metrics.closes.of(by) {
                text.sample("closes_total", &[("by", name), ("code", code)], count);
            }
        }
        text.begin("refusals_total", "counter", "Requests answered with an error, by HTTP status.");
        for (status, count) in metrics.refusals.each() {
            text.sample("refusals_total", &[("status", &status)], count);
        }
        text.begin("turned_away_total", "counter", "Upgrades completed only to tell the client of a limit.");
        for (limit, count) in [("maxClients", metrics.turned_away_clients), ("maxPerIP", metrics.turned_away_address)] {
            text.sample("turned_away_total", &[("limit", limit)], count);
        }
        let help = "Bytes that unfinished messages and waiting output of all connections hold.";
        text.single("backlog_bytes", "gauge", help, self.held);
        text.single("backlog_max_bytes", "gauge", "Bytes that they may hold (maxMemory).", self.max_memory);
        text.single("log_lines_lost_total", "counter", "Log lines that could not be written.", metrics.log_lines_lost);
    }

    fn process(&self, text: &mut Text) {
        let turns = &self.metrics.turns;
        text.begin("turn_seconds", "histogram", "Time that a turn of the loop took, its sleep not counted.");
        for (bound, count) in turns.cumulative() {
            text.sample("turn_seconds_bucket", &[("le", bound)], count);
        }
        text.sample("turn_seconds_sum", &[], turns.sum().as_secs_f64());
        text.sample("turn_seconds_count", &[], turns.count());
        let process = self.process;
        let cpu = process.cpu.map(|time| time.as_secs_f64());
        text.optional("cpu_seconds_total", "counter", "CPU time used, user and system together.", cpu);
        text.optional("resident_memory_bytes", "gauge", "Memory in use.", process.resident);
        text.optional("descriptors", "gauge", "Descriptors open.", process.descriptors);
        text.optional("descriptors_max", "gauge", "Descriptors there may be.", process.max_descriptors);
        let started = self.metrics.started.as_secs_f64();
        text.single("start_time_seconds", "gauge", "When the server started, in Unix time.", started);
        let expires = self.metrics.certificate_expires;
        let help = "When the certificate expires, in Unix time; without TLS there is no value.";
        text.optional("certificate_expiry_timestamp_seconds", "gauge", help, expires);
        text.begin("build_info", "gauge", "Always 1; the labels say which build this is.");
        text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }
}

/// The text as it grows. Writing to a string doesn't fail, so results are dropped.
struct Text(String);

impl Text {
    /// What a metric is; its samples follow.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP websock_{name} {help}\n# TYPE websock_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        let _ = write!(self.0, "websock_{name}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str(r"\\"),
                    '"' => self.0.push_str(r#"\""#),
                    '\n' => self.0.push_str(r"\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    /// A metric with one sample and no labels.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) {
        self.optional(name, kind, help, Some(value));
    }

    /// The same, where the value may not be known.
    fn optional(&mut self, name: &str, kind: &str, help: &str, value: Option<impl fmt::Display>) {
        self.begin(name, kind, help);
        if let Some(value) = value {
            self.sample(name, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text(String::new());
        text.sample("x", &[("a", "/b\"c\\d\ne"), ("f", "ü{}, ")], 1);
        assert_eq!(text.0, "websock_x{a=\"/b\\\"c\\\\d\\ne\",f=\"ü{}, \"} 1\n");
    }

    #[test]
    fn what_is_not_known_has_a_name_and_no_sample() {
        let config = crate::config::Config::default();
        let mut metrics = Metrics::default();
        let text = |metrics: &Metrics| {
            let (process, routes, clients) = (Process::default(), Routes::new(&config), Registry::new(false, 0));
            let clients = &clients;
            Exposition { metrics, process, routes: &routes, clients, connections: 3, held: 0, max_memory: 1 }.text()
        };
        let before = text(&metrics);
        assert!(
            before.contains("# TYPE websock_certificate_expiry_timestamp_seconds gauge\n# HELP websock_build_info ")
        );
        assert!(before.contains("\nwebsock_connections{resource=\"\",type=\"other\"} 3\n"));
        metrics.certificate_expires = Some(1_800_000_000);
        assert!(text(&metrics).contains("\nwebsock_certificate_expiry_timestamp_seconds 1800000000\n"));
    }
}

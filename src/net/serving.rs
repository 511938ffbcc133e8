//! Answers to requests that are no upgrade: pages, the server's health, its metrics.

use log::debug;

use super::hub::{Hub, turn};
use super::socket::Socket;
use crate::app::exposition::{CONTENT_TYPE, Exposition};
use crate::app::pages::{self, Served};
use crate::clock::Moment;
use crate::proto::http::{Request, Response};
use crate::proto::session::Turn;

impl<S: Socket> Hub<S> {
    /// Answers a request with what is served there.
    pub(super) fn serve(&mut self, slot: usize, request: &Request<'_>, served: Served, now: Moment) {
        debug!(address:% = self.connections[slot].address, path = served.path(); "served");
        let text;
        let (status, fields, content_type, body) = match served {
            Served::Page(page) => (200, pages::FIELDS, page.content_type, page.body),
            Served::Health if self.stopping => (503, pages::LIVE_FIELDS, "text/plain", &b"stopping\n"[..]),
            Served::Health => (200, pages::LIVE_FIELDS, "text/plain", &b"ok\n"[..]),
            Served::Metrics => {
                text = self.exposition();
                (200, pages::LIVE_FIELDS, CONTENT_TYPE, text.as_bytes())
            }
        };
        let last = self.stopping || !request.keeps_alive();
        let start = self.outbox.arena.len();
        let head_only = request.method == "HEAD";
        Response { status, fields, content_type, body, head_only, close: last }.write(&mut self.outbox.arena);
        self.connections[slot].session.answered(last, &mut turn!(self, now));
        self.link_output(slot, start);
    }

    fn exposition(&self) -> String {
        Exposition {
            metrics: &self.metrics,
            process: (self.process)(),
            routes: &self.routes,
            clients: &self.registry,
            connections: self.connections.len(),
            held: self.held(),
            max_memory: self.config.limits.max_memory,
        }
        .text()
    }
}

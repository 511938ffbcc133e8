//! Coming in: what a request is answered with, and how a client enters the registry.

use std::borrow::Cow;

use log::{info, warn};

use super::hub::{Hub, turn, world};
use super::socket::Socket;
use crate::app::api;
use crate::app::gate::{Answer, Gate, Limit, Upgrade};
use crate::app::recorder::Event;
use crate::app::registry::{Client, ClientKind, ResourceId};
use crate::app::{Opening, World};
use crate::clock::Moment;
use crate::proto::CloseCode;
use crate::proto::frame::{self, Opcode};
use crate::proto::http::{self, Request};
use crate::proto::pacing::Pacer;
use crate::proto::session::{Terms, Turn};

impl<S: Socket> Hub<S> {
    /// Who may come in, as things are now.
    pub(super) fn gate(&self) -> Gate<'_> {
        Gate {
            config: &self.config,
            listening: &self.listening,
            routes: &self.routes,
            clients: &self.registry,
            stopping: self.stopping,
        }
    }

    /// Answers a request.
    pub(super) fn admit(&mut self, slot: usize, head: &[u8], now: Moment) {
        let peer = self.connections[slot].address;
        let mut room = http::fields();
        let request = Request::parse(head, &mut room);
        let untrusted = request.as_ref().is_ok_and(|request| self.gate().source(request, peer.ip()).untrusted_proxy);
        if untrusted && !self.told_of_proxy {
            self.told_of_proxy = true;
            warn!(
                address:% = peer;
                "was forwarded by a proxy that trustedProxies does not name: \
                 such requests are never on the allow list (said once)"
            );
        }
        let path = request.as_ref().map_or_else(|_| http::path_in(head), |request| request.path);
        let answer =
            request.and_then(|request| self.gate().answer(&request, peer.ip()).map(|answer| (request, answer)));
        let start = self.outbox.arena.len();
        match answer {
            Err(refusal) if api::is_call(path) => self.refuse_call(slot, path, request.ok().as_ref(), refusal, now),
            Ok((request, Answer::Call)) => self.take_call(slot, head, &request, now),
            Ok((request, Answer::Preflight)) => self.allow_call(slot, &request, now),
            Err(refusal) => {
                self.note_refused(peer, path, refusal, now);
                self.connections[slot].session.refuse(refusal, &mut turn!(self, now));
                self.link_output(slot, start);
            }
            Ok((request, Answer::Page(served))) => self.serve(slot, &request, served, now),
            Ok((request, Answer::Upgrade(upgrade))) => {
                let origin = request.first("origin").unwrap_or_default();
                self.upgrade(slot, upgrade, origin, now);
            }
            Ok((_, Answer::Stream(stream))) => self.stream(slot, stream, now),
        }
    }

    fn upgrade(&mut self, slot: usize, upgrade: Upgrade<'_>, origin: &str, now: Moment) {
        let script = &self.config.script;
        let terms = Terms {
            browser: upgrade.kind == ClientKind::Browser,
            pacer: upgrade.paced.then(|| Pacer::new(now, script.greeting_delay, script.frame_gap)),
            subprotocol: upgrade.subprotocol,
            deflate: upgrade.deflate,
        };
        let start = self.outbox.arena.len();
        let connection = &mut self.connections[slot];
        let address = connection.address.with_ip(upgrade.ip);
        connection.address = address;
        connection.session.accept(upgrade.key, terms, &mut turn!(self, now));
        self.link_output(slot, start);
        if let Some(limit) = upgrade.turned_away {
            let why = self.note_turned_away(slot, upgrade.resource.0, limit, now);
            self.turn_away(slot, why, now);
            return;
        }
        let mut client = Client::new(
            self.ids.draw(),
            self.connections[slot].key(slot),
            address,
            upgrade.resource,
            upgrade.kind,
            upgrade.ident,
            self.seconds(),
        );
        if let Some(user) = upgrade.user {
            client = client.with_user(user);
        }
        let by = format!("opened by a {}", client.kind());
        let opening = Opening { subprotocol: upgrade.subprotocol, query: upgrade.query, ..Opening::default() };
        self.enter(client, &by, origin, &opening, now);
    }

    /// Enters a client in the registry, and tells its application. `by` is for the log: what opened what.
    pub(super) fn enter(&mut self, client: Client, by: &str, origin: &str, opening: &Opening<'_>, now: Moment) {
        let path = self.routes.path(client.resource);
        let ident = client.ident().unwrap_or_default();
        let user = client.user().map(|user| format!(", user {user:?}")).unwrap_or_default();
        info!(
            client:% = client.id, address:% = client.address, path = path;
            "{by}, ident {ident:?}, origin {origin:?}{user}"
        );
        let key = client.key;
        self.outbox.recorder.record(now, &Event::opened(&client, path, origin));
        self.registry.insert(client);
        let Some(client) = self.registry.get(key) else { return };
        self.routes.on_open(client, world!(self, now), &mut self.outbox, opening);
        self.deliver(None, now);
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from((self.wall_clock)().as_secs()).unwrap_or(u32::MAX)
    }

    /// Notes that a client can't stay for the sake of a limit, and gives that in words that a page can read.
    pub(super) fn note_turned_away(
        &mut self,
        slot: usize,
        resource: ResourceId,
        limit: Limit,
        now: Moment,
    ) -> &'static str {
        let (why, address, path) = (limit.why(), self.connections[slot].address, self.routes.path(resource));
        warn!(address:% = address, path = path; "turned away: {why}");
        self.outbox.recorder.record(now, &Event::refused(address, CloseCode::TRY_AGAIN_LATER.get(), path, why));
        match limit {
            Limit::Clients => self.metrics.turned_away_clients += 1,
            Limit::PerAddress => self.metrics.turned_away_address += 1,
        }
        why
    }

    /// Tells a connection that can't stay why, in words that a page can read, and closes it. It counts for nothing.
    fn turn_away(&mut self, slot: usize, why: &'static str, now: Moment) {
        let start = self.outbox.arena.len();
        let told = format!(r#"{{"opcode":"close","error":"{why}"}}"#);
        let session = &mut self.connections[slot].session;
        let mut turn = turn!(self, now);
        session.say(Opcode::Text, true, &mut turn, |out| frame::write_frame(out, Opcode::Text, told.as_bytes()));
        session.close(CloseCode::TRY_AGAIN_LATER, Cow::Borrowed(why), &mut turn);
        self.link_output(slot, start);
    }
}

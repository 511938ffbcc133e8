//! Streams of server-sent events: how one is opened, and how it gets a message.
//!
//! A stream that hits a limit is answered with 200 all the same, and with an event that says why: to anything else a
//! browser would never come again, and nobody could read why.

use std::borrow::Cow;

use log::info;

use super::delivery::{Sending, link};
use super::hub::{Hub, turn};
use super::socket::Socket;
use crate::app::Opening;
use crate::app::gate::Stream;
use crate::app::outbox::Run;
use crate::app::registry::{Client, ClientKind};
use crate::clock::Moment;
use crate::proto::events::{self, Label};
use crate::proto::frame;
use crate::proto::session::Turn;
use crate::proto::{CloseCode, Kind};

/// Milliseconds after which a browser is to connect again: so many, and up to as many more, by its UUID, so that those who
/// have lost their streams together don't come back together.
const RETRY: u64 = 1000;

/// The same where there was no room for it.
const RETRY_TURNED_AWAY: u64 = 15_000;

impl<S: Socket> Hub<S> {
    /// Answers a request with a stream of events.
    pub(super) fn stream(&mut self, slot: usize, stream: Stream<'_>, now: Moment) {
        let address = self.connections[slot].address.with_ip(stream.ip);
        self.connections[slot].address = address;
        let allowed = stream.origin.map(|origin| allow(origin, stream.listed)).unwrap_or_default();
        let fields: Vec<&str> = allowed.iter().map(|field| &**field).collect();
        let start = self.outbox.arena.len();
        if stream.head_only {
            events::write_head(&mut self.outbox.arena, &fields);
            self.connections[slot].session.answered(true, &mut turn!(self, now));
            self.link_output(slot, start);
            return;
        }
        // Its own stream of before may still be open, as far as the server knows: it makes room for itself.
        let again = stream.last_event.as_ref().and_then(|id| self.outbox.history.recognize(id));
        if let Some(former) = again.and_then(|(id, _)| self.registry.by_id(id)) {
            let key = former.key;
            self.close(key, CloseCode::NORMAL, Cow::Borrowed("the browser has opened this stream again"), now);
        }
        let limit = self.gate().turned_away(ClientKind::Browser, stream.ip);
        let refused = match limit {
            _ if self.stopping => Some((CloseCode::GOING_AWAY, "the server is stopping")),
            Some(limit) => {
                Some((CloseCode::TRY_AGAIN_LATER, self.note_turned_away(slot, stream.resource.0, limit, now)))
            }
            None => None,
        };
        let start = self.outbox.arena.len();
        if let Some((code, why)) = refused {
            let retry = if self.stopping { RETRY } else { RETRY_TURNED_AWAY };
            let session = &mut self.connections[slot].session;
            let mut turn = turn!(self, now);
            session.stream(&fields, Box::default(), retry, &mut turn);
            session.close(code, Cow::Borrowed(why), &mut turn);
            self.link_output(slot, start);
            return;
        }
        let id = again.map_or_else(|| self.ids.draw(), |(id, _)| id);
        let history = &mut self.outbox.history;
        let (by, begins) = match (again, stream.last_event) {
            (Some((_, number)), _) => ("opened again as a stream of events", history.start_again(id, number, now)),
            (None, Some(_)) => ("opened as a stream of events, after one that is not known", history.start_unknown()),
            (None, None) => ("opened as a stream of events", history.start()),
        };
        let owner = history.owner(id);
        let connection = &mut self.connections[slot];
        connection.session.stream(&fields, owner, RETRY + id.hash() % RETRY, &mut turn!(self, now));
        // Nobody answers here, so it is for the kernel to say that the peer is no more.
        connection.socket.give_up_after(self.config.limits.ping_interval * 2);
        self.link_output(slot, start);
        let key = self.connections[slot].key(slot);
        let client = Client::new(id, key, address, stream.resource, ClientKind::Browser, "", self.seconds());
        let client = match stream.user {
            Some(user) => client.with_user(user),
            None => client,
        };
        if let Some(why) = begins.gap {
            info!(client:% = id, address:% = address; "something may be missing: {why}");
        }
        let opening = Opening { subprotocol: None, query: stream.query, start: begins };
        self.enter(client.as_stream(), by, stream.origin.unwrap_or_default(), &opening, now);
    }

    /// Hands a message to a stream of events. Its data are written once for all streams, its id for each. `false`: it is
    /// binary, which no event can be.
    pub(super) fn hand_event(&mut self, slot: usize, sending: &Sending<'_>) -> bool {
        let connection = &mut self.connections[slot];
        let Some(owner) = connection.session.stream_owner().filter(|_| sending.kind == Kind::Text) else {
            return false;
        };
        let arena = &mut self.outbox.arena;
        let data = *self.event.get_or_insert_with(|| {
            let start = arena.len();
            match sending.received {
                [] => {
                    let frame = sending.plain.range();
                    let payload = frame.end - frame::payload_length(sending.plain.len());
                    events::write_data_within(arena, payload..frame.end);
                }
                received => events::write_data(arena, received),
            }
            Run::new(start, arena.len())
        });
        let start = arena.len();
        let Label { number, name } = sending.label;
        let number = if number == 0 { self.outbox.history.latest() } else { number };
        events::write_label(arena, name, number, owner);
        let label = Run::new(start, arena.len());
        link(&mut self.outgoing, connection, (label, &[]));
        link(&mut self.outgoing, connection, (data, &[]));
        true
    }
}

/// The fields that let a page of another origin read the answer (Fetch standard, section 3.3). `listed`: the origin is one
/// that the settings name; only then may the page send its cookies.
fn allow(origin: &str, listed: bool) -> Vec<Cow<'static, str>> {
    if listed {
        let allowed = format!("Access-Control-Allow-Origin: {origin}");
        vec![allowed.into(), "Access-Control-Allow-Credentials: true".into(), "Vary: Origin".into()]
    } else {
        vec!["Access-Control-Allow-Origin: *".into()]
    }
}

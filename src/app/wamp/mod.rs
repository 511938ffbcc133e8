//! WAMP, the Web Application Messaging Protocol: topics that clients publish to, procedures that clients offer and call,
//! and form locks (`docs/wamp.md`).
//!
//! Version 1, and of version 2 the basic profile with some of the advanced one, in JSON and in MessagePack. All of them
//! share topics and procedures. Realms are worlds of their own; clients of version 1, backends and the queue know of
//! none and are in the one that `[wamp] realm` names.
//!
//! | file                   | knows                                                     |
//! |------------------------|-----------------------------------------------------------|
//! | `v1.rs`, `v2.rs`       | the messages of one version: what comes, and its answers  |
//! | `routing.rs`           | events on their way to subscribers                        |
//! | `calling.rs`           | calls on their way to callees, and what comes back        |
//! | `procedures.rs`        | what the server itself offers: form locks, the control API |
//! | `broker.rs`, `dealer.rs`, `forms.rs`, `session.rs` | tables, and nothing of messages |
//! | `wire.rs`, `json.rs`, `msgpack.rs` | values as they are written; never what they mean |
//!
//! Arguments are never looked into on their way from one client to another, and are written anew only for a receiver
//! that speaks another format: once for all of those.

mod broker;
mod calling;
mod dealer;
mod forms;
mod json;
mod msgpack;
mod procedures;
mod refusal;
mod routing;
mod session;
mod uri;
mod v1;
mod v2;
mod wire;

use std::collections::HashMap;
use std::rc::Rc;

use self::broker::{Broker, Dialect};
use self::dealer::{Calls, Dealer};
use self::forms::Forms;
use self::session::Session;
use self::uri::Ids;
use super::api::Failure;
use super::queue::{Pushed, Subject};
use super::{Application, Context, Exchange, Opening};
use crate::clock::Moment;
use crate::config::Config;
use crate::id::ConnectionKey;
use crate::proto::session::End;
use crate::proto::{CloseCode, Message};

/// Subscriptions, registrations, prefixes that one client may have, each.
const MAX_EACH: usize = 10_000;

/// Calls of one client that may wait for an answer.
const MAX_CALLS: usize = 10_000;

/// Bytes of memory that a subscription, registration or prefix takes, roughly, without its name.
const ENTRY: usize = 128;

/// Bytes of memory that a call takes which waits for an answer, roughly.
const CALL: usize = 256;

/// The resource `wamp`.
#[derive(Debug)]
pub(super) struct Wamp {
    sessions: HashMap<ConnectionKey, Session>,
    /// The realms that somebody is in.
    realms: HashMap<Rc<str>, Realm>,
    calls: Calls,
    forms: Forms,
    ids: Ids,
    /// The realm of those who know of none.
    realm: Rc<str>,
    /// What is being written; used again.
    scratch: Vec<u8>,
}

/// Those who have joined it share topics and procedures.
#[derive(Debug, Default)]
struct Realm {
    members: usize,
    broker: Broker,
    dealer: Dealer,
}

impl Wamp {
    pub(super) fn new(config: &Config) -> Self {
        let mut wamp = Self {
            sessions: HashMap::new(),
            realms: HashMap::new(),
            calls: Calls::default(),
            forms: Forms::default(),
            ids: Ids::default(),
            realm: config.wamp.realm.as_str().into(),
            scratch: Vec::new(),
        };
        wamp.configure(config);
        wamp
    }

    /// A client joins a realm. Gives the id of its session.
    fn join(&mut self, exchange: &Exchange<'_>, client: ConnectionKey, realm: &Rc<str>) -> u64 {
        let id = self.ids.draw(exchange.random());
        if let Some(session) = self.sessions.get_mut(&client) {
            *session = Session::new(session.dialect);
            session.realm = Some(Rc::clone(realm));
            session.id = id;
            self.realms.entry(Rc::clone(realm)).or_default().members += 1;
        }
        id
    }

    /// A client leaves its realm, if it is in one: nothing of it stays, and those who wait for it are told.
    fn leave(&mut self, exchange: &mut Exchange<'_>, client: ConnectionKey) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(realm) = session.realm.take() else { return };
        let dialect = session.dialect;
        let subscriptions = std::mem::take(&mut session.subscriptions);
        let registrations = std::mem::take(&mut session.registrations);
        *session = Session::new(dialect);
        if let Some(here) = self.realms.get_mut(&realm) {
            for id in subscriptions {
                here.broker.unsubscribe(id, client, dialect);
            }
            for id in registrations {
                here.dealer.unregister(id, client);
            }
        }
        self.end_calls(exchange, client);
        for form in self.forms.leave(client, exchange.now()) {
            self.tell_form(exchange, &form, "released", Some(client));
        }
        // Last, since its members are told of forms.
        if let Some(here) = self.realms.get_mut(&realm) {
            here.members -= 1;
            if here.members == 0 {
                self.realms.remove(&realm);
            }
        }
    }
}

impl Application for Wamp {
    fn subprotocols(&self) -> &'static [&'static str] {
        &["wamp.2.json", "wamp.2.msgpack", "wamp"]
    }

    fn services(&self) -> &'static [&'static str] {
        &["form-lock"]
    }

    fn on_open(&mut self, ctx: &mut Context<'_>, opening: &Opening<'_>) {
        let dialect = match opening.subprotocol {
            Some("wamp.2.json") => Dialect::Json,
            Some("wamp.2.msgpack") => Dialect::MsgPack,
            Some("wamp") => Dialect::V1,
            _ => {
                let why = "no subprotocol of WAMP was offered: wamp.2.json, wamp.2.msgpack or wamp";
                ctx.close(CloseCode::POLICY_VIOLATION, why);
                return;
            }
        };
        self.sessions.insert(ctx.me().key, Session::new(dialect));
        if dialect == Dialect::V1 {
            self.welcome_v1(ctx);
        }
    }

    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        match self.sessions.get(&ctx.me().key).map(|session| session.dialect) {
            Some(Dialect::V1) => self.on_v1(ctx, message),
            Some(Dialect::Json | Dialect::MsgPack) => self.on_v2(ctx, message),
            None => {}
        }
    }

    fn on_call(&mut self, exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<String, Failure> {
        self.on_service(exchange, action, data)
    }

    fn on_queue(&mut self, exchange: &mut Exchange<'_>, pushed: &Pushed<'_>) -> Option<Result<usize, Failure>> {
        match pushed.subject {
            Subject::Topic(topic) => Some(self.publish_json(exchange, topic, pushed.text)),
            Subject::Opcode(_) => None,
        }
    }

    fn on_stopping(&mut self, ctx: &mut Context<'_>) {
        self.good_bye(ctx);
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        let me = ctx.me().key;
        self.leave(ctx, me);
        self.sessions.remove(&me);
    }

    fn due(&self) -> Moment {
        self.calls.due().min(self.forms.due())
    }

    fn on_time(&mut self, exchange: &mut Exchange<'_>) {
        self.end_overdue_calls(exchange);
        while let Some(form) = self.forms.expire(exchange.now()) {
            self.tell_form(exchange, &form, "released", None);
        }
    }

    fn configure(&mut self, config: &Config) {
        self.forms.grace = config.wamp.lock_grace;
        // Who is in a realm stays there; this is for those who come.
        self.realm = config.wamp.realm.as_str().into();
    }

    fn held_for(&self, client: ConnectionKey) -> usize {
        self.sessions
            .get(&client)
            .map_or(0, |session| session.held + session.calls * CALL + self.forms.count_of(client) * forms::LOCK_SIZE)
    }
}

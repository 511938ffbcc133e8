//! The live page's feed, at `/admin/feed`: what the page `/admin` shows, once a second, and answers to what it asks.
//!
//! It is always there and no row of `[resources]`; who may open it is for the [gate](super::gate) to say. While nobody
//! watches it does nothing, and keeps nothing. What goes over the feed itself is left out of the traffic it tells of.
//!
//! A watcher is sent `{"tell":"hello",…}`, then `{"tell":"snapshot",…}` again and again, and may ask:
//!
//! | ask                                         | answer                                       |
//! |---------------------------------------------|----------------------------------------------|
//! | `{"ask":"clients","search":TEXT,"limit":N}` | `{"tell":"clients","total":N,"clients":[…]}` |
//! | `{"ask":"endings","limit":N}`               | `{"tell":"endings","endings":[…]}`           |
//! | `{"ask":"why","target":ID,"limit":N}`       | `{"tell":"why","events":[…],…}`              |
//! | `{"ask":"send","to":WHOM,"message":…}`      | `{"tell":"send","delivered":N,"message":ID}` |
//!
//! ID is a client's UUID or a message's id; endings and events are what the [recorder](super::recorder) has, as
//! [`why`](super::why) tells it. WHOM is `{"uuid":…}`, `{"ident":…}` or `{"everyone":true}`. Whatever can't be done:
//! `{"tell":"error","error":…}`. A `"number"` that is sent along stands in the answer as well.

mod asks;
mod snapshot;

use std::time::Duration;

use super::registry::ApplicationId;
use super::{Application, Audience, Context, Exchange, Opening};
use crate::clock::Moment;
use crate::config::Config;
use crate::id::ConnectionKey;
use crate::proto::session::End;
use crate::proto::tally::Count;
use crate::proto::{CloseCode, Message};

/// Its name among the applications; no row of `[resources]` can use it.
pub(super) const NAME: &str = "admin";

/// Its path.
pub(super) const PATH: &str = "/admin/feed";

/// How often watchers are told how things are.
const PERIOD: Duration = Duration::from_secs(1);

/// Most watchers. Whoever has a key could open any number, which no limit of clients holds back.
const MAX_WATCHERS: usize = 32;

/// The application behind the live page.
#[derive(Debug)]
pub(super) struct Feed {
    /// The paths of `[resources]` and what serves them, by [`ResourceId`](super::registry::ResourceId).
    paths: Vec<String>,
    handlers: Vec<String>,
    /// Where there is one.
    relay: Option<ApplicationId>,
    /// Bytes: `maxMemory`.
    max_memory: usize,
    /// Those who watch, in the order in which they came.
    watchers: Vec<ConnectionKey>,
    /// When they are told next.
    due: Moment,
    /// What watchers have sent and were sent, which is nobody's traffic.
    own: Own,
}

#[derive(Clone, Copy, Debug, Default)]
struct Own {
    received: Count,
    sent: Count,
}

impl Feed {
    /// `relay`: the application whose clients test messages are for.
    pub(super) fn new(config: &Config, relay: Option<ApplicationId>) -> Self {
        Self {
            paths: config.resources.iter().map(|row| row.path.clone()).collect(),
            handlers: config.resources.iter().map(|row| row.handler.clone()).collect(),
            relay,
            max_memory: config.limits.max_memory,
            watchers: Vec::new(),
            due: Moment::NEVER,
            own: Own::default(),
        }
    }

    fn tell(&mut self, exchange: &mut Exchange<'_>, to: Audience, text: &str) {
        self.own.sent.messages += to.len() as u64;
        self.own.sent.bytes += (to.len() * text.len()) as u64;
        exchange.tell(to, &[text]);
    }
}

impl Application for Feed {
    fn on_open(&mut self, ctx: &mut Context<'_>, _opening: &Opening<'_>) {
        if self.watchers.len() == MAX_WATCHERS {
            ctx.close(CloseCode::TRY_AGAIN_LATER, "too many live pages are open already");
            return;
        }
        self.watchers.push(ctx.me().key);
        if self.watchers.len() == 1 {
            self.due = ctx.now().after(PERIOD);
        }
        let to = ctx.audience_of_me();
        let hello = self.hello(ctx);
        self.tell(ctx, to, &hello);
        let snapshot = self.snapshot(ctx);
        self.tell(ctx, to, &snapshot);
    }

    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        self.own.received.messages += 1;
        self.own.received.bytes += message.data.len() as u64;
        let answer = self.answer(ctx, message);
        let to = ctx.audience_of_me();
        self.tell(ctx, to, &answer);
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        let me = ctx.me().key;
        self.watchers.retain(|watcher| *watcher != me);
        if self.watchers.is_empty() {
            self.due = Moment::NEVER;
        }
    }

    fn due(&self) -> Moment {
        self.due
    }

    fn on_time(&mut self, exchange: &mut Exchange<'_>) {
        self.due = exchange.now().after(PERIOD);
        let clients = exchange.clients();
        let to = exchange.audience(self.watchers.iter().filter_map(|watcher| clients.get(*watcher)));
        let snapshot = self.snapshot(exchange);
        self.tell(exchange, to, &snapshot);
    }

    fn configure(&mut self, config: &Config) {
        self.max_memory = config.limits.max_memory;
    }
}

//! Clients and messages: who is connected, and what each resource does.
//!
//! An application is a type that implements [`Application`]. It sees the [`Registry`](registry::Registry) and asks for things to be done
//! through its [`Context`]; it can't fail, and nothing of any connection is borrowed while it runs. This directory names
//! no socket and no poll, and reads no clock: it is told what moment it is.
//!
//! **Adding one is one new file here, and two lines below: its `mod` and its row in [`HANDLERS`].** The path it serves
//! comes from the INI file. A program of one's own may have more of them: [`program::main`](crate::program::main).

pub mod api;
pub mod exposition;
pub mod fates;
pub mod gate;
pub mod history;
pub mod outbox;
pub mod pages;
pub mod queue;
pub mod recorder;
pub mod registry;
pub mod wanted;
pub mod why;

mod exchange;
mod packet;
mod routes;

mod admin;
mod chat;
mod commands;
mod echo;
mod relay;
mod sse;
mod wamp;
mod webntf;

pub use exchange::{Audience, Context, Exchange, Load, Opening, World};
pub use routes::Routes;

use std::fmt;

use crate::clock::Moment;
use crate::config::Config;
use crate::id::ConnectionKey;
use crate::proto::Message;
use crate::proto::session::End;
use api::Failure;
use fates::Watch;
use queue::Pushed;

/// Makes an application.
pub type Constructor = fn(&Config) -> Box<dyn Application>;

/// An application, by the name that `[resources]` calls it.
pub type Handler = (&'static str, Constructor);

/// The applications of the house.
pub const HANDLERS: &[Handler] = &[
    ("relay", |config| Box::new(relay::Relay::new(config))),
    ("echo", |_| Box::new(echo::Echo)),
    ("webntf", |_| Box::<webntf::Notifications>::default()),
    ("chat", |_| Box::<chat::Chat>::default()),
    ("commands", |_| Box::<commands::Commands>::default()),
    ("sse", |_| Box::new(sse::Streams)),
    ("wamp", |config| Box::new(wamp::Wamp::new(config))),
];

/// The names in [`HANDLERS`].
pub fn handler_names() -> Vec<&'static str> {
    names_of(HANDLERS)
}

/// The names of handlers.
pub fn names_of(handlers: &[Handler]) -> Vec<&'static str> {
    handlers.iter().map(|(name, _)| *name).collect()
}

/// What serves the clients of one or more resources.
pub trait Application: fmt::Debug {
    /// Subprotocols it speaks, the one it likes best first (RFC 6455, section 1.9).
    fn subprotocols(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether its paths are streams of server-sent events, and not WebSockets.
    fn is_stream(&self) -> bool {
        false
    }

    /// A stream of events has come, on whichever path: its greeting is on its way, and what it has missed.
    fn on_stream(&mut self, _ctx: &mut Context<'_>, _opening: &Opening<'_>) {}

    /// A stream of events has gone; it is not in the registry any more.
    fn on_stream_end(&mut self, _ctx: &mut Context<'_>) {}

    /// A client has come; it is in the registry already.
    fn on_open(&mut self, _ctx: &mut Context<'_>, _opening: &Opening<'_>) {}

    /// A client has sent a message.
    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>);

    /// Further names that the control API knows it by. What is asked of it under one of them comes as `NAME/ACTION`.
    fn services(&self) -> &'static [&'static str] {
        &[]
    }

    /// The control API asks for `action` with `data`, a JSON object; the result is JSON as well.
    ///
    /// # Errors
    ///
    /// There is no such action, or it can't be done with these data.
    fn on_call(&mut self, _exchange: &mut Exchange<'_>, action: &str, _data: &str) -> Result<String, Failure> {
        Err(Failure::no_action(action))
    }

    /// A backend has pushed a message to the queue; the result is to how many clients it was handed. `None`: it is for
    /// another application.
    ///
    /// # Errors
    ///
    /// It is for this one, and can't be used.
    fn on_queue(&mut self, _exchange: &mut Exchange<'_>, _pushed: &Pushed<'_>) -> Option<Result<usize, Failure>> {
        None
    }

    /// A client has gone; it is not in the registry any more.
    fn on_close(&mut self, _ctx: &mut Context<'_>, _end: &End) {}

    /// The server is stopping, and the client is closed next: what it is to hear before that is sent now.
    fn on_stopping(&mut self, _ctx: &mut Context<'_>) {}

    /// When [`Application::on_time`] is to be called; [`Moment::NEVER`]: not at all. Asked in every turn, so it is to be
    /// known, not searched for.
    fn due(&self) -> Moment {
        Moment::NEVER
    }

    /// The moment that [`Application::due`] gave has come.
    fn on_time(&mut self, _exchange: &mut Exchange<'_>) {}

    /// What became of a message is known that the client [`Context::me`] has pushed and [waited for](Exchange::watch), as
    /// far as it gets to be known: `report` is a JSON array of the fates.
    fn on_settled(&mut self, _ctx: &mut Context<'_>, _watch: &Watch, _report: &str) {}

    /// The configuration was read again.
    fn configure(&mut self, _config: &Config) {}

    /// Bytes of memory that it keeps on behalf of a client, which count towards `maxMemory`.
    fn held_for(&self, _client: ConnectionKey) -> usize {
        0
    }
}

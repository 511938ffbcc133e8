//! Clients and messages: who is connected, and what each resource does.
//!
//! An application is a type that implements [`Application`]. It sees the [`Registry`] and asks for things to be done
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

mod packet;

mod admin;
mod chat;
mod commands;
mod echo;
mod relay;
mod sse;
mod wamp;
mod webntf;

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::clock::Moment;
use crate::config::Config;
use crate::id::{ClientId, ConnectionKey, MessageId};
use crate::metrics::Metrics;
use crate::proto::events::Label;
use crate::proto::session::End;
use crate::proto::{CloseCode, Kind, Message};
use api::Failure;
use fates::{Asker, Outlook, Watch};
use history::{Start, Whom};
use outbox::{Body, Outbox, Run};
use queue::Pushed;
use recorder::{Event, Recorder};
use registry::{ApplicationId, Client, Registry, ResourceId};

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

/// What surrounds an application while it runs, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Everyone who is connected.
    pub clients: &'a Registry,
    /// What was counted so far.
    pub metrics: &'a Metrics,
    /// How far output has got.
    pub outlook: &'a dyn Outlook,
    /// This turn's moment.
    pub now: Moment,
    /// Says how long it is since 1970 began.
    pub wall_clock: fn() -> Duration,
    /// What all connections together are and hold.
    pub load: Load,
    /// Overwrites what it is given with random bytes that nobody can guess: a system call.
    pub random: fn(&mut [u8]),
}

/// What the loop has on its hands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Connections, upgraded or not.
    pub connections: usize,
    /// Bytes that unfinished messages and waiting output of all connections hold.
    pub held: usize,
}

/// What a client said when it came, besides what the registry keeps of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// The subprotocol agreed on: one of [`Application::subprotocols`].
    pub subprotocol: Option<&'static str>,
    /// The query of the request's target, as it came; empty where there was none.
    pub query: &'a str,
    /// Of a stream of events, where it begins.
    pub start: Start,
}

/// Who is connected, and what is to be sent: what an application works with, whoever has asked it for something.
#[derive(Debug)]
pub struct Exchange<'a> {
    world: World<'a>,
    outbox: &'a mut Outbox,
    application: ApplicationId,
    /// The client whose event is handled, if it is one's.
    sender: Option<ConnectionKey>,
    /// Whether what becomes of a message can be waited for.
    may_wait: bool,
}

/// Some clients that a message can be sent to: a run of [`Outbox::targets`], and what it is to streams among them.
#[derive(Clone, Copy, Debug)]
pub struct Audience(Run, Label);

impl Audience {
    /// How many clients.
    pub const fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The same clients, of whom streams of events get what is sent to them as this.
    #[must_use]
    pub const fn labelled(self, label: Label) -> Self {
        Self(self.0, label)
    }
}

impl<'a> Exchange<'a> {
    /// For the loop, and for tests.
    pub const fn new(application: ApplicationId, world: World<'a>, outbox: &'a mut Outbox) -> Self {
        Self { world, outbox, application, sender: None, may_wait: true }
    }

    /// This, where several things are asked for at once, so that nothing can be waited for.
    #[must_use]
    pub const fn without_waiting(mut self) -> Self {
        self.may_wait = false;
        self
    }

    /// Whether what becomes of a message can be waited for.
    pub const fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// Everyone who is connected.
    pub const fn clients(&self) -> &'a Registry {
        self.world.clients
    }

    /// This turn's moment.
    pub const fn now(&self) -> Moment {
        self.world.now
    }

    /// How far output has got, connection by connection.
    pub const fn outlook(&self) -> &'a dyn Outlook {
        self.world.outlook
    }

    /// What has happened lately.
    pub const fn recorder(&self) -> &Recorder {
        &self.outbox.recorder
    }

    /// How long it is since 1970 began.
    pub fn wall_clock(&self) -> Duration {
        (self.world.wall_clock)()
    }

    /// What draws random bytes that nobody can guess, with a system call.
    pub const fn random(&self) -> fn(&mut [u8]) {
        self.world.random
    }

    /// What was counted so far.
    pub const fn metrics(&self) -> &'a Metrics {
        self.world.metrics
    }

    /// What all connections together are and hold.
    pub const fn load(&self) -> Load {
        self.world.load
    }

    /// The application itself, as [`Client::application`] names it.
    pub const fn application(&self) -> ApplicationId {
        self.application
    }

    /// `clients`, less those that have too much waiting already. Those are closed with 1013: what can't be handed over
    /// is not dropped in silence.
    pub fn audience<'c>(&mut self, clients: impl IntoIterator<Item = &'c Client>) -> Audience {
        let start = self.outbox.targets.len();
        for client in clients {
            if client.is_full() {
                self.outbox.overrun(client.key);
            } else {
                self.outbox.targets.push(client.key);
            }
        }
        Audience(Run::new(start, self.outbox.targets.len()), Label::default())
    }

    /// Keeps a message for streams of events that may come back for it, and gives what it is to those that are here.
    #[must_use]
    pub fn remember(&mut self, whom: Whom<&str>, payload: &[u8]) -> Label {
        let number = self.outbox.history.keep(whom, payload, self.world.now);
        Label { number, ..Label::default() }
    }

    /// Whether a stream of events with this UUID has left that may come back.
    pub fn may_come_back(&self, id: ClientId) -> bool {
        self.outbox.history.expects(id)
    }

    /// All clients of the application, or not quite all, as in [`Exchange::audience`].
    pub fn audience_of_all(&mut self) -> Audience {
        let (clients, here) = (self.clients(), self.application());
        self.audience(clients.iter().filter(|client| client.application() == here))
    }

    /// Sends text.
    pub fn send(&mut self, to: Audience, text: &str) {
        self.send_as(Kind::Text, to, text.as_bytes());
    }

    /// Sends a message of either kind; text must be UTF-8.
    pub fn send_as(&mut self, kind: Kind, to: Audience, payload: &[u8]) {
        if !to.is_empty() {
            let body = self.outbox.build(kind, payload);
            self.outbox.send(to.0, kind, body, false, to.1);
        }
    }

    /// Somebody pushes a message: what is looked for and sent from now on belongs to it, until the end of the event. `what`
    /// was asked for, in a word, with so many bytes.
    pub fn begin_push(&mut self, what: &str, bytes: usize) -> MessageId {
        let message = self.outbox.next_message;
        self.outbox.next_message = message.next();
        self.outbox.push = Some(message);
        let from = self.sender.map(|sender| sender.serial);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.outbox.recorder.record(self.world.now, &Event::Pushed { message, from, what: Cow::Borrowed(what), bytes });
        message
    }

    /// The message that was pushed, if one was. What is sent from now on is none.
    pub fn end_push(&mut self) -> Option<MessageId> {
        self.outbox.push.take()
    }

    /// The message being pushed is for somebody who isn't connected: by UUID, or else by ident.
    pub fn missed(&mut self, id: Option<ClientId>, named: &str) {
        let Some(message) = self.outbox.push else { return };
        let ident = if id.is_some() { "" } else { named };
        self.outbox.recorder.record(self.world.now, &Event::missed(message, id, ident));
        self.outbox.fates.missed(message, id, named);
    }

    /// Whoever pushes the message waits up to `wait` to be told what becomes of it: a client by
    /// [`Application::on_settled`], a call in its answer.
    pub fn watch(&mut self, wait: Duration) {
        let Some(message) = self.outbox.push else { return };
        let asker = self.sender.map_or(Asker::Call, Asker::Client);
        self.outbox.fates.watch(message, asker, wait, self.world.now);
    }

    /// Sends text, which is made of pieces, that is of the server's own making, and counts for no delivery of a message.
    pub fn tell(&mut self, to: Audience, pieces: &[&str]) {
        self.tell_as(Label::default(), to, pieces);
    }

    /// The same, and what it is for those who are streams of events.
    fn tell_as(&mut self, label: Label, to: Audience, pieces: &[&str]) {
        if !to.is_empty() {
            let body = self.outbox.build_text(pieces);
            self.outbox.send(to.0, Kind::Text, body, true, label);
        }
    }

    /// The same, as another application has it: what is asked for is done for that one's clients.
    pub fn on_behalf_of(&mut self, application: ApplicationId) -> Exchange<'_> {
        Exchange { outbox: &mut *self.outbox, application, ..*self }
    }

    /// Closes a connection, after what was sent to it. One that has gone is skipped.
    pub fn close_client(&mut self, client: ConnectionKey, code: CloseCode, why: impl Into<Cow<'static, str>>) {
        self.outbox.close(client, code, why.into());
    }
}

/// What an application can see and do while it handles an event of the client [`Context::me`]: all that an [`Exchange`]
/// offers, and what concerns the client.
#[derive(Debug)]
pub struct Context<'a> {
    me: &'a Client,
    exchange: Exchange<'a>,
}

impl<'a> Deref for Context<'a> {
    type Target = Exchange<'a>;

    fn deref(&self) -> &Self::Target {
        &self.exchange
    }
}

impl DerefMut for Context<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.exchange
    }
}

impl<'a> Context<'a> {
    /// For the loop, and for tests.
    pub const fn new(me: &'a Client, world: World<'a>, outbox: &'a mut Outbox) -> Self {
        let exchange = Exchange { world, outbox, application: me.application(), sender: Some(me.key), may_wait: true };
        Self { me, exchange }
    }

    /// The client whose event is handled.
    pub const fn me(&self) -> &'a Client {
        self.me
    }

    /// The client itself, or nobody as in [`Exchange::audience`].
    pub fn audience_of_me(&mut self) -> Audience {
        if self.me.is_full() {
            return self.exchange.audience([self.me]);
        }
        let targets = &mut self.exchange.outbox.targets;
        let start = targets.len();
        targets.push(self.me.key);
        Audience(Run::new(start, start + 1), Label::default())
    }

    /// The client confirms messages whose fate somebody waits for.
    pub fn acknowledges(&mut self) {
        let me = self.me.key;
        self.exchange.outbox.commands.push(outbox::Command::Acknowledges(me));
    }

    /// The client confirms a message.
    pub fn acknowledged(&mut self, message: MessageId) {
        let Exchange { world, outbox, .. } = &mut self.exchange;
        outbox.recorder.record(world.now, &Event::Acknowledged { message, by: self.me.key.serial });
        outbox.fates.acknowledged(message, self.me.key, world.now);
    }

    /// Sends the message that is being handled on, as it came.
    pub fn forward(&mut self, to: Audience, message: &Message<'_>) {
        self.exchange.outbox.send(to.0, message.kind, Body::Received, false, to.1);
    }

    /// Sends text, which is made of pieces, to the client itself, before anything else that waits for it.
    pub fn reply_first(&mut self, pieces: &[&str]) {
        self.reply_first_as(Label::default(), pieces);
    }

    /// The same, and what it is where the client is a stream of events.
    pub fn reply_first_as(&mut self, label: Label, pieces: &[&str]) {
        let to = self.audience_of_me();
        self.exchange.tell_as(label, to, pieces);
    }

    /// Sends the client, a stream of events, what was kept behind `number`, as far as it is `meant`.
    pub fn replay(&mut self, number: u64, meant: impl Fn(&Whom<Box<str>>) -> bool) {
        let to = self.audience_of_me();
        if !to.is_empty() {
            self.exchange.outbox.replay(to.0, number, meant);
        }
    }

    /// The client, a stream of events, has left and may come back.
    pub fn expect_back(&mut self) {
        self.exchange.outbox.history.expect_back(self.me.id, self.exchange.world.now);
    }

    /// Closes the client's own connection, after what was sent to it.
    pub fn close(&mut self, code: CloseCode, why: &'static str) {
        self.exchange.close_client(self.me.key, code, why);
    }
}

/// Which application serves which path.
#[derive(Debug)]
pub struct Routes {
    paths: Vec<(String, ApplicationId)>,
    applications: Vec<(&'static str, Box<dyn Application>)>,
    /// The live page's, which is always there.
    feed: ApplicationId,
}

impl Routes {
    /// The routes of `[resources]` to the applications of the house.
    pub fn new(config: &Config) -> Self {
        Self::with(HANDLERS, config)
    }

    /// The routes of `[resources]` to these applications, and the live page's feed. One application serves all paths that
    /// name it, so that its clients meet.
    pub fn with(handlers: &[Handler], config: &Config) -> Self {
        let mut routes = Self { paths: Vec::new(), applications: Vec::new(), feed: ApplicationId(u8::MAX) };
        for row in &config.resources {
            let id = routes.service(&row.handler).or_else(|| {
                // The configuration has been checked against the same table.
                let (name, make) = handlers.iter().find(|(name, _)| *name == row.handler)?;
                routes.applications.push((name, make(config)));
                routes.service(name)
            });
            routes.paths.push((row.path.clone(), id.unwrap_or(ApplicationId(u8::MAX))));
        }
        // Behind those of the file, which come first.
        routes.feed = ApplicationId(u8::try_from(routes.applications.len()).unwrap_or(u8::MAX));
        let feed = admin::Feed::new(config, routes.service("relay"));
        routes.applications.push((admin::NAME, Box::new(feed)));
        routes.paths.push((admin::PATH.to_owned(), routes.feed));
        routes
    }

    /// Whether a resource is the live page's feed.
    pub fn is_feed(&self, (_, application): (ResourceId, ApplicationId)) -> bool {
        application == self.feed
    }

    /// Tells all applications of a configuration read again.
    pub fn configure(&mut self, config: &Config) {
        for (_, application) in &mut self.applications {
            application.configure(config);
        }
    }

    /// Whether a path of `application` is a stream of events.
    pub fn is_stream(&self, application: ApplicationId) -> bool {
        self.applications.get(usize::from(application.0)).is_some_and(|(_, application)| application.is_stream())
    }

    /// Whether any path is a stream of events.
    pub fn have_streams(&self) -> bool {
        self.applications.iter().any(|(_, application)| application.is_stream())
    }

    /// Tells the application of a client, or all where it is a stream of events, that it has come.
    pub fn on_open(&mut self, client: &Client, world: World<'_>, outbox: &mut Outbox, opening: &Opening<'_>) {
        let mut ctx = Context::new(client, world, outbox);
        self.application_mut(client.application()).on_open(&mut ctx, opening);
        if client.is_stream() {
            self.applications.iter_mut().for_each(|(_, application)| application.on_stream(&mut ctx, opening));
        }
    }

    /// Tells them that it has gone.
    pub fn on_close(&mut self, client: &Client, world: World<'_>, outbox: &mut Outbox, end: &End) {
        let mut ctx = Context::new(client, world, outbox);
        self.application_mut(client.application()).on_close(&mut ctx, end);
        if client.is_stream() {
            self.applications.iter_mut().for_each(|(_, application)| application.on_stream_end(&mut ctx));
        }
    }

    /// Bytes of memory that applications keep on behalf of a client.
    pub fn held_for(&self, client: &Client) -> usize {
        if client.is_stream() {
            return self.applications.iter().map(|(_, application)| application.held_for(client.key)).sum();
        }
        self.application(client.application()).held_for(client.key)
    }

    /// When the first application is due.
    pub fn due(&self) -> Moment {
        self.applications.iter().map(|(_, application)| application.due()).min().unwrap_or(Moment::NEVER)
    }

    /// Runs the applications that are due.
    pub fn on_time(&mut self, world: World<'_>, outbox: &mut Outbox) {
        for (id, application) in self.each_mut() {
            if application.due() <= world.now {
                application.on_time(&mut Exchange::new(id, world, outbox));
            }
        }
    }

    /// All applications, to be run.
    fn each_mut(&mut self) -> impl Iterator<Item = (ApplicationId, &mut Box<dyn Application>)> {
        (0..).map(ApplicationId).zip(self.applications.iter_mut().map(|(_, application)| application))
    }

    /// What serves `path`.
    pub fn find(&self, path: &str) -> Option<(ResourceId, ApplicationId)> {
        let index = self.paths.iter().position(|(known, _)| known == path)?;
        Some((ResourceId(u8::try_from(index).ok()?), self.paths[index].1))
    }

    /// The paths there are, in the order of the configuration.
    pub fn paths(&self) -> impl Iterator<Item = (ResourceId, &str)> {
        let ids = (0..=u8::MAX).map(ResourceId);
        ids.zip(self.paths.iter().map(|(path, _)| path.as_str()))
    }

    /// The application that `[resources]` calls `name`, where some path has it.
    pub fn service(&self, name: &str) -> Option<ApplicationId> {
        self.position(|known, _| known == name)
    }

    /// The application that has `name` among its [`Application::services`].
    pub fn further_service(&self, name: &str) -> Option<ApplicationId> {
        self.position(|_, application| application.services().contains(&name))
    }

    fn position(&self, is_it: impl Fn(&str, &dyn Application) -> bool) -> Option<ApplicationId> {
        let index = self.applications.iter().position(|(name, application)| is_it(name, application.as_ref()))?;
        u8::try_from(index).ok().map(ApplicationId)
    }

    /// The path of a resource.
    pub fn path(&self, resource: ResourceId) -> &str {
        self.paths.get(usize::from(resource.0)).map_or("?", |(path, _)| path)
    }

    /// An application, to look at.
    pub fn application(&self, id: ApplicationId) -> &dyn Application {
        self.applications[usize::from(id.0)].1.as_ref()
    }

    /// An application, to be run.
    pub fn application_mut(&mut self, id: ApplicationId) -> &mut dyn Application {
        self.applications[usize::from(id.0)].1.as_mut()
    }
}

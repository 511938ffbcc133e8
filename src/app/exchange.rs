//! What an application works with while it runs: who is connected, what is to be sent, and to whom.
//!
//! Nothing is done here: what is asked for stands in the [`Outbox`], and the loop carries it out when the application is
//! done.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::fates::{Asker, Outlook};
use super::history::{Start, Whom};
use super::outbox::{self, Body, Outbox, Run};
use super::recorder::{Event, Recorder};
use super::registry::{ApplicationId, Client, ClientKind, Registry};
use crate::clock::Moment;
use crate::id::{ClientId, ConnectionKey, MessageId};
use crate::metrics::Metrics;
use crate::proto::events::Label;
use crate::proto::{CloseCode, Kind, Message};

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
    /// The subprotocol agreed on: one of [`Application::subprotocols`](super::Application::subprotocols).
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
        let number = self.outbox.history.keep(whom, payload, self.outbox.push, self.world.now);
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
    /// [`Application::on_settled`](super::Application::on_settled), a call in its answer.
    pub fn watch(&mut self, wait: Duration) {
        let Some(message) = self.outbox.push else { return };
        let asker = self.sender.map_or(Asker::Call, Asker::Client);
        let sender = self.sender.and_then(|sender| self.clients().get(sender));
        let looks_back = sender.is_none_or(|sender| sender.kind() == ClientKind::Script);
        self.outbox.fates.watch(message, asker, wait, looks_back, self.world.now);
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

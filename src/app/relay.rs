//! The relay: a browser is issued a UUID, a script reports back to it.
//!
//! One instance serves every path whose handler is `relay`; their clients can reach each other. Each complete message
//! is answered by exactly one `next`, before anything that it causes to be sent to the same client; it says how many
//! connections the message was handed to, so a script knows whether anyone got it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::api::{self, Failure};
use super::fates::Watch;
use super::history::Whom;
use super::packet::Packet;
use super::queue::{Pushed, Subject};
use super::registry::{ApplicationId, Client, ClientKind};
use super::{Application, Audience, Context, Exchange, Opening, why};
use crate::config::{BrowsersMay, Config};
use crate::id::{ClientId, ConnectionKey, MessageId};
use crate::proto::events::Label;
use crate::proto::session::End;
use crate::proto::{CloseCode, Kind, Message};

/// Most chunks between `bufferON` and `bufferOFF`.
const MAX_CHUNKS: usize = 100;

/// What a client is told first: this, its UUID, and the rest of the object.
pub(super) const READY: &str = r#"{"opcode":"ready","uuid":""#;

const NEXT: &str = r#"{"opcode":"next","fyi":""}"#;
const DELIVERED: &str = r#"{"opcode":"next","fyi":"","delivered":"#;

/// The resource `relay`.
#[derive(Debug)]
pub(super) struct Relay {
    browsers_may: BrowsersMay,
    max_message: usize,
    /// The paths of `[resources]`, by [`ResourceId`](super::registry::ResourceId).
    paths: Vec<String>,
    /// Those who are sending a message in chunks.
    chunked: HashMap<ConnectionKey, Chunks>,
}

/// A message that comes in chunks.
#[derive(Debug, Default)]
struct Chunks {
    joined: String,
    count: usize,
}

/// What a backend has to say, whatever that is.
#[derive(Deserialize)]
struct Said {
    message: IgnoredAny,
    wait: Option<f64>,
}

/// A client, in lists of them.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    uuid: String,
    ident: &'a str,
    resource: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    address: String,
    connected: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// `paths`: of `[resources]`, by [`ResourceId`](super::registry::ResourceId).
    pub(super) fn new(client: &'a Client, paths: &'a [String]) -> Self {
        Self {
            uuid: client.id.to_string(),
            ident: client.ident().unwrap_or_default(),
            resource: paths.get(usize::from(client.resource.0)).map_or("", String::as_str),
            kind: client.kind().name(),
            address: client.address.to_string(),
            connected: client.connected(),
            user: client.user(),
        }
    }
}

impl Relay {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            browsers_may: config.access.browsers_may,
            max_message: config.limits.max_message,
            paths: config.resources.iter().map(|row| row.path.clone()).collect(),
            chunked: HashMap::new(),
        }
    }

    /// A message, whole; `forward` sends it on.
    fn act(&self, ctx: &mut Context<'_>, text: &str, forward: impl FnOnce(&mut Context<'_>, Audience)) {
        let Some(packet) = Packet::parse(text) else {
            acknowledge(ctx);
            ctx.close(CloseCode::INVALID_DATA, "not a JSON object with an opcode");
            return;
        };
        let opcode = packet.opcode();
        if let Some(error) = self.forbidden(ctx.me(), opcode) {
            ctx.reply_first(&[DELIVERED, "0,\"error\":\"", error, "\"}"]);
            return;
        }
        match opcode {
            "feedback" | "broadcast" => push(ctx, &packet, text, forward),
            "echo" => {
                let to = ctx.audience_of_me();
                ctx.reply_first(&[DELIVERED, if to.is_empty() { "0}" } else { "1}" }]);
                forward(ctx, to);
            }
            "quit" => {
                acknowledge(ctx);
                ctx.close(CloseCode::NORMAL, "quit");
            }
            "acks" => {
                acknowledge(ctx);
                ctx.acknowledges();
            }
            "ack" => {
                acknowledge(ctx);
                if let Some(message) = packet.id() {
                    ctx.acknowledged(message);
                }
            }
            _ => acknowledge(ctx),
        }
    }

    fn forbidden(&self, me: &Client, opcode: &str) -> Option<&'static str> {
        if me.kind() == ClientKind::Script {
            return None;
        }
        match opcode {
            "feedback" if !self.browsers_may.feedback => Some("browsers may not send feedback here"),
            "broadcast" if !self.browsers_may.broadcast => Some("browsers may not broadcast here"),
            "echo" if !self.browsers_may.echo => Some("browsers may not use echo here"),
            _ => None,
        }
    }

    /// Everyone, as the control API lists them.
    fn clients(&self, exchange: &Exchange<'_>) -> String {
        let here = exchange.application();
        let rows: Vec<_> = exchange
            .clients()
            .iter()
            .filter(|client| listens(client, here))
            .map(|client| Row::new(client, &self.paths))
            .collect();
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Keeps a chunk. What goes past the limits closes the connection.
    fn keep(&mut self, ctx: &mut Context<'_>, text: &str) {
        acknowledge(ctx);
        let Some(chunks) = self.chunked.get_mut(&ctx.me().key) else { return };
        chunks.count += 1;
        if chunks.count > MAX_CHUNKS {
            ctx.close(CloseCode::POLICY_VIOLATION, "more than 100 chunks");
        } else if chunks.joined.len() + text.len() > self.max_message {
            ctx.close(CloseCode::MESSAGE_TOO_BIG, "chunks over the message limit");
        } else {
            chunks.joined.push_str(text);
            return;
        }
        self.chunked.remove(&ctx.me().key);
    }
}

impl Application for Relay {
    fn subprotocols(&self) -> &'static [&'static str] {
        &["websock.v1"]
    }

    fn on_open(&mut self, ctx: &mut Context<'_>, _opening: &Opening<'_>) {
        let mut uuid = [0; 36];
        let uuid = ctx.me().id.encode(&mut uuid);
        ctx.reply_first(&[READY, uuid, r#"","acks":true}"#]);
    }

    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let (Kind::Text, Some(text)) = (message.kind, message.text()) else {
            acknowledge(ctx);
            ctx.close(CloseCode::UNSUPPORTED_DATA, "binary, where JSON text was expected");
            return;
        };
        let me = ctx.me().key;
        match text {
            "bufferOFF" => {
                if let Some(Chunks { joined, .. }) = self.chunked.remove(&me) {
                    self.act(ctx, &joined, |ctx, to| ctx.send(to, &joined));
                    return;
                }
            }
            _ if !self.chunked.is_empty() && self.chunked.contains_key(&me) => {
                self.keep(ctx, text);
                return;
            }
            "bufferON" => {
                acknowledge(ctx);
                self.chunked.insert(me, Chunks::default());
                return;
            }
            _ => {}
        }
        self.act(ctx, text, |ctx, to| ctx.forward(to, message));
    }

    fn on_call(&mut self, exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<String, Failure> {
        match action {
            "feedback" | "broadcast" => call(exchange, action, data).map(|delivered| delivered.to_string()),
            "why" => why::why(exchange, data),
            "clients" => Ok(self.clients(exchange)),
            _ => Err(Failure::no_action(action)),
        }
    }

    fn on_settled(&mut self, ctx: &mut Context<'_>, watch: &Watch, report: &str) {
        let delivered = watch.delivered().to_string();
        let id = watch.message.to_string();
        ctx.reply_first(&[DELIVERED, &delivered, r#","id":""#, &id, r#"","targets":"#, report, "}"]);
    }

    fn on_queue(&mut self, exchange: &mut Exchange<'_>, pushed: &Pushed<'_>) -> Option<Result<usize, Failure>> {
        match pushed.subject {
            Subject::Opcode(opcode @ ("feedback" | "broadcast")) => Some(call(exchange, opcode, pushed.text)),
            _ => None,
        }
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        if !self.chunked.is_empty() {
            self.chunked.remove(&ctx.me().key);
        }
    }

    fn configure(&mut self, config: &Config) {
        self.browsers_may = config.access.browsers_may;
        self.max_message = config.limits.max_message;
    }

    fn held_for(&self, client: ConnectionKey) -> usize {
        self.chunked.get(&client).map_or(0, |chunks| chunks.joined.capacity())
    }
}

/// Hands on what a client says to others; `forward` sends it as it came. Who waits for its fate is told when that is known:
/// the acknowledgement comes then.
fn push(ctx: &mut Context<'_>, packet: &Packet<'_>, text: &str, forward: impl FnOnce(&mut Context<'_>, Audience)) {
    let message = ctx.begin_push(packet.opcode(), text.len());
    let me = ctx.me().key;
    let to = Addressees::new(ctx, packet.opcode(), packet, Some(me));
    // Its acknowledgement comes before what it causes to be sent to itself, so it can't wait for that.
    let wait = packet.wait().filter(|_| !to.is(me));
    if let Some(wait) = wait {
        ctx.watch(wait);
        to.send_watched(ctx, text, message);
        return;
    }
    let to = to.audience(ctx, text.as_bytes());
    let delivered = match to.len() {
        0 => Cow::Borrowed("0"),
        1 => Cow::Borrowed("1"),
        many => Cow::Owned(many.to_string()),
    };
    ctx.reply_first(&[DELIVERED, &delivered, r#","id":""#, message.encode(&mut [0; MessageId::DIGITS]), r#""}"#]);
    forward(ctx, to);
}

/// Hands on what a backend says over the control API or the queue: to its clients it comes as a message over a WebSocket would.
/// Gives how many connections it was handed to.
pub(super) fn call(exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<usize, Failure> {
    let Said { message: IgnoredAny, wait } = api::read(data)?;
    let packet: Packet<'_> = api::read(data)?;
    if action == "feedback" && packet.uuid().is_empty() && packet.ident().is_empty() {
        return Err(Failure::new(400, "feedback needs a uuid or an ident"));
    }
    let text = match packet.opcode() {
        _ if packet.has_no_opcode() => Cow::Owned([r#"{"opcode":""#, action, r#"","#, members_of(data)].concat()),
        opcode if opcode == action => Cow::Borrowed(data),
        _ => return Err(Failure::new(400, "the data have an opcode that is not the action")),
    };
    let wait = wait.map(|_| packet.wait()).map(|wait| api::wait(exchange, wait)).transpose()?;
    let message = exchange.begin_push(action, text.len());
    let to = Addressees::new(exchange, action, &packet, None);
    let delivered = match wait {
        Some(wait) => {
            exchange.watch(wait);
            to.send_watched(exchange, &text, message)
        }
        None => {
            let to = to.audience(exchange, text.as_bytes());
            exchange.send(to, &text);
            to.len()
        }
    };
    Ok(delivered)
}

/// The members of a JSON object and its closing brace.
fn members_of(object: &str) -> &str {
    object.split_once('{').map_or("}", |(_, members)| members)
}

/// Whether a client gets what the relay has to say, which is at `here`: its own do, and streams of events.
fn listens(client: &Client, here: ApplicationId) -> bool {
    client.application() == here || client.is_stream()
}

/// Whom a message is for.
enum Addressees<'a, 'p> {
    /// A feedback's: by ident, where there is one, else by UUID. A UUID is a browser's.
    One(&'a Client),
    /// That of one who isn't connected: the UUID, if it is one, and the name that was given.
    Nobody(Option<ClientId>, &'p str),
    /// A broadcast's: every browser but the sender.
    All(Option<ConnectionKey>),
}

impl<'a, 'p> Addressees<'a, 'p> {
    /// Those of a packet.
    fn new(exchange: &Exchange<'a>, opcode: &str, packet: &'p Packet<'_>, sender: Option<ConnectionKey>) -> Self {
        if opcode == "broadcast" {
            return Self::All(sender);
        }
        let (clients, here) = (exchange.clients(), exchange.application());
        let (uuid, ident) = (packet.uuid(), packet.ident());
        let id = ClientId::parse(uuid).filter(|_| ident.is_empty());
        let found = if ident.is_empty() {
            let client = id.and_then(|id| clients.by_id(id));
            client.filter(|client| client.kind() == ClientKind::Browser && listens(client, here))
        } else {
            clients.by_ident(ident).find(|client| client.application() == here)
        };
        found.map_or(Self::Nobody(id, if ident.is_empty() { uuid } else { ident }), Self::One)
    }

    /// Whether it is for this one alone.
    fn is(&self, client: ConnectionKey) -> bool {
        matches!(self, Self::One(found) if found.key == client)
    }

    /// All of them, for the message `text`. It is noted where the one that it is for isn't connected.
    fn audience(&self, exchange: &mut Exchange<'a>, text: &[u8]) -> Audience {
        self.note_absence(exchange);
        let label = self.remember(exchange, text);
        self.some(exchange, |_| true).labelled(label)
    }

    /// Keeps a message that a stream of events may come back for.
    fn remember(&self, exchange: &mut Exchange<'a>, text: &[u8]) -> Label {
        match self {
            Self::All(_) => exchange.remember(Whom::Everyone, text),
            Self::One(found) if found.is_stream() => exchange.remember(Whom::One(found.id), text),
            Self::Nobody(Some(id), _) if exchange.may_come_back(*id) => exchange.remember(Whom::One(*id), text),
            Self::One(_) | Self::Nobody(..) => Label::default(),
        }
    }

    fn note_absence(&self, exchange: &mut Exchange<'a>) {
        if let Self::Nobody(id, named) = self {
            exchange.missed(*id, named);
        }
    }

    /// Those of them that are `wanted`.
    fn some(&self, exchange: &mut Exchange<'a>, wanted: impl Fn(&Client) -> bool) -> Audience {
        match self {
            Self::One(found) => exchange.audience(Some(*found).filter(|client| wanted(client))),
            Self::Nobody(..) => exchange.audience(None),
            Self::All(sender) => {
                let here = exchange.application();
                let others = exchange.clients().iter().filter(|client| {
                    client.kind() == ClientKind::Browser && listens(client, here) && Some(client.key) != *sender
                });
                exchange.audience(others.filter(|client| wanted(client)))
            }
        }
    }

    /// Sends a message whose fate somebody waits for: those who confirm messages are told which it is. Gives how many
    /// connections it was handed to.
    fn send_watched(&self, exchange: &mut Exchange<'a>, text: &str, message: MessageId) -> usize {
        self.note_absence(exchange);
        let label = self.remember(exchange, text.as_bytes());
        let confirming = self.some(exchange, Client::acknowledges);
        if !confirming.is_empty() {
            // Last, so that it is not overridden by a member of the sender's.
            let open = text.trim_end().strip_suffix('}').unwrap_or(text);
            exchange.send(confirming, &[open, r#","ack":""#, &message.to_string(), r#""}"#].concat());
        }
        let others = self.some(exchange, |client| !client.acknowledges()).labelled(label);
        exchange.send(others, text);
        confirming.len() + others.len()
    }
}

/// The answer to a message that is for nobody else.
fn acknowledge(ctx: &mut Context<'_>) {
    ctx.reply_first(&[NEXT]);
}

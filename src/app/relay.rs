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
use super::packet::Packet;
use super::registry::{Client, ClientKind};
use super::{Application, Audience, Context, Exchange, Opening};
use crate::config::{BrowsersMay, Config};
use crate::id::{ClientId, ConnectionKey};
use crate::proto::session::End;
use crate::proto::{CloseCode, Kind, Message};

/// Most chunks between `bufferON` and `bufferOFF`.
const MAX_CHUNKS: usize = 100;

const NEXT: &str = r#"{"opcode":"next","fyi":""}"#;
const NEXT_0: &str = r#"{"opcode":"next","fyi":"","delivered":0}"#;
const NEXT_1: &str = r#"{"opcode":"next","fyi":"","delivered":1}"#;

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
}

/// A client, in the list of them.
#[derive(Serialize)]
struct Row<'a> {
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
    fn act(&self, ctx: &mut Context<'_>, text: &[u8], forward: impl FnOnce(&mut Context<'_>, Audience)) {
        let Some(packet) = Packet::parse(text) else {
            acknowledge(ctx, None);
            ctx.close(CloseCode::INVALID_DATA, "not a JSON object with an opcode");
            return;
        };
        let opcode = packet.opcode();
        if let Some(error) = self.forbidden(ctx.me(), opcode) {
            ctx.reply_first(&format!(r#"{{"opcode":"next","fyi":"","delivered":0,"error":"{error}"}}"#));
            return;
        }
        let to = match opcode {
            "feedback" => feedback(ctx, packet.uuid(), packet.ident()),
            "broadcast" => {
                let sender = ctx.me().key;
                broadcast(ctx, Some(sender))
            }
            "echo" => ctx.audience_of_me(),
            "quit" => {
                acknowledge(ctx, None);
                ctx.close(CloseCode::NORMAL, "quit");
                return;
            }
            _ => {
                acknowledge(ctx, None);
                return;
            }
        };
        acknowledge(ctx, Some(to.len()));
        forward(ctx, to);
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
            .filter(|client| client.application() == here)
            .map(|client| Row {
                uuid: client.id.to_string(),
                ident: client.ident().unwrap_or_default(),
                resource: self.paths.get(usize::from(client.resource.0)).map_or("", String::as_str),
                kind: client.kind().name(),
                address: client.address.to_string(),
                connected: client.connected(),
                user: client.user(),
            })
            .collect();
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Keeps a chunk. What goes past the limits closes the connection.
    fn keep(&mut self, ctx: &mut Context<'_>, text: &str) {
        acknowledge(ctx, None);
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
        ctx.reply_first(&[r#"{"opcode":"ready","uuid":""#, uuid, r#""}"#].concat());
    }

    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let (Kind::Text, Some(text)) = (message.kind, message.text()) else {
            acknowledge(ctx, None);
            ctx.close(CloseCode::UNSUPPORTED_DATA, "binary, where JSON text was expected");
            return;
        };
        let me = ctx.me().key;
        match text {
            "bufferOFF" => {
                if let Some(Chunks { joined, .. }) = self.chunked.remove(&me) {
                    self.act(ctx, joined.as_bytes(), |ctx, to| ctx.send(to, &joined));
                    return;
                }
            }
            _ if !self.chunked.is_empty() && self.chunked.contains_key(&me) => {
                self.keep(ctx, text);
                return;
            }
            "bufferON" => {
                acknowledge(ctx, None);
                self.chunked.insert(me, Chunks::default());
                return;
            }
            _ => {}
        }
        self.act(ctx, &message.data, |ctx, to| ctx.forward(to, message));
    }

    fn on_call(&mut self, exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<String, Failure> {
        match action {
            "feedback" | "broadcast" => push(exchange, action, data),
            "clients" => Ok(self.clients(exchange)),
            _ => Err(Failure::no_action(action)),
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

/// Sends what a backend says over the control API: to its clients it comes as a message over a WebSocket would.
fn push(exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<String, Failure> {
    let Said { message: IgnoredAny } = api::read(data)?;
    let packet: Packet<'_> = api::read(data)?;
    if action == "feedback" && packet.uuid().is_empty() && packet.ident().is_empty() {
        return Err(Failure::new(400, "feedback needs a uuid or an ident"));
    }
    let text = match packet.opcode() {
        "" => Cow::Owned([r#"{"opcode":""#, action, r#"","#, members_of(data)].concat()),
        opcode if opcode == action => Cow::Borrowed(data),
        _ => return Err(Failure::new(400, "the data have an opcode that is not the action")),
    };
    let to = match action {
        "feedback" => feedback(exchange, packet.uuid(), packet.ident()),
        _ => broadcast(exchange, None),
    };
    exchange.send(to, &text);
    Ok(to.len().to_string())
}

/// The members of a JSON object and its closing brace.
fn members_of(object: &str) -> &str {
    object.split_once('{').map_or("}", |(_, members)| members)
}

/// Whom a feedback is for: by ident, where there is one, else by UUID. A UUID is a browser's.
fn feedback(exchange: &mut Exchange<'_>, uuid: &str, ident: &str) -> Audience {
    let (clients, here) = (exchange.clients(), exchange.application());
    let addressee = if ident.is_empty() {
        let client = ClientId::parse(uuid).and_then(|id| clients.by_id(id));
        client.filter(|client| client.kind() == ClientKind::Browser && client.application() == here)
    } else {
        clients.by_ident(ident).find(|client| client.application() == here)
    };
    exchange.audience(addressee)
}

/// Whom a broadcast is for: every browser but the sender.
fn broadcast(exchange: &mut Exchange<'_>, sender: Option<ConnectionKey>) -> Audience {
    let here = exchange.application();
    let others = exchange.clients().iter().filter(|client| {
        client.kind() == ClientKind::Browser && client.application() == here && Some(client.key) != sender
    });
    exchange.audience(others)
}

/// `delivered`: how many connections the message was handed to; `None` where it was not for anybody.
fn acknowledge(ctx: &mut Context<'_>, delivered: Option<usize>) {
    let next = match delivered {
        None => Cow::Borrowed(NEXT),
        Some(0) => Cow::Borrowed(NEXT_0),
        Some(1) => Cow::Borrowed(NEXT_1),
        Some(many) => Cow::Owned(format!(r#"{{"opcode":"next","fyi":"","delivered":{many}}}"#)),
    };
    ctx.reply_first(&next);
}

//! The relay: a browser is issued a UUID, a script reports back to it.
//!
//! One instance serves every path whose handler is `relay`; their clients can reach each other. Each complete message
//! is answered by exactly one `next`, before anything that it causes to be sent to the same client; it says how many
//! connections the message was handed to, so a script knows whether anyone got it.

use std::borrow::Cow;
use std::collections::HashMap;

use super::packet::Packet;
use super::registry::{Client, ClientKind};
use super::{Application, Audience, Context};
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
    /// Those who are sending a message in chunks.
    chunked: HashMap<ConnectionKey, Chunks>,
}

/// A message that comes in chunks.
#[derive(Debug, Default)]
struct Chunks {
    joined: String,
    count: usize,
}

impl Relay {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            browsers_may: config.access.browsers_may,
            max_message: config.limits.max_message,
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
            "feedback" => {
                let addressee = addressee(ctx, &packet);
                ctx.audience(addressee)
            }
            "broadcast" => {
                let me = ctx.me();
                let others = ctx.clients().iter().filter(|client| {
                    client.kind == ClientKind::Browser && client.application == me.application && client.key != me.key
                });
                ctx.audience(others)
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
        if me.kind == ClientKind::Script {
            return None;
        }
        match opcode {
            "feedback" if !self.browsers_may.feedback => Some("browsers may not send feedback here"),
            "broadcast" if !self.browsers_may.broadcast => Some("browsers may not broadcast here"),
            "echo" if !self.browsers_may.echo => Some("browsers may not use echo here"),
            _ => None,
        }
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

    fn on_open(&mut self, ctx: &mut Context<'_>) {
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

/// Whom a feedback is for: by ident, where there is one, else by UUID. A UUID is a browser's.
fn addressee<'a>(ctx: &Context<'a>, packet: &Packet<'_>) -> Option<&'a Client> {
    let here = ctx.me().application;
    if !packet.ident().is_empty() {
        return ctx.clients().by_ident(packet.ident()).find(|client| client.application == here);
    }
    let client = ctx.clients().by_id(ClientId::parse(packet.uuid())?)?;
    (client.kind == ClientKind::Browser && client.application == here).then_some(client)
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

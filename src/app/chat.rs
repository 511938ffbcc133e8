//! The chat by client id: a page says which id it goes by, and gets what others address to that id.
//!
//! An id is a number or a string, as the site gives them to its users; `7` and `"7"` are the same. It is a name and not a
//! proof: whoever registers under it last gets what is sent to it. What can't be used is answered with a system message
//! that says why, since a person reads those; what is for nobody is not answered.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::json_string;
use super::packet::{Member, is_object};
use super::{Application, Context};
use crate::id::ConnectionKey;
use crate::proto::Message;
use crate::proto::session::End;

/// Longest id in bytes.
const MAX_ID: usize = 256;

/// The resource `chat`.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// Who registered last under an id.
    by_id: HashMap<Box<str>, ConnectionKey>,
    /// What a connection registered under last, even if another has done so since.
    ids: HashMap<ConnectionKey, Box<str>>,
}

/// A message of a page; of other members nobody takes notice.
#[derive(Deserialize)]
struct Packet<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Member<'a>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    to_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    color: Option<&'a RawValue>,
}

impl Chat {
    /// Registers a connection, in place of what it was registered under.
    fn register(&mut self, me: ConnectionKey, id: &str) {
        self.strike(me);
        self.by_id.insert(id.into(), me);
        self.ids.insert(me, id.into());
    }

    /// Strikes a connection out; an id that is another's by now stays.
    fn strike(&mut self, me: ConnectionKey) {
        if let Some(id) = self.ids.remove(&me)
            && self.by_id.get(&id) == Some(&me)
        {
            self.by_id.remove(&id);
        }
    }

    /// Does what a message asks for. Gives what its sender is to be told, where that is something.
    fn act(&mut self, ctx: &mut Context<'_>, text: &str) -> Result<Option<&'static str>, Cow<'static, str>> {
        if !is_object(text) {
            return Err(Cow::Borrowed("this can't be used: it is not a JSON object"));
        }
        let packet: Packet<'_> =
            serde_json::from_str(text).map_err(|error| Cow::Owned(format!("this can't be used: {error}")))?;
        if packet.kind.as_str() == "system" {
            self.register(ctx.me().key, &id_in(packet.id)?);
            return Ok(Some("Initial message received"));
        }
        // What can't be an id is nobody's, as is one that nobody goes by: nothing happens.
        let receiver = id_in(packet.to_id).ok().and_then(|id| self.by_id.get(&*id));
        if let Some(receiver) = receiver.and_then(|key| ctx.clients().get(*key)) {
            let [name, message, color] =
                [packet.name, packet.message, packet.color].map(|member| member.map_or("null", RawValue::get));
            let to = ctx.audience([receiver]);
            let parts = [r#"{"type":"usermsg","name":"#, name, r#","message":"#, message, r#","color":"#, color, "}"];
            ctx.send(to, &parts.concat());
        }
        Ok(None)
    }
}

/// The id in a member: a string without its quotes, a number as it is written.
fn id_in(member: Option<&RawValue>) -> Result<Cow<'_, str>, Cow<'static, str>> {
    let Some(json) = member.map(RawValue::get) else { return Err(Cow::Borrowed("there is no id")) };
    let id = match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str(json) {
            Ok(plain) => Some(Cow::Borrowed(plain)),
            Err(_) => serde_json::from_str(json).ok().map(Cow::Owned),
        },
        Some(b'-' | b'0'..=b'9') => Some(Cow::Borrowed(json)),
        _ => None,
    };
    match id {
        None => Err(Cow::Borrowed("the id is neither a number nor a string")),
        Some(id) if id.is_empty() => Err(Cow::Borrowed("the id is empty")),
        Some(id) if id.len() > MAX_ID => Err(Cow::Owned(format!("the id is longer than {MAX_ID} bytes"))),
        Some(id) => Ok(id),
    }
}

/// A message of the server's own.
fn system(message: &str) -> String {
    format!(r#"{{"type":"system","message":{}}}"#, json_string(message))
}

impl Application for Chat {
    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let outcome = match message.text() {
            Some(text) => self.act(ctx, text),
            None => Err(Cow::Borrowed("this is binary, where JSON text was expected")),
        };
        let told = match outcome {
            Ok(None) => return,
            Ok(Some(told)) => Cow::Borrowed(told),
            Err(why) => why,
        };
        let to = ctx.audience_of_me();
        ctx.send(to, &system(&told));
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        self.strike(ctx.me().key);
        let here = ctx.application();
        let others = ctx.clients().iter().filter(|client| client.application() == here);
        let to = ctx.audience(others);
        let told = system(&format!("{} disconnected", ctx.me().address));
        ctx.send(to, &told);
    }

    fn held_for(&self, client: ConnectionKey) -> usize {
        // The id stands in both tables.
        self.ids.get(&client).map_or(0, |id| 2 * (id.len() + size_of::<(Box<str>, ConnectionKey)>()))
    }
}

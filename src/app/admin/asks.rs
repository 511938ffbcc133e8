//! What a live page asks for, and its answers.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use log::info;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Feed;
use super::snapshot::json;
use crate::app::api::{self, Failure, json_string};
use crate::app::registry::Client;
use crate::app::relay::{self, Row};
use crate::app::{Context, Exchange, why};
use crate::id::{ClientId, ConnectionKey};
use crate::proto::Message;

/// How many rows a list has where it wasn't said, and at most.
const ROWS: usize = 50;
const MAX_ROWS: usize = 500;

/// What every ask has; what more there is depends on it.
#[derive(Deserialize)]
struct Ask<'a> {
    #[serde(borrow)]
    ask: Cow<'a, str>,
    number: Option<u64>,
}

#[derive(Deserialize)]
struct Clients<'a> {
    #[serde(borrow, default)]
    search: Cow<'a, str>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Endings {
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    target: Cow<'a, str>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Send<'a> {
    #[serde(borrow)]
    to: To<'a>,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// Whom a test message is for: exactly one of these.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum To<'a> {
    #[serde(borrow)]
    Uuid(Cow<'a, str>),
    #[serde(borrow)]
    Ident(Cow<'a, str>),
    Everyone(bool),
}

#[derive(Serialize)]
struct List<'a> {
    /// How many there are that fit, listed or not.
    total: usize,
    clients: Vec<Row<'a>>,
}

impl Feed {
    /// Does what a watcher asks for, and gives the answer. An action gives its members, without braces.
    pub(super) fn answer(&self, ctx: &mut Context<'_>, message: &Message<'_>) -> String {
        let Some(text) = message.text() else {
            return refused(None, &Failure::new(400, "binary, where JSON text was expected"));
        };
        let Ask { ask, number } = match api::read(text) {
            Ok(ask) => ask,
            Err(failure) => return refused(None, &failure),
        };
        let outcome = match &*ask {
            "clients" => self.clients(ctx, text),
            "endings" => endings(ctx, text),
            "why" => why(ctx, text),
            "send" => self.send(ctx, text),
            _ => Err(Failure::new(404, "nothing can be asked for by this name")),
        };
        match outcome {
            Ok(members) => format!(r#"{{"tell":"{ask}"{},{members}}}"#, repeated(number)),
            Err(failure) => refused(number, &failure),
        }
    }

    /// Those who are connected and have the text somewhere in what is known of them, the latest first.
    fn clients(&self, exchange: &Exchange<'_>, data: &str) -> Result<String, Failure> {
        let Clients { search, limit } = api::read(data)?;
        let (limit, here) = (limit.unwrap_or(ROWS).min(MAX_ROWS), exchange.application());
        let search = search.trim().to_lowercase();
        let mut text = String::new();
        let mut total = 0;
        // The latest of those seen so far, the earliest of them on top: there may be many more than are wanted.
        let mut latest = BinaryHeap::with_capacity(limit + 1);
        for client in exchange.clients().iter().filter(|client| client.application() != here) {
            if !search.is_empty() && !self.describe(client, &mut text).contains(&search) {
                continue;
            }
            total += 1;
            latest.push(Reverse((client.connected(), client.key.serial, client.key.slot)));
            if latest.len() > limit {
                latest.pop();
            }
        }
        let rows = latest.into_sorted_vec().into_iter().filter_map(|Reverse((_, serial, slot))| {
            let client = exchange.clients().get(ConnectionKey { slot, serial })?;
            Some(Row::new(client, &self.paths))
        });
        Ok(members_of(&json(&List { total, clients: rows.collect() })))
    }

    /// All that is known of a client and can be searched for, in lower case.
    fn describe<'t>(&self, client: &Client, text: &'t mut String) -> &'t str {
        text.clear();
        let path = self.paths.get(usize::from(client.resource.0)).map_or("", String::as_str);
        let (ident, user) = (client.ident().unwrap_or_default(), client.user().unwrap_or_default());
        // To a string, which takes everything.
        let _ = write!(text, "{}\n{}\n{path}\n{}\n{ident}\n{user}", client.id, client.address, client.kind());
        if text.is_ascii() {
            text.make_ascii_lowercase();
        } else {
            *text = text.to_lowercase();
        }
        text
    }

    /// Sends a test message, as the control API does for the relay.
    fn send(&self, ctx: &mut Context<'_>, data: &str) -> Result<String, Failure> {
        let Send { to, message } = api::read(data)?;
        let Some(relay) = self.relay else {
            return Err(Failure::new(404, "no path of [resources] has the relay, which is what messages are sent by"));
        };
        let (action, whom) = match &to {
            To::Uuid(uuid) => ("feedback", format!(r#""uuid":{},"#, json_string(uuid))),
            To::Ident(ident) => ("feedback", format!(r#""ident":{},"#, json_string(ident))),
            To::Everyone(true) => ("broadcast", String::new()),
            To::Everyone(false) => return Err(Failure::new(400, "the message is for nobody")),
        };
        let data = [r"{", &whom, r#""message":"#, message.get(), "}"].concat();
        let mut relay = ctx.on_behalf_of(relay);
        let done = relay::call(&mut relay, action, &data);
        // What is told from now on is no part of it.
        let message = relay.end_push();
        let delivered = done?;
        let me = ctx.me();
        info!(client:% = me.id, address:% = me.address, path = super::PATH; "sent a test {action}, handed to {delivered}");
        let message = message.map(|message| format!(r#","message":"{message}""#)).unwrap_or_default();
        Ok(format!(r#""delivered":{delivered}{message}"#))
    }
}

/// The last refusals and closes.
fn endings(exchange: &Exchange<'_>, data: &str) -> Result<String, Failure> {
    let Endings { limit } = api::read(data)?;
    Ok(format!(r#""endings":{}"#, why::last_endings(exchange, limit.unwrap_or(ROWS).min(MAX_ROWS))))
}

/// What is known of a client or a message.
fn why(exchange: &Exchange<'_>, data: &str) -> Result<String, Failure> {
    let Target { target, limit } = api::read(data)?;
    let limit = limit.unwrap_or(ROWS).min(MAX_ROWS);
    let name = if ClientId::parse(&target).is_some() { "uuid" } else { "id" };
    let question = format!(r#"{{"{name}":{},"limit":{limit}}}"#, json_string(&target));
    why::why(exchange, &question).map(|history| members_of(&history))
}

/// The members of a JSON object, without its braces: an answer has them.
fn members_of(object: &str) -> String {
    object.get(1..object.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn refused(number: Option<u64>, failure: &Failure) -> String {
    format!(r#"{{"tell":"error"{},"error":{}}}"#, repeated(number), json_string(&failure.why))
}

/// The ask's number, as a member that follows another.
fn repeated(number: Option<u64>) -> String {
    number.map(|number| format!(r#","number":{number}"#)).unwrap_or_default()
}

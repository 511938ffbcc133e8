//! The notification service: pages subscribe to channels, and the backend sends to a channel, or to a user wherever that
//! user has pages open, over the [control API](super::api).
//!
//! A page says who it is once: `{"header":{"type":"init"},"body":{"domain":…,"token":…,"channels":[…]}}`. A domain keeps
//! sites apart that share a server; a token is whatever the backend knows a user by. Both are the page's word: what must
//! not be overheard is sent to tokens that can't be guessed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::api::{self, Failure, json_string};
use super::history::Whom;
use super::wanted::Wanted;
use super::{Application, Context, Exchange, Opening, fates};
use crate::id::{ConnectionKey, MessageId};
use crate::proto::Message;
use crate::proto::session::End;

/// The resource `webntf`.
#[derive(Debug, Default)]
pub(super) struct Notifications {
    domains: BTreeMap<Box<str>, Domain>,
    /// Who has said what it wants.
    pages: HashMap<ConnectionKey, Page>,
}

/// Who listens to what in one domain. Sets by key, so that an audience is in the order of memory.
#[derive(Debug, Default)]
struct Domain {
    channels: BTreeMap<Box<str>, BTreeSet<ConnectionKey>>,
    tokens: HashMap<Box<str>, BTreeSet<ConnectionKey>>,
}

/// What a page has said of itself.
#[derive(Debug)]
struct Page {
    domain: Box<str>,
    token: Box<str>,
    channels: Vec<Box<str>>,
}

impl Page {
    /// Bytes of memory, its places in the sets of its domain included, roughly.
    fn size(&self) -> usize {
        let names: usize = self.channels.iter().map(|channel| channel.len() + 64).sum();
        size_of::<Self>() + self.domain.len() + self.token.len() + names
    }
}

/// A message of a page.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    header: Header<'a>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    /// Of an `init`: the page confirms messages whose fate somebody waits for.
    #[serde(default)]
    acks: bool,
    /// Of an `ack`: the message that is confirmed.
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

/// What a message is sent to.
#[derive(Clone, Copy, Debug)]
enum Target {
    Channel,
    Token,
}

/// What is to be sent to whom.
#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, default)]
    domain: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow)]
    message: &'a RawValue,
    /// In milliseconds.
    wait: Option<f64>,
}

#[derive(Deserialize)]
struct Which<'a> {
    #[serde(borrow)]
    domain: Option<Cow<'a, str>>,
}

/// A channel, in the list of them.
#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    domain: &'a str,
    clients: usize,
}

impl Notifications {
    /// Enters a page, in place of what it has said before.
    fn enter(&mut self, me: ConnectionKey, wanted: Wanted) {
        self.strike(me);
        let Wanted { domain, token, channels } = wanted;
        let here = self.domains.entry(domain.clone()).or_default();
        for channel in &channels {
            here.channels.entry(channel.clone()).or_default().insert(me);
        }
        if !token.is_empty() {
            here.tokens.entry(token.clone()).or_default().insert(me);
        }
        self.pages.insert(me, Page { domain, token, channels });
    }

    /// Strikes a page out, and with it what only it has listened to.
    fn strike(&mut self, me: ConnectionKey) {
        let Some(page) = self.pages.remove(&me) else { return };
        let Some(here) = self.domains.get_mut(&page.domain) else { return };
        for channel in &page.channels {
            if let Some(listeners) = here.channels.get_mut(channel) {
                listeners.remove(&me);
                if listeners.is_empty() {
                    here.channels.remove(channel);
                }
            }
        }
        if let Some(listeners) = here.tokens.get_mut(&page.token) {
            listeners.remove(&me);
            if listeners.is_empty() {
                here.tokens.remove(&page.token);
            }
        }
        if here.channels.is_empty() && here.tokens.is_empty() {
            self.domains.remove(&page.domain);
        }
    }

    /// Sends a message to those who listen to a target.
    fn push(&self, exchange: &mut Exchange<'_>, action: &str, data: &str, target: Target) -> Result<String, Failure> {
        let push: Push<'_> = api::read(data)?;
        if push.target.is_empty() {
            return Err(Failure::new(400, "the target is empty"));
        }
        let wait = push.wait.map(|millis| api::wait(exchange, fates::wait(millis))).transpose()?;
        let message = exchange.begin_push(action, push.message.get().len());
        let (domain, name) = (&*push.domain, &*push.target);
        let here = self.domains.get(domain);
        let (listeners, whom) = match target {
            Target::Channel => (here.and_then(|here| here.channels.get(name)), Whom::Channel { domain, name }),
            Target::Token => (here.and_then(|here| here.tokens.get(name)), Whom::Token { domain, name }),
        };
        let text = message_of("", push.message);
        let label = exchange.remember(whom, text.as_bytes());
        let clients = exchange.clients();
        let pages = listeners.into_iter().flatten().filter_map(|listener| clients.get(*listener));
        let Some(wait) = wait else {
            let to = exchange.audience(pages).labelled(label);
            exchange.send(to, &text);
            return Ok(to.len().to_string());
        };
        exchange.watch(wait);
        let confirming = exchange.audience(pages.clone().filter(|page| page.acknowledges()));
        if !confirming.is_empty() {
            exchange.send(confirming, &message_of(&format!(r#","ack":"{message}""#), push.message));
        }
        let others = exchange.audience(pages.filter(|page| !page.acknowledges())).labelled(label);
        exchange.send(others, &text);
        Ok((confirming.len() + others.len()).to_string())
    }

    /// The channels that somebody listens to, of one domain or of all.
    fn active(&self, data: &str) -> Result<String, Failure> {
        let Which { domain } = api::read(data)?;
        let wanted = |name: &str| domain.as_ref().is_none_or(|wanted| *wanted == name);
        let rows: Vec<Row<'_>> = self
            .domains
            .iter()
            .filter(|(name, _)| wanted(name))
            .flat_map(|(domain, here)| {
                here.channels.iter().map(|(key, listeners)| Row { key, domain, clients: listeners.len() })
            })
            .collect();
        Ok(serde_json::to_string(&rows).unwrap_or_default())
    }
}

/// What a page gets; `more` stands in its header.
fn message_of(more: &str, body: &RawValue) -> String {
    [r#"{"header":{"type":"message""#, more, r#"},"body":"#, body.get(), "}"].concat()
}

impl Application for Notifications {
    fn on_message(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let me = ctx.me().key;
        let envelope = message.text().map(serde_json::from_str::<Envelope<'_>>);
        let done = match envelope {
            Some(Ok(envelope)) if envelope.header.kind == "init" => {
                let wanted = serde_json::from_str::<Wanted>(envelope.body.map_or("{}", RawValue::get));
                if envelope.header.acks {
                    ctx.acknowledges();
                }
                wanted
                    .map_err(|error| Cow::Owned(format!("the body can't be used: {error}")))
                    .and_then(|wanted| wanted.check().map_err(Cow::Borrowed))
                    .map(|wanted| self.enter(me, wanted))
            }
            Some(Ok(envelope)) if envelope.header.kind == "ack" => {
                if let Some(message) = envelope.header.id.as_deref().and_then(MessageId::parse) {
                    ctx.acknowledged(message);
                }
                return;
            }
            Some(Ok(_)) => Err(Cow::Borrowed("the only types that a page may send are init and ack")),
            Some(Err(error)) => Err(Cow::Owned(format!("no message with a header: {error}"))),
            None => Err(Cow::Borrowed("binary, where JSON text was expected")),
        };
        let answer = match done {
            Ok(()) => Cow::Borrowed(Wanted::TAKEN),
            Err(why) => Cow::Owned(format!(
                r#"{{"header":{{"type":"init","status":"ERROR"}},"body":{{"error":{}}}}}"#,
                json_string(&why)
            )),
        };
        let to = ctx.audience_of_me();
        ctx.send(to, &answer);
    }

    fn on_call(&mut self, exchange: &mut Exchange<'_>, action: &str, data: &str) -> Result<String, Failure> {
        match action {
            "send.to.channel" => self.push(exchange, action, data, Target::Channel),
            "send.to.token" => self.push(exchange, action, data, Target::Token),
            "list.active.channels" => self.active(data),
            _ => Err(Failure::no_action(action)),
        }
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        self.strike(ctx.me().key);
    }

    fn on_stream(&mut self, ctx: &mut Context<'_>, opening: &Opening<'_>) {
        if let Ok(Some(wanted)) = Wanted::from_query(opening.query) {
            self.enter(ctx.me().key, wanted);
        }
    }

    fn on_stream_end(&mut self, ctx: &mut Context<'_>) {
        self.strike(ctx.me().key);
    }

    fn held_for(&self, client: ConnectionKey) -> usize {
        self.pages.get(&client).map_or(0, Page::size)
    }
}

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
use super::{Application, Context, Exchange, fates};
use crate::id::{ConnectionKey, MessageId};
use crate::proto::Message;
use crate::proto::session::End;

/// Most channels of one page.
const MAX_CHANNELS: usize = 1000;

/// Longest name of a channel, domain or token in bytes.
const MAX_NAME: usize = 256;

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

/// What an `init` says.
#[derive(Deserialize)]
struct Init {
    #[serde(default)]
    domain: Box<str>,
    #[serde(default)]
    token: Box<str>,
    #[serde(default)]
    channels: Vec<Box<str>>,
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
    fn enter(&mut self, me: ConnectionKey, init: Init) -> Result<(), Cow<'static, str>> {
        let Init { domain, token, mut channels } = init;
        channels.sort_unstable();
        channels.dedup();
        if channels.len() > MAX_CHANNELS {
            return Err(Cow::Owned(format!("more than {MAX_CHANNELS} channels")));
        }
        if [&domain, &token].into_iter().chain(&channels).any(|name| name.len() > MAX_NAME) {
            return Err(Cow::Owned(format!("a name of more than {MAX_NAME} bytes")));
        }
        if channels.iter().any(|channel| channel.is_empty()) {
            return Err(Cow::Borrowed("a channel without a name"));
        }
        self.strike(me);
        let here = self.domains.entry(domain.clone()).or_default();
        for channel in &channels {
            here.channels.entry(channel.clone()).or_default().insert(me);
        }
        if !token.is_empty() {
            here.tokens.entry(token.clone()).or_default().insert(me);
        }
        self.pages.insert(me, Page { domain, token, channels });
        Ok(())
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

    /// Sends a message to those whom `choose` finds in its domain.
    fn push(
        &self,
        exchange: &mut Exchange<'_>,
        action: &str,
        data: &str,
        choose: impl for<'d> Fn(&'d Domain, &str) -> Option<&'d BTreeSet<ConnectionKey>>,
    ) -> Result<String, Failure> {
        let push: Push<'_> = api::read(data)?;
        if push.target.is_empty() {
            return Err(Failure::new(400, "the target is empty"));
        }
        let wait = push.wait.map(|millis| api::wait(exchange, fates::wait(millis))).transpose()?;
        let message = exchange.begin_push(action, push.message.get().len());
        let listeners = self.domains.get(&*push.domain).and_then(|domain| choose(domain, &push.target));
        let clients = exchange.clients();
        let pages = listeners.into_iter().flatten().filter_map(|listener| clients.get(*listener));
        let Some(wait) = wait else {
            let to = exchange.audience(pages);
            exchange.send(to, &message_of("", push.message));
            return Ok(to.len().to_string());
        };
        exchange.watch(wait);
        let confirming = exchange.audience(pages.clone().filter(|page| page.acknowledges()));
        if !confirming.is_empty() {
            exchange.send(confirming, &message_of(&format!(r#","ack":"{message}""#), push.message));
        }
        let others = exchange.audience(pages.filter(|page| !page.acknowledges()));
        exchange.send(others, &message_of("", push.message));
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
                let init = serde_json::from_str(envelope.body.map_or("{}", RawValue::get));
                if envelope.header.acks {
                    ctx.acknowledges();
                }
                init.map_err(|error| Cow::Owned(format!("the body can't be used: {error}")))
                    .and_then(|init| self.enter(me, init))
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
            Ok(()) => Cow::Borrowed(r#"{"header":{"type":"init","status":"OK"}}"#),
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
            "send.to.channel" => self.push(exchange, action, data, |domain, target| domain.channels.get(target)),
            "send.to.token" => self.push(exchange, action, data, |domain, target| domain.tokens.get(target)),
            "list.active.channels" => self.active(data),
            _ => Err(Failure::no_action(action)),
        }
    }

    fn on_close(&mut self, ctx: &mut Context<'_>, _end: &End) {
        self.strike(ctx.me().key);
    }

    fn held_for(&self, client: ConnectionKey) -> usize {
        self.pages.get(&client).map_or(0, Page::size)
    }
}

//! WAMP v1, as AutobahnJS spoke it up to 0.8: JSON lists that begin with their type. Only a call is answered; anything
//! else that can't be done ends the connection, since the protocol has no other way to say so.

use std::borrow::Cow;

use super::dealer::CallId;
use super::refusal::{INVALID_URI, Refusal};
use super::routing::{Filter, Lists};
use super::uri::{MAX_URI, is_reserved, is_v1_uri};
use super::wire::{self, Format, Items, Payload, Raw, Val, Whole};
use super::{Context, ENTRY, Exchange, MAX_EACH, Wamp};
use crate::id::ConnectionKey;
use crate::proto::{CloseCode, Kind, Message};

const WELCOME: u64 = 0;
const PREFIX: u64 = 1;
const CALL: u64 = 2;
const CALLRESULT: u64 = 3;
const CALLERROR: u64 = 4;
const SUBSCRIBE: u64 = 5;
const UNSUBSCRIBE: u64 = 6;
const PUBLISH: u64 = 7;
const EVENT: u64 = 8;

/// The version in WELCOME.
const PROTOCOL: u64 = 1;

/// Why a connection can't go on.
type Violation = Cow<'static, str>;

/// `[EVENT, topicURI, event]`.
pub(super) const fn event<'a>(topic: &'a str, single: Raw<'a>) -> [Val<'a>; 3] {
    [Val::Int(EVENT), Val::Text(topic), Val::Raw(single)]
}

/// `[CALLRESULT, callID, result]`.
pub(super) const fn result<'a>(call: &'a str, single: Raw<'a>) -> [Val<'a>; 3] {
    [Val::Int(CALLRESULT), Val::Text(call), Val::Raw(single)]
}

/// Writes an event.
pub(super) fn write_event(out: &mut Vec<u8>, topic: &str, payload: Payload<'_>) {
    let single = payload.single();
    wire::write(out, Format::Json, &event(topic, Raw::json(&single)), Payload::default());
}

/// Sends `[CALLERROR, callID, errorURI, errorDesc, errorDetails?]`.
pub(super) fn refuse(wamp: &mut Wamp, exchange: &mut Exchange<'_>, to: ConnectionKey, call: &str, refusal: &Refusal) {
    let head = [Val::Int(CALLERROR), Val::Text(call), Val::Text(refusal.uri), Val::Text(&refusal.why)];
    let details = refusal.details.as_deref().map(Raw::json);
    wamp.tell(exchange, to, &head, Payload { args: details, kwargs: None });
}

/// Passes the error of a callee on: a text that stands alone is its description, anything else its details.
pub(super) fn fail(
    wamp: &mut Wamp,
    exchange: &mut Exchange<'_>,
    to: ConnectionKey,
    call: &str,
    uri: &str,
    payload: Payload<'_>,
) {
    let single = payload.single();
    let single = Raw::json(&single);
    let text = single.text();
    let head = [Val::Int(CALLERROR), Val::Text(call), Val::Text(uri), Val::Text(text.as_deref().unwrap_or(uri))];
    let details = if text.is_some() || single.bytes == b"null" { None } else { Some(single) };
    wamp.tell(exchange, to, &head, Payload { args: details, kwargs: None });
}

impl Wamp {
    /// The client is in the realm of those who know of none, and is told its session's id.
    pub(super) fn welcome_v1(&mut self, ctx: &mut Context<'_>) {
        let realm = std::rc::Rc::clone(&self.realm);
        let id = self.join(ctx, ctx.me().key, &realm).to_string();
        let agent = concat!("websock/", env!("CARGO_PKG_VERSION"));
        let head = [Val::Int(WELCOME), Val::Text(&id), Val::Int(PROTOCOL), Val::Text(agent)];
        let me = ctx.me().key;
        self.tell(ctx, me, &head, Payload::default());
    }

    pub(super) fn on_v1(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        if message.kind != Kind::Text {
            ctx.close(CloseCode::UNSUPPORTED_DATA, "binary, where WAMP v1 has JSON text");
            return;
        }
        let me = ctx.me().key;
        let done = Raw { format: Format::Json, bytes: &message.data }
            .items()
            .ok_or(Cow::Borrowed("not a JSON list, or nested too deeply"))
            .and_then(|items| self.obey_v1(ctx, me, &items));
        if let Err(why) = done {
            ctx.close_client(me, CloseCode::PROTOCOL_ERROR, why);
        }
    }

    fn obey_v1(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, items: &Items<'_>) -> Result<(), Violation> {
        match items.get(0).and_then(Raw::number).ok_or("the message has no type")? {
            PREFIX => self.prefix(me, &text(items, 1, "prefix")?, &text(items, 2, "URI")?),
            CALL => self.call_v1(ctx, me, items),
            SUBSCRIBE => {
                let topic = self.uri(me, items, 1)?;
                let (id, new) = self.subscribe(me, &topic).map_err(|refusal| refusal.why)?;
                if new {
                    self.greet_subscriber(ctx, me, &topic, id);
                }
                Ok(())
            }
            UNSUBSCRIBE => {
                let topic = self.uri(me, items, 1)?;
                let realm = self.sessions.get(&me).and_then(|session| self.realms.get(session.realm.as_ref()?));
                if let Some(id) = realm.and_then(|realm| realm.broker.find(&topic)).map(|topic| topic.id) {
                    // A subscription that there is not is as good as ended.
                    let _ = self.unsubscribe(me, id);
                }
                Ok(())
            }
            PUBLISH => self.publish_v1(ctx, me, items),
            WELCOME | CALLRESULT | CALLERROR | EVENT => Err("a message that only a server sends".into()),
            other => Err(format!("there is no message of type {other}").into()),
        }
    }

    fn prefix(&mut self, me: ConnectionKey, prefix: &str, uri: &str) -> Result<(), Violation> {
        if prefix.is_empty() || !is_v1_uri(prefix) || !is_v1_uri(uri) {
            return Err("PREFIX: not a prefix and a URI".into());
        }
        let Some(session) = self.sessions.get_mut(&me) else { return Ok(()) };
        if session.prefixes.len() >= MAX_EACH {
            return Err(format!("more than {MAX_EACH} prefixes").into());
        }
        let size = |uri: &str| ENTRY + prefix.len() + uri.len();
        session.held += size(uri);
        if let Some(old) = session.prefixes.insert(prefix.into(), uri.into()) {
            session.held = session.held.saturating_sub(size(&old));
        }
        Ok(())
    }

    fn call_v1(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, items: &Items<'_>) -> Result<(), Violation> {
        let id = text(items, 1, "call id")?;
        // It is kept as long as the call waits.
        if id.len() > MAX_URI {
            return Err(format!("CALL: the call id is longer than {MAX_URI} bytes").into());
        }
        let call = CallId::V1(id.as_ref().into());
        let uri = self.resolved(me, &text(items, 2, "URI")?);
        if !is_v1_uri(&uri) {
            self.refuse_call(ctx, me, &call, &Refusal::new(INVALID_URI, "this is not a URI"));
            return Ok(());
        }
        let args = [b"[", items.tail(3), b"]"].concat();
        let payload = Payload { args: Some(Raw { format: Format::Json, bytes: &args }), kwargs: None };
        if let Err(refusal) = self.call(ctx, (me, call.clone()), &uri, payload, &Default::default()) {
            self.refuse_call(ctx, me, &call, &refusal);
        }
        Ok(())
    }

    /// `[PUBLISH, topicURI, event]`, `[…, excludeMe]`, `[…, exclude]` or `[…, exclude, eligible]`. As in Autobahn, the
    /// publisher doesn't get its own event unless it says so, or says whom to exclude; null excludes nobody.
    fn publish_v1(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, items: &Items<'_>) -> Result<(), Violation> {
        if items.len() > 5 {
            return Err("PUBLISH: more than five items".into());
        }
        let topic = self.uri(me, items, 1)?;
        if is_reserved(&topic) {
            return Err("PUBLISH: topics that begin with `wamp.` are the protocol's own".into());
        }
        let event = items.get(2).ok_or("PUBLISH: no event")?;
        let (mut publisher, mut lists) = (Some(me), Lists::default());
        match items.get(3) {
            None => {}
            Some(raw) if raw.bytes == b"true" => {}
            Some(raw) if raw.bytes == b"false" || raw.bytes == b"null" => publisher = None,
            Some(raw) => {
                publisher = None;
                lists.exclude = Some(sessions(raw).ok_or("PUBLISH: neither excludeMe nor a list to exclude")?);
            }
        }
        if let Some(raw) = items.get(4) {
            lists.eligible = Some(sessions(raw).ok_or("PUBLISH: eligible is not a list of session ids")?);
        }
        let args = [b"[", event.bytes, b"]"].concat();
        let payload = Payload { args: Some(Raw { format: Format::Json, bytes: &args }), kwargs: None };
        let Some(realm) = self.sessions.get(&me).and_then(|session| session.realm.clone()) else { return Ok(()) };
        self.publish(ctx, (&realm, &topic), payload, &Filter::new(publisher, lists), None);
        Ok(())
    }

    /// A URI or CURIE, whole.
    fn uri(&self, me: ConnectionKey, items: &Items<'_>, index: usize) -> Result<String, Violation> {
        let uri = self.resolved(me, &text(items, index, "URI")?);
        if is_v1_uri(&uri) { Ok(uri) } else { Err("not a URI".into()) }
    }

    /// A URI or CURIE, whole, whatever it is then.
    fn resolved(&self, me: ConnectionKey, uri: &str) -> String {
        self.sessions.get(&me).map_or_else(|| uri.to_owned(), |session| session.resolve(uri))
    }
}

fn text<'a>(items: &Items<'a>, index: usize, what: &str) -> Result<Cow<'a, str>, Violation> {
    items.get(index).and_then(Raw::text).ok_or_else(|| format!("no {what} at place {index} of the message").into())
}

/// Session ids: strings here, numbers in version 2. An id that is none is nobody's.
fn sessions(raw: Raw<'_>) -> Option<Vec<Whole>> {
    let ids: Vec<Cow<'_, str>> = serde_json::from_slice(raw.bytes).ok()?;
    Some(ids.iter().filter_map(|id| id.parse().ok().map(Whole)).collect())
}

//! WAMP v2: what clients say, and what they are told. Messages are lists that begin with their code (WAMP v2, "Message
//! Codes and Direction"). Who breaks the protocol is told how, and the session ends.

use std::borrow::Cow;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::broker::Dialect;
use super::calling::{CallOptions, CancelMode};
use super::dealer::{CallId, Invocation};
use super::refusal::{GOODBYE_AND_OUT, INVALID_URI, OPTION_NOT_ALLOWED, PROTOCOL_VIOLATION, Refusal, SYSTEM_SHUTDOWN};
use super::routing::{Filter, Identity, Lists};
use super::session::Abilities;
use super::uri::{is_reserved, is_uri};
use super::wire::{self, Format, Items, Payload, Raw, Val, Whole};
use super::{Context, Exchange, Wamp};
use crate::id::ConnectionKey;
use crate::proto::{CloseCode, Message};

const HELLO: u64 = 1;
const WELCOME: u64 = 2;
const ABORT: u64 = 3;
const GOODBYE: u64 = 6;
const ERROR: u64 = 8;
const PUBLISH: u64 = 16;
const PUBLISHED: u64 = 17;
const SUBSCRIBE: u64 = 32;
const SUBSCRIBED: u64 = 33;
const UNSUBSCRIBE: u64 = 34;
const UNSUBSCRIBED: u64 = 35;
const EVENT: u64 = 36;
pub(super) const CALL: u64 = 48;
const CANCEL: u64 = 49;
const RESULT: u64 = 50;
const REGISTER: u64 = 64;
const REGISTERED: u64 = 65;
const UNREGISTER: u64 = 66;
const UNREGISTERED: u64 = 67;
const INVOCATION: u64 = 68;
const INTERRUPT: u64 = 69;
const YIELD: u64 = 70;

/// What this router can do, as WELCOME says it.
const ROLES: &str = r#"{"broker":{"features":{"publisher_exclusion":true,"publisher_identification":true,"subscriber_blackwhite_listing":true}},"dealer":{"features":{"call_canceling":true,"call_timeout":true,"caller_identification":true,"progressive_call_results":true}}}"#;

const NOTHING: Val<'static> = Val::Dict(&[]);

/// How a client has broken the protocol.
type Violation = Cow<'static, str>;

/// What a request is that can't be done: its code and its id.
type Request = (u64, u64);

// --- What clients are told ------------------------------------------------------------------------------------------

/// `[EVENT, subscription, publication, details]`.
pub(super) const fn event(subscription: u64, publication: u64) -> [Val<'static>; 4] {
    [Val::Int(EVENT), Val::Int(subscription), Val::Int(publication), NOTHING]
}

/// `[RESULT, request, details]`.
pub(super) const fn result(request: u64, progress: bool) -> [Val<'static>; 3] {
    let details = if progress { Val::Dict(&[("progress", Val::Bool(true))]) } else { NOTHING };
    [Val::Int(RESULT), Val::Int(request), details]
}

/// `[ERROR, type, request, details, error]`.
pub(super) const fn error<'a>((kind, request): Request, details: Val<'a>, uri: &'a str) -> [Val<'a>; 5] {
    [Val::Int(ERROR), Val::Int(kind), Val::Int(request), details, Val::Text(uri)]
}

/// `[INTERRUPT, request, options]`.
pub(super) const fn interrupt<'a>(request: u64, why: &'a [(&'a str, Val<'a>)]) -> [Val<'a>; 3] {
    [Val::Int(INTERRUPT), Val::Int(request), Val::Dict(why)]
}

/// The options of an interrupt.
pub(super) const fn why<'a>(mode: &'a str, reason: &'a str) -> [(&'a str, Val<'a>); 2] {
    [("mode", Val::Text(mode)), ("reason", Val::Text(reason))]
}

/// Writes an event.
pub(super) fn write_event(
    out: &mut Vec<u8>,
    format: Format,
    (subscription, publication): (u64, u64),
    publisher: Option<&Identity>,
    payload: Payload<'_>,
) {
    let mut head = event(subscription, publication);
    match publisher {
        None => wire::write(out, format, &head, payload),
        Some(who) => {
            let details = [
                ("publisher", Val::Int(who.session)),
                ("publisher_authid", Val::Text(&who.authid)),
                ("publisher_authrole", Val::Text(who.authrole)),
            ];
            let [code, subscription, publication, _] = &mut head;
            wire::write(out, format, &[*code, *subscription, *publication, Val::Dict(&details)], payload);
        }
    }
}

/// Sends an error. The first argument is what there is for programs, or else the sentence for people.
pub(super) fn refuse(
    wamp: &mut Wamp,
    exchange: &mut Exchange<'_>,
    to: ConnectionKey,
    request: Request,
    refusal: &Refusal,
) {
    let first = refusal.details.clone().unwrap_or_else(|| crate::app::api::json_string(&refusal.why));
    let args = ["[", &first, "]"].concat();
    wamp.tell(exchange, to, &error(request, NOTHING, refusal.uri), Payload::list(&args));
}

/// Gives a callee a call. `told`: whether it may answer bit by bit, and who the caller is where that is to be known.
pub(super) fn invoke(
    wamp: &mut Wamp,
    exchange: &mut Exchange<'_>,
    (callee, request): Invocation,
    registration: u64,
    (progress, caller): (bool, Option<&Identity>),
    payload: Payload<'_>,
) {
    let mut details = Vec::new();
    if progress {
        details.push(("receive_progress", Val::Bool(true)));
    }
    if let Some(who) = caller {
        details.push(("caller", Val::Int(who.session)));
        details.push(("caller_authid", Val::Text(&who.authid)));
        details.push(("caller_authrole", Val::Text(who.authrole)));
    }
    let head = [Val::Int(INVOCATION), Val::Int(request), Val::Int(registration), Val::Dict(&details)];
    wamp.tell(exchange, callee, &head, payload);
}

// --- What clients say -----------------------------------------------------------------------------------------------

/// What HELLO says of the client.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Hello {
    roles: Roles,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Roles {
    publisher: Option<IgnoredAny>,
    subscriber: Option<IgnoredAny>,
    caller: Option<IgnoredAny>,
    callee: Option<Callee>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Callee {
    features: Option<Features>,
}

/// Null is as good as absent: some write what they don't know of.
#[derive(Default, Deserialize)]
struct Features {
    call_canceling: Option<bool>,
    progressive_call_results: Option<bool>,
}

#[derive(Default, Deserialize)]
struct PublishOptions {
    acknowledge: Option<bool>,
    exclude_me: Option<bool>,
    disclose_me: Option<bool>,
    exclude: Option<Vec<Whole>>,
    exclude_authid: Option<Vec<String>>,
    exclude_authrole: Option<Vec<String>>,
    eligible: Option<Vec<Whole>>,
    eligible_authid: Option<Vec<String>>,
    eligible_authrole: Option<Vec<String>>,
}

impl PublishOptions {
    /// Takes the lists out.
    fn lists(&mut self) -> Lists {
        Lists {
            exclude: self.exclude.take(),
            exclude_authid: self.exclude_authid.take(),
            exclude_authrole: self.exclude_authrole.take(),
            eligible: self.eligible.take(),
            eligible_authid: self.eligible_authid.take(),
            eligible_authrole: self.eligible_authrole.take(),
        }
    }
}

/// Of SUBSCRIBE and REGISTER: what this router doesn't do unless it is the only thing that is done anyway.
#[derive(Default, Deserialize)]
struct Matching {
    #[serde(rename = "match")]
    matching: Option<String>,
    invoke: Option<String>,
}

impl Matching {
    fn check(&self) -> Result<(), Refusal> {
        if self.matching.as_deref().is_some_and(|policy| policy != "exact") {
            return Err(Refusal::new(OPTION_NOT_ALLOWED, "URIs are matched exactly here"));
        }
        if self.invoke.as_deref().is_some_and(|policy| policy != "single") {
            return Err(Refusal::new(OPTION_NOT_ALLOWED, "a procedure has one callee here"));
        }
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct CancelOptions {
    mode: Option<CancelMode>,
}

#[derive(Default, Deserialize)]
struct YieldOptions {
    progress: Option<bool>,
}

/// The name of a message that clients send, and of how many items it is made.
fn shape(code: u64) -> Option<(&'static str, usize, usize)> {
    Some(match code {
        HELLO => ("HELLO", 3, 3),
        ABORT => ("ABORT", 3, 5),
        GOODBYE => ("GOODBYE", 3, 3),
        ERROR => ("ERROR", 5, 7),
        PUBLISH => ("PUBLISH", 4, 6),
        SUBSCRIBE => ("SUBSCRIBE", 4, 4),
        UNSUBSCRIBE => ("UNSUBSCRIBE", 3, 4),
        CALL => ("CALL", 4, 6),
        CANCEL => ("CANCEL", 3, 3),
        REGISTER => ("REGISTER", 4, 4),
        UNREGISTER => ("UNREGISTER", 3, 3),
        YIELD => ("YIELD", 3, 5),
        _ => return None,
    })
}

/// A message whose code and length were checked.
struct Said<'a> {
    name: &'static str,
    items: Items<'a>,
}

impl<'a> Said<'a> {
    fn wrong(&self, index: usize, expected: &str) -> Violation {
        format!("{}: item {index} is not {expected}", self.name).into()
    }

    fn id(&self, index: usize) -> Result<u64, Violation> {
        self.items.get(index).and_then(Raw::id).ok_or_else(|| self.wrong(index, "an id"))
    }

    fn text(&self, index: usize) -> Result<Cow<'a, str>, Violation> {
        self.items.get(index).and_then(Raw::text).ok_or_else(|| self.wrong(index, "a string"))
    }

    fn dict(&self, index: usize) -> Result<Raw<'a>, Violation> {
        self.items.get(index).filter(|raw| raw.is_dict()).ok_or_else(|| self.wrong(index, "a dictionary"))
    }

    fn options<T: DeserializeOwned + Default>(&self, index: usize) -> Result<T, Violation> {
        self.dict(index)?.options().map_err(|why| format!("{}: item {index}: {why}", self.name).into())
    }

    /// The arguments, which may be missing, at `index` and behind it.
    fn payload(&self, index: usize) -> Result<Payload<'a>, Violation> {
        let (args, kwargs) = (self.items.get(index), self.items.get(index + 1));
        if args.is_some_and(|args| !args.is_list()) {
            return Err(self.wrong(index, "a list of arguments"));
        }
        if kwargs.is_some_and(|kwargs| !kwargs.is_dict()) {
            return Err(self.wrong(index + 1, "a dictionary of arguments"));
        }
        Ok(Payload { args, kwargs })
    }
}

impl Wamp {
    /// Says good-bye to a client that is in a realm, since the server is stopping.
    pub(super) fn good_bye(&mut self, ctx: &mut Context<'_>) {
        let me = ctx.me().key;
        if self.sessions.get(&me).is_some_and(|session| session.dialect != Dialect::V1 && session.realm.is_some()) {
            let details = [("message", Val::Text("the server is stopping"))];
            let head = [Val::Int(GOODBYE), Val::Dict(&details), Val::Text(SYSTEM_SHUTDOWN)];
            self.tell(ctx, me, &head, Payload::default());
        }
    }

    pub(super) fn on_v2(&mut self, ctx: &mut Context<'_>, message: &Message<'_>) {
        let me = ctx.me().key;
        let Some(session) = self.sessions.get(&me) else { return };
        let (format, joined) = (session.format(), session.realm.clone());
        let done = if message.kind == format.kind() {
            read(Raw { format, bytes: &message.data }).and_then(|(code, said)| match (code, joined) {
                (HELLO, None) => self.hello(ctx, me, &said),
                // Nothing was begun that would have to be ended.
                (ABORT, _) => {
                    self.leave(ctx, me);
                    ctx.close(CloseCode::NORMAL, "the client has given up (ABORT)");
                    Ok(())
                }
                (_, None) => Err(format!("{} before HELLO", said.name).into()),
                (_, Some(realm)) => self.obey(ctx, (me, &realm), code, &said),
            })
        } else {
            Err(Cow::Borrowed("text and binary are mixed up: JSON is text, MessagePack is binary"))
        };
        if let Err(why) = done {
            self.abort(ctx, me, PROTOCOL_VIOLATION, why);
        }
    }

    /// Tells a client why its session can't go on, and ends the connection.
    fn abort(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, reason: &str, why: Violation) {
        let details = [("message", Val::Text(&why))];
        self.tell(ctx, me, &[Val::Int(ABORT), Val::Dict(&details), Val::Text(reason)], Payload::default());
        self.leave(ctx, me);
        ctx.close_client(me, CloseCode::PROTOCOL_ERROR, why);
    }

    fn hello(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, said: &Said<'_>) -> Result<(), Violation> {
        let realm = said.text(1)?;
        let Hello { roles } = said.options(2)?;
        if !is_uri(&realm) {
            self.abort(ctx, me, INVALID_URI, Cow::Borrowed("HELLO: the realm is not a URI"));
            return Ok(());
        }
        if roles.publisher.is_none() && roles.subscriber.is_none() && roles.caller.is_none() && roles.callee.is_none() {
            return Err("HELLO: no role that a client can have".into());
        }
        let realm: Rc<str> = realm.as_ref().into();
        let id = self.join(ctx, me, &realm);
        if let (Some(session), Some(Callee { features })) = (self.sessions.get_mut(&me), roles.callee) {
            let features = features.unwrap_or_default();
            session.can = Abilities {
                be_interrupted: features.call_canceling == Some(true),
                progress: features.progressive_call_results == Some(true),
            };
        }
        let Some(who) = self.identity(ctx, me) else { return Ok(()) };
        let method = if who.authrole == "user" { "cookie" } else { "anonymous" };
        let details = [
            ("realm", Val::Text(&realm)),
            ("authid", Val::Text(&who.authid)),
            ("authrole", Val::Text(who.authrole)),
            ("authmethod", Val::Text(method)),
            ("agent", Val::Text(concat!("websock/", env!("CARGO_PKG_VERSION")))),
            ("roles", Val::Raw(Raw::json(ROLES))),
        ];
        self.tell(ctx, me, &[Val::Int(WELCOME), Val::Int(id), Val::Dict(&details)], Payload::default());
        Ok(())
    }

    /// A message within a session.
    fn obey(
        &mut self,
        ctx: &mut Context<'_>,
        (me, realm): (ConnectionKey, &str),
        code: u64,
        said: &Said<'_>,
    ) -> Result<(), Violation> {
        let mut request = 0;
        // Replies and what is said of an earlier request have an id that is not new. Others count up from 1, says the
        // specification; but clients draw them at random, and so do its own examples. Only what an answer may still
        // have to be told by must be unique.
        if matches!(code, PUBLISH | SUBSCRIBE | UNSUBSCRIBE | CALL | REGISTER | UNREGISTER) {
            request = said.id(1)?;
            if self.calls.find(me, &CallId::V2(request)).is_some() {
                return Err(format!("{}: a call with the request id {request} still waits", said.name).into());
            }
        }
        let done = match code {
            PUBLISH => return self.publish_v2(ctx, (me, realm), request, said),
            SUBSCRIBE => {
                let options: Matching = said.options(2)?;
                let topic = said.text(3)?;
                let id = options.check().and_then(|()| checked(&topic)).and_then(|()| self.subscribe(me, &topic));
                id.map(|(id, new)| {
                    self.tell(ctx, me, &[SUBSCRIBED, request, id].map(Val::Int), Payload::default());
                    if new {
                        self.greet_subscriber(ctx, me, &topic, id);
                    }
                })
            }
            UNSUBSCRIBE => self
                .unsubscribe(me, said.id(2)?)
                .map(|()| self.tell(ctx, me, &[UNSUBSCRIBED, request].map(Val::Int), Payload::default())),
            REGISTER => {
                let options: Matching = said.options(2)?;
                let uri = said.text(3)?;
                let id = options
                    .check()
                    .and_then(|()| checked(&uri))
                    .and_then(|()| unreserved(&uri))
                    .and_then(|()| self.register(me, &uri));
                id.map(|id| self.tell(ctx, me, &[REGISTERED, request, id].map(Val::Int), Payload::default()))
            }
            UNREGISTER => self
                .unregister(me, said.id(2)?)
                .map(|()| self.tell(ctx, me, &[UNREGISTERED, request].map(Val::Int), Payload::default())),
            CALL => {
                let options: CallOptions = said.options(2)?;
                let (uri, payload) = (said.text(3)?, said.payload(4)?);
                checked(&uri).and_then(|()| self.call(ctx, (me, CallId::V2(request)), &uri, payload, &options))
            }
            CANCEL => {
                let (call, options) = (said.id(1)?, said.options::<CancelOptions>(2)?);
                self.cancel(ctx, me, &CallId::V2(call), options.mode.unwrap_or_default());
                return Ok(());
            }
            YIELD => {
                let (id, options) = (said.id(1)?, said.options::<YieldOptions>(2)?);
                let payload = said.payload(3)?;
                let asked = self.yielded(ctx, (me, id), payload, options.progress.unwrap_or_default());
                return if asked { Ok(()) } else { Err("YIELD: there was no such invocation".into()) };
            }
            ERROR => return self.error_v2(ctx, me, said),
            GOODBYE => {
                said.dict(1)?;
                said.text(2)?;
                let head = [Val::Int(GOODBYE), NOTHING, Val::Text(GOODBYE_AND_OUT)];
                self.tell(ctx, me, &head, Payload::default());
                self.leave(ctx, me);
                return Ok(());
            }
            // HELLO: `shape` knows no other code.
            _ => return Err("HELLO: the session has begun already".into()),
        };
        if let Err(refusal) = done {
            refuse(self, ctx, me, (code, request), &refusal);
        }
        Ok(())
    }

    fn publish_v2(
        &mut self,
        ctx: &mut Context<'_>,
        (me, realm): (ConnectionKey, &str),
        request: u64,
        said: &Said<'_>,
    ) -> Result<(), Violation> {
        let mut options: PublishOptions = said.options(2)?;
        let lists = options.lists();
        let PublishOptions { acknowledge, exclude_me, disclose_me, .. } = options;
        let (topic, payload) = (said.text(3)?, said.payload(4)?);
        let acknowledge = acknowledge.unwrap_or_default();
        if let Err(refusal) = checked(&topic).and_then(|()| unreserved(&topic)) {
            // Who doesn't want to hear of success isn't listening for anything else.
            if acknowledge {
                refuse(self, ctx, me, (PUBLISH, request), &refusal);
            }
            return Ok(());
        }
        let filter = Filter::new(exclude_me.unwrap_or(true).then_some(me), lists);
        let disclosed = disclose_me.unwrap_or_default().then(|| self.identity(ctx, me)).flatten();
        let (publication, _) = self.publish(ctx, (realm, &topic), payload, &filter, disclosed.as_ref());
        if acknowledge {
            self.tell(ctx, me, &[PUBLISHED, request, publication].map(Val::Int), Payload::default());
        }
        Ok(())
    }

    /// `[ERROR, INVOCATION, request, details, error, args, kwargs]`: a callee has failed.
    fn error_v2(&mut self, ctx: &mut Context<'_>, me: ConnectionKey, said: &Said<'_>) -> Result<(), Violation> {
        if said.items.get(1).and_then(Raw::number) != Some(INVOCATION) {
            return Err("ERROR: a client answers nothing but invocations".into());
        }
        let (id, details, uri) = (said.id(2)?, said.dict(3)?, said.text(4)?);
        if !is_uri(&uri) {
            return Err("ERROR: the error is not a URI".into());
        }
        let asked = self.failed(ctx, (me, id), details, &uri, said.payload(5)?);
        if asked { Ok(()) } else { Err("ERROR: there was no such invocation".into()) }
    }
}

/// Takes a message apart.
fn read(raw: Raw<'_>) -> Result<(u64, Said<'_>), Violation> {
    let items = raw.items().ok_or(match raw.format {
        Format::Json => "not a JSON list, or nested too deeply",
        Format::MsgPack => "not a MessagePack list, or nested too deeply",
    })?;
    let code = items.get(0).and_then(Raw::number).ok_or("the message has no code")?;
    let (name, least, most) = shape(code).ok_or_else(|| format!("no client sends a message of code {code}"))?;
    if !(least..=most).contains(&items.len()) {
        return Err(format!("{name}: {} items, where {least} to {most} were expected", items.len()).into());
    }
    Ok((code, Said { name, items }))
}

fn checked(uri: &str) -> Result<(), Refusal> {
    if is_uri(uri) { Ok(()) } else { Err(Refusal::new(INVALID_URI, "this is not a URI")) }
}

fn unreserved(uri: &str) -> Result<(), Refusal> {
    if is_reserved(uri) {
        return Err(Refusal::new(INVALID_URI, "URIs that begin with `wamp.` are the protocol's own"));
    }
    Ok(())
}

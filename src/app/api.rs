//! The control API: what backends that can't hold a socket open ask for over HTTP.
//!
//! `POST /api/SERVICE/ACTION`, a JSON object in, a JSON object out. A service is an application, by the name that
//! `[resources]` calls it, and an action does what a message to that application does: it is the same code. Who may call
//! is for the [gate](super::gate) to say, before the body is read.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::outbox::Outbox;
use super::packet::is_object;
use super::{Exchange, Routes, World};
use crate::config::OriginPattern;
use crate::id::MessageId;
use crate::proto::http::{Refusal, Request, Response};

/// What all paths of the API begin with.
const PREFIX: &str = "/api/";

/// Copies of messages, and bytes of messages or results, past which nothing more of a batch is done: all of them are in
/// memory before the first is sent.
const MAX_COPIES: usize = 1_000_000;
const MAX_BYTES: usize = 16 << 20;
const TOO_MUCH: Failure = Failure { status: 413, why: Cow::Borrowed("the batch asks for too much before this") };

/// Longest part of a caller's own words in an answer, in characters.
const MAX_QUOTED: usize = 60;

/// Why something can't be done: a status with a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// One sentence for the person who made the call.
    pub why: Cow<'static, str>,
}

impl Failure {
    /// A failure with `status` and the sentence `why`.
    pub fn new(status: u16, why: impl Into<Cow<'static, str>>) -> Self {
        Self { status, why: why.into() }
    }

    /// The service has no such action.
    pub fn no_action(action: &str) -> Self {
        Self::new(404, format!("there is no action {:?} here", quoted(action)))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status, refusal.why)
    }
}

/// What a call has led to.
#[derive(Debug, Default)]
pub struct Done {
    /// JSON.
    pub result: String,
    /// The message that was pushed, if one was.
    pub message: Option<MessageId>,
    /// What became of it, as JSON, where the caller has waited for that.
    pub targets: Option<String>,
}

/// Which pages may read an answer (the Fetch standard, section 3.3, CORS protocol).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Readers<'r> {
    /// The server's own: no others are listed.
    Own,
    /// Some others, of which the page that asks is none.
    Others,
    /// The page that asks, by its origin.
    This(Cow<'r, str>),
}

impl<'r> Readers<'r> {
    /// Who may read the answer to `request`, where pages of these origins may.
    pub fn new(listed: &[OriginPattern], request: &Request<'r>) -> Self {
        if listed.is_empty() {
            return Self::Own;
        }
        match request.only("origin") {
            Ok(Some(origin)) if listed.iter().any(|pattern| pattern.matches(origin)) => {
                Self::This(Cow::Borrowed(origin))
            }
            _ => Self::Others,
        }
    }

    /// The same, for an answer that comes when the request is no longer there.
    pub fn into_owned(self) -> Readers<'static> {
        match self {
            Self::Own => Readers::Own,
            Self::Others => Readers::Others,
            Self::This(origin) => Readers::This(Cow::Owned(origin.into_owned())),
        }
    }

    /// Says so in `fields`; `field` is where one is written that must be.
    fn say<'f>(&self, fields: &mut Vec<&'f str>, field: &'f mut String) {
        if *self != Self::Own {
            // No cache may give one origin's answer to another.
            fields.push("Vary: Origin");
        }
        if let Self::This(origin) = self {
            *field = format!("Access-Control-Allow-Origin: {origin}");
            fields.push(field);
        }
    }
}

/// Reads the data of an action.
///
/// # Errors
///
/// 400 with what is missing or wrong, and where.
pub fn read<'d, T: Deserialize<'d>>(data: &'d str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| Failure::new(400, format!("the data can't be used: {error}")))
}

/// How long a caller waits to be told what becomes of its message.
///
/// # Errors
///
/// 400 where that is no time, or nobody could be told.
pub fn wait(exchange: &Exchange<'_>, wait: Option<Duration>) -> Result<Duration, Failure> {
    if !exchange.may_wait() {
        return Err(Failure::new(400, "neither a batch nor the queue can wait for what becomes of messages"));
    }
    wait.ok_or_else(|| Failure::new(400, "wait must be a number of milliseconds, 0 or more"))
}

/// Whether `path` is one of the API's.
pub fn is_call(path: &str) -> bool {
    path == "/api" || path.starts_with(PREFIX)
}

/// Does what is asked for. The result is JSON.
///
/// # Errors
///
/// There is no such service or action, or it can't be done with these data.
pub fn call(
    routes: &mut Routes,
    world: World<'_>,
    outbox: &mut Outbox,
    path: &str,
    body: &[u8],
) -> Result<Done, Failure> {
    let (service, action) = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).unwrap_or((path, ""));
    let (own, further) = (routes.service(service), routes.further_service(service));
    let Some(id) = own.or(further) else {
        return Err(Failure::new(404, format!("there is no service {:?} here", quoted(service))));
    };
    let data = std::str::from_utf8(body).map_err(|_| Failure::new(400, "the body is not UTF-8"))?;
    let application = routes.application_mut(id);
    let alone = action != "batch";
    let mut one = |action: &str, data: &str| {
        if outbox.targets.len() > MAX_COPIES || outbox.arena.len() > MAX_BYTES {
            return Err(TOO_MUCH);
        }
        if !is_object(data) {
            return Err(Failure::new(400, "the data must be a JSON object"));
        }
        let mut exchange = Exchange::new(id, world, outbox);
        if !alone {
            exchange = exchange.without_waiting();
        }
        let action = if own.is_some() { Cow::Borrowed(action) } else { [service, "/", action].concat().into() };
        let result = application.on_call(&mut exchange, &action, data)?;
        let message = exchange.end_push();
        Ok(Done { result, message, targets: None })
    };
    match action {
        "batch" => batch(data, one),
        // Some actions need no data, and some clients send no body where there is nothing in it.
        _ if data.is_empty() => one(action, "{}"),
        _ => one(action, data),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Does several actions in their order; one that fails does not stop the others.
fn batch(data: &str, mut one: impl FnMut(&str, &str) -> Result<Done, Failure>) -> Result<Done, Failure> {
    let items: Vec<Item<'_>> = read(data)?;
    let mut results = "[".to_owned();
    for item in &items {
        if results.len() > 1 {
            results.push(',');
        }
        let result = match &*item.action {
            "batch" => Err(Failure::new(400, "a batch in a batch")),
            _ if results.len() > MAX_BYTES => Err(TOO_MUCH),
            action => one(action, item.data.map_or("{}", RawValue::get)),
        };
        push_outcome(&mut results, &result, "");
    }
    results.push(']');
    Ok(Done { result: results, ..Done::default() })
}

/// Appends `{"status":…}` with the result or the error in it; `more` stands between, and ends in a comma if it is there.
fn push_outcome(out: &mut String, outcome: &Result<Done, Failure>, more: &str) {
    let written = match outcome {
        Ok(Done { result, message, targets }) => {
            let id = message.map(|message| format!(r#","id":"{message}""#)).unwrap_or_default();
            let targets = targets.as_ref().map(|targets| format!(r#","targets":{targets}"#)).unwrap_or_default();
            write!(out, r#"{{"status":"OK",{more}"result":{result}{id}{targets}}}"#)
        }
        Err(failure) => write!(out, r#"{{"status":"ERROR",{more}"error":{}}}"#, json_string(&failure.why)),
    };
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Appends the answer to a call. `time`: now, in seconds since 1970. `close`: the connection ends here.
pub fn answer(out: &mut Vec<u8>, outcome: &Result<Done, Failure>, time: f64, readers: &Readers<'_>, close: bool) {
    let mut body = String::new();
    push_outcome(&mut body, outcome, &format!(r#""time":{time:.6},"#));
    body.push('\n');
    let status = outcome.as_ref().map_or_else(|failure| failure.status, |_| 200);
    let mut field = String::new();
    let mut fields = vec!["Cache-Control: no-store"];
    match status {
        401 => fields.push("WWW-Authenticate: Bearer"),
        405 => fields.push("Allow: POST"),
        _ => {}
    }
    readers.say(&mut fields, &mut field);
    Response {
        status,
        fields: &fields,
        content_type: "application/json",
        body: body.as_bytes(),
        head_only: false,
        close,
    }
    .write(out);
}

/// Appends the answer to a browser that asks whether a page may make a call. `close`: the connection ends here.
pub fn answer_preflight(out: &mut Vec<u8>, readers: &Readers<'_>, close: bool) {
    let mut field = String::new();
    let mut fields = vec![
        "Access-Control-Allow-Methods: POST",
        "Access-Control-Allow-Headers: Authorization, Content-Type",
        // In seconds: how long after an origin was struck out its pages may still ask, in vain.
        "Access-Control-Max-Age: 600",
    ];
    readers.say(&mut fields, &mut field);
    Response { status: 204, fields: &fields, content_type: "", body: b"", head_only: true, close }.write(out);
}

/// `text` as a JSON string.
pub fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// As much of a caller's words as an answer repeats.
pub(super) fn quoted(text: &str) -> &str {
    text.char_indices().nth(MAX_QUOTED).map_or(text, |(end, _)| &text[..end])
}

//! What the server itself offers: form locks as procedures, and what backends ask for over the control API.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::forms::{Denied, Editor, FormId, Lock};
use super::refusal::{FORM_LOCKED, FORM_NOT_LOCKED, INVALID_ARGUMENT, INVALID_URI, Refusal, TOO_MANY};
use super::routing::{Filter, Lists};
use super::uri::{is_form, is_reserved, is_v1_uri};
use super::wire::{Payload, Raw, Whole};
use super::{Exchange, Wamp, json};
use crate::app::api::{self, Failure, json_string};
use crate::id::ConnectionKey;

const LOCK: &str = "form-lock";
const RELEASE: &str = "form-release";
const INFO: &str = "form-lock-info";

/// The procedures that nobody else can register.
pub(super) const NAMES: [&str; 3] = [LOCK, RELEASE, INFO];

/// Which form, and what shows that one holds it.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    form: Option<String>,
    token: Option<String>,
}

/// What is told of a form.
#[derive(Serialize)]
struct Info<'a> {
    form: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    lock: Option<LockInfo<'a>>,
}

#[derive(Serialize)]
struct LockInfo<'a> {
    /// In seconds since 1970.
    since: u64,
    fence: u64,
    holder: HolderInfo<'a>,
}

#[derive(Serialize)]
struct HolderInfo<'a> {
    session: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// Its connection has ended, and the lock is kept for it for a while.
    gone: bool,
}

/// A backend that is about to store what was edited.
#[derive(Deserialize)]
struct Check {
    form: String,
    #[serde(default)]
    token: String,
    realm: Option<String>,
}

/// What a backend publishes.
#[derive(Deserialize)]
struct Published<'a> {
    topic: String,
    realm: Option<String>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    kwargs: Option<&'a RawValue>,
    exclude: Option<Vec<Whole>>,
    exclude_authid: Option<Vec<String>>,
    exclude_authrole: Option<Vec<String>>,
    eligible: Option<Vec<Whole>>,
    eligible_authid: Option<Vec<String>>,
    eligible_authrole: Option<Vec<String>>,
}

impl Published<'_> {
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

impl Wamp {
    /// Calls one of the server's own procedures. `None`: this is none of them; else its result, a JSON object.
    pub(super) fn call_own(
        &mut self,
        exchange: &mut Exchange<'_>,
        caller: ConnectionKey,
        uri: &str,
        payload: Payload<'_>,
    ) -> Option<Result<String, Refusal>> {
        if !NAMES.contains(&uri) {
            return None;
        }
        let session = self.sessions.get(&caller)?;
        let realm = session.realm.clone()?;
        let asked = asked(uri, payload).and_then(|Asked { form, token }| {
            // Version 1 may name a form as it names topics.
            let topic = session.resolve(&form.unwrap_or_default());
            check_form(&topic)?;
            Ok((FormId { realm, topic: topic.into() }, token))
        });
        Some(asked.and_then(|(form, token)| {
            let token = token.as_deref();
            match uri {
                LOCK => self.lock(exchange, caller, &form, token),
                RELEASE => self.release(exchange, caller, &form, token),
                _ => Ok(self.info(&form)),
            }
        }))
    }

    fn lock(
        &mut self,
        exchange: &mut Exchange<'_>,
        client: ConnectionKey,
        form: &FormId,
        token: Option<&str>,
    ) -> Result<String, Refusal> {
        let session = self.sessions.get(&client).map_or(0, |session| session.id);
        let user = exchange.clients().get(client).and_then(|client| client.user()).map(Box::from);
        let editor = Editor { client, session, user };
        match self.forms.lock(form, editor, token, exchange.wall_clock(), exchange.random()) {
            Ok((lock, fresh)) => {
                let result =
                    format!(r#"{{"event":"locked","token":"{}","fence":{}}}"#, lock.token.as_str(), lock.fence);
                if fresh {
                    self.tell_form(exchange, form, "editing", Some(client));
                }
                Ok(result)
            }
            Err(Denied::Locked) => Err(is_locked(form)),
            Err(Denied::TooMany) => Err(Refusal::new(TOO_MANY, "too many forms are locked")),
        }
    }

    fn release(
        &mut self,
        exchange: &mut Exchange<'_>,
        client: ConnectionKey,
        form: &FormId,
        token: Option<&str>,
    ) -> Result<String, Refusal> {
        match self.forms.release(form, client, token) {
            Ok(()) => {
                self.tell_form(exchange, form, "released", Some(client));
                Ok(r#"{"event":"released"}"#.to_owned())
            }
            Err(Some(_)) => Err(is_locked(form)),
            Err(None) => {
                let details = details(form, "released");
                Err(Refusal::new(FORM_NOT_LOCKED, "the form is not locked").with_details(details))
            }
        }
    }

    fn info(&self, form: &FormId) -> String {
        let lock = self.forms.get(form).map(|lock: &Lock| LockInfo {
            since: lock.since,
            fence: lock.fence,
            holder: HolderInfo {
                session: lock.holder.session,
                user: lock.holder.user.as_deref(),
                gone: lock.is_kept(),
            },
        });
        let status = if lock.is_some() { "locked" } else { "released" };
        serde_json::to_string(&Info { form: &form.topic, status, lock }).unwrap_or_default()
    }

    /// What a backend asks for over the control API.
    pub(super) fn on_service(
        &mut self,
        exchange: &mut Exchange<'_>,
        action: &str,
        data: &str,
    ) -> Result<String, Failure> {
        match action {
            "publish" => self.publish_for_backend(exchange, data),
            "form-lock/check" => {
                let check: Check = api::read(data)?;
                let form = self.form_of(&check)?;
                Ok(match (self.forms.held_with(&form, &check.token), self.forms.get(&form)) {
                    (Some(lock), _) => format!(r#"{{"held":true,"fence":{}}}"#, lock.fence),
                    (None, lock) => format!(r#"{{"held":false,"locked":{}}}"#, lock.is_some()),
                })
            }
            "form-lock/info" => {
                let form = self.form_of(&api::read(data)?)?;
                Ok(self.info(&form))
            }
            _ => Err(Failure::no_action(action)),
        }
    }

    fn form_of(&self, Check { form, realm, .. }: &Check) -> Result<FormId, Failure> {
        check_form(form).map_err(|refusal| Failure::new(400, refusal.why))?;
        Ok(FormId { realm: self.realm_of(realm.as_deref()), topic: form.as_str().into() })
    }

    fn realm_of(&self, realm: Option<&str>) -> Rc<str> {
        realm.map_or_else(|| Rc::clone(&self.realm), Rc::from)
    }

    fn publish_for_backend(&mut self, exchange: &mut Exchange<'_>, data: &str) -> Result<String, Failure> {
        let mut published: Published<'_> = api::read(data)?;
        let lists = published.lists();
        let Published { topic, realm, message, args, kwargs, .. } = published;
        check_topic(&topic)?;
        let args = match (message, args) {
            (Some(_), Some(_)) => return Err(Failure::new(400, "message and args: one of them can be sent")),
            (Some(message), None) => Some(["[", message.get(), "]"].concat()),
            (None, args) => args.map(|args| args.get().to_owned()),
        };
        if args.is_none() && kwargs.is_none() {
            return Err(Failure::new(400, "there is nothing to send: no message, args or kwargs"));
        }
        let args = args.as_deref().map(Raw::json);
        let kwargs = kwargs.map(|kwargs| Raw::json(kwargs.get()));
        if args.is_some_and(|args| !args.is_list()) || kwargs.is_some_and(|kwargs| !kwargs.is_dict()) {
            return Err(Failure::new(400, "args must be a list, and kwargs an object"));
        }
        args.into_iter().chain(kwargs).try_for_each(|raw| check_depth(raw.bytes))?;
        let realm = self.realm_of(realm.as_deref());
        let filter = Filter::new(None, lists);
        exchange.begin_push("publish", data.len());
        let sent = self.publish(exchange, (&realm, &topic), Payload { args, kwargs }, &filter, None);
        Ok(sent.1.to_string())
    }

    /// Publishes a JSON object, as it came, to a topic of the realm of those who know of none. Gives how many clients it
    /// was sent to.
    pub(super) fn publish_json(
        &mut self,
        exchange: &mut Exchange<'_>,
        topic: &str,
        text: &str,
    ) -> Result<usize, Failure> {
        check_topic(topic)?;
        let args = ["[", text, "]"].concat();
        check_depth(args.as_bytes())?;
        exchange.begin_push("publish", text.len());
        let realm = Rc::clone(&self.realm);
        Ok(self.publish(exchange, (&realm, topic), Payload::list(&args), &Filter::default(), None).1)
    }
}

/// Clients of WAMP v1 may be subscribed to what is a URI only to them.
fn check_topic(topic: &str) -> Result<(), Failure> {
    if is_v1_uri(topic) && !is_reserved(topic) {
        return Ok(());
    }
    Err(Failure::new(400, "the topic is not a URI that can be published to"))
}

fn check_depth(text: &[u8]) -> Result<(), Failure> {
    if json::is_too_deep(text) {
        return Err(Failure::new(400, "lists and objects are nested too deeply"));
    }
    Ok(())
}

/// What a caller says: an object as the first argument, or named arguments. A form is there.
fn asked(procedure: &str, Payload { args, kwargs }: Payload<'_>) -> Result<Asked, Refusal> {
    let first = args.and_then(Raw::items).and_then(|items| items.get(0));
    let asked = match first.or(kwargs) {
        Some(raw) if raw.is_dict() => raw.options().map_err(|why| Refusal::new(INVALID_ARGUMENT, why))?,
        Some(_) => {
            return Err(Refusal::new(INVALID_ARGUMENT, r#"the argument is not an object like {"form": "<form id>"}"#));
        }
        None => Asked::default(),
    };
    let form = asked.form.as_deref().unwrap_or_default();
    if form.is_empty() {
        let why = format!(r#"no form id: {procedure} needs {{"form": "<form id>"}}"#);
        return Err(Refusal::new(INVALID_ARGUMENT, why));
    }
    Ok(asked)
}

/// A form is a topic that somebody may be subscribed to, of either version.
fn check_form(form: &str) -> Result<(), Refusal> {
    if !is_v1_uri(form) {
        return Err(Refusal::new(INVALID_URI, "the form id is not a URI"));
    }
    if !is_form(form) {
        return Err(Refusal::new(INVALID_ARGUMENT, "this is no form: none of its components is `form`"));
    }
    Ok(())
}

fn is_locked(form: &FormId) -> Refusal {
    Refusal::new(FORM_LOCKED, "the form is locked").with_details(details(form, "locked"))
}

fn details(form: &FormId, status: &str) -> String {
    format!(r#"{{"form":{},"status":"{status}"}}"#, json_string(&form.topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_says_besides_is_not_even_read() {
        // Kept for later, it would have to be a number.
        let text = r#"{"x":1e999,"topic":"t","message":1,"exclude":[4503599627370496.0],"eligible_authid":["a"]}"#;
        let mut published: Published<'_> = api::read(text).unwrap();
        let lists = published.lists();
        assert_eq!(lists.exclude, Some(vec![Whole(1 << 52)]));
        assert_eq!(lists.eligible_authid, Some(vec!["a".to_owned()]));
        assert!(lists.eligible.is_none());
    }
}

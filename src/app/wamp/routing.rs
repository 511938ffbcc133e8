//! Events on their way to subscribers, and any message on its way to one client.

use super::broker::Dialect;
use super::forms::FormId;
use super::refusal::{INVALID_URI, NO_SUCH_SUBSCRIPTION, Refusal, TOO_MANY};
use super::session::Session;
use super::uri::is_form;
use super::wire::{self, Format, Payload, Raw, Val, Whole};
use super::{ENTRY, Exchange, MAX_EACH, Wamp, v1, v2};
use crate::app::registry::ClientKind;
use crate::id::ConnectionKey;

/// Who is not to get an event, though subscribed (WAMP v2, "Subscriber Black- and Whitelisting").
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The publisher, where it is not to get its own event.
    publisher: Option<ConnectionKey>,
    lists: Lists,
}

impl Filter {
    pub(super) fn new(publisher: Option<ConnectionKey>, mut lists: Lists) -> Self {
        // To be searched: a list may be as long as a message, and each subscriber is looked for.
        for ids in [&mut lists.exclude, &mut lists.eligible].into_iter().flatten() {
            ids.sort_unstable();
        }
        let Lists { exclude_authid, exclude_authrole, eligible_authid, eligible_authrole, .. } = &mut lists;
        for words in [exclude_authid, exclude_authrole, eligible_authid, eligible_authrole].into_iter().flatten() {
            words.sort_unstable();
        }
        Self { publisher, lists }
    }
}

/// The lists of a publisher's choice, under the names that they have as options. Who reads options names each of them
/// there: flattened by serde, they would have everything else in the options kept in memory until the last was found.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) exclude: Option<Vec<Whole>>,
    pub(super) exclude_authid: Option<Vec<String>>,
    pub(super) exclude_authrole: Option<Vec<String>>,
    pub(super) eligible: Option<Vec<Whole>>,
    pub(super) eligible_authid: Option<Vec<String>>,
    pub(super) eligible_authrole: Option<Vec<String>>,
}

impl Lists {
    fn is_empty(&self) -> bool {
        self.exclude.is_none()
            && self.exclude_authid.is_none()
            && self.exclude_authrole.is_none()
            && self.eligible.is_none()
            && self.eligible_authid.is_none()
            && self.eligible_authrole.is_none()
    }

    /// Whether a client is on no list of those who don't get it, and on each list there is of those who may.
    fn admit(&self, who: &Identity) -> bool {
        let has = |list: &[String], word: &str| list.binary_search_by(|listed| listed.as_str().cmp(word)).is_ok();
        let lists = |ids: &[Whole]| ids.binary_search(&Whole(who.session)).is_ok();
        !self.exclude.as_ref().is_some_and(|ids| lists(ids))
            && !self.exclude_authid.as_ref().is_some_and(|ids| has(ids, &who.authid))
            && !self.exclude_authrole.as_ref().is_some_and(|roles| has(roles, who.authrole))
            && self.eligible.as_ref().is_none_or(|ids| lists(ids))
            && self.eligible_authid.as_ref().is_none_or(|ids| has(ids, &who.authid))
            && self.eligible_authrole.as_ref().is_none_or(|roles| has(roles, who.authrole))
    }
}

/// Who a client is to other clients.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) session: u64,
    /// Who is logged in there; where that isn't known, the session's id. Never the UUID: who knows that may send to it.
    pub(super) authid: String,
    pub(super) authrole: &'static str,
}

impl Wamp {
    /// Who a client is. `None`: it has gone.
    pub(super) fn identity(&self, exchange: &Exchange<'_>, key: ConnectionKey) -> Option<Identity> {
        let session = self.sessions.get(&key)?.id;
        let client = exchange.clients().get(key)?;
        let authrole = match (client.kind(), client.user()) {
            (ClientKind::Script, _) => "script",
            (ClientKind::Browser, Some(_)) => "user",
            (ClientKind::Browser, None) => "anonymous",
        };
        let authid = client.user().map_or_else(|| session.to_string(), str::to_owned);
        Some(Identity { session, authid, authrole })
    }

    /// Sends a message to one client.
    pub(super) fn tell(
        &mut self,
        exchange: &mut Exchange<'_>,
        client: ConnectionKey,
        head: &[Val<'_>],
        payload: Payload<'_>,
    ) {
        let Some(format) = self.sessions.get(&client).map(Session::format) else { return };
        self.scratch.clear();
        wire::write(&mut self.scratch, format, head, payload);
        let clients = exchange.clients();
        let to = exchange.audience(clients.get(client));
        exchange.send_as(format.kind(), to, &self.scratch);
    }

    /// Subscribes a client to a topic whose URI was checked. Gives the subscription's id, and whether it is new.
    pub(super) fn subscribe(&mut self, client: ConnectionKey, topic: &str) -> Result<(u64, bool), Refusal> {
        let found = self.sessions.get_mut(&client).and_then(|session| {
            let realm = self.realms.get_mut(session.realm.as_ref()?)?;
            Some((session, realm))
        });
        // Nobody gets here who has not joined.
        let (session, realm) = found.ok_or_else(|| Refusal::new(INVALID_URI, "in no realm"))?;
        let (dialect, count) = (session.dialect, session.subscriptions.len());
        if count >= MAX_EACH && !realm.broker.find(topic).is_some_and(|topic| session.subscriptions.contains(&topic.id))
        {
            return Err(Refusal::new(TOO_MANY, format!("more than {MAX_EACH} subscriptions")));
        }
        let (id, new) = realm.broker.subscribe(topic, client, dialect);
        if new {
            session.subscriptions.insert(id);
            session.held += ENTRY + topic.len();
        }
        Ok((id, new))
    }

    /// Ends a client's subscription.
    pub(super) fn unsubscribe(&mut self, client: ConnectionKey, id: u64) -> Result<(), Refusal> {
        let ended = self.sessions.get_mut(&client).and_then(|session| {
            let realm = self.realms.get_mut(session.realm.as_ref()?)?;
            let topic = realm.broker.unsubscribe(id, client, session.dialect)?;
            session.subscriptions.remove(&id);
            session.held = session.held.saturating_sub(ENTRY + topic.len());
            Some(())
        });
        ended.ok_or_else(|| Refusal::new(NO_SUCH_SUBSCRIPTION, "no subscription of yours has this id"))
    }

    /// Publishes to a topic. Gives the publication's id, and how many clients it was sent to. `disclosed`: the publisher,
    /// where it wants to be known.
    pub(super) fn publish(
        &mut self,
        exchange: &mut Exchange<'_>,
        (realm, topic): (&str, &str),
        payload: Payload<'_>,
        filter: &Filter,
        disclosed: Option<&Identity>,
    ) -> (u64, usize) {
        let publication = self.ids.draw(exchange.random());
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut receivers = 0;
        if let Some(topic) = self.realms.get(realm).and_then(|realm| realm.broker.find(topic)) {
            let clients = exchange.clients();
            for dialect in Dialect::ALL {
                let meant = topic.subscribers(dialect).iter().filter(|key| Some(**key) != filter.publisher);
                let to = if filter.lists.is_empty() {
                    exchange.audience(meant.filter_map(|key| clients.get(*key)))
                } else {
                    let admitted: Vec<_> = meant
                        .filter(|key| self.identity(exchange, **key).is_some_and(|who| filter.lists.admit(&who)))
                        .collect();
                    exchange.audience(admitted.into_iter().filter_map(|key| clients.get(*key)))
                };
                if to.is_empty() {
                    continue;
                }
                scratch.clear();
                let format = match dialect {
                    Dialect::V1 => {
                        v1::write_event(&mut scratch, topic.uri(), payload);
                        Format::Json
                    }
                    Dialect::Json => Format::Json,
                    Dialect::MsgPack => Format::MsgPack,
                };
                if dialect != Dialect::V1 {
                    v2::write_event(&mut scratch, format, (topic.id, publication), disclosed, payload);
                }
                exchange.send_as(format.kind(), to, &scratch);
                receivers += to.len();
            }
        }
        self.scratch = scratch;
        (publication, receivers)
    }

    /// Tells the subscribers of a form what has become of it, all but `not`.
    pub(super) fn tell_form(
        &mut self,
        exchange: &mut Exchange<'_>,
        form: &FormId,
        status: &str,
        not: Option<ConnectionKey>,
    ) {
        let args = status_list(status);
        let filter = Filter::new(not, Lists::default());
        self.publish(exchange, (&form.realm, &form.topic), Payload::list(&args), &filter, None);
    }

    /// Tells a new subscriber of a form how it stands.
    pub(super) fn greet_subscriber(
        &mut self,
        exchange: &mut Exchange<'_>,
        client: ConnectionKey,
        topic: &str,
        id: u64,
    ) {
        let Some(session) = self.sessions.get(&client) else { return };
        let (dialect, Some(realm)) = (session.dialect, session.realm.clone()) else { return };
        if !is_form(topic) {
            return;
        }
        let form = FormId { realm, topic: topic.into() };
        let news: &[&str] = if self.forms.get(&form).is_some() { &["subscribed", "locked"] } else { &["subscribed"] };
        for status in news {
            let args = status_list(status);
            let payload = Payload::list(&args);
            if dialect == Dialect::V1 {
                let single = payload.single();
                self.tell(exchange, client, &v1::event(topic, Raw::json(&single)), Payload::default());
            } else {
                let publication = self.ids.draw(exchange.random());
                self.tell(exchange, client, &v2::event(id, publication), payload);
            }
        }
    }
}

/// The arguments of an event that tells of a form.
fn status_list(status: &str) -> String {
    [r#"[{"status":""#, status, r#""}]"#].concat()
}

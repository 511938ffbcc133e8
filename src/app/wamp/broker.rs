//! Topics and who is subscribed to them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::id::ConnectionKey;

/// What a client speaks, and with it how an event looks to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dialect {
    /// WAMP v1, in JSON.
    V1,
    /// WAMP v2 in JSON.
    Json,
    /// WAMP v2 in MessagePack.
    MsgPack,
}

impl Dialect {
    /// All three: an event is encoded once for each of them.
    pub(super) const ALL: [Self; 3] = [Self::V1, Self::Json, Self::MsgPack];
}

/// A topic that somebody is subscribed to.
#[derive(Debug)]
pub(super) struct Topic {
    /// The id of the subscription, the same for all who have it.
    pub(super) id: u64,
    uri: Rc<str>,
    /// By dialect; each in the order of memory, as the registry has them.
    subscribers: [Vec<ConnectionKey>; 3],
}

impl Topic {
    pub(super) fn subscribers(&self, dialect: Dialect) -> &[ConnectionKey] {
        &self.subscribers[dialect as usize]
    }

    pub(super) fn uri(&self) -> &str {
        &self.uri
    }
}

/// The topics of a realm.
#[derive(Debug, Default)]
pub(super) struct Broker {
    topics: HashMap<Rc<str>, Topic>,
    by_id: HashMap<u64, Rc<str>>,
    /// Ids of the router's scope count up from 1.
    last: u64,
}

impl Broker {
    /// Subscribes a client. Gives the subscription's id, and whether it is new to the client.
    pub(super) fn subscribe(&mut self, uri: &str, client: ConnectionKey, dialect: Dialect) -> (u64, bool) {
        if !self.topics.contains_key(uri) {
            self.last += 1;
            let uri: Rc<str> = uri.into();
            self.by_id.insert(self.last, Rc::clone(&uri));
            self.topics.insert(Rc::clone(&uri), Topic { id: self.last, uri, subscribers: Default::default() });
        }
        let Some(topic) = self.topics.get_mut(uri) else { return (0, false) };
        let subscribers = &mut topic.subscribers[dialect as usize];
        match subscribers.binary_search(&client) {
            Ok(_) => (topic.id, false),
            Err(place) => {
                subscribers.insert(place, client);
                (topic.id, true)
            }
        }
    }

    /// Ends a subscription of a client. `None`: it has no such subscription; else the topic's URI.
    pub(super) fn unsubscribe(&mut self, id: u64, client: ConnectionKey, dialect: Dialect) -> Option<Rc<str>> {
        let uri = Rc::clone(self.by_id.get(&id)?);
        let topic = self.topics.get_mut(&uri)?;
        let subscribers = &mut topic.subscribers[dialect as usize];
        let place = subscribers.binary_search(&client).ok()?;
        subscribers.remove(place);
        if topic.subscribers.iter().all(Vec::is_empty) {
            self.topics.remove(&uri);
            self.by_id.remove(&id);
        }
        Some(uri)
    }

    /// The topic, where anybody is subscribed to it.
    pub(super) fn find(&self, uri: &str) -> Option<&Topic> {
        self.topics.get(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> ConnectionKey {
        ConnectionKey { slot, serial: 100 - slot }
    }

    #[test]
    fn a_subscription_is_shared_and_goes_with_its_last_subscriber() {
        let mut broker = Broker::default();
        assert_eq!(broker.subscribe("a", key(9), Dialect::Json), (1, true));
        assert_eq!(broker.subscribe("a", key(2), Dialect::Json), (1, true));
        assert_eq!(broker.subscribe("a", key(3), Dialect::V1), (1, true));
        assert_eq!(broker.subscribe("a", key(2), Dialect::Json), (1, false));
        assert_eq!(broker.subscribe("b", key(2), Dialect::Json), (2, true));
        let topic = broker.find("a").unwrap();
        assert_eq!(topic.subscribers(Dialect::Json), [key(2), key(9)], "in the order of memory");
        assert_eq!(topic.subscribers(Dialect::V1), [key(3)]);
        assert_eq!(broker.unsubscribe(1, key(2), Dialect::MsgPack), None);
        assert_eq!(broker.unsubscribe(1, key(2), Dialect::Json).as_deref(), Some("a"));
        assert_eq!(broker.unsubscribe(1, key(2), Dialect::Json), None);
        broker.unsubscribe(1, key(9), Dialect::Json).unwrap();
        assert!(broker.find("a").is_some());
        broker.unsubscribe(1, key(3), Dialect::V1).unwrap();
        assert!(broker.find("a").is_none());
        assert_eq!((broker.topics.len(), broker.by_id.len()), (1, 1), "nothing is left behind");
        assert_eq!(broker.subscribe("a", key(1), Dialect::Json), (3, true), "an id is not used again");
    }
}

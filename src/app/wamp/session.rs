//! What is known of one client.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::broker::Dialect;
use super::uri::MAX_ID;
use super::wire::Format;

/// A connection, and the WAMP session that it has, if it has one now.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) dialect: Dialect,
    /// The realm that it has joined; none: HELLO has still to come.
    pub(super) realm: Option<Rc<str>>,
    /// Of the global scope.
    pub(super) id: u64,
    /// The last request id of the server: that of an invocation.
    invoked: u64,
    pub(super) can: Abilities,
    pub(super) subscriptions: BTreeSet<u64>,
    pub(super) registrations: BTreeSet<u64>,
    /// WAMP v1: what stands for the beginning of URIs.
    pub(super) prefixes: HashMap<Box<str>, Box<str>>,
    /// Its calls that were not answered yet.
    pub(super) calls: usize,
    /// Bytes of memory that all this takes, roughly.
    pub(super) held: usize,
}

/// What a callee has said it can do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Abilities {
    /// Be interrupted.
    pub(super) be_interrupted: bool,
    /// Give results bit by bit.
    pub(super) progress: bool,
}

impl Session {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            realm: None,
            id: 0,
            invoked: 0,
            can: Abilities::default(),
            subscriptions: BTreeSet::new(),
            registrations: BTreeSet::new(),
            prefixes: HashMap::new(),
            calls: 0,
            held: size_of::<Self>(),
        }
    }

    /// How messages to it are written.
    pub(super) const fn format(&self) -> Format {
        match self.dialect {
            Dialect::V1 | Dialect::Json => Format::Json,
            Dialect::MsgPack => Format::MsgPack,
        }
    }

    /// The id for the next invocation.
    pub(super) fn next_invocation(&mut self) -> u64 {
        self.invoked = self.invoked % MAX_ID + 1;
        self.invoked
    }

    /// Whether an invocation with this id has been.
    pub(super) const fn was_invoked(&self, id: u64) -> bool {
        id <= self.invoked
    }

    /// The whole URI of what WAMP v1 calls a CURIE: a prefix that was agreed on, a colon, the rest. Any other stays.
    pub(super) fn resolve(&self, uri: &str) -> String {
        let known = uri.split_once(':').and_then(|(prefix, rest)| Some((self.prefixes.get(prefix)?, rest)));
        known.map_or_else(|| uri.to_owned(), |(begin, rest)| [begin, rest].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curie_is_resolved_where_its_prefix_is_known() {
        let mut session = Session::new(Dialect::V1);
        session.prefixes.insert("calc".into(), "http://example.com/calc#".into());
        assert_eq!(session.resolve("calc:add"), "http://example.com/calc#add");
        assert_eq!(session.resolve("http://example.com/x"), "http://example.com/x");
        assert_eq!(session.resolve("calc"), "calc");
    }
}

//! Procedures and who offers them, and the calls that have not been answered yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::clock::Moment;
use crate::id::ConnectionKey;

/// The procedures of a realm.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    procedures: HashMap<Rc<str>, Procedure>,
    by_id: HashMap<u64, Rc<str>>,
    /// Ids of the router's scope count up from 1.
    last: u64,
}

/// Who offers a procedure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Procedure {
    /// The id of the registration.
    pub(super) id: u64,
    pub(super) callee: ConnectionKey,
}

impl Dealer {
    /// Registers a procedure and gives the registration's id. `None`: somebody has registered it.
    pub(super) fn register(&mut self, uri: &str, callee: ConnectionKey) -> Option<u64> {
        if self.procedures.contains_key(uri) {
            return None;
        }
        self.last += 1;
        let uri: Rc<str> = uri.into();
        self.by_id.insert(self.last, Rc::clone(&uri));
        self.procedures.insert(uri, Procedure { id: self.last, callee });
        Some(self.last)
    }

    /// Ends a registration. `None`: the client has no such registration; else the procedure's URI.
    pub(super) fn unregister(&mut self, id: u64, callee: ConnectionKey) -> Option<Rc<str>> {
        let uri = self.by_id.get(&id)?;
        self.procedures.get(uri).filter(|procedure| procedure.callee == callee)?;
        let uri = self.by_id.remove(&id)?;
        self.procedures.remove(&uri);
        Some(uri)
    }

    pub(super) fn find(&self, uri: &str) -> Option<Procedure> {
        self.procedures.get(uri).copied()
    }
}

/// What a caller knows its call by.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum CallId {
    /// The request id of WAMP v2.
    V2(u64),
    /// The call id of WAMP v1: any string. Sorts last.
    V1(Rc<str>),
}

/// What a callee knows a call by: the invocation's id in its own session.
pub(super) type Invocation = (ConnectionKey, u64);

/// A call that a callee has and has not answered.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) caller: ConnectionKey,
    pub(super) call: CallId,
    /// Whether the caller takes results bit by bit.
    pub(super) progress: bool,
    /// When the caller has waited long enough.
    pub(super) due: Moment,
}

/// All calls that wait for a callee.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: BTreeMap<Invocation, Pending>,
    by_call: BTreeMap<(ConnectionKey, CallId), Invocation>,
    deadlines: BTreeSet<(Moment, Invocation)>,
}

impl Calls {
    /// A callee has been given a call.
    pub(super) fn insert(&mut self, invocation: Invocation, pending: Pending) {
        if pending.due != Moment::NEVER {
            self.deadlines.insert((pending.due, invocation));
        }
        self.by_call.insert((pending.caller, pending.call.clone()), invocation);
        self.pending.insert(invocation, pending);
    }

    /// A call is over, however it went.
    pub(super) fn remove(&mut self, invocation: Invocation) -> Option<Pending> {
        let pending = self.pending.remove(&invocation)?;
        self.deadlines.remove(&(pending.due, invocation));
        self.by_call.remove(&(pending.caller, pending.call.clone()));
        Some(pending)
    }

    pub(super) fn get(&self, invocation: Invocation) -> Option<&Pending> {
        self.pending.get(&invocation)
    }

    /// The invocation that a call became.
    pub(super) fn find(&self, caller: ConnectionKey, call: &CallId) -> Option<Invocation> {
        self.by_call.get(&(caller, call.clone())).copied()
    }

    /// The invocations that a client's own calls became.
    pub(super) fn of_caller(&self, caller: ConnectionKey) -> Vec<Invocation> {
        let first = (caller, CallId::V2(0));
        self.by_call.range(first..).take_while(|((key, _), _)| *key == caller).map(|(_, found)| *found).collect()
    }

    /// What a client has not answered.
    pub(super) fn of_callee(&self, callee: ConnectionKey) -> Vec<Invocation> {
        self.pending.range((callee, 0)..=(callee, u64::MAX)).map(|(invocation, _)| *invocation).collect()
    }

    /// When the first caller has waited long enough.
    pub(super) fn due(&self) -> Moment {
        self.deadlines.first().map_or(Moment::NEVER, |(due, _)| *due)
    }

    /// A call whose caller has waited long enough.
    pub(super) fn overdue(&self, now: Moment) -> Option<Invocation> {
        self.deadlines.first().filter(|(due, _)| *due <= now).map(|(_, invocation)| *invocation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnectionKey = ConnectionKey { slot: 1, serial: 1 };
    const B: ConnectionKey = ConnectionKey { slot: 2, serial: 2 };

    #[test]
    fn a_procedure_has_one_callee() {
        let mut dealer = Dealer::default();
        assert_eq!(dealer.register("add", A), Some(1));
        assert_eq!(dealer.register("add", B), None);
        assert_eq!(dealer.unregister(1, B), None, "not its own");
        assert_eq!(dealer.unregister(1, A).as_deref(), Some("add"));
        assert_eq!(dealer.unregister(1, A), None);
        assert!(dealer.find("add").is_none() && dealer.by_id.is_empty());
        assert_eq!(dealer.register("add", B), Some(2));
        assert_eq!(dealer.find("add"), Some(Procedure { id: 2, callee: B }));
    }

    #[test]
    fn calls_are_found_from_either_end_and_leave_nothing_behind() {
        let mut calls = Calls::default();
        let pending = |caller, call, due| Pending { caller, call, progress: false, due };
        calls.insert((B, 1), pending(A, CallId::V2(7), Moment::from_millis(50)));
        calls.insert((B, 2), pending(A, CallId::V1("x".into()), Moment::NEVER));
        calls.insert((A, 1), pending(B, CallId::V2(1), Moment::from_millis(20)));
        assert_eq!(calls.of_caller(A), [(B, 1), (B, 2)]);
        assert_eq!(calls.of_callee(B), [(B, 1), (B, 2)]);
        assert_eq!(calls.of_caller(B), [(A, 1)]);
        assert_eq!(calls.find(A, &CallId::V1("x".into())), Some((B, 2)));
        assert_eq!(calls.due(), Moment::from_millis(20));
        assert_eq!(calls.overdue(Moment::from_millis(19)), None);
        assert_eq!(calls.overdue(Moment::from_millis(60)), Some((A, 1)));
        for invocation in [(A, 1), (B, 1), (B, 2)] {
            assert!(calls.remove(invocation).is_some());
            assert!(calls.remove(invocation).is_none());
        }
        assert_eq!(calls.due(), Moment::NEVER);
        assert!(calls.pending.is_empty() && calls.by_call.is_empty() && calls.deadlines.is_empty());
    }
}

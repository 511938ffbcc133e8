//! Calls on their way to callees, and what comes back to callers: results, errors, or nothing any more.

use std::time::Duration;

use serde::Deserialize;

use super::dealer::{CallId, Invocation, Pending};
use super::refusal::{
    CANCELED, INVALID_ARGUMENT, NO_SUCH_PROCEDURE, NO_SUCH_REGISTRATION, PROCEDURE_EXISTS, Refusal, TIMEOUT, TOO_MANY,
};
use super::session::Abilities;
use super::wire::{Payload, Raw, Val, Whole};
use super::{ENTRY, Exchange, MAX_CALLS, MAX_EACH, Wamp, procedures, v1, v2};
use crate::id::ConnectionKey;

/// What a caller of WAMP v2 may ask for besides.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CallOptions {
    /// In milliseconds; 0: as long as it takes.
    timeout: Option<Whole>,
    receive_progress: Option<bool>,
    disclose_me: Option<bool>,
}

/// How a call is given up (WAMP v2, "Call Canceling").
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum CancelMode {
    /// The callee is not told.
    Skip,
    /// The callee is told, and its answer is waited for.
    Kill,
    /// The callee is told, and not waited for.
    #[default]
    KillNoWait,
}

impl CancelMode {
    const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Kill => "kill",
            Self::KillNoWait => "killnowait",
        }
    }
}

impl Wamp {
    /// Registers a procedure whose URI was checked.
    pub(super) fn register(&mut self, callee: ConnectionKey, uri: &str) -> Result<u64, Refusal> {
        let exists = || Refusal::new(PROCEDURE_EXISTS, "the procedure is registered already");
        if procedures::NAMES.contains(&uri) {
            return Err(exists());
        }
        let found = self.sessions.get_mut(&callee).and_then(|session| {
            let realm = self.realms.get_mut(session.realm.as_ref()?)?;
            Some((session, realm))
        });
        // Nobody gets here who has not joined.
        let (session, realm) = found.ok_or_else(exists)?;
        if session.registrations.len() >= MAX_EACH {
            return Err(Refusal::new(TOO_MANY, format!("more than {MAX_EACH} registrations")));
        }
        let id = realm.dealer.register(uri, callee).ok_or_else(exists)?;
        session.registrations.insert(id);
        session.held += ENTRY + uri.len();
        Ok(id)
    }

    /// Ends a client's registration.
    pub(super) fn unregister(&mut self, callee: ConnectionKey, id: u64) -> Result<(), Refusal> {
        let ended = self.sessions.get_mut(&callee).and_then(|session| {
            let realm = self.realms.get_mut(session.realm.as_ref()?)?;
            let uri = realm.dealer.unregister(id, callee)?;
            session.registrations.remove(&id);
            session.held = session.held.saturating_sub(ENTRY + uri.len());
            Some(())
        });
        ended.ok_or_else(|| Refusal::new(NO_SUCH_REGISTRATION, "no registration of yours has this id"))
    }

    /// Calls a procedure: one of the server's own at once, any other by its callee.
    ///
    /// # Errors
    ///
    /// The call can't be made. Otherwise it will be answered.
    pub(super) fn call(
        &mut self,
        exchange: &mut Exchange<'_>,
        (caller, call): (ConnectionKey, CallId),
        uri: &str,
        payload: Payload<'_>,
        options: &CallOptions,
    ) -> Result<(), Refusal> {
        if let Some(result) = self.call_own(exchange, caller, uri, payload) {
            let args = ["[", &result?, "]"].concat();
            self.answer(exchange, caller, &call, Payload::list(&args), false);
            return Ok(());
        }
        let Some(session) = self.sessions.get(&caller) else { return Ok(()) };
        if session.calls >= MAX_CALLS {
            return Err(Refusal::new(TOO_MANY, format!("more than {MAX_CALLS} calls wait for an answer")));
        }
        if self.calls.find(caller, &call).is_some() {
            return Err(Refusal::new(INVALID_ARGUMENT, "a call with this id waits for an answer"));
        }
        let realm = session.realm.as_ref().and_then(|realm| self.realms.get(realm));
        let procedure = realm.and_then(|realm| realm.dealer.find(uri));
        let Some((procedure, callee)) =
            procedure.and_then(|procedure| Some((procedure, self.sessions.get_mut(&procedure.callee)?)))
        else {
            return Err(Refusal::new(NO_SUCH_PROCEDURE, "nobody offers this procedure"));
        };
        let invocation = (procedure.callee, callee.next_invocation());
        let progress = options.receive_progress.unwrap_or_default() && callee.can.progress;
        let disclosed = options.disclose_me.unwrap_or_default().then(|| self.identity(exchange, caller)).flatten();
        let due = exchange.now().limit(Duration::from_millis(options.timeout.map_or(0, |Whole(limit)| limit)));
        self.calls.insert(invocation, Pending { caller, call, progress, due });
        if let Some(session) = self.sessions.get_mut(&caller) {
            session.calls += 1;
        }
        v2::invoke(self, exchange, invocation, procedure.id, (progress, disclosed.as_ref()), payload);
        Ok(())
    }

    /// Gives a caller its result, or with `progress` a part of it.
    fn answer(
        &mut self,
        exchange: &mut Exchange<'_>,
        caller: ConnectionKey,
        call: &CallId,
        payload: Payload<'_>,
        progress: bool,
    ) {
        match call {
            CallId::V2(request) => self.tell(exchange, caller, &v2::result(*request, progress), payload),
            CallId::V1(id) => {
                let single = payload.single();
                self.tell(exchange, caller, &v1::result(id, Raw::json(&single)), Payload::default());
            }
        }
    }

    /// Tells a caller that there will be no result.
    pub(super) fn refuse_call(
        &mut self,
        exchange: &mut Exchange<'_>,
        caller: ConnectionKey,
        call: &CallId,
        refusal: &Refusal,
    ) {
        match call {
            CallId::V2(request) => v2::refuse(self, exchange, caller, (v2::CALL, *request), refusal),
            CallId::V1(id) => v1::refuse(self, exchange, caller, id, refusal),
        }
    }

    /// A callee answers with a result, or with a part of it. `false`: it was never asked.
    pub(super) fn yielded(
        &mut self,
        exchange: &mut Exchange<'_>,
        invocation: Invocation,
        payload: Payload<'_>,
        progress: bool,
    ) -> bool {
        if progress {
            match self.calls.get(invocation).cloned() {
                Some(pending) if pending.progress => {
                    self.answer(exchange, pending.caller, &pending.call, payload, true);
                }
                // The caller takes only the whole, which is still to come; or it has gone.
                Some(_) => {}
                None => return self.was_invoked(invocation),
            }
            return true;
        }
        match self.take_call(invocation) {
            Some(pending) => self.answer(exchange, pending.caller, &pending.call, payload, false),
            None => return self.was_invoked(invocation),
        }
        true
    }

    /// A callee answers with an error. `false`: it was never asked.
    pub(super) fn failed(
        &mut self,
        exchange: &mut Exchange<'_>,
        invocation: Invocation,
        details: Raw<'_>,
        uri: &str,
        payload: Payload<'_>,
    ) -> bool {
        let Some(pending) = self.take_call(invocation) else { return self.was_invoked(invocation) };
        match &pending.call {
            CallId::V2(request) => {
                let head = v2::error((v2::CALL, *request), Val::Raw(details), uri);
                self.tell(exchange, pending.caller, &head, payload);
            }
            CallId::V1(id) => v1::fail(self, exchange, pending.caller, id, uri, payload),
        }
        true
    }

    /// A caller gives a call up. Where it is over already, or its callee has to be waited for, nothing more happens now.
    pub(super) fn cancel(
        &mut self,
        exchange: &mut Exchange<'_>,
        caller: ConnectionKey,
        call: &CallId,
        mode: CancelMode,
    ) {
        let Some(invocation) = self.calls.find(caller, call) else { return };
        let told = mode != CancelMode::Skip && self.interrupt(exchange, invocation, mode, CANCELED);
        // A callee that can't be interrupted would be waited for in vain.
        if mode == CancelMode::Kill && told {
            return;
        }
        self.give_up(exchange, invocation, &Refusal::new(CANCELED, "the call was canceled"));
    }

    /// Ends the calls whose callers have waited long enough.
    pub(super) fn end_overdue_calls(&mut self, exchange: &mut Exchange<'_>) {
        while let Some(invocation) = self.calls.overdue(exchange.now()) {
            self.interrupt(exchange, invocation, CancelMode::KillNoWait, TIMEOUT);
            self.give_up(exchange, invocation, &Refusal::new(TIMEOUT, "the callee has not answered in time"));
        }
    }

    /// A client has gone: its calls are for nobody, and those that it was to answer have no answer.
    pub(super) fn end_calls(&mut self, exchange: &mut Exchange<'_>, client: ConnectionKey) {
        for invocation in self.calls.of_caller(client) {
            self.interrupt(exchange, invocation, CancelMode::KillNoWait, CANCELED);
            self.take_call(invocation);
        }
        for invocation in self.calls.of_callee(client) {
            self.give_up(exchange, invocation, &Refusal::new(CANCELED, "the callee has gone"));
        }
    }

    /// Tells a callee that its answer is not wanted any more. `false`: it has not said that it can be told.
    fn interrupt(
        &mut self,
        exchange: &mut Exchange<'_>,
        invocation @ (callee, request): Invocation,
        mode: CancelMode,
        reason: &str,
    ) -> bool {
        let can = self.sessions.get(&callee).map_or_else(Abilities::default, |session| session.can);
        if can.be_interrupted && self.calls.get(invocation).is_some() {
            self.tell(exchange, callee, &v2::interrupt(request, &v2::why(mode.name(), reason)), Payload::default());
        }
        can.be_interrupted
    }

    fn give_up(&mut self, exchange: &mut Exchange<'_>, invocation: Invocation, refusal: &Refusal) {
        if let Some(pending) = self.take_call(invocation) {
            self.refuse_call(exchange, pending.caller, &pending.call, refusal);
        }
    }

    /// Takes a call that is over.
    fn take_call(&mut self, invocation: Invocation) -> Option<Pending> {
        let pending = self.calls.remove(invocation)?;
        if let Some(session) = self.sessions.get_mut(&pending.caller) {
            session.calls = session.calls.saturating_sub(1);
        }
        Some(pending)
    }

    /// Whether a callee was ever given an invocation, that may be over by now.
    fn was_invoked(&self, (callee, request): Invocation) -> bool {
        self.sessions.get(&callee).is_some_and(|session| session.was_invoked(request))
    }
}

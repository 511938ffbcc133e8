//! Requests with a body: a call of the control API, from its head to its answer.

use log::{debug, info};

use super::hub::{Hub, turn, world};
use super::socket::Socket;
use crate::app::World;
use crate::app::api::{self, Done, Failure, Readers};
use crate::clock::Moment;
use crate::id::{ConnectionKey, MessageId};
use crate::proto::http::{self, Framing, Refusal, Request};
use crate::proto::incoming::Posted;
use crate::proto::session::Turn;

/// A call that is answered later.
#[derive(Debug)]
pub(super) struct WaitingCall {
    /// Whose.
    key: ConnectionKey,
    done: Done,
    /// Which pages may read the answer.
    readers: Readers<'static>,
    /// It is the last on its connection.
    last: bool,
}

impl<S: Socket> Hub<S> {
    /// A call may be made: its body is read next.
    pub(super) fn take_call(&mut self, slot: usize, head: &[u8], request: &Request<'_>, now: Moment) {
        let start = self.outbox.arena.len();
        let session = &mut self.connections[slot].session;
        let taken = request.waits_for_continue().and_then(|waits| {
            let limit = self.config.limits.max_message;
            session.take_body(head.to_vec(), request.framing, limit, waits, &mut turn!(self, now))
        });
        self.link_output(slot, start);
        if let Err(refusal) = taken {
            self.refuse_call(slot, request.path, Some(request), refusal, now);
        }
    }

    /// A browser asks whether a page may make a call: it may.
    pub(super) fn allow_call(&mut self, slot: usize, request: &Request<'_>, now: Moment) {
        debug!(address:% = self.connections[slot].address, path = request.path; "asked for by a page, allowed");
        let last = !request.keeps_alive() || request.framing != Framing::NONE;
        let start = self.outbox.arena.len();
        let readers = self.readers(request);
        api::answer_preflight(&mut self.outbox.arena, &readers, last);
        self.connections[slot].session.answered(last, &mut turn!(self, now));
        self.link_output(slot, start);
    }

    /// Which pages may read the answer to a request.
    fn readers<'r>(&self, request: &Request<'r>) -> Readers<'r> {
        Readers::new(&self.config.api.allowed_origins, request)
    }

    /// A call can't be made, or not like this: the connection ends, since a body may follow that nobody reads. `request` as
    /// far as it could be read.
    pub(super) fn refuse_call(
        &mut self,
        slot: usize,
        path: &str,
        request: Option<&Request<'_>>,
        refusal: Refusal,
        now: Moment,
    ) {
        self.note_refused(self.connections[slot].address, path, refusal, now);
        let readers = request.map_or(Readers::Own, |request| self.readers(request));
        self.answer_call(slot, &Err(refusal.into()), &readers, true, now);
    }

    /// Makes a call whose body is here, or will not come.
    pub(super) fn call(&mut self, slot: usize, posted: &Posted, now: Moment) {
        let mut room = http::fields();
        let request = match Request::parse(&posted.head, &mut room) {
            Ok(request) => request,
            Err(refusal) => return self.refuse_call(slot, "", None, refusal, now),
        };
        let last = !request.keeps_alive();
        let body = match &posted.body {
            Ok(body) => body,
            Err(refusal) => return self.refuse_call(slot, request.path, Some(&request), *refusal, now),
        };
        let outcome = api::call(&mut self.routes, world!(self, now), &mut self.outbox, request.path, body);
        let address = self.connections[slot].address;
        match &outcome {
            Ok(_) => debug!(address:% = address, path = request.path; "done"),
            Err(Failure { status, why }) => info!(address:% = address, path = request.path; "failed, {status}: {why}"),
        }
        self.deliver(None, now);
        let readers = self.readers(&request);
        match outcome {
            Ok(done) if done.message.is_some_and(|message| self.outbox.fates.is_watched(message)) => {
                self.connections[slot].session.suspend();
                let call =
                    WaitingCall { key: self.connections[slot].key(slot), done, readers: readers.into_owned(), last };
                // Even where there is nothing to wait for it is answered with the others, later in this turn: calls that
                // lead to calls would use up the stack.
                self.waiting_calls.push(call);
            }
            outcome => self.answer_call(slot, &outcome, &readers, last, now),
        }
    }

    /// Answers the call that waits for what becomes of a message.
    pub(super) fn answer_waiting_call(&mut self, message: MessageId, report: &str, now: Moment) {
        let waits = |call: &WaitingCall| call.done.message == Some(message);
        let Some(index) = self.waiting_calls.iter().position(waits) else { return };
        let WaitingCall { key, mut done, readers, last } = self.waiting_calls.swap_remove(index);
        // Who asked may have gone, or be about to.
        let Some(slot) = self.slot(key).filter(|slot| self.connections[*slot].session.is_suspended()) else { return };
        done.targets = Some(report.to_owned());
        self.answer_call(slot, &Ok(done), &readers, last, now);
        self.mark(slot);
        // What it has sent meanwhile was not read, or kept.
        let mut rest = self.connections[slot].session.resume();
        if !rest.is_empty() {
            self.process(slot, &mut rest, now);
        }
        self.read_later(slot);
    }

    fn answer_call(
        &mut self,
        slot: usize,
        outcome: &Result<Done, Failure>,
        readers: &Readers<'_>,
        last: bool,
        now: Moment,
    ) {
        let start = self.outbox.arena.len();
        let time = (self.wall_clock)().as_secs_f64();
        api::answer(&mut self.outbox.arena, outcome, time, readers, last);
        self.connections[slot].session.answered(last, &mut turn!(self, now));
        self.link_output(slot, start);
    }
}

//! Requests with a body: a call of the control API, from its head to its answer.

use log::{debug, info, warn};

use super::hub::{Hub, turn, world};
use super::socket::Socket;
use crate::app::World;
use crate::app::api::{self, Failure};
use crate::clock::Moment;
use crate::proto::http::{self, Refusal, Request};
use crate::proto::incoming::Posted;
use crate::proto::session::Turn;

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
            self.refuse_call(slot, request.path, refusal, now);
        }
    }

    /// A call can't be made, or not like this: the connection ends, since a body may follow that nobody reads.
    pub(super) fn refuse_call(&mut self, slot: usize, path: &str, refusal: Refusal, now: Moment) {
        warn!(address:% = self.connections[slot].address, path = path; "refused, {refusal}");
        self.metrics.refusals.add(refusal.status);
        self.answer_call(slot, &Err(refusal.into()), true, now);
    }

    /// Makes a call whose body is here.
    pub(super) fn call(&mut self, slot: usize, posted: Result<Box<Posted>, Refusal>, now: Moment) {
        let posted = match posted {
            Ok(posted) => posted,
            Err(refusal) => return self.refuse_call(slot, "", refusal, now),
        };
        let mut room = http::fields();
        let request = match Request::parse(&posted.head, &mut room) {
            Ok(request) => request,
            Err(refusal) => return self.refuse_call(slot, "", refusal, now),
        };
        let outcome = api::call(&mut self.routes, world!(self, now), &mut self.outbox, request.path, &posted.body);
        let address = self.connections[slot].address;
        match &outcome {
            Ok(_) => debug!(address:% = address, path = request.path; "done"),
            Err(Failure { status, why }) => info!(address:% = address, path = request.path; "failed, {status}: {why}"),
        }
        self.deliver(None, now);
        self.answer_call(slot, &outcome, !request.keeps_alive(), now);
    }

    fn answer_call(&mut self, slot: usize, outcome: &Result<String, Failure>, last: bool, now: Moment) {
        let start = self.outbox.arena.len();
        let time = (self.wall_clock)().as_secs_f64();
        api::answer(&mut self.outbox.arena, outcome, time, last);
        self.connections[slot].session.answered(last, &mut turn!(self, now));
        self.link_output(slot, start);
    }
}

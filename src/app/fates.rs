//! What becomes of a message that somebody pushes and waits for: how far it has got on its way to each client.
//!
//! ```text
//! unknown, offline: nobody to hand it to      dropped: too much was waiting, or the connection ended
//! queued ──▶ written ──▶ received ──▶ acked
//! ```
//!
//! *Queued* waits in this server, *written* was taken by the kernel, *received* was acknowledged by the TCP of the other
//! end (a proxy's, where there is one in between), and *acked* was confirmed by the client itself. The loop tells what it
//! hands over, what ends and [how far output has got](Outlook); this file refuses to know how it finds out.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::api::json_string;
use super::recorder::{Event, Kind, Recorder};
use super::registry::Client;
use crate::clock::Moment;
use crate::id::{ClientId, ConnectionKey, MessageId};
use crate::proto::session::End;

/// Longest time that anybody waits.
pub const MAX_WAIT: Duration = Duration::from_secs(30);

/// A time to wait, of milliseconds that somebody gave: at most [`MAX_WAIT`]. `None`: that is no time.
pub fn wait(millis: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(millis.min(MAX_WAIT.as_secs_f64() * 1000.0) / 1000.0).ok()
}

/// Most clients of one message whose fates are told one by one.
const MAX_TARGETS: usize = 1000;

/// Most clients of all messages that are being watched, and most messages; past them a message is told of at once, as far as
/// it is known, and its further clients are only counted.
const MAX_WATCHED: usize = 10_000;
const MAX_WATCHES: usize = 1000;

/// From one look to the next, at first; then twice as long each time, up to the latter.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(32);

/// How far a connection's output has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// Bytes of output so far, modulo 2^32.
    pub output: u32,
    /// How many of them wait in this server.
    pub waiting: usize,
    /// How many of the others its peer has not acknowledged; `None`: that can't be told.
    pub unreceived: Option<usize>,
}

impl Progress {
    /// The fate of what ended at `end` bytes of output.
    pub fn of(self, end: u32) -> Fate {
        // How much output there was behind it. It can be told up to 2 GiB, more than may ever wait.
        let behind = self.output.wrapping_sub(end) as usize;
        match self.unreceived {
            _ if self.waiting > behind => Fate::Queued,
            Some(unreceived) if self.waiting + unreceived <= behind => Fate::Received,
            _ => Fate::Written,
        }
    }
}

/// How far output has got, connection by connection: what the loop knows.
pub trait Outlook: fmt::Debug {
    /// `None`: it has gone.
    fn progress(&self, client: ConnectionKey) -> Option<Progress>;
}

/// How far a message has got on its way to a client that it was for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It waits in this server.
    Queued,
    /// The kernel has taken it.
    Written,
    /// The other end's TCP has acknowledged it.
    Received,
    /// The client has confirmed it.
    Acked,
    /// It does not get there, since…
    Dropped(String),
}

impl Fate {
    /// The fate in a word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Written => "written",
            Self::Received => "received",
            Self::Acked => "acked",
            Self::Dropped(_) => "dropped",
        }
    }
}

/// Who waits to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asker {
    /// A client.
    Client(ConnectionKey),
    /// A call of the control API, which is answered later: the loop knows which.
    Call,
}

/// One of those that a message is for.
#[derive(Debug)]
struct Target {
    client: ConnectionKey,
    id: ClientId,
    /// Where it ended in its output.
    end: u32,
    /// Whether the client confirms what it gets.
    acknowledges: bool,
    fate: Fate,
}

impl Target {
    /// Whether there is nothing to wait for.
    fn is_settled(&self) -> bool {
        match self.fate {
            Fate::Queued | Fate::Written => false,
            Fate::Received => !self.acknowledges,
            Fate::Acked | Fate::Dropped(_) => true,
        }
    }
}

/// Somebody that a message was for and who isn't connected.
#[derive(Debug)]
struct Absent {
    /// By UUID, or else by ident.
    id: Option<ClientId>,
    named: String,
}

/// A message whose fate somebody waits for.
#[derive(Debug)]
pub struct Watch {
    /// Which.
    pub message: MessageId,
    /// Who waits.
    pub asker: Asker,
    targets: Vec<Target>,
    /// Those beyond the most that are told of.
    more: usize,
    absent: Option<Absent>,
    /// Whether it may be told when one who is absent has gone, and why: not to a page, which could ask that about anybody.
    looks_back: bool,
    until: Moment,
    look: Moment,
    pause: Duration,
}

impl Watch {
    /// How many connections it was handed to.
    pub fn delivered(&self) -> usize {
        self.more + self.targets.iter().filter(|target| !matches!(target.fate, Fate::Dropped(_))).count()
    }

    /// The fates, as a JSON array. `recorder` knows since when one is offline, and `now` is `since_1970`.
    pub fn report(&self, recorder: &Recorder, now: Moment, since_1970: Duration) -> String {
        let mut out = "[".to_owned();
        for target in &self.targets {
            let comma = if out.len() > 1 { "," } else { "" };
            let name = target.fate.name();
            let _ = write!(out, r#"{comma}{{"uuid":"{}","fate":"{name}""#, target.id);
            if let Fate::Dropped(why) = &target.fate {
                let _ = write!(out, r#","why":{}"#, json_string(why));
            }
            out.push('}');
        }
        if self.more > 0 {
            let comma = if out.len() > 1 { "," } else { "" };
            let _ = write!(out, r#"{comma}{{"more":{}}}"#, self.more);
        }
        if let Some(absent) = &self.absent {
            let comma = if out.len() > 1 { "," } else { "" };
            let which = if absent.id.is_some() { "uuid" } else { "ident" };
            let _ = write!(out, r#"{comma}{{"{which}":{},"#, json_string(&absent.named));
            match self.looks_back.then(|| last_seen(recorder, absent)).flatten() {
                Some((at, why)) => {
                    let since = wall(at, now, since_1970);
                    let _ = write!(out, r#""fate":"offline","since":{since:.3},"why":{}}}"#, json_string(&why));
                }
                None => out.push_str(r#""fate":"unknown"}"#),
            }
        }
        out.push(']');
        out
    }

    fn is_settled(&self) -> bool {
        self.targets.iter().all(Target::is_settled)
    }

    fn look(&mut self, outlook: &dyn Outlook) {
        for target in self.targets.iter_mut().filter(|target| matches!(target.fate, Fate::Queued | Fate::Written)) {
            if let Some(progress) = outlook.progress(target.client) {
                target.fate = progress.of(target.end);
            }
        }
    }
}

/// The moment `at` in seconds since 1970, where `now` is `since_1970`.
pub fn wall(at: Moment, now: Moment, since_1970: Duration) -> f64 {
    (since_1970.saturating_sub(at.until(now))).as_secs_f64()
}

/// When somebody went, and why.
fn last_seen(recorder: &Recorder, absent: &Absent) -> Option<(Moment, String)> {
    let mut seen = None;
    recorder.each_of(&[Kind::Closed], |at, event| {
        if let Event::Closed { id, ident, by_server, code, why, .. } = event {
            let is_it = absent.id.map_or_else(|| ident == absent.named, |wanted| wanted == id);
            if is_it {
                seen = Some((at, ending(by_server, code, &why)));
            }
        }
    });
    seen
}

/// How a connection ended, in a few words.
pub fn ending(by_server: bool, code: u16, why: &str) -> String {
    let by = if by_server { "server" } else { "client" };
    match (code, why) {
        (1006, _) => "the client vanished".to_owned(),
        (1005, _) => format!("closed by the {by}, no code"),
        (_, "") => format!("closed by the {by}, {code}"),
        _ => format!("closed by the {by}, {code}: {why}"),
    }
}

/// The messages whose fates somebody waits for.
#[derive(Debug, Default)]
pub struct Fates {
    watches: HashMap<MessageId, Watch>,
    /// Of clients that wait, for which message.
    askers: HashMap<ConnectionKey, MessageId>,
    /// Targets of all of them.
    watched: usize,
}

impl Fates {
    /// Whether nobody waits for anything.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// When [`Fates::settled`] is to be called.
    pub fn due(&self) -> Moment {
        self.watches.values().map(|watch| watch.look).min().unwrap_or(Moment::NEVER)
    }

    /// `asker` waits for the fate of a message that is about to be handed over, up to `wait` from `now` on. `looks_back`:
    /// whether it may know when one who isn't connected has gone, and why.
    pub fn watch(&mut self, message: MessageId, asker: Asker, wait: Duration, looks_back: bool, now: Moment) {
        let until = if self.watches.len() < MAX_WATCHES { now.after(wait.min(MAX_WAIT)) } else { now };
        if let Asker::Client(client) = asker {
            self.askers.insert(client, message);
        }
        let watch = Watch {
            message,
            asker,
            targets: Vec::new(),
            more: 0,
            absent: None,
            looks_back,
            until,
            look: now,
            pause: FIRST_LOOK,
        };
        self.watches.insert(message, watch);
    }

    /// Whether somebody waits for this message.
    pub fn is_watched(&self, message: MessageId) -> bool {
        self.watches.contains_key(&message)
    }

    /// A message was handed to a client, or was not, as its fate says; `end` as in [`Progress::of`].
    pub fn handed(&mut self, message: MessageId, client: &Client, end: u32, fate: Fate) {
        let Some(watch) = self.watches.get_mut(&message) else { return };
        if watch.targets.len() >= MAX_TARGETS || self.watched >= MAX_WATCHED {
            watch.more += usize::from(!matches!(fate, Fate::Dropped(_)));
            return;
        }
        self.watched += 1;
        let acknowledges = client.acknowledges();
        watch.targets.push(Target { client: client.key, id: client.id, end, acknowledges, fate });
    }

    /// A message is for somebody who isn't connected.
    pub fn missed(&mut self, message: MessageId, id: Option<ClientId>, named: &str) {
        if let Some(watch) = self.watches.get_mut(&message) {
            watch.absent = Some(Absent { id, named: named.to_owned() });
        }
    }

    /// A client has confirmed a message.
    pub fn acknowledged(&mut self, message: MessageId, by: ConnectionKey, now: Moment) {
        let Some(watch) = self.watches.get_mut(&message) else { return };
        for target in watch.targets.iter_mut().filter(|target| target.client == by) {
            target.fate = Fate::Acked;
        }
        if watch.is_settled() {
            watch.look = now;
        }
    }

    /// A connection has ended, and this is how far its output had got.
    pub fn closed(&mut self, client: ConnectionKey, end: &End, progress: Progress, now: Moment) {
        for watch in self.watches.values_mut() {
            for target in watch.targets.iter_mut().filter(|target| target.client == client && !target.is_settled()) {
                target.fate = match progress.of(target.end) {
                    // It got there, and nobody can confirm it any more.
                    Fate::Received => Fate::Received,
                    _ => Fate::Dropped(end.to_string()),
                };
                target.acknowledges = false;
                watch.look = now;
            }
        }
    }

    /// Whoever waits is told at once.
    pub fn hurry(&mut self, now: Moment) {
        for watch in self.watches.values_mut() {
            watch.until = now;
            watch.look = now;
        }
    }

    /// What `asker` waits for, if anything, as things are: nothing is waited for any more.
    pub fn take(&mut self, asker: ConnectionKey, outlook: &dyn Outlook) -> Option<Watch> {
        let message = *self.askers.get(&asker)?;
        let mut watch = self.remove(message)?;
        watch.look(outlook);
        Some(watch)
    }

    /// Messages for which there is nothing to wait any more, or no time. To be called until there are none.
    pub fn settled(&mut self, now: Moment, outlook: &dyn Outlook) -> Vec<Watch> {
        let mut settled = Vec::new();
        for watch in self.watches.values_mut().filter(|watch| watch.look <= now) {
            watch.look(outlook);
            if watch.is_settled() || watch.until <= now {
                settled.push(watch.message);
            } else {
                watch.look = now.after(watch.pause).min(watch.until);
                watch.pause = (watch.pause * 2).min(LAST_LOOK);
            }
        }
        // In the order in which they were pushed.
        settled.sort_unstable();
        settled.into_iter().filter_map(|message| self.remove(message)).collect()
    }

    fn remove(&mut self, message: MessageId) -> Option<Watch> {
        let watch = self.watches.remove(&message)?;
        self.watched -= watch.targets.len();
        if let Asker::Client(client) = watch.asker {
            self.askers.remove(&client);
        }
        Some(watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_got_by_what_is_behind_it() {
        for offset in [0, u32::MAX - 500] {
            let at = |bytes: u32| offset.wrapping_add(bytes);
            let progress = |waiting, unreceived| Progress { output: at(1000), waiting, unreceived };
            for (progress, end, fate) in [
                (progress(0, Some(0)), 1000, Fate::Received),
                (progress(0, Some(1)), 1000, Fate::Written),
                (progress(0, Some(400)), 600, Fate::Received),
                (progress(0, Some(401)), 600, Fate::Written),
                (progress(0, None), 600, Fate::Written),
                (progress(400, Some(0)), 600, Fate::Received),
                (progress(400, None), 600, Fate::Written),
                (progress(401, Some(0)), 600, Fate::Queued),
                (progress(300, Some(100)), 600, Fate::Received),
                (progress(300, Some(101)), 600, Fate::Written),
            ] {
                assert_eq!(progress.of(at(end)), fate, "{progress:?} at {end}");
            }
        }
    }
}

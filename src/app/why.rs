//! Why somebody did not get something: what the [recorder](super::recorder) knows of one client or one message, as JSON.
//!
//! Everybody else waits meanwhile. So words are made of the latest of what there is to be told alone.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Exchange;
use super::api::{self, Failure};
use super::fates::{Fate, Progress, ending, wall};
use super::recorder::{Event, Kind, Serial};
use super::registry::Address;
use crate::clock::Moment;
use crate::id::{ClientId, MessageId};

/// How many events are told of where it wasn't said, and at most.
const EVENTS: usize = 1000;
const MAX_EVENTS: usize = 10_000;

/// The kinds of events that concern a message, and those that concern a client.
const OF_MESSAGES: &[Kind] =
    &[Kind::Pushed, Kind::Handed, Kind::HandedToMany, Kind::Overrun, Kind::Missed, Kind::Acknowledged];
const OF_CLIENTS: &[Kind] = &[
    Kind::Opened,
    Kind::Closed,
    Kind::Pushed,
    Kind::Handed,
    Kind::HandedToMany,
    Kind::Overrun,
    Kind::Missed,
    Kind::Acknowledged,
];

/// What is asked for.
#[derive(Deserialize)]
struct Question {
    /// A client's UUID.
    uuid: Option<String>,
    /// A message's id.
    id: Option<String>,
    /// How many events are told of: the latest.
    limit: Option<usize>,
}

/// Something that has happened, as it is told.
#[derive(Debug, Default, Serialize)]
struct Row {
    /// In seconds since 1970.
    at: f64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fate: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "type")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ident: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Bytes of output that it had not received when it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    outstanding: Option<u32>,
}

/// The answer.
#[derive(Serialize)]
struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Whether it is connected; of a message it isn't asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    /// In the order in which it happened.
    events: Vec<Row>,
    /// How many events there were before these.
    #[serde(skip_serializing_if = "is_none_of_them")]
    earlier: usize,
    /// Since when everything is remembered, in seconds since 1970. `None`: nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
}

/// For serde, which asks by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_none_of_them(count: &usize) -> bool {
    *count == 0
}

/// What is known about connections that are spoken of.
#[derive(Default)]
struct Connections {
    ids: HashMap<Serial, ClientId>,
    /// Of those whose going is remembered, how far their output had got.
    progress: HashMap<Serial, Progress>,
    /// Those whose coming is remembered, and what served them.
    opened: HashMap<Serial, u8>,
    /// Of those who are connected, how far their output has got: it takes a system call.
    live: HashMap<Serial, Option<Progress>>,
}

impl Connections {
    /// Those who are connected, and those whose coming or going is remembered.
    fn of(exchange: &Exchange<'_>) -> Self {
        let mut known = Self::default();
        exchange.recorder().each_of(&[Kind::Opened, Kind::Closed], |_, event| match event {
            Event::Opened { client, id, application, .. } => {
                known.ids.insert(client, id);
                known.opened.insert(client, application);
            }
            Event::Closed { client, id, sent, outstanding, .. } => {
                known.ids.insert(client, id);
                let unreceived = outstanding.map(|bytes| bytes as usize);
                known.progress.insert(client, Progress { output: sent, waiting: 0, unreceived });
            }
            _ => {}
        });
        for client in exchange.clients().iter() {
            known.ids.insert(client.key.serial, client.id);
        }
        known
    }

    fn name(&self, serial: Option<Serial>) -> String {
        match serial {
            None => "backend".to_owned(),
            Some(serial) => self.ids.get(&serial).map_or_else(|| format!("connection {serial}"), ClientId::to_string),
        }
    }

    /// How far what ended at `end` of a connection's output has got.
    fn fate(&mut self, exchange: &Exchange<'_>, serial: Serial, end: u32) -> Option<&'static str> {
        if let Some(gone) = self.progress.get(&serial) {
            // What was on its way to one who has gone has not got any further.
            let fate = gone.of(end);
            return Some(if fate == Fate::Received { fate.name() } else { "lost" });
        }
        let live = self.live.entry(serial).or_insert_with(|| {
            let client = self.ids.get(&serial).and_then(|id| exchange.clients().by_id(*id))?;
            (client.key.serial == serial).then(|| exchange.outlook().progress(client.key))?
        });
        live.map(|live| live.of(end).name())
    }
}

/// Answers a question about a client, `{"uuid":…}`, or a message, `{"id":…}`.
///
/// # Errors
///
/// 400 where it is about neither, or both; 404 where nothing is known of it.
pub fn why(exchange: &Exchange<'_>, data: &str) -> Result<String, Failure> {
    let question: Question = api::read(data)?;
    let most = question.limit.unwrap_or(EVENTS).min(MAX_EVENTS);
    let history = match (&question.uuid, &question.id) {
        (Some(uuid), None) => {
            let id = ClientId::parse(uuid).ok_or_else(|| Failure::new(400, "the uuid is no UUID"))?;
            of_client(exchange, id, most)
        }
        (None, Some(id)) => {
            let message = MessageId::parse(id).ok_or_else(|| Failure::new(400, "the id is no message's"))?;
            of_message(exchange, message, most)
        }
        _ => return Err(Failure::new(400, "a uuid or an id is needed, and not both")),
    };
    if history.events.is_empty() && history.earlier == 0 && history.connected != Some(true) {
        return Err(Failure::new(
            404,
            "nothing is known of it: it was never here, or it was longer ago than is remembered",
        ));
    }
    Ok(serde_json::to_string(&history).unwrap_or_default())
}

/// The last refusals and closes, the newest first, at most `most` of them, as a JSON array.
pub fn last_endings(exchange: &Exchange<'_>, most: usize) -> String {
    let clock = Clock::of(exchange);
    let (endings, _) = latest(exchange, most, &[Kind::Closed, Kind::Refused], |_| true);
    let rows: Vec<Row> = endings.iter().rev().map(|(at, event)| clock.row(*at, event)).collect();
    serde_json::to_string(&rows).unwrap_or_default()
}

/// The latest `most` of the events of some kinds that are `wanted`, the oldest first, and how many there were before them.
/// `wanted` is shown all of these kinds, in their order.
fn latest(
    exchange: &Exchange<'_>,
    most: usize,
    kinds: &[Kind],
    mut wanted: impl FnMut(&Event<'_>) -> bool,
) -> (VecDeque<(Moment, Event<'static>)>, usize) {
    let mut events = VecDeque::new();
    let mut earlier = 0;
    exchange.recorder().each_of(kinds, |at, event| {
        if wanted(&event) {
            events.push_back((at, event.into_owned()));
            if events.len() > most {
                events.pop_front();
                earlier += 1;
            }
        }
    });
    (events, earlier)
}

fn of_client(exchange: &Exchange<'_>, id: ClientId, most: usize) -> History {
    let clock = Clock::of(exchange);
    let mut known = Connections::of(exchange);
    let live = exchange.clients().by_id(id);
    // More than one where a client has come again under its UUID.
    let its: HashSet<Serial> = known.ids.iter().filter(|(_, known)| **known == id).map(|(serial, _)| *serial).collect();
    // Where it is open; whoever came longer ago than is remembered was so from the beginning.
    let mut open: HashMap<Serial, u8> = live
        .filter(|client| !known.opened.contains_key(&client.key.serial))
        .map(|client| (client.key.serial, if client.is_stream() { Event::STREAM } else { client.application().0 }))
        .into_iter()
        .collect();
    // By whom.
    let mut broadcasts: HashMap<MessageId, Option<Serial>> = HashMap::new();
    let (events, earlier) = latest(exchange, most, OF_CLIENTS, |event| match event {
        Event::Opened { client, application, .. } if its.contains(client) => {
            open.insert(*client, *application);
            true
        }
        Event::Closed { client, .. } if its.contains(client) => {
            open.remove(client);
            true
        }
        Event::Pushed { message, from, what, .. } => {
            if what == "broadcast" {
                broadcasts.insert(*message, *from);
            }
            from.is_some_and(|from| its.contains(&from))
        }
        Event::Handed { to: client, .. }
        | Event::Overrun { to: client, .. }
        | Event::Acknowledged { by: client, .. } => its.contains(client),
        Event::HandedToMany { message, application, .. } => broadcasts.get(message).is_some_and(|from| {
            open.iter().any(|(serial, at)| [*application, Event::STREAM].contains(at) && Some(*serial) != *from)
        }),
        Event::Missed { id: Some(missed), .. } => *missed == id,
        _ => false,
    });
    let pushed = pushes(exchange, &events);
    let tell = |(at, event): &(Moment, Event<'_>)| {
        let mut row = clock.row(*at, event);
        if let Event::Handed { to, end, .. } = event {
            row.fate = known.fate(exchange, *to, *end);
        }
        if let Some(Push { from, what, bytes }) = pushed.get(&message_of(event)) {
            row.from = Some(known.name(*from));
            row.what = Some(what.clone());
            row.bytes = Some(*bytes);
        }
        row
    };
    let events = events.iter().map(tell).collect();
    let (uuid, connected) = (Some(id.to_string()), Some(live.is_some()));
    History { uuid, id: None, connected, events, earlier, since: clock.remembered }
}

/// The message that a client was concerned by; `None` where there is none, or it has pushed or confirmed that itself.
const fn message_of(event: &Event<'_>) -> Option<MessageId> {
    match event {
        Event::Handed { message, .. }
        | Event::HandedToMany { message, .. }
        | Event::Overrun { message, .. }
        | Event::Missed { message, .. } => Some(*message),
        _ => None,
    }
}

/// A message that somebody pushed.
struct Push {
    from: Option<Serial>,
    what: String,
    bytes: u32,
}

/// The messages that these events speak of, as far as it is remembered that they were pushed.
fn pushes(exchange: &Exchange<'_>, events: &VecDeque<(Moment, Event<'_>)>) -> HashMap<Option<MessageId>, Push> {
    let wanted: HashSet<_> = events.iter().filter_map(|(_, event)| message_of(event)).collect();
    let mut pushed = HashMap::new();
    exchange.recorder().each_of(&[Kind::Pushed], |_, event| match event {
        Event::Pushed { message, from, what, bytes } if wanted.contains(&message) => {
            pushed.insert(Some(message), Push { from, what: what.into_owned(), bytes });
        }
        _ => {}
    });
    pushed
}

fn of_message(exchange: &Exchange<'_>, wanted: MessageId, most: usize) -> History {
    let clock = Clock::of(exchange);
    let mut known = Connections::of(exchange);
    let (events, earlier) = latest(exchange, most, OF_MESSAGES, |event| match event {
        Event::Pushed { message, .. }
        | Event::Handed { message, .. }
        | Event::HandedToMany { message, .. }
        | Event::Overrun { message, .. }
        | Event::Missed { message, .. }
        | Event::Acknowledged { message, .. } => *message == wanted,
        Event::Opened { .. } | Event::Closed { .. } | Event::Refused { .. } => false,
    });
    let tell = |(at, event): &(Moment, Event<'_>)| {
        let mut row = clock.row(*at, event);
        match event {
            Event::Pushed { from, .. } => row.from = Some(known.name(*from)),
            Event::Handed { to, end, .. } => {
                row.uuid = Some(known.name(Some(*to)));
                row.fate = known.fate(exchange, *to, *end);
            }
            Event::Overrun { to: client, .. } | Event::Acknowledged { by: client, .. } => {
                row.uuid = Some(known.name(Some(*client)));
            }
            _ => {}
        }
        row
    };
    let events = events.iter().map(tell).collect();
    History { uuid: None, id: Some(wanted.to_string()), connected: None, events, earlier, since: clock.remembered }
}

/// What is needed to tell the time of an event, and the paths.
struct Clock {
    now: Moment,
    since_1970: std::time::Duration,
    remembered: Option<f64>,
}

impl Clock {
    fn of(exchange: &Exchange<'_>) -> Self {
        let mut clock = Self { now: exchange.now(), since_1970: exchange.wall_clock(), remembered: None };
        clock.remembered = exchange.recorder().oldest().map(|at| clock.time(at));
        clock
    }

    fn time(&self, at: Moment) -> f64 {
        wall(at, self.now, self.since_1970)
    }

    /// What an event says by itself.
    fn row(&self, at: Moment, event: &Event<'_>) -> Row {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let row = Row { at: self.time(at), ..Row::default() };
        match event {
            Event::Opened { id, from, script, path, ident, origin, .. } => Row {
                event: "opened",
                uuid: Some(id.to_string()),
                address: Some(Address::new(from.0, from.1).to_string()),
                kind: Some(if *script { "script" } else { "browser" }),
                path: Some(path.to_string()),
                ident: some(ident),
                origin: some(origin),
                ..row
            },
            Event::Closed { id, ident, by_server, code, why, outstanding, .. } => Row {
                event: "closed",
                uuid: Some(id.to_string()),
                ident: some(ident),
                why: Some(ending(*by_server, *code, why)),
                outstanding: *outstanding,
                ..row
            },
            Event::Pushed { message, what, bytes, .. } => Row {
                event: "pushed",
                id: Some(message.to_string()),
                what: Some(what.to_string()),
                bytes: Some(*bytes),
                ..row
            },
            Event::Handed { message, .. } => Row { event: "handed", id: Some(message.to_string()), ..row },
            Event::HandedToMany { message, clients, .. } => {
                Row { event: "handed to many", id: Some(message.to_string()), clients: Some(*clients), ..row }
            }
            Event::Overrun { message, .. } => Row {
                event: "dropped",
                id: Some(message.to_string()),
                why: Some("too much was waiting already".to_owned()),
                ..row
            },
            Event::Missed { message, id, ident } => Row {
                event: "not connected",
                id: Some(message.to_string()),
                uuid: id.map(|id| id.to_string()),
                ident: some(ident),
                ..row
            },
            Event::Acknowledged { message, .. } => Row { event: "acknowledged", id: Some(message.to_string()), ..row },
            Event::Refused { from, status, path, why } => Row {
                event: "refused",
                address: Some(Address::new(from.0, from.1).to_string()),
                status: Some(*status),
                path: some(path),
                why: some(why),
                ..row
            },
        }
    }
}

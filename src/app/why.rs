//! Why somebody did not get something: what the [recorder](super::recorder) knows of one client or one message, as JSON.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Exchange;
use super::api::{self, Failure};
use super::fates::{Fate, Progress, ending, wall};
use super::recorder::{Event, Serial};
use super::registry::Address;
use crate::clock::Moment;
use crate::id::{ClientId, MessageId};

/// What is asked for.
#[derive(Deserialize)]
struct Question {
    /// A client's UUID.
    uuid: Option<String>,
    /// A message's id.
    id: Option<String>,
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
    /// Since when everything is remembered, in seconds since 1970. `None`: nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<f64>,
}

/// What is known about connections that are spoken of.
#[derive(Default)]
struct Connections {
    ids: HashMap<Serial, ClientId>,
    /// Of those whose going is remembered, how far their output had got.
    progress: HashMap<Serial, Progress>,
    /// Those whose coming is remembered, and what served them.
    opened: HashMap<Serial, u8>,
}

impl Connections {
    /// Those who are connected, and those whose coming or going is remembered.
    fn of(exchange: &Exchange<'_>) -> Self {
        let mut known = Self::default();
        exchange.recorder().each(|_, event| match event {
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
    fn fate(&self, exchange: &Exchange<'_>, serial: Serial, end: u32) -> Option<&'static str> {
        let gone = self.progress.get(&serial).copied();
        let live = || {
            let client = self.ids.get(&serial).and_then(|id| exchange.clients().by_id(*id))?;
            (client.key.serial == serial).then(|| exchange.outlook().progress(client.key))?
        };
        let fate = gone.or_else(live)?.of(end);
        // What was on its way to one who has gone has not got any further.
        Some(if gone.is_some() && fate != Fate::Received { "lost" } else { fate.name() })
    }
}

/// Answers a question about a client, `{"uuid":…}`, or a message, `{"id":…}`.
///
/// # Errors
///
/// 400 where it is about neither, or both; 404 where nothing is known of it.
pub fn why(exchange: &Exchange<'_>, data: &str) -> Result<String, Failure> {
    let question: Question = api::read(data)?;
    let history = match (&question.uuid, &question.id) {
        (Some(uuid), None) => {
            let id = ClientId::parse(uuid).ok_or_else(|| Failure::new(400, "the uuid is no UUID"))?;
            of_client(exchange, id)
        }
        (None, Some(id)) => {
            let message = MessageId::parse(id).ok_or_else(|| Failure::new(400, "the id is no message's"))?;
            of_message(exchange, message)
        }
        _ => return Err(Failure::new(400, "a uuid or an id is needed, and not both")),
    };
    if history.events.is_empty() && history.connected != Some(true) {
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
    let mut rows = Vec::new();
    exchange.recorder().each(|at, event| {
        if matches!(event, Event::Closed { .. } | Event::Refused { .. }) {
            rows.push(clock.row(at, &event));
        }
    });
    rows.reverse();
    rows.truncate(most);
    serde_json::to_string(&rows).unwrap_or_default()
}

fn of_client(exchange: &Exchange<'_>, id: ClientId) -> History {
    let clock = Clock::of(exchange);
    let known = Connections::of(exchange);
    let live = exchange.clients().by_id(id);
    // More than one where a client has come again under its UUID.
    let is_it = |known: &Connections, serial: &Serial| known.ids.get(serial) == Some(&id);
    let mut rows = Vec::new();
    let mut broadcasts: HashMap<MessageId, (Moment, Option<Serial>, u32)> = HashMap::new();
    // Where it is open; whoever came longer ago than is remembered was so from the beginning.
    let mut open: HashMap<Serial, u8> = live
        .filter(|client| !known.opened.contains_key(&client.key.serial))
        .map(|client| (client.key.serial, client.application().0))
        .into_iter()
        .collect();
    let mut pushed: HashMap<MessageId, (Option<Serial>, String, u32)> = HashMap::new();
    exchange.recorder().each(|at, event| {
        let mut row = clock.row(at, &event);
        match &event {
            Event::Opened { client, application, .. } if is_it(&known, client) => {
                open.insert(*client, *application);
            }
            Event::Closed { client, .. } if is_it(&known, client) => drop(open.remove(client)),
            Event::Pushed { message, from, what, bytes } => {
                pushed.insert(*message, (*from, what.to_string(), *bytes));
                if what == "broadcast" {
                    broadcasts.insert(*message, (at, *from, *bytes));
                }
                if !from.as_ref().is_some_and(|from| is_it(&known, from)) {
                    return;
                }
                row.event = "pushed";
            }
            Event::Handed { message, to, end } if is_it(&known, to) => {
                row.fate = known.fate(exchange, *to, *end);
                describe(&mut row, &known, pushed.get(message));
            }
            Event::HandedToMany { message, application, .. } => {
                let among = |(_, from, _): &(Moment, Option<Serial>, u32)| {
                    open.iter().any(|(serial, at)| at == application && Some(*serial) != *from)
                };
                if !broadcasts.get(message).is_some_and(among) {
                    return;
                }
                describe(&mut row, &known, pushed.get(message));
            }
            Event::Overrun { message, to } if is_it(&known, to) => describe(&mut row, &known, pushed.get(message)),
            Event::Acknowledged { by, .. } if is_it(&known, by) => {}
            Event::Missed { message, id: Some(missed), .. } if *missed == id => {
                describe(&mut row, &known, pushed.get(message));
            }
            _ => return,
        }
        rows.push(row);
    });
    History {
        uuid: Some(id.to_string()),
        id: None,
        connected: Some(live.is_some()),
        events: rows,
        since: clock.remembered,
    }
}

fn describe(row: &mut Row, known: &Connections, pushed: Option<&(Option<Serial>, String, u32)>) {
    if let Some((from, what, bytes)) = pushed {
        row.from = Some(known.name(*from));
        row.what = Some(what.clone());
        row.bytes = Some(*bytes);
    }
}

fn of_message(exchange: &Exchange<'_>, wanted: MessageId) -> History {
    let clock = Clock::of(exchange);
    let known = Connections::of(exchange);
    let mut rows = Vec::new();
    exchange.recorder().each(|at, event| {
        let mut row = clock.row(at, &event);
        match &event {
            Event::Pushed { message, from, .. } if *message == wanted => row.from = Some(known.name(*from)),
            Event::Handed { message, to, end } if *message == wanted => {
                row.uuid = Some(known.name(Some(*to)));
                row.fate = known.fate(exchange, *to, *end);
            }
            Event::Overrun { message, to } if *message == wanted => row.uuid = Some(known.name(Some(*to))),
            Event::Acknowledged { message, by } if *message == wanted => row.uuid = Some(known.name(Some(*by))),
            Event::HandedToMany { message, .. } | Event::Missed { message, .. } if *message == wanted => {}
            _ => return,
        }
        rows.push(row);
    });
    History { uuid: None, id: Some(wanted.to_string()), connected: None, events: rows, since: clock.remembered }
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
        exchange.recorder().each(|at, _| clock.remembered = clock.remembered.or_else(|| Some(clock.time(at))));
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

//! Those who do what they should, and notice when something is lost, late, or not what it was.

use std::time::{Duration, Instant};

use super::{Actor, Fate, Line};
use crate::server::{CLOSE, PING, PONG, SCRIPT, TEXT, masked, masked_text, upgrade};

/// Reads what a server says: the answer to an upgrade, then frames. Pings are answered.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    input: Vec<u8>,
    upgraded: bool,
}

/// What has come.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// The `101`.
    Upgraded,
    Text(String),
    /// A Close frame, with its code.
    Close(u16),
    /// Some other frame, or no upgrade.
    Strange(String),
}

impl Ear {
    /// Reads all there is. `false`: the server has ended its side.
    pub(crate) fn listen(&mut self, line: &mut Line) -> bool {
        line.read(&mut self.input, usize::MAX)
    }

    /// The next thing that has come whole.
    pub(crate) fn next(&mut self, line: &mut Line) -> Option<Heard> {
        if !self.upgraded {
            let end = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
            let head: Vec<u8> = self.input.drain(..end).collect();
            self.upgraded = true;
            let good = head.starts_with(b"HTTP/1.1 101 ");
            return Some(if good { Heard::Upgraded } else { Heard::Strange(head.escape_ascii().to_string()) });
        }
        loop {
            let (size, length) = match *self.input.get(1)? {
                126 => (4, usize::from(u16::from_be_bytes(self.input.get(2..4)?.try_into().ok()?))),
                127 => (10, usize::try_from(u64::from_be_bytes(self.input.get(2..10)?.try_into().ok()?)).ok()?),
                short => (2, usize::from(short)),
            };
            if self.input.len() < size + length {
                return None;
            }
            let first = self.input[0];
            let payload: Vec<u8> = self.input.drain(..size + length).skip(size).collect();
            match first {
                PING => line.say(&masked(PONG, &payload)),
                TEXT => {
                    return Some(match String::from_utf8(payload) {
                        Ok(text) => Heard::Text(text),
                        Err(error) => Heard::Strange(error.to_string()),
                    });
                }
                CLOSE if payload.len() >= 2 => return Some(Heard::Close(u16::from_be_bytes([payload[0], payload[1]]))),
                _ => return Some(Heard::Strange(format!("{first:#x} {}", payload.escape_ascii()))),
            }
        }
    }
}

/// What they have seen.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// How long each answer took.
    pub(crate) latencies: Vec<Duration>,
    /// Messages that came as they should.
    pub(crate) good: u64,
    /// What was wrong.
    pub(crate) complaints: Vec<String>,
    /// Broadcasts sent so far.
    pub(crate) broadcasts: u64,
}

impl Witness {
    fn complain(&mut self, what: impl Into<String>) -> Fate {
        self.complaints.push(what.into());
        Fate::Done
    }
}

/// The time that so many of a thousand are not above; it sorts them.
pub(crate) fn percentile(latencies: &mut [Duration], of_a_thousand: usize) -> Duration {
    latencies.sort_unstable();
    let at = (latencies.len() * of_a_thousand).div_ceil(1000);
    latencies.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// Sends numbered messages to the echo, one after the other, at a steady pace.
#[derive(Debug)]
pub(crate) struct Echoer {
    ear: Ear,
    pace: Duration,
    number: u64,
    /// When the message that is on its way was sent, or should have been had the one before been answered in time.
    since: Option<Instant>,
    due: Instant,
    /// Bytes beside the number.
    size: usize,
}

impl Echoer {
    /// `first`: when it sends the first message.
    pub(crate) fn new(pace: Duration, first: Instant, size: usize) -> Self {
        Self { ear: Ear::default(), pace, number: 0, since: None, due: first, size }
    }

    fn message(&self) -> String {
        format!("{} {}", self.number, "e".repeat(self.size))
    }
}

impl Actor<Witness> for Echoer {
    fn begin(&mut self, line: &mut Line, _witness: &mut Witness, _now: Instant) -> Fate {
        line.say(upgrade("/echo", "").as_bytes());
        Fate::Stays
    }

    fn act(&mut self, line: &mut Line, witness: &mut Witness, now: Instant) -> Fate {
        let open = self.ear.listen(line);
        while let Some(heard) = self.ear.next(line) {
            match heard {
                Heard::Upgraded => self.due = self.due.max(now),
                Heard::Text(text) if text == self.message() && self.since.is_some() => {
                    witness.good += 1;
                    witness.latencies.extend(self.since.take().map(|since| now - since));
                    self.number += 1;
                }
                other => return witness.complain(format!("echo {}: {other:?}", self.number)),
            }
        }
        if !open || line.is_broken() {
            return witness.complain(format!("an honest echo was ended, at message {}", self.number));
        }
        if !self.ear.upgraded || self.since.is_some() {
            return Fate::Stays;
        }
        if now < self.due {
            return Fate::Until(self.due);
        }
        // Where the answer was late, the next message counts from when it was due.
        let late = now - self.due > self.pace;
        self.since = Some(if late { self.due + self.pace } else { now });
        self.due = (self.due + self.pace).max(now - self.pace);
        line.say(&masked_text(&self.message()));
        Fate::Stays
    }
}

/// A browser that gets every broadcast from when it is there, in order.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    ear: Ear,
    last: Option<u64>,
}

fn broadcast(number: u64, size: usize) -> String {
    format!(r#"{{"opcode":"broadcast","n":{number},"message":"{}"}}"#, "b".repeat(size))
}

impl Actor<Witness> for Listener {
    fn begin(&mut self, line: &mut Line, _witness: &mut Witness, _now: Instant) -> Fate {
        line.say(upgrade("/", "").as_bytes());
        Fate::Stays
    }

    fn act(&mut self, line: &mut Line, witness: &mut Witness, _now: Instant) -> Fate {
        let open = self.ear.listen(line);
        while let Some(heard) = self.ear.next(line) {
            let number = match &heard {
                Heard::Upgraded => continue,
                Heard::Text(text) if text.starts_with(r#"{"opcode":"ready""#) => continue,
                Heard::Text(text) => text.strip_prefix(r#"{"opcode":"broadcast","n":"#).and_then(|rest| {
                    let (number, rest) = rest.split_once(',')?;
                    rest.ends_with("b\"}").then(|| number.parse::<u64>().ok())?
                }),
                _ => None,
            };
            match number {
                Some(number) if self.last.is_none_or(|last| number == last + 1) => {
                    self.last = Some(number);
                    witness.good += 1;
                }
                _ => return witness.complain(format!("a listener, after {:?}: {heard:?}", self.last)),
            }
        }
        if !open || line.is_broken() {
            return witness.complain("an honest listener was ended");
        }
        Fate::Stays
    }
}

/// A script that broadcasts, one message after the other, at a steady pace.
#[derive(Debug)]
pub(crate) struct Broadcaster {
    ear: Ear,
    pace: Duration,
    size: usize,
    due: Instant,
    waits: bool,
}

impl Broadcaster {
    pub(crate) fn new(pace: Duration, size: usize) -> Self {
        Self { ear: Ear::default(), pace, size, due: Instant::now() + pace, waits: true }
    }
}

impl Actor<Witness> for Broadcaster {
    fn begin(&mut self, line: &mut Line, _witness: &mut Witness, _now: Instant) -> Fate {
        line.say(upgrade("/php", SCRIPT).as_bytes());
        Fate::Stays
    }

    fn act(&mut self, line: &mut Line, witness: &mut Witness, now: Instant) -> Fate {
        let open = self.ear.listen(line);
        while let Some(heard) = self.ear.next(line) {
            match heard {
                Heard::Upgraded => {}
                Heard::Text(text) if text.starts_with(r#"{"opcode":"ready""#) => self.waits = false,
                Heard::Text(text) if self.waits && text.starts_with(r#"{"opcode":"next","fyi":"","delivered":"#) => {
                    self.waits = false;
                }
                other => return witness.complain(format!("the script: {other:?}")),
            }
        }
        if !open || line.is_broken() {
            return witness.complain("the script was ended");
        }
        if self.waits {
            return Fate::Stays;
        }
        if now < self.due {
            return Fate::Until(self.due);
        }
        self.due = now + self.pace;
        self.waits = true;
        line.say(&masked_text(&broadcast(witness.broadcasts, self.size)));
        witness.broadcasts += 1;
        Fate::Stays
    }
}

//! The honest ones: browsers that come, write to each other, and go in all the ways in which browsers go; and a script that
//! writes to all of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::crowd::honest::{Ear, Heard};
use crate::crowd::{Actor, Fate, Line};
use crate::server::{CLOSE, SCRIPT, masked, masked_text, upgrade};
use crate::world::{Life, World};

/// Between two broadcasts.
const ANNOUNCES: Duration = Duration::from_millis(500);

const NEXT: &str = r#"{"opcode":"next","fyi":"","delivered":"#;
const READY: &str = r#"{"opcode":"ready","uuid":""#;

/// How it goes, once its time has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Manner {
    /// Sends a Close, and waits for the server's.
    #[default]
    Polite,
    /// Ends the connection.
    Silent,
    /// Resets it.
    Reset,
}

/// A browser, one life after the other.
#[derive(Debug, Default)]
pub(crate) struct Client {
    ear: Ear,
    life: Option<Life>,
    manner: Manner,
    /// When it goes, and when it writes next.
    goes: Option<Instant>,
    writes: Option<Instant>,
    /// Messages whose acknowledgement it waits for.
    awaits: VecDeque<u64>,
    /// The broadcast it heard last.
    heard: Option<u64>,
    closing: bool,
}

/// Milliseconds, at random.
fn some(world: &mut World, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + world.below(to - from))
}

/// The number that a member of a message has.
fn number(text: &str, member: &str) -> Option<u64> {
    let rest = &text[text.find(member)? + member.len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Client {
    /// What it hears. `false`: that can't be.
    fn hears(&mut self, heard: &Heard, world: &mut World, now: Instant) -> bool {
        let Heard::Text(text) = heard else { return *heard == Heard::Upgraded };
        if let Some(rest) = text.strip_prefix(READY) {
            self.life = Some(world.comes(rest.trim_end_matches("\"}")));
            self.goes = Some(now + some(world, 1_000, 50_000));
            self.writes = Some(now + some(world, 0, 4_000));
            self.manner = [Manner::Polite, Manner::Polite, Manner::Polite, Manner::Silent, Manner::Reset]
                [usize::try_from(world.below(5)).unwrap_or_default()];
            return true;
        }
        if let Some(rest) = text.strip_prefix(NEXT) {
            let (Some(number), Ok(delivered)) = (self.awaits.pop_front(), rest.trim_end_matches('}').parse()) else {
                return false;
            };
            world.told(number, delivered);
            return true;
        }
        let Some(life) = self.life else { return false };
        if let Some(announced) = number(text, r#""announced":"#) {
            let in_order = self.heard.is_none_or(|last| announced == last + 1);
            self.heard = Some(announced);
            world.heard += 1;
            return in_order;
        }
        let Some(number) = number(text, r#""number":"#) else { return false };
        world.came(number, life);
        true
    }

    fn writes(&mut self, line: &mut Line, world: &mut World) {
        let size = usize::try_from([10, 100, 1000, 5000][usize::try_from(world.below(4)).unwrap_or_default()]);
        let Some((number, uuid)) = world.write() else { return };
        let filler = "m".repeat(size.unwrap_or_default());
        line.say(&masked_text(&format!(
            r#"{{"opcode":"feedback","uuid":"{uuid}","number":{number},"message":"{filler}"}}"#
        )));
        self.awaits.push_back(number);
    }

    /// It has gone, and comes again after a while.
    fn gone(&mut self, politely: bool, world: &mut World, now: Instant) -> Fate {
        if let Some(life) = self.life {
            world.is_gone(life, politely, std::mem::take(&mut self.awaits));
        }
        Fate::Again(now + some(world, 10, 3_000))
    }
}

impl Actor<World> for Client {
    fn begin(&mut self, line: &mut Line, _world: &mut World, _now: Instant) -> Fate {
        *self = Self::default();
        line.say(upgrade("/", "").as_bytes());
        Fate::Stays
    }

    fn act(&mut self, line: &mut Line, world: &mut World, now: Instant) -> Fate {
        let open = self.ear.listen(line);
        while let Some(heard) = self.ear.next(line) {
            if heard == Heard::Close(1000) && self.closing {
                return self.gone(true, world, now);
            }
            if !self.hears(&heard, world, now) {
                world.complain(format!("life {:?}, after broadcast {:?}: {heard:?}", self.life, self.heard));
                return Fate::Done;
            }
        }
        if !open || line.is_broken() {
            world.complain(format!("life {:?} was ended by the server", self.life));
            return Fate::Done;
        }
        let (Some(life), Some(goes), Some(writes)) = (self.life, self.goes, self.writes) else { return Fate::Stays };
        if world.ends || now >= goes {
            world.is_leaving(life);
            match self.manner {
                Manner::Silent => return self.gone(false, world, now),
                Manner::Reset => {
                    line.will_reset();
                    return self.gone(false, world, now);
                }
                // It wants to know what became of what it sent.
                Manner::Polite if self.awaits.is_empty() && !self.closing => {
                    self.closing = true;
                    line.say(&masked(CLOSE, &1000_u16.to_be_bytes()));
                }
                Manner::Polite => {}
            }
            return Fate::Stays;
        }
        if now >= writes {
            self.writes(line, world);
            self.writes = Some(now + some(world, 500, 4_000));
        }
        // Now and then it looks whether all are to leave.
        Fate::Until(goes.min(self.writes.unwrap_or(goes)).min(now + Duration::from_secs(2)))
    }
}

/// A script that broadcasts.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    ear: Ear,
    greeted: bool,
    awaits: bool,
    due: Option<Instant>,
}

impl Actor<World> for Announcer {
    fn begin(&mut self, line: &mut Line, _world: &mut World, _now: Instant) -> Fate {
        line.say(upgrade("/php", SCRIPT).as_bytes());
        Fate::Stays
    }

    fn act(&mut self, line: &mut Line, world: &mut World, now: Instant) -> Fate {
        let open = self.ear.listen(line);
        while let Some(heard) = self.ear.next(line) {
            match heard {
                Heard::Text(text) if text.starts_with(READY) => self.greeted = true,
                Heard::Text(text) if text.starts_with(NEXT) && self.awaits => self.awaits = false,
                Heard::Upgraded => {}
                other => world.complain(format!("the script: {other:?}")),
            }
        }
        if !open || line.is_broken() {
            world.complain("the script was ended by the server".to_owned());
            return Fate::Done;
        }
        let due = *self.due.get_or_insert(now + ANNOUNCES);
        if !self.greeted || self.awaits || world.ends {
            return Fate::Stays;
        }
        if now >= due {
            self.due = Some(now + ANNOUNCES);
            self.awaits = true;
            world.announced += 1;
            line.say(&masked_text(&format!(r#"{{"opcode":"broadcast","announced":{}}}"#, world.announced)));
            return Fate::Stays;
        }
        Fate::Until(due)
    }
}

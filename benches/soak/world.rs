//! What all clients know together, and the books that are kept of messages.
//!
//! A message is lost when its sender was told that it was delivered, and its receiver never got it though it stayed until
//! the server had said good-bye to it: whatever was delivered before comes before the server's Close. Who goes without a
//! word may miss what was on its way, and that is counted apart. What was said to reach nobody must reach nobody.

use std::collections::{HashMap, HashSet};

use crate::Result;

/// How a client has gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gone {
    /// It sent a Close and waited for the server's.
    Politely,
    /// Without a word.
    Rudely,
}

/// A life of a client: from its greeting to its end.
pub(crate) type Life = u64;

#[derive(Debug)]
pub(crate) struct World {
    random: u64,
    lives: Life,
    numbers: u64,
    /// Who is here: a life and its UUID.
    here: Vec<(Life, String)>,
    /// Where somebody stands in `here`.
    places: HashMap<Life, usize>,
    gone: HashMap<Life, Gone>,
    /// Messages whose sender waits to be told, and for whom they are.
    on_their_way: HashMap<u64, Life>,
    /// Messages received whose sender has not been told yet.
    early: HashSet<u64>,
    /// Messages that were said to be delivered, by whom they are for.
    promised: HashMap<Life, HashSet<u64>>,
    /// Messages whose sender went before it was told.
    orphans: HashSet<u64>,
    /// Everyone is to leave.
    pub(crate) ends: bool,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// Said to reach nobody.
    refused: u64,
    /// On their way to somebody who went without a word.
    missed: u64,
    /// Broadcasts sent, and received.
    pub(crate) announced: u64,
    pub(crate) heard: u64,
    complaints: Vec<String>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            random: 0x9e37_79b9_7f4a_7c15,
            lives: 0,
            numbers: 0,
            here: Vec::new(),
            places: HashMap::new(),
            gone: HashMap::new(),
            on_their_way: HashMap::new(),
            early: HashSet::new(),
            promised: HashMap::new(),
            orphans: HashSet::new(),
            ends: false,
            sent: 0,
            received: 0,
            lost: 0,
            refused: 0,
            missed: 0,
            announced: 0,
            heard: 0,
            complaints: Vec::new(),
        }
    }
}

impl World {
    /// Less than `most` (xorshift64*).
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most.max(1)
    }

    /// How many are greeted, and have not begun to leave.
    pub(crate) fn here(&self) -> usize {
        self.here.len()
    }

    /// Somebody was greeted.
    pub(crate) fn comes(&mut self, uuid: &str) -> Life {
        self.lives += 1;
        self.places.insert(self.lives, self.here.len());
        self.here.push((self.lives, uuid.to_owned()));
        self.lives
    }

    /// Somebody is about to leave: nobody writes to it any more.
    pub(crate) fn is_leaving(&mut self, life: Life) {
        let Some(place) = self.places.remove(&life) else { return };
        self.here.swap_remove(place);
        if let Some((moved, _)) = self.here.get(place) {
            self.places.insert(*moved, place);
        }
    }

    /// A message for somebody who is here: its number, and the UUID.
    pub(crate) fn write(&mut self) -> Option<(u64, String)> {
        let place = usize::try_from(self.below(self.here.len() as u64)).ok()?;
        let (to, uuid) = self.here.get(place)?.clone();
        self.numbers += 1;
        self.sent += 1;
        self.on_their_way.insert(self.numbers, to);
        Some((self.numbers, uuid))
    }

    /// A sender was told how many its message was handed to.
    pub(crate) fn told(&mut self, number: u64, delivered: u64) {
        let early = self.early.remove(&number);
        let Some(to) = self.on_their_way.remove(&number) else {
            return self.complain(format!("message {number} is acknowledged twice"));
        };
        match (delivered, early) {
            (0, false) => self.refused += 1,
            (0, true) => self.complain(format!("message {number} was said to reach nobody, and it came")),
            (1, true) => {}
            (1, false) => match self.gone.get(&to) {
                None => drop(self.promised.entry(to).or_default().insert(number)),
                Some(Gone::Rudely) => self.missed += 1,
                Some(Gone::Politely) => self.lose(number),
            },
            (many, _) => self.complain(format!("message {number} was handed to {many}")),
        }
    }

    /// A message has come.
    pub(crate) fn came(&mut self, number: u64, receiver: Life) {
        self.received += 1;
        if self.promised.get_mut(&receiver).is_some_and(|numbers| numbers.remove(&number)) {
            return;
        }
        if self.on_their_way.get(&number) == Some(&receiver) {
            if !self.early.insert(number) {
                self.complain(format!("message {number} came twice"));
            }
        } else if !self.orphans.remove(&number) {
            self.complain(format!("message {number} came to {receiver}, for whom it was not, or twice"));
        }
    }

    /// Somebody has gone, and was never told what became of these messages.
    pub(crate) fn is_gone(&mut self, life: Life, politely: bool, untold: impl IntoIterator<Item = u64>) {
        self.is_leaving(life);
        for number in untold {
            self.on_their_way.remove(&number);
            if !self.early.remove(&number) {
                self.orphans.insert(number);
            }
        }
        self.gone.insert(life, if politely { Gone::Politely } else { Gone::Rudely });
        for number in self.promised.remove(&life).unwrap_or_default() {
            if politely {
                self.lose(number);
            } else {
                self.missed += 1;
            }
        }
    }

    fn lose(&mut self, number: u64) {
        self.lost += 1;
        self.complain(format!("message {number} is lost"));
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// Whether all is well so far.
    pub(crate) fn check(&self) -> Result<()> {
        match self.complaints.first() {
            Some(first) => Err(format!("{} things are wrong; the first: {first}", self.complaints.len()).into()),
            None => Ok(()),
        }
    }

    /// Messages that were said to be delivered and have not come.
    pub(crate) fn unaccounted(&self) -> usize {
        self.promised.values().map(HashSet::len).sum()
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} lives, {} messages: {} came, {} were said to reach nobody, {} were on their way to somebody who went without \
             a word, {} were lost\n{} broadcasts, of which {} were received, none left out",
            self.lives, self.sent, self.received, self.refused, self.missed, self.lost, self.announced, self.heard
        )
    }
}

//! However the network cuts a conversation into reads, it is the same conversation: the same events, the same output in
//! the same place between them, and the same state after it.
//!
//! [`corpus`] says what each conversation must come to, so that it is not enough for all ways of cutting to be wrong
//! alike. Paced scripts are left out: to them every read is a proof of its own, so there the cuts do matter.

#[path = "common/driver.rs"]
#[allow(dead_code, reason = "each file of tests uses its part")]
mod driver;

#[path = "split/corpus.rs"]
mod corpus;
#[path = "split/heads.rs"]
mod heads;

use std::collections::BTreeSet;

use driver::{Driver, Setup, Step, UPGRADE, text, wire};
use websock::clock::Moment;

/// Conversations up to this long are cut at every byte; of longer ones, the ends and every so many bytes between.
const SHORT: usize = 2000;
/// Conversations up to this long are cut at every two bytes.
const VERY_SHORT: usize = 48;

/// Where a conversation begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    /// At the request.
    Accepted,
    /// Behind the upgrade.
    Open,
    /// Behind our Close.
    Closing,
}

/// Where a conversation has led.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A request is awaited, or the rest of one.
    Head,
    Open,
    /// Our Close is not answered.
    Closing,
    /// Nothing more will be said.
    Silent,
}

/// A conversation, and what must come of it.
#[derive(Clone, Debug)]
struct Case {
    name: String,
    setup: Setup,
    start: Start,
    input: Vec<u8>,
    steps: Vec<Step>,
    state: State,
    /// Something is left unfinished.
    unfinished: bool,
}

/// What a conversation came to.
#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    steps: Vec<Step>,
    sent: Vec<u8>,
    state: State,
    unfinished: bool,
    deadline: Moment,
    /// What is said when the peer then ends its side.
    at_eof: Vec<Step>,
}

/// Holds a conversation with a new session, in reads that begin at `cuts`.
fn hold(case: &Case, cuts: impl IntoIterator<Item = usize>) -> Outcome {
    let setup = case.setup.clone();
    let mut peer = match case.start {
        Start::Accepted => Driver::new(setup),
        Start::Open | Start::Closing => Driver::open_with(setup),
    };
    if case.start == Start::Closing {
        peer.close(1000, "");
        peer.take_steps();
    }
    let mut from = 0;
    for cut in cuts.into_iter().chain([case.input.len()]) {
        // A read of nothing is an end, and this is none.
        if cut > from {
            peer.feed(&case.input[from..cut]);
            from = cut;
        }
    }
    let state = match (peer.session.is_open(), peer.session.is_silent()) {
        (true, false) => State::Open,
        (false, true) => State::Silent,
        (false, false) if peer.session.deadline() == peer.now.after(case.setup.limits.close_wait) => State::Closing,
        (false, false) => State::Head,
        (true, true) => panic!("open and silent at once"),
    };
    let (steps, sent, deadline) = (peer.take_steps(), peer.sent().to_vec(), peer.session.deadline());
    let unfinished = peer.session.held() > 0;
    peer.eof();
    Outcome { steps, sent, state, unfinished, deadline, at_eof: peer.take_steps() }
}

/// Seeded random numbers (xorshift64*), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).expect("31 bits") % bound
    }

    /// A few places below `length`, in order.
    fn cuts(&mut self, length: usize) -> BTreeSet<usize> {
        let count = 1 + self.below(12);
        (0..count).map(|_| self.below(length)).collect()
    }
}

/// A conversation cut in every way must come to what it comes to in one piece.
fn compare(case: &Case, whole: &Outcome, cuts: impl IntoIterator<Item = usize> + Clone) {
    let pieces = hold(case, cuts.clone());
    assert!(
        pieces == *whole,
        "{}: {:.1000}\nin reads that begin at {:?}\n{:?}\nin one piece\n{:?}",
        case.name,
        case.input.escape_ascii().to_string(),
        cuts.into_iter().take(40).collect::<Vec<_>>(),
        pieces.steps,
        whole.steps,
    );
}

/// Checks what conversations come to, and that it is the same however they are cut.
fn check(cases: Vec<Case>) {
    let mut random = Random(0x5eed);
    for case in &cases {
        let whole = hold(case, []);
        assert_eq!(whole.steps, case.steps, "{}", case.name);
        assert_eq!((whole.state, whole.unfinished), (case.state, case.unfinished), "{}", case.name);

        let length = case.input.len();
        compare(case, &whole, 0..length);
        let near_an_end = |cut: usize| cut < 150 || cut + 150 > length;
        // Odd, so that every place in a word of eight comes up.
        let stride = (length / 200) | 1;
        for cut in (1..length).filter(|cut| length <= SHORT || near_an_end(*cut) || cut % stride == 0) {
            compare(case, &whole, [cut]);
        }
        for first in 1..length.min(VERY_SHORT) {
            for second in first + 1..length.min(VERY_SHORT) {
                compare(case, &whole, [first, second]);
            }
        }
        for _ in 0..60 {
            compare(case, &whole, random.cuts(length));
        }
    }
}

/// Damages conversations at random; what comes of them is unknown, and is the same however they are cut.
fn check_mangled(cases: Vec<Case>, seed: u64) {
    let mut random = Random(seed);
    let mut silent = 0;
    for case in cases.iter().filter(|case| case.input.len() <= SHORT) {
        for _ in 0..60 {
            let mut case = case.clone();
            for _ in 0..=random.below(3) {
                let (at, other) = (random.below(case.input.len()), random.below(case.input.len()));
                match random.below(4) {
                    0 => case.input[at] ^= 1 << random.below(8),
                    1 => case.input[at] = case.input[other],
                    2 => drop(case.input.splice(at..at, *b"\n")),
                    _ if case.input.len() > 1 => drop(case.input.remove(at)),
                    _ => {}
                }
            }
            let whole = hold(&case, []);
            silent += usize::from(whole.state == State::Silent);
            compare(&case, &whole, 0..case.input.len());
            for _ in 0..10 {
                compare(&case, &whole, random.cuts(case.input.len()));
            }
        }
    }
    assert!(silent > 100, "the damage has done some: {silent}");
}

#[test]
fn messages() {
    check(corpus::messages());
}

#[test]
fn control_frames() {
    check(corpus::control_frames());
}

#[test]
fn faults() {
    check(corpus::faults());
}

#[test]
fn bad_utf8() {
    check(corpus::bad_utf8());
}

#[test]
fn limits() {
    check(corpus::limits());
}

#[test]
fn closing() {
    check(corpus::closing());
}

#[test]
fn requests() {
    check(heads::good());
}

#[test]
fn bad_requests() {
    check(heads::bad());
}

#[test]
fn strangers() {
    check(heads::strangers());
}

#[test]
fn mangled_frames() {
    let cases = [corpus::messages(), corpus::control_frames(), corpus::limits(), corpus::closing()];
    check_mangled(cases.concat(), 1);
}

#[test]
fn mangled_requests() {
    check_mangled([heads::good(), heads::bad()].concat(), 2);
}

#[test]
fn the_harness_sees_a_difference() {
    let case = Case {
        name: "text".to_owned(),
        setup: Setup::default(),
        start: Start::Accepted,
        input: [UPGRADE.as_bytes(), &wire::text("hi")].concat(),
        steps: Vec::new(),
        state: State::Open,
        unfinished: false,
    };
    let whole = hold(&case, []);
    assert_eq!(whole.steps.last(), Some(&text("hi")));
    let mut other = case;
    other.input.pop();
    let cut = hold(&other, []);
    assert!(cut.unfinished && !whole.unfinished && cut.deadline < whole.deadline && cut.sent == whole.sent);
    assert_eq!(cut.steps.len() + 1, whole.steps.len());
}

//! Conversations behind the upgrade, and what each must come to.

use super::driver::wire::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};
use super::driver::{Sent, Setup, Step, binary, by_peer, by_us, failed, sent_close, sent_pong, sent_text, text};
use super::{Case, Start, State};

const NOT_UTF8: &str = "text that is not UTF-8";

/// A conversation that leaves the connection open, each message acknowledged.
fn open<const N: usize>(name: &str, frames: [Vec<u8>; N], steps: impl IntoIterator<Item = Step>) -> Case {
    let mut acknowledged = Vec::new();
    for step in steps {
        let message = matches!(step, Step::Text(_) | Step::Binary(_));
        acknowledged.push(step);
        if message {
            acknowledged.push(sent_text("next"));
        }
    }
    Case {
        name: name.to_owned(),
        setup: Setup { acknowledgement: Some("next"), ..Setup::default() },
        start: Start::Open,
        input: frames.concat(),
        steps: acknowledged,
        state: State::Open,
        unfinished: false,
    }
}

/// One that ends in silence.
fn ends<const N: usize>(name: &str, frames: [Vec<u8>; N], steps: impl IntoIterator<Item = Step>) -> Case {
    Case { state: State::Silent, ..open(name, frames, steps) }
}

/// One that fails the connection with `code`; more comes behind it, and is of no consequence.
fn fails<const N: usize>(name: &str, frames: [Vec<u8>; N], code: u16, why: &str) -> Case {
    let (before, behind) = (wire::text("before"), [wire::text("behind"), wire::ping(b"behind")].concat());
    let input = [before, frames.concat(), behind].concat();
    ends(name, [input], [text("before")].into_iter().chain(failed(code, why)))
}

/// One that stops in the middle of something.
fn unfinished(case: Case) -> Case {
    Case { unfinished: true, ..case }
}

fn long(length: usize) -> String {
    "All work and no play. ".chars().cycle().take(length).collect()
}

pub(super) fn messages() -> Vec<Case> {
    let bytes: Vec<u8> = (0..=255).collect();
    let mixed = format!("{}é{}😀", long(4095), long(100));
    vec![
        open("a text", [wire::text("Hello")], [text("Hello")]),
        open("a text of many scripts", [wire::text("Grüße, 世界 😀")], [text("Grüße, 世界 😀")]),
        open("a binary", [wire::binary(&bytes)], [binary(&bytes)]),
        open("empty messages", [wire::text(""), wire::binary(b""), wire::text("")], [text(""), binary(b""), text("")]),
        open(
            "one after another",
            [wire::text("one"), wire::binary(b"\xff"), wire::text("three")],
            [text("one"), binary(b"\xff"), text("three")],
        ),
        open("a length in 16 bits", [wire::text(&long(126))], [text(&long(126))]),
        open("the longest of those", [wire::text(&long(65_535))], [text(&long(65_535))]),
        open("a length in 64 bits", [wire::text(&long(65_536)), wire::text("x")], [text(&long(65_536)), text("x")]),
        open("long and not ASCII", [wire::text(&mixed), wire::text("x")], [text(&mixed), text("x")]),
        open(
            "fragments",
            [wire::frame(TEXT, b"Hel"), wire::frame(CONTINUATION, b"l"), wire::frame(FIN, b"o")],
            [text("Hello")],
        ),
        open(
            "empty fragments",
            [wire::frame(BINARY, b""), wire::frame(CONTINUATION, b""), wire::frame(FIN, b""), wire::text("x")],
            [binary(b""), text("x")],
        ),
        open(
            "fragments among whole messages",
            [wire::text("a"), wire::frame(TEXT, b"b"), wire::frame(FIN, b"c"), wire::frame(BINARY, b"d")],
            [text("a"), text("bc")],
        )
        .then(
            [wire::frame(FIN, b"e"), wire::text("f")],
            [binary(b"de"), sent_text("next"), text("f"), sent_text("next")],
        ),
        open(
            "characters cut by fragments",
            [wire::frame(TEXT, b"\xf0\x9f"), wire::frame(CONTINUATION, b"\x98"), wire::frame(FIN, b"\x80\xc3\xa9")],
            [text("😀é")],
        ),
        open(
            "long fragments",
            [wire::frame(TEXT, long(500).as_bytes()), wire::frame(FIN, "é".repeat(200).as_bytes())],
            [text(&(long(500) + &"é".repeat(200)))],
        ),
        unfinished(open("half a header", [wire::text("a"), wire::text("b")[..1].to_vec()], [text("a")])),
        unfinished(open("half a text", [wire::text("a"), wire::text("more")[..8].to_vec()], [text("a")])),
        unfinished(open("half a message", [wire::text("a"), wire::frame(TEXT, b"half of ")], [text("a")])),
        unfinished(open("an empty half", [wire::frame(TEXT, b"")], [])),
    ]
}

impl Case {
    /// The same, and then more.
    fn then<const N: usize>(mut self, frames: [Vec<u8>; N], steps: impl IntoIterator<Item = Step>) -> Self {
        self.input.extend(frames.concat());
        self.steps.extend(steps);
        self
    }
}

pub(super) fn control_frames() -> Vec<Case> {
    let full = [0xfe; 125];
    vec![
        open("a ping", [wire::ping(b"there?")], [sent_pong(b"there?")]),
        open("an empty ping", [wire::ping(b"")], [sent_pong(b"")]),
        open("a full ping", [wire::ping(&full), wire::text("x")], [sent_pong(&full), text("x")]),
        open("a pong", [wire::pong(b""), wire::pong(b"unasked"), wire::pong(&full)], []),
        open(
            "pings around messages",
            [wire::ping(b"1"), wire::text("a"), wire::ping(b"2"), wire::text("b"), wire::ping(b"3")],
            [sent_pong(b"1"), text("a"), sent_pong(b"2"), text("b"), sent_pong(b"3")],
        ),
        open(
            "a ping between fragments",
            [wire::frame(TEXT, b"Hel"), wire::ping(b"?"), wire::frame(FIN, b"lo"), wire::ping(b"")],
            [sent_pong(b"?"), text("Hello"), sent_pong(b"")],
        ),
        open(
            "all kinds between fragments inside a character",
            [
                wire::frame(TEXT, b"\xe2"),
                wire::ping(b"\xff"),
                wire::frame(CONTINUATION, b"\x82"),
                wire::pong(b"\x80"),
                wire::ping(b""),
                wire::frame(FIN, b"\xac"),
            ],
            [sent_pong(b"\xff"), sent_pong(b""), text("€")],
        ),
        unfinished(open("half a ping", [wire::text("a"), wire::ping(b"there?")[..9].to_vec()], [text("a")])),
        unfinished(open(
            "half a ping between fragments",
            [wire::frame(TEXT, b"a"), wire::ping(b"there?")[..3].to_vec()],
            [],
        )),
    ]
}

pub(super) fn faults() -> Vec<Case> {
    const CONTROL: &str = "control frame fragmented or too long";
    const LENGTH: &str = "payload length not in its shortest form";
    const MASK: &str = "frame not masked as its sender must";
    const INSIDE: &str = "new message inside another";
    const STRAY: &str = "continuation of no message";
    const CODE: &str = "close code that may not be sent";
    let mut cases = vec![
        fails("a text without a mask", [wire::unmasked(FIN | TEXT, b"hi")], 1002, MASK),
        fails("a close without a mask", [wire::unmasked(FIN | CLOSE, b"\x03\xe8")], 1002, MASK),
        fails("a length of 125 in 16 bits", [[b"\x81\xfe\x00\x7d".to_vec(), vec![0; 129]].concat()], 1002, LENGTH),
        fails(
            "a length of 65,535 in 64 bits",
            [b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00".to_vec()],
            1002,
            LENGTH,
        ),
        fails("the top bit of a length", [wire::header(FIN | BINARY, 1 << 63)], 1002, LENGTH),
        fails("all bits of a length", [wire::header(BINARY, u64::MAX)], 1002, LENGTH),
        fails("a fragmented ping", [wire::frame(PING, b"a")], 1002, CONTROL),
        fails("a fragmented close", [wire::frame(CLOSE, b"\x03\xe8")], 1002, CONTROL),
        fails("a ping of 126 bytes", [wire::frame(FIN | PING, &[b'x'; 126])], 1002, CONTROL),
        fails("a pong of 2^40 bytes", [wire::header(FIN | PONG, 1 << 40)], 1002, CONTROL),
        fails("a close reason of 124 bytes", [wire::close(1000, &"x".repeat(124))], 1002, CONTROL),
        fails("half a close code", [wire::frame(FIN | CLOSE, b"\x03")], 1002, "half a close code"),
        fails("a continuation of nothing", [wire::frame(CONTINUATION, b"a")], 1002, STRAY),
        fails("a last continuation of nothing", [wire::frame(FIN, b"")], 1002, STRAY),
        fails("a text in a text", [wire::frame(TEXT, b"a"), wire::text("b")], 1002, INSIDE),
        fails("a binary begun in a text", [wire::frame(TEXT, b""), wire::frame(BINARY, b"")], 1002, INSIDE),
        fails(
            "a reserved bit between fragments",
            [wire::frame(TEXT, b"a"), wire::frame(0xc0, b"b")],
            1002,
            "reserved bit set",
        ),
        fails("a request", [b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()], 1002, "reserved bit set"),
    ];
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        cases.push(fails(&format!("a close with {code}"), [wire::close(code, "why")], 1002, CODE));
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        cases.push(fails(&format!("opcode {opcode}"), [wire::frame(FIN | opcode, b"a")], 1002, "reserved opcode"));
    }
    for bit in [0x10, 0x20, 0x40] {
        for opcode in [TEXT, PING] {
            let name = format!("bit {bit:#x} of opcode {opcode}");
            cases.push(fails(&name, [wire::frame(FIN | bit | opcode, b"a")], 1002, "reserved bit set"));
        }
    }
    cases
}

pub(super) fn bad_utf8() -> Vec<Case> {
    let mut cases = vec![
        fails(
            "long text, bad at its end",
            [wire::frame(FIN | TEXT, &[long(5000).as_bytes(), b"\xff"].concat())],
            1007,
            NOT_UTF8,
        ),
        fails("a bad reason", [wire::close_bytes(1000, b"\xc3(")], 1007, NOT_UTF8),
        fails("a reason that ends in a character", [wire::close_bytes(1000, b"ok\xf0\x9f")], 1007, NOT_UTF8),
        fails(
            "a bad byte in a frame that does not end",
            [wire::header(TEXT, 10_000), wire::masked(b"so far so good \xed\xa0 and on")],
            1007,
            NOT_UTF8,
        ),
        fails("a character cut by the end", [wire::frame(TEXT, b"\xe2"), wire::frame(FIN, b"\x82")], 1007, NOT_UTF8),
        fails("a character cut by nothing", [wire::frame(TEXT, b"\xe2"), wire::frame(FIN, b"")], 1007, NOT_UTF8),
        fails(
            "a bad byte in a later fragment",
            [wire::frame(TEXT, b"\xf0\x9f"), wire::ping(b""), wire::frame(CONTINUATION, b"\x98a")],
            1007,
            NOT_UTF8,
        ),
    ];
    // A ping that is in order is answered before the fault.
    if let Some(case) = cases.last_mut() {
        case.steps.insert(2, sent_pong(b""));
    }
    for bad in [
        &b"\xff"[..],
        b"\x80",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x28\xa1",
        b"\xf0\x9f\x98",
    ] {
        let name = bad.escape_ascii().to_string();
        cases.push(fails(&name, [wire::frame(FIN | TEXT, bad)], 1007, NOT_UTF8));
        let payload = ["é€ ".as_bytes(), bad, b" and on"].concat();
        cases.push(fails(&format!("{name} inside"), [wire::frame(FIN | TEXT, &payload)], 1007, NOT_UTF8));
        let (start, end) = payload.split_at(7);
        let fragments = [wire::frame(TEXT, start), wire::frame(FIN, end)];
        cases.push(fails(&format!("{name} in fragments"), fragments, 1007, NOT_UTF8));
    }
    cases
}

pub(super) fn limits() -> Vec<Case> {
    const TOO_BIG: &str = "message over the limit";
    const FRAGMENTS: &str = "message in more fragments than allowed";
    const RATE: &str = "more messages a second than allowed";
    let limited = |case: Case| {
        let mut case = case;
        case.setup.limits.message = 200;
        case.setup.limits.fragments = 3;
        case.setup.limits.rate = 4;
        case
    };
    let whole = long(200);
    let (half, rest) = whole.as_bytes().split_at(100);
    [
        open("a message at the limit", [wire::text(&whole), wire::text("x")], [text(&whole), text("x")]),
        open("fragments at the limit", [wire::frame(TEXT, half), wire::frame(FIN, rest)], [text(&whole)]),
        open(
            "three fragments",
            [wire::frame(TEXT, b"a"), wire::ping(b""), wire::frame(CONTINUATION, b"b"), wire::frame(FIN, b"c")],
            [sent_pong(b""), text("abc")],
        ),
        open("four messages", [wire::text("a").repeat(4)], [text("a"), text("a"), text("a"), text("a")]),
        unfinished(open(
            "fragments at the limit, and no end",
            [wire::frame(TEXT, half), wire::frame(CONTINUATION, rest), wire::ping(b"")],
            [sent_pong(b"")],
        )),
        fails("a message over the limit", [wire::text(&long(201))], 1009, TOO_BIG),
        fails("a message announced over the limit", [wire::header(TEXT, 1 << 62)], 1009, TOO_BIG),
        fails("fragments over the limit", [wire::frame(BINARY, half), wire::frame(FIN, &[0; 101])], 1009, TOO_BIG),
        fails("a sum that wraps", [wire::frame(BINARY, b"abc"), wire::header(FIN, (1 << 63) - 2)], 1009, TOO_BIG),
        fails(
            "four fragments",
            [wire::frame(TEXT, b""), wire::frame(CONTINUATION, b"").repeat(2), wire::header(FIN, 5)],
            1008,
            FRAGMENTS,
        ),
        ends(
            "five messages",
            [wire::text("a"), wire::frame(TEXT, b"b"), wire::frame(FIN, b"c"), wire::text("d").repeat(4)],
            [text("a"), text("bc"), text("d"), text("d")].into_iter().chain(failed(1008, RATE)),
        ),
    ]
    .into_iter()
    .map(limited)
    .collect()
}

pub(super) fn closing() -> Vec<Case> {
    let late = || [wire::text("late"), wire::ping(b"late"), wire::close(1000, "again")].concat();
    let closed = |case: Case| Case { start: Start::Closing, steps: Vec::new(), ..case };
    vec![
        ends("a close", [wire::close(1000, "bye")], [sent_close(1000, ""), by_peer(1000, "bye")]),
        ends(
            "a close without a code",
            [wire::empty_close(), late()],
            [Step::Sent(Sent::Close(None, String::new())), Step::ByPeer(None, String::new())],
        ),
        ends(
            "a close behind a message",
            [wire::text("a"), wire::close(4999, "ça y est"), late()],
            [text("a"), sent_close(4999, ""), by_peer(4999, "ça y est")],
        ),
        ends(
            "a close between fragments",
            [wire::frame(TEXT, b"a"), wire::close(1001, ""), wire::frame(FIN, b"b")],
            [sent_close(1001, ""), by_peer(1001, "")],
        ),
        ends(
            "a close with the longest reason",
            [wire::close(1000, &"x".repeat(123))],
            [sent_close(1000, ""), by_peer(1000, &"x".repeat(123))],
        ),
        unfinished(open("half a close", [wire::text("a"), wire::close(1000, "bye")[..10].to_vec()], [text("a")])),
        closed(Case {
            state: State::Closing,
            ..open("all but a close after ours", [wire::text("a"), wire::ping(b"b")], [])
        }),
        closed(ends("their close after ours", [wire::text("a"), wire::frame(TEXT, b"b"), wire::close(1000, "")], [])),
        closed(ends("a fault after our close", [wire::text("a"), vec![0xff], late()], [])),
        closed(ends("a bad text after our close", [wire::frame(FIN | TEXT, b"\xff"), late()], [])),
        closed(unfinished(Case {
            state: State::Closing,
            ..open("half a message after our close", [wire::ping(b""), wire::frame(TEXT, b"half")], [])
        })),
        ends(
            "a fault and a close",
            [vec![0x80 | 3], wire::close(1000, "")],
            [sent_close(1002, "reserved opcode"), by_us(1002, "reserved opcode")],
        ),
    ]
}

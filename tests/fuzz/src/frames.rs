//! Target `frames`: the bytes of an open connection, from headers to messages.
//!
//! The input is what a client sends once it is upgraded. Permitted, and nothing besides:
//!
//! - The reader gives the same items, and ends the same way, as the decoder below, which is written the slow way round:
//!   it has all bytes at once and looks at one frame after the other as RFC 6455 describes them.
//! - It does so however the input is cut into pieces.
//! - It ends with nothing unfinished, and then holds no memory and has no deadline; with something unfinished, and then
//!   has a deadline; with a Close frame; or with a fault, of 1002, 1007, 1008 or 1009.
//! - What is written as a frame is read as that frame. Unmasking in one pass sees what unmasking in two does.
//! - Looking for the boundary of a frame in bytes that are none gives a place not before the one asked for, or none.

use std::time::Duration;

use websock::clock::Moment;
use websock::proto::Kind;
use websock::proto::deflate::Codec;
use websock::proto::frame::{self, Header, MAX_HEADER, Opcode, Sender};
use websock::proto::input::Input;
use websock::proto::reader::{Item, Reader};
use websock::proto::session::{Limits, Turn};
use websock::proto::tally::Tally;

use crate::pieces;

const MESSAGE_TIME: Duration = Duration::from_secs(30);

#[derive(Debug, Eq, PartialEq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
}

/// How the input ends.
#[derive(Debug, Eq, PartialEq)]
enum Rest {
    Nothing,
    Unfinished,
    Closed(Option<u16>, String),
    Fault(u16),
}

/// See the top.
pub fn run(data: &[u8]) {
    // Tight, so that every limit is met; wide, so that every form of a length is.
    for (message, fragments) in [(300, 3), (70_000, 1000)] {
        let limits = Limits {
            message,
            fragments,
            rate: 0,
            head_time: Duration::ZERO,
            message_time: MESSAGE_TIME,
            ping_interval: Duration::ZERO,
            close_wait: Duration::ZERO,
        };
        let expected = decode(data, &limits);
        for most in [usize::MAX, 1, 9, data.len()] {
            assert_eq!(read(data, most, &limits), expected, "in pieces of at most {most}");
        }
    }
    write_again(data);
    unmask_both_ways(data);
    look_for_boundaries(data);
}

/// What the server's reader makes of the bytes.
fn read(data: &[u8], most: usize, limits: &Limits) -> (Vec<Seen>, Rest) {
    let mut bytes = data.to_vec();
    let (mut out, mut spare) = (Vec::new(), Vec::new());
    let mut codec = Codec::default();
    let mut tally = Tally::default();
    let mut turn = Turn {
        now: Moment::START,
        limits,
        out: &mut out,
        spare: &mut spare,
        codec: &mut codec,
        tally: &mut tally,
        latest: 0,
    };
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    let mut start = 0;
    let whole = (most == usize::MAX).then_some(data.len()).into_iter();
    let cut = (most != usize::MAX).then(|| pieces::ends(data, most)).into_iter().flatten();
    for end in whole.chain(cut) {
        let mut input = Input::new(&mut bytes[start..end]);
        start = end;
        loop {
            match reader.next(&mut input, None, &mut turn) {
                Ok(None) => break,
                Ok(Some(Item::Message(message))) => seen.push(Seen::Message(message.kind, message.data.into_owned())),
                Ok(Some(Item::Ping(payload))) => seen.push(Seen::Ping(payload.into_owned())),
                Ok(Some(Item::Pong(_))) => seen.push(Seen::Pong),
                Ok(Some(Item::Close(code, reason))) => {
                    return (seen, Rest::Closed(code.map(frame::CloseCode::get), reason.into()));
                }
                Err(fault) => {
                    assert!(fault.why().len() <= 123, "a reason fits in a Close frame");
                    return (seen, Rest::Fault(fault.close_code().get()));
                }
            }
        }
        assert!(input.is_empty(), "all input is used up, or kept");
    }
    assert!(turn.out.is_empty(), "a reader says nothing");
    let rest = if reader.deadline() == Moment::NEVER {
        assert_eq!(reader.held(), 0, "nothing unfinished, nothing held");
        Rest::Nothing
    } else {
        assert_eq!(reader.deadline(), Moment::START.after(MESSAGE_TIME));
        Rest::Unfinished
    };
    (seen, rest)
}

/// What RFC 6455 makes of the bytes.
fn decode(mut bytes: &[u8], limits: &Limits) -> (Vec<Seen>, Rest) {
    let mut seen = Vec::new();
    // The kind, the payload and the number of frames of the message that has begun.
    let mut message: Option<(Kind, Vec<u8>, u32)> = None;
    let rest = loop {
        if bytes.is_empty() {
            break if message.is_some() { Rest::Unfinished } else { Rest::Nothing };
        }
        let (fin, opcode, length, key, size) = match decode_header(bytes) {
            Err(NoFrame) => break Rest::Fault(1002),
            Ok(None) => break Rest::Unfinished,
            Ok(Some(header)) => header,
        };
        let data = &bytes[size..];
        let there = usize::try_from(length).unwrap_or(usize::MAX).min(data.len());
        let payload: Vec<u8> = data[..there].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let whole = there as u64 == length;
        bytes = &data[there..];
        if opcode >= 8 {
            match opcode {
                _ if !whole => break Rest::Unfinished,
                8 => break decode_close(&payload),
                9 => seen.push(Seen::Ping(payload)),
                _ => seen.push(Seen::Pong),
            }
            continue;
        }
        if length > limits.message as u64 {
            break Rest::Fault(1009);
        }
        let (kind, mut gathered, frames) = match (opcode, message.take()) {
            (0, Some(begun)) => begun,
            (1, None) => (Kind::Text, Vec::new(), 0),
            (2, None) => (Kind::Binary, Vec::new(), 0),
            _ => break Rest::Fault(1002),
        };
        if gathered.len() as u64 + length > limits.message as u64 {
            break Rest::Fault(1009);
        }
        if frames == limits.fragments {
            break Rest::Fault(1008);
        }
        gathered.extend(payload);
        let done = whole && fin;
        if kind == Kind::Text
            && let Err(error) = std::str::from_utf8(&gathered)
            && (done || error.error_len().is_some())
        {
            break Rest::Fault(1007);
        }
        if !whole {
            break Rest::Unfinished;
        }
        if done {
            seen.push(Seen::Message(kind, gathered));
        } else {
            message = Some((kind, gathered, frames + 1));
        }
    };
    (seen, rest)
}

struct NoFrame;

type Decoded = (bool, u8, u64, [u8; 4], usize);

/// RFC 6455, section 5.2: FIN, opcode, payload length, mask, length of the header. `None`: good so far.
fn decode_header(bytes: &[u8]) -> Result<Option<Decoded>, NoFrame> {
    let (fin, reserved, opcode) = (bytes[0] >= 0x80, bytes[0] >> 4 & 7, bytes[0] & 15);
    let control = opcode >= 8;
    if reserved != 0 || !matches!(opcode, 0..=2 | 8..=10) || (control && !fin) {
        return Err(NoFrame);
    }
    let Some(second) = bytes.get(1) else { return Ok(None) };
    let (masked, short) = (second >> 7 == 1, second & 0x7f);
    if !masked || (control && short > 125) {
        return Err(NoFrame);
    }
    let more = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(extended) = bytes.get(2..2 + more) else { return Ok(None) };
    let extended = extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
    let (length, shortest) = match short {
        126 => (extended, extended > 125),
        127 => (extended, extended > 0xffff && extended < 1 << 63),
        _ => (u64::from(short), true),
    };
    if !shortest {
        return Err(NoFrame);
    }
    let key = bytes.get(2 + more..6 + more).and_then(<[u8]>::first_chunk);
    Ok(key.map(|key| (fin, opcode, length, *key, 6 + more)))
}

/// RFC 6455, section 7.4: no payload, or a code that may be sent and a reason.
fn decode_close(payload: &[u8]) -> Rest {
    let (code, reason) = match payload {
        [] => return Rest::Closed(None, String::new()),
        [_] => return Rest::Fault(1002),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if code < 1000 || matches!(code, 1004..=1006 | 1015..=2999) || code > 4999 {
        return Rest::Fault(1002);
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Rest::Closed(Some(code), reason.to_owned()),
        Err(_) => Rest::Fault(1007),
    }
}

/// The input as the payload of a frame from either side.
fn write_again(data: &[u8]) {
    let key = [0x12, 0x00, 0xff, 0x81];
    for (sender, mask) in [(Sender::Client, Some(key)), (Sender::Server, None)] {
        let mut out = Vec::new();
        match sender {
            Sender::Client => frame::write_masked_frame(&mut out, Opcode::Binary, data, key),
            Sender::Server => frame::write_frame(&mut out, Opcode::Binary, data),
        }
        let header = Header::parse(&out, sender).expect("a good frame").expect("a whole header");
        assert_eq!((header.fin, header.opcode), (true, Opcode::Binary));
        assert_eq!(header.mask.map(u32::to_ne_bytes), mask);
        assert_eq!((header.length, header.size), (data.len() as u64, out.len() - data.len()));
        let payload = &mut out[header.size..];
        frame::unmask(payload, mask.unwrap_or_default());
        assert_eq!(payload, data);
    }
}

fn unmask_both_ways(data: &[u8]) {
    let key = data.last_chunk().copied().unwrap_or_default();
    let (mut one, mut two) = (data.to_vec(), data.to_vec());
    let ascii = frame::unmask_seeing_ascii(&mut one, key);
    frame::unmask(&mut two, key);
    assert_eq!(one, two);
    assert_eq!(ascii, two.is_ascii());
}

fn look_for_boundaries(data: &[u8]) {
    let peek = |at: usize, header: &mut [u8; MAX_HEADER]| {
        let there = data.get(at..).unwrap_or_default();
        there.iter().zip(header).map(|(byte, place)| *place = *byte).count()
    };
    for offset in [0, 1, data.len() / 2, data.len()] {
        let boundary = frame::boundary_after(0, offset, peek);
        assert!(boundary.is_none_or(|boundary| boundary >= offset), "{boundary:?} after {offset}");
    }
}

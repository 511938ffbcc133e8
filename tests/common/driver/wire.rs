//! Both sides of the wire, by hand: what a client writes, and what a server's bytes say.
//!
//! It knows RFC 6455, section 5, and shares nothing with `src/`: tests that encode and decode with the code under test
//! agree with its mistakes.

use super::{Sent, Step};

/// The mask of the RFC's example (section 5.7).
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The bit of a frame's first byte that says that its message ends.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// A masked header that announces `length` bytes; `first` is its first byte as it is.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    let [.., b1, b0] = length.to_be_bytes();
    match length {
        0..=125 => bytes.push(0x80 | b0),
        126..=0xffff => bytes.extend_from_slice(&[0x80 | 126, b1, b0]),
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes
}

/// `payload` under the mask, beginning at its first byte.
pub(crate) fn masked(payload: &[u8]) -> Vec<u8> {
    payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]).collect()
}

/// A whole frame; `first` is its first byte as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [header(first, payload.len() as u64), masked(payload)].concat()
}

/// A frame without a mask, which no client may send. For payloads up to 125 bytes.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length <= 125);
    [&[first, length.expect("a short payload")], payload].concat()
}

pub(crate) fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PONG, payload)
}

pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    close_bytes(code, reason.as_bytes())
}

/// A Close frame whose reason need not be text.
pub(crate) fn close_bytes(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

pub(crate) fn empty_close() -> Vec<u8> {
    frame(FIN | CLOSE, b"")
}

/// What a server has sent, in words. It panics on what no server may send, and on anything that is not whole.
///
/// `upgraded` says whether a `101` went before, and is kept up to date.
pub(crate) fn read(mut bytes: &[u8], upgraded: &mut bool) -> Vec<Step> {
    let mut steps = Vec::new();
    while !bytes.is_empty() {
        let (sent, rest) = if *upgraded { read_frame(bytes) } else { read_response(bytes) };
        *upgraded |= matches!(sent, Sent::Response(101, _));
        steps.push(Step::Sent(sent));
        bytes = rest;
    }
    steps
}

/// One response, the body as long as its Content-Length says.
fn read_response(bytes: &[u8]) -> (Sent, &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head of text");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a status line");
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    let (body, rest) = bytes[end..].split_at(length);
    (Sent::Response(status.parse().expect("a status"), utf8(body)), rest)
}

/// One frame: unmasked, unfragmented, its length in the shortest form.
fn read_frame(bytes: &[u8]) -> (Sent, &[u8]) {
    let (first, second) = (bytes[0], bytes[1]);
    assert_eq!(first & 0xf0, FIN, "FIN and no reserved bit in {first:#x}");
    let be = |bytes: &[u8]| bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    let (length, start, least) = match second {
        0..=125 => (usize::from(second), 2, 0),
        126 => (be(&bytes[2..4]), 4, 126),
        127 => (be(&bytes[2..10]), 10, 0x1_0000),
        128.. => panic!("a masked frame from a server"),
    };
    assert!(length >= least, "a length in its shortest form");
    let end = start + length;
    assert!(end <= bytes.len(), "a frame of {end} bytes, of which {} are there", bytes.len());
    let payload = &bytes[start..end];
    assert!(first & 0x8 == 0 || length <= 125, "a control frame of {length} bytes");
    let sent = match first & 0xf {
        TEXT => Sent::Text(utf8(payload)),
        BINARY => Sent::Binary(payload.to_vec()),
        CLOSE => match payload.split_first_chunk() {
            Some((code, reason)) => Sent::Close(Some(u16::from_be_bytes(*code)), utf8(reason)),
            None => {
                assert!(payload.is_empty(), "half a close code");
                Sent::Close(None, String::new())
            }
        },
        PING => Sent::Ping(payload.to_vec()),
        PONG => Sent::Pong(payload.to_vec()),
        opcode => panic!("opcode {opcode:#x} from a server"),
    };
    (sent, &bytes[end..])
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8 from a server")
}

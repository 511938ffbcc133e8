//! One WebSocket frame (RFC 6455, section 5): its header, its mask, the codes that a Close frame carries.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-------+-+-------------+-------------------------------+
//! |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
//! |I|S|S|S|  (4)  |A|     (7)     |             (16/64)           |
//! |N|V|V|V|       |S|             |   (if payload len==126/127)   |
//! | |1|2|3|       |K|             |                               |
//! +-+-+-+-+-------+-+-------------+ - - - - - - - - - - - - - - - +
//! |                Masking-key, if MASK is set (32)               |
//! +-------------------------------+-------------------------------+
//! |                          Payload data                         |
//! ```
//!
//! Pure functions on bytes: what a frame means in its place, fragments and limits included, is
//! [`session`](super::session)'s business.

use super::utf8;

/// The longest header that a client may send: two bytes, a 64-bit length, the mask.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame is for (RFC 6455, section 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message that an earlier frame began.
    Continuation = 0x0,
    /// Begins a message of UTF-8 text.
    Text = 0x1,
    /// Begins a message of any bytes.
    Binary = 0x2,
    /// Says that the sender is done.
    Close = 0x8,
    /// Asks for a [`Opcode::Pong`] with the same payload.
    Ping = 0x9,
    /// Answers a [`Opcode::Ping`], or is sent unasked.
    Pong = 0xa,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is Close, Ping or Pong (RFC 6455, section 5.5).
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The first bytes of a frame, read and found good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The message ends with this frame.
    pub fin: bool,
    /// RSV1, which permessage-deflate gives a meaning: the message that begins here is packed (RFC 7692, section 6).
    pub packed: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The masking key, its bytes as on the wire; `None` in frames from a server. A number, since a header is handed on in
    /// registers that way: as four bytes it goes through memory in pieces, which costs more than all the rest of it.
    pub mask: Option<u32>,
    /// Payload length in bytes; at most 2^63 - 1.
    pub length: u64,
    /// Length of the header itself in bytes.
    pub size: usize,
}

/// What is wrong with a frame, seen from the header alone. All of them are protocol errors: close code 1002.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// An opcode that RFC 6455 reserves.
    ReservedOpcode,
    /// A reserved bit that no negotiated extension gives a meaning to.
    ReservedBit,
    /// A frame from a client without a mask (RFC 6455, section 5.1), or from a server with one.
    Mask,
    /// A control frame without FIN, or longer than [`MAX_CONTROL_PAYLOAD`] (RFC 6455, section 5.5).
    Control,
    /// A length in more bytes than it needs, or with its top bit set (RFC 6455, section 5.2).
    Length,
}

impl FrameError {
    /// What the peer and the log get to read.
    pub const fn why(self) -> &'static str {
        match self {
            Self::ReservedOpcode => "reserved opcode",
            Self::ReservedBit => "reserved bit set",
            Self::Mask => "frame not masked as its sender must",
            Self::Control => "control frame fragmented or too long",
            Self::Length => "payload length not in its shortest form",
        }
    }
}

/// Which end a frame comes from; it decides whether there must be a mask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// Must mask every frame.
    Client,
    /// Must not mask any.
    Server,
}

impl Header {
    /// Reads the header at the front of `bytes`.
    ///
    /// `Ok(None)`: it is not all there yet; what is there is good so far. [`Header::wanted`] says how much to wait for.
    pub fn parse(bytes: &[u8], sender: Sender) -> Result<Option<Self>, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::ReservedOpcode)?;
        let packed = first & 0x40 != 0;
        // RSV1 on anything but the first frame of a message (RFC 7692, section 6.1), RSV2 and RSV3 mean nothing.
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (packed && !begins) {
            return Err(FrameError::ReservedBit);
        }
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(FrameError::Control);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if (second & 0x80 != 0) != (sender == Sender::Client) {
            return Err(FrameError::Mask);
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(FrameError::Control);
        }
        let size = Self::size(second);
        let (length, least) = match short {
            126 => match bytes.get(2..4).and_then(<[u8]>::first_chunk) {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 126),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(<[u8]>::first_chunk) {
                Some(length) => (u64::from_be_bytes(*length), 0x1_0000),
                None => return Ok(None),
            },
            _ => (u64::from(short), 0),
        };
        if length < least || length >> 63 != 0 {
            return Err(FrameError::Length);
        }
        let mask = match sender {
            Sender::Server => None,
            Sender::Client => match bytes.get(size - 4..size).and_then(<[u8]>::first_chunk) {
                Some(key) => Some(u32::from_ne_bytes(*key)),
                None => return Ok(None),
            },
        };
        Ok(Some(Self { fin, packed, opcode, mask, length, size }))
    }

    /// The header of a frame from a client that is a message by itself, not packed, of at most 125 bytes, where all of it is
    /// there. Almost every frame is like that, and is read for a third of what [`Header::parse`] costs. `None`: something
    /// else, good or bad.
    #[inline]
    pub fn of_short_message(bytes: &[u8]) -> Option<Self> {
        let [first @ (0x81 | 0x82), second @ 0x80..=0xfd, key @ ..] = bytes.first_chunk::<6>()? else { return None };
        let opcode = if *first == 0x81 { Opcode::Text } else { Opcode::Binary };
        let (mask, length) = (Some(u32::from_ne_bytes(*key)), u64::from(second & 0x7f));
        let whole = bytes.len() - 6 >= usize::from(second & 0x7f);
        whole.then_some(Self { fin: true, packed: false, opcode, mask, length, size: 6 })
    }

    /// How many bytes there must be for the next decision about the frame that begins with `bytes`: two for the fixed
    /// part, the whole header after, and for a control frame its payload as well.
    pub fn wanted(bytes: &[u8]) -> usize {
        let &[first, second, ..] = bytes else { return 2 };
        let payload = if first & 0x08 != 0 { usize::from(second & 0x7f) } else { 0 };
        Self::size(second) + payload
    }

    /// Length of a whole header in bytes, given its second byte.
    const fn size(second: u8) -> usize {
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 != 0 { 4 } else { 0 }
    }
}

/// Appends the header of an unmasked frame, as a server sends it.
#[inline]
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    write_start(out, 0x80 | opcode as u8, length, 0);
}

/// Appends a whole unmasked frame whose payload permessage-deflate has packed (RFC 7692, section 6).
pub fn write_packed_frame(out: &mut Vec<u8>, opcode: Opcode, packed: &[u8]) {
    write_start(out, 0xc0 | opcode as u8, packed.len(), 0);
    out.extend_from_slice(packed);
}

/// Appends a whole unmasked frame, as a server sends it.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(MAX_HEADER + payload.len());
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a whole masked frame, as a client must send it (RFC 6455, section 5.3).
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    write_start(out, 0x80 | opcode as u8, payload.len(), 0x80);
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], key);
}

/// FIN, RSV1 and opcode as they stand in the first byte, the mask bit, and the shortest form of the length.
#[inline]
fn write_start(out: &mut Vec<u8>, first: u8, length: usize, mask: u8) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.extend_from_slice(&[first, mask | short]),
        (_, Ok(medium)) => {
            let [high, low] = medium.to_be_bytes();
            out.extend_from_slice(&[first, mask | 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, mask | 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The payload of a whole frame as a server sends it.
pub fn payload_of(frame: &[u8]) -> &[u8] {
    match Header::parse(frame, Sender::Server) {
        Ok(Some(header)) => &frame[header.size.min(frame.len())..],
        _ => &[],
    }
}

/// The length of the payload of a whole frame as a server sends it, which is `frame` bytes long.
pub const fn payload_length(frame: usize) -> usize {
    match frame {
        ..=127 => frame.saturating_sub(2),
        128..=65_539 => frame - 4,
        _ => frame - 10,
    }
}

/// Where, in a stream of whole frames as a server sends them, the first frame begins at or after `offset`.
///
/// `start` is where some frame begins, at or before `offset`; `peek` copies what stands at a position into a buffer and
/// says how much that was. `None`: the stream isn't made of frames.
pub fn boundary_after(
    start: usize,
    offset: usize,
    peek: impl Fn(usize, &mut [u8; MAX_HEADER]) -> usize,
) -> Option<usize> {
    let mut at = start;
    let mut bytes = [0; MAX_HEADER];
    while at < offset {
        let there = peek(at, &mut bytes);
        let header = Header::parse(&bytes[..there], Sender::Server).ok()??;
        at = at.checked_add(header.size)?.checked_add(usize::try_from(header.length).ok()?)?;
    }
    Some(at)
}

/// Removes (or applies: it is the same) the mask `key` from `payload`, in place (RFC 6455, section 5.3).
pub fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let word = word_of(key);
    let (words, rest) = payload.as_chunks_mut();
    for plain in words {
        *plain = (u64::from_ne_bytes(*plain) ^ word).to_ne_bytes();
    }
    unmask_rest(rest, key);
}

/// The end of a payload: at most seven bytes.
#[inline]
fn unmask_rest(rest: &mut [u8], key: [u8; 4]) {
    let (words, rest) = rest.as_chunks_mut();
    for plain in words {
        *plain = (u32::from_ne_bytes(*plain) ^ u32::from_ne_bytes(key)).to_ne_bytes();
    }
    rest.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
}

/// As [`unmask`], and says whether any byte came out with its high bit set: if none did, the payload is ASCII and so
/// is good UTF-8 without a second look. One pass; it pays from about 4 KiB.
pub fn unmask_seeing_ascii(payload: &mut [u8], key: [u8; 4]) -> bool {
    let word = word_of(key);
    let mut seen = 0;
    let (words, rest) = payload.as_chunks_mut();
    for bytes in words {
        let plain = u64::from_ne_bytes(*bytes) ^ word;
        seen |= plain;
        *bytes = plain.to_ne_bytes();
    }
    unmask_rest(rest, key);
    seen & 0x8080_8080_8080_8080 == 0 && rest.is_ascii()
}

fn word_of([a, b, c, d]: [u8; 4]) -> u64 {
    u64::from_ne_bytes([a, b, c, d, a, b, c, d])
}

/// Why an endpoint closes (RFC 6455, section 7.4): the number in a Close frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// Done, nothing wrong.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or the page goes elsewhere.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A kind of data that this resource can't take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Data that isn't what it says it is: text that isn't UTF-8, JSON that isn't JSON.
    pub const INVALID_DATA: Self = Self(1007);
    /// The peer may not do what it did.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message over the limit.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// Too much for now, try again later (the IANA registry of close codes).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// A code that a peer has sent, where it is one that may be sent at all (RFC 6455, sections 7.4.1 and 7.4.2).
    pub const fn received(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }
}

/// Appends a Close frame. The reason is cut, between characters, to what fits: 123 bytes.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let reason = utf8::cut(reason, MAX_CONTROL_PAYLOAD - 2);
    write_header(out, Opcode::Close, reason.len() + 2);
    out.extend_from_slice(&code.get().to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
        Header::parse(bytes, Sender::Client)
    }

    #[test]
    fn lengths_are_written_in_their_shortest_form_and_read_back() {
        for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            let mut frame = Vec::new();
            write_masked_frame(&mut frame, Opcode::Binary, &payload, [1, 2, 3, 4]);
            let header = parse(&frame).unwrap().unwrap();
            assert_eq!(header.length, length as u64);
            assert_eq!(header.mask.map(u32::to_ne_bytes), Some([1, 2, 3, 4]));
            assert_eq!(header.size + length, frame.len());
            for end in 0..header.size {
                assert_eq!(parse(&frame[..end]), Ok(None), "{end} bytes of the header of {length}");
                assert!(Header::wanted(&frame[..end]) > end);
            }
            unmask(&mut frame[header.size..], [1, 2, 3, 4]);
            assert_eq!(&frame[header.size..], payload);
        }
    }

    #[test]
    fn servers_do_not_mask() {
        let mut frame = Vec::new();
        write_frame(&mut frame, Opcode::Text, b"hi");
        assert_eq!(frame, b"\x81\x02hi");
        assert_eq!(parse(&frame), Err(FrameError::Mask));
        let header = Header::parse(&frame, Sender::Server).unwrap().unwrap();
        assert_eq!((header.mask, header.length, header.size), (None, 2, 2));
    }

    #[test]
    fn bad_headers_are_refused_as_soon_as_they_show() {
        let cases: [(&[u8], FrameError); 15] = [
            (b"\xc0", FrameError::ReservedBit),
            (b"\xc9", FrameError::ReservedBit),
            (b"\xa1", FrameError::ReservedBit),
            (b"\x91", FrameError::ReservedBit),
            (b"\x83", FrameError::ReservedOpcode),
            (b"\x87", FrameError::ReservedOpcode),
            (b"\x8b", FrameError::ReservedOpcode),
            (b"\x8f", FrameError::ReservedOpcode),
            (b"\x81\x00", FrameError::Mask),
            (b"\x09", FrameError::Control),
            (b"\x89\xfe", FrameError::Control),
            (b"\x88\xff", FrameError::Control),
            (b"\x81\xfe\x00\x7d", FrameError::Length),
            (b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff", FrameError::Length),
            (b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", FrameError::Length),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn unmasking_in_words_is_unmasking_by_bytes() {
        let key = [0x11, 0x82, 0xf3, 0x04];
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).map(|n| u8::try_from(n * 3 % 256).unwrap()).collect();
            let expected: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let mut one = plain.clone();
            unmask(&mut one, key);
            assert_eq!(one, expected);
            let mut other = expected;
            assert_eq!(unmask_seeing_ascii(&mut other, key), plain.is_ascii());
            assert_eq!(other, plain);
        }
    }

    #[test]
    fn frame_boundaries_are_found_in_a_stream() {
        let mut stream = Vec::new();
        for length in [3, 200, 0] {
            write_frame(&mut stream, Opcode::Text, &vec![b'x'; length]);
        }
        let boundary = |offset| {
            boundary_after(0, offset, |at, bytes| {
                let there = (stream.len() - at).min(bytes.len());
                bytes[..there].copy_from_slice(&stream[at..at + there]);
                there
            })
        };
        assert_eq!([0, 1, 5, 6, 209].map(boundary), [0, 5, 5, 209, 209].map(Some));
        assert_eq!(boundary(210), Some(211));
        assert_eq!(
            boundary_after(0, 1, |_, bytes| {
                bytes[..4].copy_from_slice(b"HTTP");
                4
            }),
            None
        );
    }

    #[test]
    fn close_codes_that_may_not_be_sent_are_nobodys() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(CloseCode::received(code), None, "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(CloseCode::received(code).map(CloseCode::get), Some(code));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(&mut out, CloseCode::NORMAL, &"é".repeat(100));
        assert_eq!(out[1], 124);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}

//! From the bytes of an open connection to messages and control frames (RFC 6455, sections 5 and 8).
//!
//! It knows what a frame may be in its place, and the limits. What a Close or a Ping leads to is
//! [`session`](super::session)'s business. A frame that is whole, and a message by itself, is handed on where it lies in
//! the read buffer; everything else goes through an [`Assembly`], which exists only while something is unfinished.

use std::borrow::Cow;

use simdutf8::basic::from_utf8;

use super::deflate::{Deflate, UnpackError};
use super::frame::{self, CloseCode, FrameError, Header, Opcode, Sender};
use super::input::Input;
use super::message::{Assembly, Kind, Message};
use super::session::Turn;
use crate::clock::Moment;

/// What a peer has sent.
#[derive(Debug)]
pub enum Item<'a> {
    /// A message, whole and checked.
    Message(Message<'a>),
    /// To be answered with the same payload.
    Ping(Cow<'a, [u8]>),
    /// An answer to a ping, or sent unasked, with so many bytes.
    Pong(usize),
    /// The peer is done; the code is one that may be sent.
    Close(Option<CloseCode>, Box<str>),
}

/// What a peer did wrong. Nothing more can be read from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A frame that can't be.
    Frame(FrameError),
    /// A data frame out of its place (RFC 6455, section 5.4).
    Order(&'static str),
    /// A Close frame that says what none may say (RFC 6455, section 7.4).
    Close(&'static str),
    /// Text that isn't UTF-8 (RFC 6455, section 8.1).
    Utf8,
    /// A packed message that can't be unpacked (RFC 7692, section 7.2.2).
    Packed,
    /// A message over [`Limits::message`](super::session::Limits::message).
    TooBig,
    /// A message in more pieces than [`Limits::fragments`](super::session::Limits::fragments).
    Fragments,
}

impl Fault {
    /// The code to close with (RFC 6455, section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Frame(_) | Self::Order(_) | Self::Close(_) => CloseCode::PROTOCOL_ERROR,
            Self::Utf8 | Self::Packed => CloseCode::INVALID_DATA,
            Self::TooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::Fragments => CloseCode::POLICY_VIOLATION,
        }
    }

    /// What the peer and the log get to read.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Frame(error) => error.why(),
            Self::Order(why) | Self::Close(why) => why,
            Self::Utf8 => "text that is not UTF-8",
            Self::Packed => "packed message that can't be unpacked",
            Self::TooBig => "message over the limit",
            Self::Fragments => "message in more fragments than allowed",
        }
    }
}

/// Reads frames. Eight bytes while nothing is unfinished.
#[derive(Debug, Default)]
pub struct Reader {
    assembly: Option<Box<Assembly>>,
}

impl Reader {
    /// When what is unfinished must be whole.
    pub fn deadline(&self) -> Moment {
        self.assembly.as_ref().map_or(Moment::NEVER, |assembly| assembly.due)
    }

    /// Bytes of memory that unfinished messages hold.
    pub fn held(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| size_of::<Assembly>() + assembly.held())
    }

    /// Forgets what is unfinished, and gives its memory back.
    pub fn clear(&mut self, turn: &mut Turn<'_>) {
        if let Some(assembly) = self.assembly.take() {
            give_spare(turn.spare, assembly.into_spare());
        }
    }

    /// The next item in `input`. `Ok(None)`: all of it is used up, or kept until more comes. `deflate`: what the
    /// connection keeps of its compression, if that was agreed on.
    pub fn next<'a>(
        &mut self,
        input: &mut Input<'a>,
        deflate: Option<&mut Deflate>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Item<'a>>, Fault> {
        if self.assembly.is_none()
            && let Some(header) = Header::of_short_message(input.peek())
            && let Some(kind) = kind_of(header.opcode)
            && length_of(header) <= turn.limits.message
        {
            turn.tally.frames += 1;
            return message(kind, header, input).map(Some);
        }
        let may_pack = deflate.is_some();
        loop {
            match &mut self.assembly {
                Some(assembly) if assembly.in_payload() => {
                    if assembly.take_payload(input).map_err(|_| Fault::Utf8)? {
                        let packed = assembly.is_packed();
                        let message = assembly.finish();
                        self.drop_if_empty(turn);
                        let Some(Message { kind, data }) = message else { return Ok(None) };
                        if packed && let Some(deflate) = deflate {
                            return unpacked(deflate, kind, &data, turn).map(Some);
                        }
                        return Ok(Some(Item::Message(Message { kind, data })));
                    }
                    if input.is_empty() {
                        return Ok(None);
                    }
                }
                Some(assembly) if assembly.is_cut() => {
                    let frame = assembly.top_up(input);
                    let Some(header) = whole(frame, may_pack, turn)? else { return Ok(None) };
                    turn.tally.frames += 1;
                    if header.opcode.is_control() {
                        let mut payload = frame[header.size..].to_vec();
                        unmask(&mut payload, header);
                        assembly.clear_cut();
                        self.drop_if_empty(turn);
                        return control(header.opcode, Cow::Owned(payload)).map(Some);
                    }
                    assembly.clear_cut();
                    self.begin_data(header, turn)?;
                }
                _ if input.is_empty() => return Ok(None),
                _ => {
                    let Some(header) = whole(input.peek(), may_pack, turn)? else {
                        self.assembly(turn).top_up(input);
                        return Ok(None);
                    };
                    turn.tally.frames += 1;
                    if header.opcode.is_control() {
                        let frame = input.take(header.size + length_of(header));
                        let payload = &mut frame[header.size..];
                        unmask(payload, header);
                        return control(header.opcode, Cow::Borrowed(payload)).map(Some);
                    }
                    if let Some(kind) = self.whole_message(header, input) {
                        let Some(deflate) = deflate.filter(|_| header.packed) else {
                            return message(kind, header, input).map(Some);
                        };
                        let frame = input.take(header.size + length_of(header));
                        let payload = &mut frame[header.size..];
                        unmask(payload, header);
                        return unpacked(deflate, kind, payload, turn).map(Some);
                    }
                    input.take(header.size);
                    self.begin_data(header, turn)?;
                }
            }
        }
    }

    /// The kind of the data frame at the front of `input`, where all of it is there and it is a message by itself.
    fn whole_message(&self, header: Header, input: &Input<'_>) -> Option<Kind> {
        let whole = header.fin && self.assembly.is_none() && input.len() - header.size >= length_of(header);
        if whole { kind_of(header.opcode) } else { None }
    }

    /// A data frame that comes in pieces, or is one of several: checks its place and makes room.
    fn begin_data(&mut self, header: Header, turn: &mut Turn<'_>) -> Result<(), Fault> {
        let kind = kind_of(header.opcode);
        let limits = turn.limits;
        let assembly = self.assembly(turn);
        match (kind, assembly.kind()) {
            (None, None) => return Err(Fault::Order("continuation of no message")),
            (Some(_), Some(_)) => return Err(Fault::Order("new message inside another")),
            _ => {}
        }
        if length_of(header) > limits.message - assembly.length().min(limits.message) {
            return Err(Fault::TooBig);
        }
        if assembly.fragments() >= limits.fragments {
            return Err(Fault::Fragments);
        }
        let key = header.mask.ok_or(Fault::Frame(FrameError::Mask))?;
        assembly.begin_frame(kind, header, key, length_of(header));
        Ok(())
    }

    fn assembly(&mut self, turn: &mut Turn<'_>) -> &mut Assembly {
        self.assembly.get_or_insert_with(|| {
            let due = turn.now.limit(turn.limits.message_time);
            Box::new(Assembly::new(due, std::mem::take(turn.spare)))
        })
    }

    fn drop_if_empty(&mut self, turn: &mut Turn<'_>) {
        if self.assembly.as_ref().is_some_and(|assembly| assembly.is_empty()) {
            self.clear(turn);
        }
    }
}

/// Puts a buffer that is done with where the next message in pieces finds it. A large one is given back instead.
pub fn give_spare(spare: &mut Vec<u8>, mut buffer: Vec<u8>) {
    const MOST: usize = 256 * 1024;
    if buffer.capacity() <= MOST && buffer.capacity() > spare.capacity() {
        buffer.clear();
        *spare = buffer;
    }
}

/// The header of the frame at the front of `bytes`, once there is enough of it to act on: all of a control frame, and of
/// a data frame the header.
#[inline(always)]
fn whole(bytes: &[u8], may_pack: bool, turn: &Turn<'_>) -> Result<Option<Header>, Fault> {
    // RSV1 where it has no meaning: that shows with the first byte, whatever else may be wrong with the frame.
    if !may_pack && let Some(first) = bytes.first_chunk::<1>().filter(|[first]| first & 0x40 != 0) {
        let error = Header::parse(first, Sender::Client).err();
        return Err(Fault::Frame(error.unwrap_or(FrameError::ReservedBit)));
    }
    let Some(header) = Header::parse(bytes, Sender::Client).map_err(Fault::Frame)? else { return Ok(None) };
    if header.opcode.is_control() {
        return Ok((bytes.len() - header.size >= length_of(header)).then_some(header));
    }
    if header.length > turn.limits.message as u64 {
        return Err(Fault::TooBig);
    }
    Ok(Some(header))
}

/// The message that was packed into `data`.
fn unpacked(deflate: &mut Deflate, kind: Kind, data: &[u8], turn: &mut Turn<'_>) -> Result<Item<'static>, Fault> {
    let mut out = std::mem::take(turn.spare);
    match deflate.unpack(turn.codec, data, turn.limits.message, &mut out) {
        Ok(()) if kind == Kind::Text && from_utf8(&out).is_err() => Err(Fault::Utf8),
        Ok(()) => Ok(Item::Message(Message { kind, data: Cow::Owned(out) })),
        Err(UnpackError::Corrupt) => Err(Fault::Packed),
        Err(UnpackError::TooBig) => Err(Fault::TooBig),
    }
}

/// The length of a payload that is within the limits, and so fits in memory.
fn length_of(header: Header) -> usize {
    usize::try_from(header.length).unwrap_or(usize::MAX)
}

const fn kind_of(opcode: Opcode) -> Option<Kind> {
    match opcode {
        Opcode::Text => Some(Kind::Text),
        Opcode::Binary => Some(Kind::Binary),
        _ => None,
    }
}

/// The message that is the frame at the front of `input`, where it lies.
#[inline(always)]
fn message<'a>(kind: Kind, header: Header, input: &mut Input<'a>) -> Result<Item<'a>, Fault> {
    let frame = input.take(header.size + length_of(header));
    let payload = &mut frame[header.size..];
    open_payload(kind, payload, header)?;
    Ok(Item::Message(Message { kind, data: Cow::Borrowed(payload) }))
}

#[inline]
fn unmask(payload: &mut [u8], header: Header) {
    if let Some(key) = header.mask {
        frame::unmask(payload, key.to_ne_bytes());
    }
}

/// Unmasks the payload of a whole message and checks that it is what it claims to be.
fn open_payload(kind: Kind, payload: &mut [u8], header: Header) -> Result<(), Fault> {
    /// From here on one pass over the bytes is faster than two; below, two over words that are in registers anyway.
    const LARGE: usize = 4096;
    let text = match (kind, header.mask) {
        (Kind::Text, Some(key)) if payload.len() >= LARGE => {
            frame::unmask_seeing_ascii(payload, key.to_ne_bytes()) || from_utf8(payload).is_ok()
        }
        (Kind::Text, _) => {
            unmask(payload, header);
            // Most text is ASCII, and seeing that is cheap.
            payload.is_ascii() || from_utf8(payload).is_ok()
        }
        (Kind::Binary, _) => {
            unmask(payload, header);
            true
        }
    };
    if text { Ok(()) } else { Err(Fault::Utf8) }
}

/// What a control frame says (RFC 6455, section 5.5), its payload unmasked.
fn control(opcode: Opcode, payload: Cow<'_, [u8]>) -> Result<Item<'_>, Fault> {
    Ok(match opcode {
        Opcode::Close => {
            let (code, reason) = read_close(&payload)?;
            Item::Close(code, reason)
        }
        Opcode::Ping => Item::Ping(payload),
        _ => Item::Pong(payload.len()),
    })
}

/// Reads the payload of a Close frame (RFC 6455, sections 5.5.1 and 7.4).
fn read_close(payload: &[u8]) -> Result<(Option<CloseCode>, Box<str>), Fault> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok((None, "".into())),
            _ => Err(Fault::Close("half a close code")),
        };
    };
    let code = CloseCode::received(u16::from_be_bytes(*code)).ok_or(Fault::Close("close code that may not be sent"))?;
    let reason = from_utf8(reason).map_err(|_| Fault::Utf8)?;
    Ok((Some(code), reason.into()))
}

//! From frames to messages when they don't come in one piece (RFC 6455, section 5.4): fragments, and frames cut by the
//! network. A frame that is whole, and a message by itself, never gets here.
//!
//! Payload is unmasked and checked as it arrives and kept once; nothing is reserved on the word of a header, and no
//! fragment costs anything beyond its bytes. The limits are checked before a payload is taken.

use std::borrow::Cow;

use simdutf8::basic::from_utf8;

use super::frame::{self, Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
use super::input::Input;
use super::utf8::{Utf8Checker, Utf8Error};
use crate::clock::Moment;

/// Whether a message is text or any bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// UTF-8, checked.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of a message's first frame.
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// One complete message.
#[derive(Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// What its first frame called it.
    pub kind: Kind,
    /// The payload: where it lies in the read buffer, or put together. Of a text it is UTF-8.
    pub data: Cow<'a, [u8]>,
}

impl Message<'_> {
    /// The payload of a text. `None`: it is binary.
    pub fn text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => {
                let text = from_utf8(&self.data);
                debug_assert!(text.is_ok(), "a text was checked when it came in");
                text.ok()
            }
            Kind::Binary => None,
        }
    }
}

/// A message, or a frame, of which more is to come.
#[derive(Debug)]
pub struct Assembly {
    /// A header, or a whole control frame, that is not all there yet.
    cut: [u8; MAX_HEADER + MAX_CONTROL_PAYLOAD],
    cut_length: usize,
    /// The data frame whose payload is coming in.
    frame: Option<CutFrame>,
    /// The message that its frames belong to.
    kind: Option<Kind>,
    /// It is packed: what it says can only be looked at once it is whole.
    packed: bool,
    data: Vec<u8>,
    utf8: Utf8Checker,
    fragments: u32,
    /// When it must be whole.
    pub due: Moment,
}

#[derive(Debug)]
struct CutFrame {
    fin: bool,
    key: [u8; 4],
    left: usize,
}

impl Assembly {
    /// Nothing yet; `spare` is an empty buffer that may be used.
    pub fn new(due: Moment, spare: Vec<u8>) -> Self {
        debug_assert!(spare.is_empty(), "a spare buffer is empty");
        Self {
            cut: [0; MAX_HEADER + MAX_CONTROL_PAYLOAD],
            cut_length: 0,
            frame: None,
            kind: None,
            packed: false,
            data: spare,
            utf8: Utf8Checker::default(),
            fragments: 0,
            due,
        }
    }

    /// Whether nothing is unfinished, so that there is no need to keep it.
    pub const fn is_empty(&self) -> bool {
        self.kind.is_none() && self.cut_length == 0
    }

    /// The kind of the message that has begun, if one has.
    pub const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether the message is packed.
    pub const fn is_packed(&self) -> bool {
        self.packed
    }

    /// Payload bytes taken so far.
    pub fn length(&self) -> usize {
        self.data.len()
    }

    /// Frames of the message begun so far.
    pub const fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Whether a data frame's payload is coming in, so that [`Assembly::take_payload`] is next.
    pub const fn in_payload(&self) -> bool {
        self.frame.is_some()
    }

    /// Bytes of memory that this message holds beside the assembly itself.
    pub fn held(&self) -> usize {
        self.data.capacity()
    }

    /// The buffer, for the next one.
    pub fn into_spare(mut self) -> Vec<u8> {
        self.data.clear();
        self.data
    }

    /// The beginning of a frame that is not all there, completed from `input` as far as that goes.
    pub fn top_up(&mut self, input: &mut Input<'_>) -> &mut [u8] {
        loop {
            let wanted = Header::wanted(&self.cut[..self.cut_length]);
            let missing = wanted.saturating_sub(self.cut_length).min(input.len()).min(self.cut.len() - self.cut_length);
            if missing == 0 {
                return &mut self.cut[..self.cut_length];
            }
            self.cut[self.cut_length..self.cut_length + missing].copy_from_slice(input.take(missing));
            self.cut_length += missing;
        }
    }

    /// Whether a frame has begun whose rest [`Assembly::top_up`] is to fetch.
    pub const fn is_cut(&self) -> bool {
        self.cut_length > 0
    }

    /// The frame that was cut has been dealt with.
    pub const fn clear_cut(&mut self) {
        self.cut_length = 0;
    }

    /// A data frame begins, whose header was checked: `kind` is `None` for a continuation.
    pub fn begin_frame(&mut self, kind: Option<Kind>, header: Header, key: u32, length: usize) {
        if kind.is_some() {
            self.kind = kind;
            self.packed = header.packed;
        }
        self.fragments += 1;
        self.frame = Some(CutFrame { fin: header.fin, key: key.to_ne_bytes(), left: length });
    }

    /// Takes what `input` has of the current frame's payload. `Ok(true)`: the message is whole.
    pub fn take_payload(&mut self, input: &mut Input<'_>) -> Result<bool, Utf8Error> {
        let Some(frame) = &mut self.frame else { return Ok(false) };
        let piece = input.take(frame.left.min(input.len()));
        frame::unmask(piece, frame.key);
        frame.left -= piece.len();
        frame.key.rotate_left(piece.len() % 4);
        if self.kind == Some(Kind::Text) && !self.packed {
            self.utf8.feed(piece)?;
        }
        self.data.extend_from_slice(piece);
        if frame.left > 0 {
            return Ok(false);
        }
        let whole = frame.fin;
        self.frame = None;
        if whole && !self.utf8.is_complete() {
            return Err(Utf8Error);
        }
        Ok(whole)
    }

    /// The whole message, out of the assembly, which is then ready for the next.
    pub fn finish(&mut self) -> Option<Message<'static>> {
        let kind = self.kind.take()?;
        self.fragments = 0;
        self.utf8 = Utf8Checker::default();
        Some(Message { kind, data: Cow::Owned(std::mem::take(&mut self.data)) })
    }
}

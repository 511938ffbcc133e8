//! WAMP's MessagePack serialization, as far as it has to be understood: a list is cut into its items, and arguments are
//! put into JSON for a receiver that speaks it.
//!
//! What comes in is looked through once, whole; from then on it is known to be valid. Extension types are refused, but for
//! one that stands for nil: WAMP has no use for them, and JSON no place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmp::{Marker, encode};

use super::json;
use super::wire::{Format, Items, MAX_DEPTH, whole};

/// A value, or the beginning of a list or dictionary of so many.
#[derive(Debug)]
enum Token<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Bin(&'a [u8]),
    List(usize),
    Dict(usize),
}

/// Reads one token after the other; `None`: there is none, or it is not allowed.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn str(&mut self, length: usize) -> Option<Token<'a>> {
        simdutf8::basic::from_utf8(self.take(length)?).ok().map(Token::Str)
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let [marker] = self.array()?;
        Some(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::FixPos(value) => Token::Uint(value.into()),
            Marker::U8 => Token::Uint(self.array::<1>()?[0].into()),
            Marker::U16 => Token::Uint(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Token::Uint(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Token::Uint(u64::from_be_bytes(self.array()?)),
            Marker::FixNeg(value) => Token::Int(value.into()),
            Marker::I8 => Token::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Token::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Token::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Token::Int(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(length) => self.str(length.into())?,
            Marker::Str8 => self.length(1).and_then(|length| self.str(length))?,
            Marker::Str16 => self.length(2).and_then(|length| self.str(length))?,
            Marker::Str32 => self.length(4).and_then(|length| self.str(length))?,
            Marker::Bin8 => self.length(1).and_then(|length| self.take(length)).map(Token::Bin)?,
            Marker::Bin16 => self.length(2).and_then(|length| self.take(length)).map(Token::Bin)?,
            Marker::Bin32 => self.length(4).and_then(|length| self.take(length)).map(Token::Bin)?,
            Marker::FixArray(count) => Token::List(count.into()),
            Marker::Array16 => Token::List(self.length(2)?),
            Marker::Array32 => Token::List(self.length(4)?),
            Marker::FixMap(count) => Token::Dict(count.into()),
            Marker::Map16 => Token::Dict(self.length(2)?),
            Marker::Map32 => Token::Dict(self.length(4)?),
            // What encoders of JavaScript make of `undefined`.
            Marker::FixExt1 if matches!(self.array()?, [0, _]) => Token::Nil,
            Marker::FixExt1
            | Marker::Reserved
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16 => return None,
        })
    }

    /// Passes over a value. `depth`: how many lists and dictionaries may still be nested in each other.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.token()? {
            Token::List(count) => {
                let depth = depth.checked_sub(1)?;
                // Every item takes a byte at least, so a count that lies ends with the bytes.
                (0..count).try_for_each(|_| self.skip(depth))
            }
            Token::Dict(count) => {
                let depth = depth.checked_sub(1)?;
                (0..count).try_for_each(|_| match self.token()? {
                    Token::Str(_) | Token::Uint(_) | Token::Int(_) | Token::Bool(_) => self.skip(depth),
                    // Nothing else can be the name of a member in JSON.
                    _ => None,
                })
            }
            _ => Some(()),
        }
    }
}

/// The items of a list. `None`: it is none, it isn't MessagePack, or it is nested too deeply.
pub(super) fn split(bytes: &[u8]) -> Option<Items<'_>> {
    let mut reader = Reader::new(bytes);
    let Token::List(count) = reader.token()? else { return None };
    let mut items = Items::new(Format::MsgPack, bytes);
    for _ in 0..count {
        let start = reader.at;
        reader.skip(MAX_DEPTH - 1)?;
        items.push(start, reader.at);
    }
    (reader.at == bytes.len()).then_some(items)
}

pub(super) fn is_list(bytes: &[u8]) -> bool {
    matches!(Reader::new(bytes).token(), Some(Token::List(_)))
}

pub(super) fn is_dict(bytes: &[u8]) -> bool {
    matches!(Reader::new(bytes).token(), Some(Token::Dict(_)))
}

pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    match Reader::new(bytes).token()? {
        Token::Str(text) => Some(text),
        _ => None,
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    match Reader::new(bytes).token()? {
        Token::Uint(number) => Some(number),
        Token::Int(number) => u64::try_from(number).ok(),
        Token::Float(number) => whole(number),
        _ => None,
    }
}

/// Appends a value that [`split`] has passed as JSON: bytes as WAMP wants them (NUL and Base64), what is no number as
/// null.
pub(super) fn write_as_json(out: &mut Vec<u8>, bytes: &[u8]) {
    let written = write_value(out, &mut Reader::new(bytes));
    debug_assert!(written.is_some(), "the value was looked through when it came");
}

fn write_value(out: &mut Vec<u8>, reader: &mut Reader<'_>) -> Option<()> {
    match reader.token()? {
        Token::List(count) => {
            out.push(b'[');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, reader)?;
            }
            out.push(b']');
        }
        Token::Dict(count) => {
            out.push(b'{');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                match reader.token()? {
                    Token::Str(name) => json::write_text(out, name),
                    Token::Uint(name) => json::write_text(out, &name.to_string()),
                    Token::Int(name) => json::write_text(out, &name.to_string()),
                    Token::Bool(name) => json::write_text(out, &name.to_string()),
                    _ => return None,
                }
                out.push(b':');
                write_value(out, reader)?;
            }
            out.push(b'}');
        }
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Token::Uint(value) => json::write_number(out, value),
        Token::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Token::Float(value) => {
            let written = serde_json::to_writer(out, &value);
            debug_assert!(written.is_ok(), "a Vec takes everything");
        }
        Token::Str(text) => json::write_text(out, text),
        Token::Bin(bytes) => json::write_text(out, &["\0", &BASE64.encode(bytes)].concat()),
    }
    Some(())
}

// --- Writing --------------------------------------------------------------------------------------------------------

/// A Vec takes everything; what the crate can't be told is said here once.
fn sure<T, E>(written: Result<T, E>) {
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

/// The format has four bytes for a length, and no message of ours gets near that.
fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

pub(super) fn write_nil(out: &mut Vec<u8>) {
    sure(encode::write_nil(out));
}

pub(super) fn write_bool(out: &mut Vec<u8>, value: bool) {
    sure(encode::write_bool(out, value));
}

pub(super) fn write_number(out: &mut Vec<u8>, value: u64) {
    sure(encode::write_uint(out, value));
}

pub(super) fn write_signed(out: &mut Vec<u8>, value: i64) {
    sure(encode::write_sint(out, value));
}

pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    sure(encode::write_f64(out, value));
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    sure(encode::write_str(out, text));
}

pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    sure(encode::write_bin(out, bytes));
}

pub(super) fn list_header(out: &mut Vec<u8>, count: usize) {
    sure(encode::write_array_len(out, short(count)));
}

pub(super) fn dict_header(out: &mut Vec<u8>, count: usize) {
    sure(encode::write_map_len(out, short(count)));
}

/// Begins a list whose length is known only when all of it is written: [`close`] is told where this was.
pub(super) fn open_list(out: &mut Vec<u8>) -> usize {
    open(out, Marker::Array32)
}

/// Begins a dictionary, as [`open_list`].
pub(super) fn open_dict(out: &mut Vec<u8>) -> usize {
    open(out, Marker::Map32)
}

/// The longest header, since another would move what follows: at each level again, when one is nested in the other.
fn open(out: &mut Vec<u8>, marker: Marker) -> usize {
    out.extend_from_slice(&[marker.to_u8(), 0, 0, 0, 0]);
    out.len() - 4
}

pub(super) fn close(out: &mut [u8], header: usize, count: usize) {
    out[header..header + 4].copy_from_slice(&short(count).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        json::write_as_msgpack(&mut out, text.as_bytes());
        out
    }

    fn unpacked(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_as_json(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_comes_back_as_it_went() {
        for text in [
            "null",
            r#"[true,false,0,127,128,255,256,65536,4294967296,18446744073709551615]"#,
            "[-1,-32,-33,-129,-32769,-2147483649,-9223372036854775808,1.5,-0.25]",
            r#"{"a":{"b":[[],{}]},"ü":"\n\"\u0001","":""}"#,
            // Bytes, and what only begins like bytes.
            r#"["\u0000AAEC","\u0000?"]"#,
        ] {
            let bytes = packed(text);
            assert_eq!(unpacked(&bytes), text);
            let list = [&[0x91], &bytes[..]].concat();
            assert_eq!(split(&list).map(|items| items.len()), Some(1), "{text}");
        }
        assert_eq!(packed(r#""\u0000AAEC""#), [0xc4, 3, 0, 1, 2]);
    }

    #[test]
    fn what_json_can_not_say_is_null_or_text() {
        assert_eq!(unpacked(&[0xca, 0x7f, 0xc0, 0, 0]), "null", "no number");
        let undefined = [0x92, 0xd4, 0, 0, 7];
        assert_eq!(split(&undefined).map(|items| items.len()), Some(2));
        assert_eq!(unpacked(&undefined), "[null,7]");
        assert_eq!(unpacked(&[0x83, 1, 1, 0xff, 2, 0xc3, 3]), r#"{"1":1,"-1":2,"true":3}"#);
    }

    #[test]
    fn every_form_of_a_string_is_read() {
        for length in [0, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(length);
            let mut out = Vec::new();
            write_text(&mut out, &text);
            assert_eq!(super::text(&out), Some(text.as_str()), "{length}");
        }
    }

    #[test]
    fn what_is_not_whole_or_not_allowed_is_refused() {
        let mut whole = Vec::new();
        list_header(&mut whole, 3);
        write_text(&mut whole, "topic");
        write_number(&mut whole, 70_000);
        whole.extend(packed(r#"{"a":[1.5,"\u0000AAEC"]}"#));
        assert_eq!(split(&whole).map(|items| items.len()), Some(3));
        for cut in 0..whole.len() {
            assert!(split(&whole[..cut]).is_none(), "cut at {cut}");
        }
        for wrong in [
            &[0x80][..],
            &[0x90, 0xc0],
            &[0x91, 0xc1],
            // Extensions, and maps with `undefined` or a list for a name.
            &[0x91, 0xd4, 1, 0],
            &[0x91, 0xd5, 0, 0, 0],
            &[0x91, 0xc7, 1, 0, 0],
            &[0x91, 0xd4, 0],
            &[0x91, 0x81, 0xd4, 0, 0, 0],
            &[0x91, 0x81, 0x90, 0],
            // A string that is not UTF-8.
            &[0x91, 0xa1, 0xff],
            // Lengths that lie.
            &[0xdd, 0xff, 0xff, 0xff, 0xff],
            &[0x91, 0xdb, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x91, 0xdf, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert!(split(wrong).is_none(), "{wrong:x?}");
        }
        let nested = |depth: usize| [vec![0x91; depth - 1], vec![0x90]].concat();
        assert!(split(&nested(MAX_DEPTH)).is_some());
        assert!(split(&nested(MAX_DEPTH + 1)).is_none());
        assert!(split(&nested(1_000_000)).is_none());
    }

    #[test]
    fn numbers_are_ids_where_they_are_whole() {
        assert_eq!(number(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5]), Some(5), "signed, as some write them");
        assert_eq!(number(&[0xcb, 0x41, 0xf0, 0, 0, 0, 0, 0, 0]), Some(1 << 32), "as some write what is large");
        assert_eq!(number(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), None, "1.5");
        assert_eq!(number(&[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]), None, "infinite");
        assert_eq!(number(&[0xff]), None);
        assert_eq!(number(&[0xa1, b'5']), None);
    }
}

//! WAMP's JSON serialization, as far as it has to be understood: a list is cut into its items, and arguments are put into
//! MessagePack for a receiver that speaks it.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::msgpack;
use super::wire::{Format, Items, MAX_DEPTH};

/// The items of a JSON list. `None`: it is none, it isn't JSON, or it is nested too deeply.
pub(super) fn split(bytes: &[u8]) -> Option<Items<'_>> {
    if is_too_deep(bytes) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let items = deserializer.deserialize_seq(Splitter(bytes)).ok()?;
    deserializer.end().ok()?;
    Some(items)
}

/// Whether lists and objects are nested more deeply than [`MAX_DEPTH`].
pub(super) fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Notes where the items of a list begin and end.
struct Splitter<'a>(&'a [u8]);

impl<'de> Visitor<'de> for Splitter<'de> {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::new(Format::Json, self.0);
        while let Some(item) = list.next_element::<&RawValue>()? {
            // The item lies in these very bytes.
            let start = item.get().as_ptr().addr() - self.0.as_ptr().addr();
            items.push(start, start + item.get().len());
        }
        Ok(items)
    }
}

/// What a JSON string says.
pub(super) fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    // A string without escapes is borrowed; serde's own way to borrow or not copies both.
    match bytes {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        [b'"', ..] => serde_json::from_slice::<String>(bytes).ok().map(Cow::Owned),
        _ => None,
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    let written = write!(out, "{number}");
    debug_assert!(written.is_ok(), "a Vec takes everything");
}

/// Appends a JSON value as MessagePack. What has no way to be said there, a number past all bounds or a string with half a
/// surrogate pair, is nil where it stands; in a name, where nothing but a string can stand, the half is replaced.
pub(super) fn write_as_msgpack(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let mut write = |bytes: &[u8]| {
        out.truncate(start);
        Packer(out).deserialize(&mut serde_json::Deserializer::from_slice(bytes)).is_ok()
    };
    if !write(bytes) && !write(&sayable(bytes)) {
        out.truncate(start);
        msgpack::write_nil(out);
    }
}

/// A JSON value without what only JSON can say. In one pass: what is nested is not looked through again at each level.
fn sayable(bytes: &[u8]) -> Vec<u8> {
    let mut said = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, ..] = rest {
        let length = match first {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => {
                rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).count()
            }
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        let is_name = || behind.trim_ascii_start().first() == Some(&b':');
        match first {
            b'"' if text(token).is_none() && is_name() => {
                let name = serde_json::from_slice(token).map(|Bytes(name)| String::from_utf8_lossy(&name).into_owned());
                write_text(&mut said, &name.unwrap_or_default());
            }
            b'"' if text(token).is_none() => said.extend_from_slice(b"null"),
            b'-' | b'0'..=b'9' if serde_json::from_slice::<f64>(token).is_err() => said.extend_from_slice(b"null"),
            _ => said.extend_from_slice(token),
        }
        rest = behind;
    }
    said
}

/// The bytes of the string that stands here, with its quotes.
fn string_length(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let closes = |byte: &u8| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    };
    bytes[1..].iter().position(closes).map_or(bytes.len(), |inner| inner + 2)
}

/// A string as bytes: half a surrogate pair is let through, as what is not UTF-8.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taken;

        impl Visitor<'_> for Taken {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_owned()))
            }
        }

        deserializer.deserialize_bytes(Taken)
    }
}

/// Writes what it is shown.
struct Packer<'o>(&'o mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Packer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Packer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        msgpack::write_nil(self.0);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        msgpack::write_bool(self.0, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        msgpack::write_number(self.0, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        msgpack::write_signed(self.0, value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        msgpack::write_float(self.0, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        // WAMP v2, "Binary conversion of JSON strings": NUL and Base64 stand for bytes.
        match value.strip_prefix('\0').and_then(|coded| BASE64.decode(coded).ok()) {
            Some(bytes) => msgpack::write_bytes(self.0, &bytes),
            None => msgpack::write_text(self.0, value),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let header = msgpack::open_list(self.0);
        let mut count = 0;
        while list.next_element_seed(Packer(self.0))?.is_some() {
            count += 1;
        }
        msgpack::close(self.0, header, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let header = msgpack::open_dict(self.0);
        let mut count = 0;
        while let Some(name) = members.next_key::<String>()? {
            msgpack::write_text(self.0, &name);
            members.next_value_seed(Packer(self.0))?;
            count += 1;
        }
        msgpack::close(self.0, header, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_is_not_split() {
        for text in ["", "{}", "1", "[1", "[1]]", "[1,]", "[01]", "[\"\u{1}\"]", "nul", "[1] x", "\u{feff}[]"] {
            assert!(split(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(split(b" [ ] ").unwrap().len(), 0);
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(split(nested(MAX_DEPTH).as_bytes()).is_some());
        assert!(split(nested(MAX_DEPTH + 1).as_bytes()).is_none());
        assert!(split(nested(1_000_000).as_bytes()).is_none());
        let quoted = format!(r#"["{}\"{}"]"#, "[".repeat(500), "{".repeat(500));
        assert!(split(quoted.as_bytes()).is_some(), "in a string nothing is nested");
    }

    #[test]
    fn strings_are_read_with_their_escapes() {
        assert!(matches!(text(br#""com.a""#), Some(Cow::Borrowed("com.a"))));
        assert_eq!(text(br#""com\u002ea\n""#).unwrap(), "com.a\n");
        for wrong in [&b"1"[..], b"null", br#""\ud800""#, b"[\"a\"]"] {
            assert_eq!(text(wrong), None);
        }
    }

    #[test]
    fn what_msgpack_can_not_say_is_nil_where_it_stands() {
        for (wrong, sayable) in [
            ("1e999", "null"),
            (r#"["\ud800"]"#, "[null]"),
            (
                r#"[ 1, -1e999 ,"a\"\\", {"k": ["\udc00x", 2.5e3, true]}]"#,
                r#"[1,null,"a\"\\",{"k":[null,2500.0,true]}]"#,
            ),
            (r#"{"a\\" : 1e999, "\ud83d\ude00": "1e999"}"#, r#"{"a\\":null,"😀":"1e999"}"#),
        ] {
            let mut out = vec![1];
            write_as_msgpack(&mut out, wrong.as_bytes());
            let mut back = Vec::new();
            msgpack::write_as_json(&mut back, &out[1..]);
            assert_eq!((out[0], str::from_utf8(&back)), (1, Ok(sayable)), "{wrong}");
        }
        let mut out = Vec::new();
        write_as_msgpack(&mut out, br#"{"a\ud800b" :1}"#);
        let mut back = Vec::new();
        msgpack::write_as_json(&mut back, &out);
        let back = str::from_utf8(&back).unwrap();
        assert!(back.starts_with("{\"a\u{fffd}") && back.ends_with("b\":1}"), "{back}");
    }
}

//! Messages as they stand on the wire, whatever they say: lists whose items are cut apart and not looked into, and lists
//! that are written. What callers and publishers pass on stays as it came, byte for byte, unless a receiver speaks the
//! other format.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::value::RawValue;

use super::uri::MAX_ID;
use super::{json, msgpack};
use crate::proto::Kind;

/// Deepest nesting of lists and dictionaries in a message. Beyond it a receiver's parser may give up, and ours would
/// have to recurse further than it should on a peer's word.
pub(super) const MAX_DEPTH: usize = 64;

/// Longest sentence on what is wrong with options, in characters.
const MAX_QUOTED: usize = 160;

/// Items of a message that are told apart; what stands behind them is one piece.
const SPANS: usize = 8;

/// How a message is written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// In text messages.
    Json,
    /// In binary messages.
    MsgPack,
}

impl Format {
    /// The kind of WebSocket message that carries it.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Json => Kind::Text,
            Self::MsgPack => Kind::Binary,
        }
    }
}

/// One value as it came: valid in its format, and no deeper than [`MAX_DEPTH`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) format: Format,
    pub(super) bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    pub(super) const fn json(text: &'a str) -> Self {
        Self { format: Format::Json, bytes: text.as_bytes() }
    }

    pub(super) fn is_list(self) -> bool {
        match self.format {
            Format::Json => self.bytes.first() == Some(&b'['),
            Format::MsgPack => msgpack::is_list(self.bytes),
        }
    }

    pub(super) fn is_dict(self) -> bool {
        match self.format {
            Format::Json => self.bytes.first() == Some(&b'{'),
            Format::MsgPack => msgpack::is_dict(self.bytes),
        }
    }

    /// A string.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self.format {
            Format::Json => json::text(self.bytes),
            Format::MsgPack => msgpack::text(self.bytes).map(Cow::Borrowed),
        }
    }

    /// An integer that is not negative.
    pub(super) fn number(self) -> Option<u64> {
        match self.format {
            Format::Json => serde_json::from_slice(self.bytes).ok(),
            Format::MsgPack => msgpack::number(self.bytes),
        }
    }

    /// An integer that can be an id.
    pub(super) fn id(self) -> Option<u64> {
        self.number().filter(|id| (1..=MAX_ID).contains(id))
    }

    /// The items of a list. `None`: it is none.
    pub(super) fn items(self) -> Option<Items<'a>> {
        match self.format {
            Format::Json => json::split(self.bytes),
            Format::MsgPack => msgpack::split(self.bytes),
        }
    }

    /// The same value as JSON.
    pub(super) fn to_json(self) -> Cow<'a, str> {
        match self.format {
            Format::Json => String::from_utf8_lossy(self.bytes),
            Format::MsgPack => {
                let mut text = Vec::new();
                msgpack::write_as_json(&mut text, self.bytes);
                Cow::Owned(String::from_utf8(text).unwrap_or_default())
            }
        }
    }

    /// What a dictionary of options says. Nearly all are empty, and then nothing is parsed.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn options<T: DeserializeOwned + Default>(self) -> Result<T, String> {
        if matches!(self.bytes, b"{}" | [0x80]) {
            return Ok(T::default());
        }
        // What is wrong may be quoted, and be as long as it likes.
        serde_json::from_str(&self.to_json()).map_err(|error| error.to_string().chars().take(MAX_QUOTED).collect())
    }

    /// Appends it in `format`. Another format than its own can't say everything: what it has no way to say is null there.
    fn write(self, out: &mut Vec<u8>, format: Format) {
        match (self.format, format) {
            (Format::MsgPack, Format::Json) => msgpack::write_as_json(out, self.bytes),
            (Format::Json, Format::MsgPack) => json::write_as_msgpack(out, self.bytes),
            _ => out.extend_from_slice(self.bytes),
        }
    }
}

/// An integer among options that is not negative. Some clients write a large one as they have it: as a float.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Whole(pub(super) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde_json's own floats may be off by one in the last place: another client's id.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let number = text.parse().ok().or_else(|| whole(text.parse().ok()?));
        number.map(Self).ok_or_else(|| D::Error::custom("a number is not an integer from 0 up"))
    }
}

/// A number that some clients in JavaScript write as they have it: as a float, whole though it is.
pub(super) fn whole(number: f64) -> Option<u64> {
    // Up to 2^53 every whole number has a float of its own.
    let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    is_whole.then_some(number as u64)
}

/// The items of a list, cut apart.
#[derive(Debug)]
pub(super) struct Items<'a> {
    format: Format,
    bytes: &'a [u8],
    spans: [(usize, usize); SPANS],
    count: usize,
    end: usize,
}

impl<'a> Items<'a> {
    pub(super) const fn new(format: Format, bytes: &'a [u8]) -> Self {
        Self { format, bytes, spans: [(0, 0); SPANS], count: 0, end: 0 }
    }

    /// The next item stands from `start` to before `end`.
    pub(super) const fn push(&mut self, start: usize, end: usize) {
        if self.count < SPANS {
            self.spans[self.count] = (start, end);
        }
        self.count += 1;
        self.end = end;
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// One of the first eight.
    pub(super) fn get(&self, index: usize) -> Option<Raw<'a>> {
        let (start, end) = *self.spans.get(index).filter(|_| index < self.count)?;
        Some(Raw { format: self.format, bytes: &self.bytes[start..end] })
    }

    /// From the item at `index`, one of the first eight, to the end of the last, separators included.
    pub(super) fn tail(&self, index: usize) -> &'a [u8] {
        if index < self.count.min(SPANS) { &self.bytes[self.spans[index].0..self.end] } else { &[] }
    }
}

/// A value to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val<'a> {
    Bool(bool),
    Int(u64),
    Text(&'a str),
    Dict(&'a [(&'a str, Self)]),
    Raw(Raw<'a>),
}

/// What a caller, callee or publisher passes on: positional arguments and arguments with names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Payload<'a> {
    pub(super) args: Option<Raw<'a>>,
    pub(super) kwargs: Option<Raw<'a>>,
}

impl<'a> Payload<'a> {
    /// Positional arguments alone: a JSON list.
    pub(super) const fn list(text: &'a str) -> Self {
        Self { args: Some(Raw::json(text)), kwargs: None }
    }

    /// As the one JSON value that WAMP v1 has room for: the only argument itself; several as a list; those with names
    /// as an object; both together as an object of both.
    pub(super) fn single(self) -> String {
        let args = self.args.map(Raw::to_json);
        let kwargs = self.kwargs.map(Raw::to_json).filter(|kwargs| !is_empty_dict(kwargs));
        let items = args.as_deref().and_then(|args| json::split(args.as_bytes()));
        let count = items.as_ref().map_or(0, Items::len);
        match (args.as_deref(), kwargs) {
            (_, Some(kwargs)) if count == 0 => kwargs.into_owned(),
            (Some(args), Some(kwargs)) => [r#"{"args":"#, args, r#","kwargs":"#, &kwargs, "}"].concat(),
            (Some(args), None) if count > 1 => args.to_owned(),
            _ => {
                items.and_then(|items| items.get(0)).map_or_else(|| "null".to_owned(), |one| one.to_json().into_owned())
            }
        }
    }
}

fn is_empty_dict(text: &str) -> bool {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|inner| inner.trim().is_empty())
}

/// Writes a message: `head`, and behind it the payload as far as there is one.
pub(super) fn write(out: &mut Vec<u8>, format: Format, head: &[Val<'_>], payload: Payload<'_>) {
    const NO_ARGS: Raw<'_> = Raw::json("[]");
    let Payload { args, kwargs } = payload;
    // A place can't be left out of a list.
    let args = args.or_else(|| kwargs.map(|_| NO_ARGS));
    let items = head.iter().copied().chain([args, kwargs].into_iter().flatten().map(Val::Raw));
    match format {
        Format::Json => {
            out.push(b'[');
            for (index, item) in items.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                item.write(out, format);
            }
            out.push(b']');
        }
        Format::MsgPack => {
            msgpack::list_header(out, head.len() + usize::from(args.is_some()) + usize::from(kwargs.is_some()));
            items.for_each(|item| item.write(out, format));
        }
    }
}

impl Val<'_> {
    fn write(self, out: &mut Vec<u8>, format: Format) {
        match (self, format) {
            (Self::Raw(raw), _) => raw.write(out, format),
            (Self::Dict(members), Format::Json) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    json::write_text(out, name);
                    out.push(b':');
                    value.write(out, format);
                }
                out.push(b'}');
            }
            (Self::Dict(members), Format::MsgPack) => {
                msgpack::dict_header(out, members.len());
                for (name, value) in members {
                    msgpack::write_text(out, name);
                    value.write(out, format);
                }
            }
            (Self::Bool(value), Format::Json) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            (Self::Bool(value), Format::MsgPack) => msgpack::write_bool(out, value),
            (Self::Int(value), Format::Json) => json::write_number(out, value),
            (Self::Int(value), Format::MsgPack) => msgpack::write_number(out, value),
            (Self::Text(text), Format::Json) => json::write_text(out, text),
            (Self::Text(text), Format::MsgPack) => msgpack::write_text(out, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, head: &[Val<'_>], payload: Payload<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, format, head, payload);
        out
    }

    #[test]
    fn a_message_is_written_in_either_format() {
        let head = [
            Val::Int(36),
            Val::Int(1 << 40),
            Val::Dict(&[("topic", Val::Text("a\"b")), ("deep", Val::Dict(&[])), ("retained", Val::Bool(true))]),
        ];
        let payload = Payload { args: None, kwargs: Some(Raw::json(r#"{"ü": [1, -2.5]}"#)) };
        let json = written(Format::Json, &head, payload);
        let expected = r#"[36,1099511627776,{"topic":"a\"b","deep":{},"retained":true},[],{"ü": [1, -2.5]}]"#;
        assert_eq!(std::str::from_utf8(&json).unwrap(), expected);
        let packed = written(Format::MsgPack, &head, payload);
        let back = Raw { format: Format::MsgPack, bytes: &packed };
        assert_eq!(back.items().unwrap().len(), 5);
        assert_eq!(back.to_json(), expected.replace(": ", ":").replace(", ", ","));
    }

    #[test]
    fn items_are_cut_apart_and_stay_as_they_came() {
        let text = br#" [48, 7 ,{}, "a" , [1,  2], {"k":[]} ,1,2 , 3,4] "#;
        let items = Raw { format: Format::Json, bytes: text }.items().unwrap();
        assert_eq!(items.len(), 10);
        assert_eq!(items.get(4).unwrap().bytes, b"[1,  2]");
        assert_eq!(items.get(1).unwrap().id(), Some(7));
        assert!(items.get(4).unwrap().is_list() && items.get(5).unwrap().is_dict());
        assert_eq!(items.tail(5), br#"{"k":[]} ,1,2 , 3,4"#);
        assert!(items.get(8).is_none());
        assert!(items.tail(8).is_empty());
    }

    #[test]
    fn ids_are_whole_and_in_their_range() {
        for (text, id) in
            [("1", Some(1)), ("9007199254740992", Some(MAX_ID)), ("9007199254740993", None), ("0", None), ("-1", None)]
        {
            assert_eq!(Raw::json(text).id(), id, "{text}");
        }
        for text in ["1.0", "\"1\"", "null", "1e3", "[1]"] {
            assert_eq!(Raw::json(text).id(), None, "{text}");
        }
    }

    #[test]
    fn a_whole_float_among_options_is_an_integer() {
        for (text, number) in [
            ("4503599627370496.0", Some(1 << 52)),
            ("9007199254740992.0", Some(MAX_ID)),
            ("9007199254740991.0", Some(MAX_ID - 1)),
            ("8412337006841563.0", Some(8_412_337_006_841_563)),
            ("0.0", Some(0)),
            ("7", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("9007199254740994.0", None),
            ("1.5", None),
            ("-1", None),
            ("-1.0", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            assert_eq!(serde_json::from_str(text).ok(), number.map(Whole), "{text}");
        }
    }

    #[test]
    fn version_1_gets_the_value_that_says_most() {
        let single = |args: Option<&str>, kwargs: Option<&str>| {
            let raw = |text: Option<&'static str>| text.map(Raw::json);
            let leak = |text: Option<&str>| text.map(|text| &*text.to_owned().leak());
            Payload { args: raw(leak(args)), kwargs: raw(leak(kwargs)) }.single()
        };
        assert_eq!(single(None, None), "null");
        assert_eq!(single(Some("[]"), Some("{ }")), "null");
        assert_eq!(single(Some(r#"[{"a":1}]"#), Some("{}")), r#"{"a":1}"#);
        assert_eq!(single(Some("[1,[2]]"), None), "[1,[2]]");
        assert_eq!(single(None, Some(r#"{"a":1}"#)), r#"{"a":1}"#);
        assert_eq!(single(Some("[1]"), Some(r#"{"a":1}"#)), r#"{"args":[1],"kwargs":{"a":1}}"#);
    }
}

//! The relay's JSON envelope: the members that say what to do with a message and for whom it is.
//!
//! The rest of a message is not looked at, and a message is passed on as it came: it is never parsed into a tree and
//! printed again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fates;
use crate::id::MessageId;

/// Whether JSON, if this is any, is an object: what serde derives takes an array for a struct as well.
pub(super) fn is_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
}

/// The envelope of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Packet<'a> {
    #[serde(borrow, default)]
    opcode: Member<'a>,
    #[serde(borrow, default)]
    uuid: Member<'a>,
    #[serde(borrow, default)]
    ident: Member<'a>,
    #[serde(borrow, default)]
    wait: Member<'a>,
    #[serde(borrow, default)]
    id: Member<'a>,
}

impl<'a> Packet<'a> {
    /// Reads the envelope. `None`: this is no JSON object with a string `opcode`.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if !is_object(text) {
            return None;
        }
        let packet: Self = serde_json::from_str(text).ok()?;
        matches!(packet.opcode, Member::Text(_)).then_some(packet)
    }

    /// What the sender wants.
    pub(super) fn opcode(&self) -> &str {
        self.opcode.as_str()
    }

    /// Whether it doesn't say so: there is no such member.
    pub(super) const fn has_no_opcode(&self) -> bool {
        matches!(self.opcode, Member::Absent)
    }

    /// Whom it is for, by UUID; empty where it doesn't say.
    pub(super) fn uuid(&self) -> &str {
        self.uuid.as_str()
    }

    /// Whom it is for, by ident; empty where it doesn't say.
    pub(super) fn ident(&self) -> &str {
        self.ident.as_str()
    }

    /// How long its sender waits to be told what becomes of it; `None` where it doesn't ask.
    pub(super) fn wait(&self) -> Option<Duration> {
        match &self.wait {
            Member::Number(millis) => fates::wait(millis.parse().ok()?),
            Member::Absent | Member::Other | Member::Text(_) => None,
        }
    }

    /// The message that is confirmed.
    pub(super) fn id(&self) -> Option<MessageId> {
        MessageId::parse(self.id.as_str())
    }
}

/// A member that should be text.
///
/// The original PHP client encodes with `JSON_NUMERIC_CHECK`, so the ident `"42"` comes as the number 42: that is text
/// here too. Anything else is as good as absent.
#[derive(Debug, Default)]
pub(super) enum Member<'a> {
    #[default]
    Absent,
    /// There, and nothing of use.
    Other,
    Text(Cow<'a, str>),
    Number(String),
}

impl Member<'_> {
    /// The text; empty where there is none.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Absent | Self::Other => "",
            Self::Text(text) => text,
            Self::Number(text) => text,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Member::Number(number.to_string()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, String, String)> {
        Packet::parse(text).map(|p| (p.opcode().to_owned(), p.uuid().to_owned(), p.ident().to_owned()))
    }

    fn expect(opcode: &str, uuid: &str, ident: &str) -> Option<(String, String, String)> {
        Some((opcode.to_owned(), uuid.to_owned(), ident.to_owned()))
    }

    #[test]
    fn the_envelope_is_found_among_other_members() {
        let text = r#" {"message":{"opcode":"no"},"uuid":"u","x":[1,{"ident":2}],"opcode":"feedback","ident":""}"#;
        assert_eq!(parse(text), expect("feedback", "u", ""));
        assert_eq!(parse(r#"{"opcode":"\u0065cho"}"#), expect("echo", "", ""));
    }

    #[test]
    fn numbers_are_names_as_the_original_client_sends_them() {
        assert_eq!(parse(r#"{"opcode":"feedback","ident":42}"#), expect("feedback", "", "42"));
        assert_eq!(parse(r#"{"opcode":"feedback","ident":-1,"uuid":1.5}"#), expect("feedback", "1.5", "-1"));
    }

    #[test]
    fn other_types_are_as_good_as_absent() {
        for value in ["null", "true", "[1,[2]]", r#"{"a":{"b":1}}"#] {
            assert_eq!(
                parse(&format!(r#"{{"opcode":"feedback","uuid":{value},"ident":{value}}}"#)),
                expect("feedback", "", "")
            );
        }
    }

    #[test]
    fn what_is_no_object_with_a_string_opcode_is_nothing() {
        let deep = format!(r#"{{"opcode":"echo","message":{}"#, "[".repeat(100_000));
        for text in [
            "",
            "null",
            "[]",
            r#"["echo"]"#,
            r#""echo""#,
            "{}",
            r#"{"opcode":1}"#,
            r#"{"opcode":null}"#,
            r#"{"opcode":"echo"} x"#,
            r#"{"opcode":"echo""#,
            r#"{"opcode":"echo","opcode":"quit"}"#,
            r#"{"Opcode":"echo"}"#,
            "\u{feff}{\"opcode\":\"echo\"}",
            &deep,
        ] {
            assert_eq!(parse(text), None, "{}", text.chars().take(40).collect::<String>());
        }
    }
}

//! The text of one value: quotes off, `${NAME}` replaced, then a number, a boolean, a file or a list.
//!
//! Knows no key; what a number is for and how large it may be comes from the table in `keys`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::report::{Mismatch, quoted};

/// A value as its key sees it.
#[derive(Debug)]
pub(super) struct Value<'a> {
    text: &'a str,
}

impl<'a> Value<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        (!self.text.is_empty()).then(|| PathBuf::from(self.text))
    }

    pub(super) fn boolean(&self) -> Result<bool, Mismatch> {
        boolean(self.text).ok_or_else(|| Mismatch::value(self.text, "true or false, on or off, yes or no, 1 or 0"))
    }

    /// A bare decimal number. `meaning` says what is counted; the range is told only to a number that is out of it.
    pub(super) fn number<T: TryFrom<u64>>(&self, meaning: &str, range: RangeInclusive<u64>) -> Result<T, Mismatch> {
        if self.text.is_empty() || !self.text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Mismatch::value(self.text, meaning));
        }
        // Digits that are no u64 are too many, and so out of any range.
        digits(self.text)
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| {
                let (low, high) = range.into_inner();
                Mismatch::value(self.text, format!("{meaning}, from {low} to {high}"))
            })
    }

    pub(super) fn seconds(&self, meaning: &str, range: RangeInclusive<u64>) -> Result<Duration, Mismatch> {
        self.number(meaning, range).map(Duration::from_secs)
    }

    pub(super) fn milliseconds(&self, meaning: &str, range: RangeInclusive<u64>) -> Result<Duration, Mismatch> {
        self.number(meaning, range).map(Duration::from_millis)
    }

    /// The items of a list; an empty value has none. `expected` is what an empty item is told.
    pub(super) fn each<T>(
        &self,
        expected: &str,
        read: impl Fn(&str) -> Result<T, Mismatch>,
    ) -> Result<Vec<T>, Vec<Mismatch>> {
        let mut items = Vec::new();
        let mut mismatches = Vec::new();
        if self.text.trim().is_empty() {
            return Ok(items);
        }
        for item in self.text.split(',').map(str::trim) {
            let item = if item.is_empty() {
                let expected = format!("{expected} between commas");
                Err(Mismatch::new("an empty item", expected))
            } else {
                read(item)
            };
            match item {
                Ok(item) => items.push(item),
                Err(mismatch) => mismatches.push(mismatch),
            }
        }
        if mismatches.is_empty() { Ok(items) } else { Err(mismatches) }
    }
}

/// The words of the original's files, in any case.
pub(crate) fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A decimal number and nothing else: no sign, which Rust's own parser would let pass.
pub(super) fn digits(text: &str) -> Option<u64> {
    let bare = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| bare)
}

/// A port in the one form that browsers write it in: no leading zero.
pub(super) fn port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

/// Takes matching quotes off. That the quotes match has been seen to before.
pub(super) fn unquoted(raw: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| raw.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(raw)
}

/// Replaces each `${NAME}`. What comes from the environment is taken as it is: quotes, `#` and `${` mean nothing in it.
pub(super) fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<Mismatch>> {
    let mut out = String::new();
    let mut mismatches = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            mismatches.push(Mismatch::new("${ without a }", "${NAME}"));
            return Err(mismatches);
        };
        rest = after;
        if !is_name(name) {
            mismatches.push(Mismatch::value(
                &format!("${{{name}}}"),
                "a name of letters, digits and underscores between ${ and }",
            ));
        } else if let Some(value) = env(name) {
            out.push_str(&value);
        } else {
            mismatches.push(Mismatch::new(
                format!("{}, which isn't set", quoted(&format!("${{{name}}}"))),
                "a variable that the environment has, in UTF-8",
            ));
        }
    }
    out.push_str(rest);
    if mismatches.is_empty() { Ok(out) } else { Err(mismatches) }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<u32, String> {
        Value::new(text).number("a number of things", 5..=500).map_err(|e| e.to_string())
    }

    #[test]
    fn numbers_are_bare_and_in_range() {
        assert_eq!(number("5"), Ok(5));
        assert_eq!(number("0500"), Ok(500));
        for text in ["+7", "-7", "7.0", "0x10", "1_0", " 7", "7 MB", "٧", "1e2"] {
            let expected = format!("found \"{text}\", expected a number of things");
            assert_eq!(number(text), Err(expected));
        }
        assert_eq!(number(""), Err("found nothing, expected a number of things".to_owned()));
        for text in ["4", "501", "99999999999999999999999"] {
            let expected = format!("found \"{text}\", expected a number of things, from 5 to 500");
            assert_eq!(number(text), Err(expected));
        }
        let narrow: Result<u8, Mismatch> = Value::new("300").number("a number", 5..=500);
        assert!(narrow.is_err());
    }

    #[test]
    fn booleans_in_every_form() {
        for word in ["true", "on", "yes", "1", "True", "ON"] {
            assert!(Value::new(word).boolean().unwrap(), "{word}");
        }
        for word in ["false", "off", "no", "0", "False", "oFF"] {
            assert!(!Value::new(word).boolean().unwrap(), "{word}");
        }
        for word in ["", "y", "enabled", "01", " true"] {
            Value::new(word).boolean().unwrap_err();
        }
    }

    #[test]
    fn lists_have_no_empty_items() {
        let list = |text: &str| {
            Value::new(text).each("a word", |item| {
                if item.len() < 4 { Ok(item.to_owned()) } else { Err(Mismatch::value(item, "short")) }
            })
        };
        assert_eq!(list("").unwrap(), [""; 0]);
        assert_eq!(list("  ").unwrap(), [""; 0]);
        assert_eq!(list("a").unwrap(), ["a"]);
        assert_eq!(list("a,b ,\tc").unwrap(), ["a", "b", "c"]);
        for (text, problems) in [(",", 2), ("a,", 1), (",a", 1), ("a,,b", 1), ("long1,,long2", 3)] {
            assert_eq!(list(text).unwrap_err().len(), problems, "{text}");
        }
    }

    #[test]
    fn only_matching_quotes_come_off() {
        for (raw, expected) in [
            ("'a b'", "a b"),
            ("\"a\"", "a"),
            ("''", ""),
            ("\" a \"", " a "),
            ("a", "a"),
            ("o'brien's", "o'brien's"),
            ("\"it's\"", "it's"),
        ] {
            assert_eq!(unquoted(raw), expected);
        }
    }

    #[test]
    fn the_environment_is_filled_in_once() {
        let env = |name: &str| match name {
            "A" => Some("x#y;${B}'".to_owned()),
            "_b2" => Some(String::new()),
            _ => None,
        };
        let good = |text: &str| expanded(text, &env).unwrap();
        assert_eq!(good("plain $ and $A and {A}"), "plain $ and $A and {A}");
        assert_eq!(good("${A}-${_b2}-${A}"), "x#y;${B}'--x#y;${B}'");
        assert_eq!(good("$${_b2}}"), "$}");

        let bad = |text: &str| -> Vec<String> {
            let mismatches = expanded(text, &env).unwrap_err();
            mismatches.iter().map(ToString::to_string).collect()
        };
        let unset = "found \"${B}\", which isn't set, expected a variable that the environment has, in UTF-8";
        assert_eq!(bad("${A}${B}"), [unset]);
        assert_eq!(bad("${B}/${"), [unset, "found ${ without a }, expected ${NAME}"]);
        for name in ["", "2b", "a-b", "a b", "ä"] {
            let expected =
                format!("found \"${{{name}}}\", expected a name of letters, digits and underscores between ${{ and }}");
            assert_eq!(bad(&format!("${{{name}}}")), [expected]);
        }
    }
}

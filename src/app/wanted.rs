//! What a page wants of the notification service (`app/webntf.rs`): a domain, a token, channels.
//!
//! It says so in JSON over a WebSocket, or in the query of a stream of events' URL, where there is no other place.

use serde::Deserialize;

/// Most channels of one page.
pub const MAX_CHANNELS: usize = 1000;

/// Longest name of a channel, domain or token in bytes.
pub const MAX_NAME: usize = 256;

/// What is wanted; the default is nothing.
#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Wanted {
    /// Keeps sites apart that share a server.
    #[serde(default)]
    pub domain: Box<str>,
    /// What the backend knows the user by; empty: not to be reached that way.
    #[serde(default)]
    pub token: Box<str>,
    /// The channels listened to.
    #[serde(default)]
    pub channels: Vec<Box<str>>,
}

impl Wanted {
    /// What a page is told whose wish was granted.
    pub const TAKEN: &'static str = r#"{"header":{"type":"init","status":"OK"}}"#;

    /// Puts the channels in order, each once, and holds all to the limits.
    ///
    /// # Errors
    ///
    /// What is wrong, as a sentence.
    pub fn check(mut self) -> Result<Self, &'static str> {
        self.channels.sort_unstable();
        self.channels.dedup();
        if self.channels.len() > MAX_CHANNELS {
            return Err("more than 1000 channels");
        }
        if [&self.domain, &self.token].into_iter().chain(&self.channels).any(|name| name.len() > MAX_NAME) {
            return Err("a name of more than 256 bytes");
        }
        if self.channels.iter().any(|channel| channel.is_empty()) {
            return Err("a channel without a name");
        }
        Ok(self)
    }

    /// Reads the query of a URL: `domain`, `token`, and `channels`, a list with commas, or `channel`, one of any name, as
    /// often as need be. Other members mean nothing here. `None`: it has none of these.
    ///
    /// # Errors
    ///
    /// What is wrong, as a sentence.
    pub fn from_query(query: &str) -> Result<Option<Self>, &'static str> {
        let (mut domain, mut token, mut channels) = (None, None, None::<Vec<Box<str>>>);
        for (name, value) in members(query) {
            let value = || decoded(value).ok_or("the query has a % that stands for no text");
            match name {
                "domain" if domain.is_none() => domain = Some(value()?),
                "token" if token.is_none() => token = Some(value()?),
                "domain" | "token" => return Err("the query has more than one domain or token"),
                "channel" => channels.get_or_insert_default().push(value()?),
                "channels" => channels
                    .get_or_insert_default()
                    .extend(value()?.split(',').filter(|name| !name.is_empty()).map(Box::from)),
                _ => {}
            }
        }
        if domain.is_none() && token.is_none() && channels.is_none() {
            return Ok(None);
        }
        let wanted = Self {
            domain: domain.unwrap_or_default(),
            token: token.unwrap_or_default(),
            channels: channels.unwrap_or_default(),
        };
        wanted.check().map(Some)
    }
}

/// The member of a query called `name`, decoded; of several the first.
pub fn member(query: &str, name: &str) -> Option<Box<str>> {
    members(query).find(|(known, _)| *known == name).and_then(|(_, value)| decoded(value))
}

fn members(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|member| member.split_once('=').unwrap_or((member, "")))
}

/// What stands for text in a query (URL standard, section 5.1): `%` and two hexadecimal digits for a byte, `+` for a blank.
/// `None`: it stands for none.
fn decoded(text: &str) -> Option<Box<str>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit()? << 4 | digit()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(domain: &str, token: &str, channels: &[&str]) -> Wanted {
        let channels = channels.iter().map(|name| Box::from(*name)).collect();
        Wanted { domain: domain.into(), token: token.into(), channels }
    }

    #[test]
    fn a_query_says_what_is_wanted() {
        for (query, expected) in [
            ("x&=&&token", wanted("", "", &[])),
            ("domain=d&token=a%2Bb+c&channels=b,a,,b", wanted("d", "a+b c", &["a", "b"])),
            ("channels=a%2Cb&channel=c%2Cd&channel=%C3%BC", wanted("", "", &["a", "b", "c,d", "\u{fc}"])),
            ("channels=&lastEventId=1&Domain=x", wanted("", "", &[])),
        ] {
            assert_eq!(Wanted::from_query(query), Ok(Some(expected)), "{query}");
        }
        for query in ["", "x=1&&lastEventId=2", "=domain"] {
            assert_eq!(Wanted::from_query(query), Ok(None), "{query}");
        }
        assert_eq!(member("a=1&b=%41&b=2", "b").as_deref(), Some("A"));
        assert_eq!(member("a=1&b=%4", "b"), None);
    }

    #[test]
    fn a_query_that_can_not_be_used_is_said_to_be_so() {
        let long = "x".repeat(MAX_NAME + 1);
        let many: Vec<String> = (0..=MAX_CHANNELS).map(|number| format!("channel={number}")).collect();
        for (query, why) in [
            ("token=%", "the query has a % that stands for no text"),
            ("token=%f", "the query has a % that stands for no text"),
            ("token=%+f", "the query has a % that stands for no text"),
            ("domain=%ff", "the query has a % that stands for no text"),
            ("channels=a,%zz", "the query has a % that stands for no text"),
            ("token=a&token=a", "the query has more than one domain or token"),
            ("channel=", "a channel without a name"),
            (&format!("channels={long}"), "a name of more than 256 bytes"),
            (&format!("token={long}"), "a name of more than 256 bytes"),
            (&many.join("&"), "more than 1000 channels"),
        ] {
            assert_eq!(Wanted::from_query(query), Err(why), "{query:.60}");
        }
        assert!(Wanted::from_query(&format!("token={}", &long[1..])).is_ok());
        assert!(Wanted::from_query(&many[1..].join("&")).is_ok());
    }
}

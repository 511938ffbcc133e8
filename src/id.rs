//! Names of things: the UUID by which the world outside addresses a connection, and the key by which the loop does.
//!
//! Neither is ever a file descriptor: the kernel gives those out again at once.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version 4 UUID (RFC 9562, section 5.4) that the server issues to a connection.
///
/// It is what a page hands to its backend, and all that a backend needs to report back to that page. 122 random bits:
/// whoever knows it may send to it.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ClientId([u8; 16]);

impl ClientId {
    /// Makes a UUID of 16 random bytes; the six bits that mark version and variant are overwritten.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
    }

    /// Reads the hyphenated form, in either case. Anything else is nobody's UUID.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return None;
        }
        Uuid::try_parse(text).ok().map(|uuid| Self(uuid.into_bytes()))
    }

    /// For tables of clients: eight of its own bytes. The server draws its UUIDs at random itself, so nobody outside can
    /// make them collide; hashing them again would cost time and add nothing.
    pub fn hash(self) -> u64 {
        // The last eight: two of their bits are the variant, the rest is random.
        self.0.last_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// Writes the hyphenated lower-case form into `buffer` and returns it as text.
    pub fn encode(self, buffer: &mut [u8; uuid::fmt::Hyphenated::LENGTH]) -> &str {
        Uuid::from_bytes(self.0).hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; uuid::fmt::Hyphenated::LENGTH]))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a message that somebody pushes is known by: 16 hexadecimal digits, to whom it was pushed by, to who got it, and
/// to whoever asks later what became of it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MessageId(NonZeroU64);

impl MessageId {
    /// Digits of its text.
    pub const DIGITS: usize = 16;

    /// The first of all.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// The first of a server that starts `since_1970`: those of one that started in another second are different.
    pub const fn first(since_1970: Duration) -> Self {
        // Never zero.
        Self(NonZeroU64::MIN.saturating_add(since_1970.as_secs() << 32))
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Reads its 16 digits, in either case. Anything else is no message's.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new).map(Self)
    }

    /// Writes its digits into `buffer` and returns them as text.
    pub fn encode(self, buffer: &mut [u8; Self::DIGITS]) -> &str {
        let mut rest = self.0.get();
        for place in buffer.iter_mut().rev() {
            *place = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
        }
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

impl Default for MessageId {
    fn default() -> Self {
        Self::MIN
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::DIGITS]))
    }
}

/// Where a connection lives in the loop's slab, and which one it is.
///
/// A slot is used again; the serial is not. A key that no longer resolves belongs to a connection that has gone, which
/// is not an error: it is skipped.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnectionKey {
    /// Index in the slab.
    pub slot: u32,
    /// Counts every connection ever accepted, modulo 2^32.
    pub serial: u32,
}

/// Draws [`ClientId`]s from a stock of random bytes: asking the kernel for each would cost a system call a client.
pub struct ClientIds {
    fill: fn(&mut [u8]),
    stock: Box<[u8; Self::STOCK]>,
    used: usize,
}

impl ClientIds {
    /// 256 UUIDs a system call.
    const STOCK: usize = 4096;

    /// `fill` overwrites what it is given with random bytes: the kernel's, or in a simulation a seeded generator's.
    pub fn new(fill: fn(&mut [u8])) -> Self {
        Self { fill, stock: Box::new([0; Self::STOCK]), used: Self::STOCK }
    }

    /// Random bytes that this process keeps to itself.
    pub fn secret<const N: usize>(&self) -> [u8; N] {
        let mut secret = [0; N];
        (self.fill)(&mut secret);
        secret
    }

    /// What fills the stock.
    pub const fn source(&self) -> fn(&mut [u8]) {
        self.fill
    }

    /// The next UUID.
    pub fn draw(&mut self) -> ClientId {
        if self.used == Self::STOCK {
            (self.fill)(self.stock.as_mut_slice());
            self.used = 0;
        }
        let mut bytes = [0; 16];
        let drawn = &mut self.stock[self.used..self.used + 16];
        bytes.copy_from_slice(drawn);
        // What was given out must not be found in memory again.
        drawn.fill(0);
        self.used += 16;
        ClientId::from_random(bytes)
    }
}

impl fmt::Debug for ClientIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIds").field("left", &((Self::STOCK - self.used) / 16)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn counting(bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from((index / 16) % 256).unwrap() ^ u8::try_from(index % 16).unwrap();
        }
    }

    #[test]
    fn drawn_ids_are_version_4_and_differ() {
        let mut ids = ClientIds::new(counting);
        let drawn: HashSet<String> = (0..256).map(|_| ids.draw().to_string()).collect();
        assert_eq!(drawn.len(), 256);
        for id in drawn {
            assert_eq!(&id[14..15], "4", "version of {id}");
            assert!("89ab".contains(&id[19..20]), "variant of {id}");
        }
    }

    #[test]
    fn text_and_id_are_the_same_in_either_case() {
        let id = ClientId::from_random([0xab; 16]);
        let text = id.to_string();
        assert_eq!(ClientId::parse(&text), Some(id));
        assert_eq!(ClientId::parse(&text.to_uppercase()), Some(id));
        let mut buffer = [0; 36];
        assert_eq!(id.encode(&mut buffer), text);
    }

    #[test]
    fn message_ids_are_16_digits_and_differ_from_those_of_another_second() {
        let first = MessageId::first(Duration::from_secs(0x1234_5678));
        assert_eq!(first.to_string(), "1234567800000001");
        assert_eq!(first.next().to_string(), "1234567800000002");
        assert_eq!(MessageId::parse("1234567800000001"), Some(first));
        for text in ["", "1", "0000000000000000", "+234567800000001", "123456780000000g", "12345678000000011"] {
            assert_eq!(MessageId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn other_forms_are_nobodys() {
        let simple = "ab".repeat(16);
        for text in
            ["", "x", simple.as_str(), "{abababab-abab-4bab-abab-abababababab}", "zbababab-abab-4bab-abab-abababababab"]
        {
            assert_eq!(ClientId::parse(text), None, "{text}");
        }
    }
}

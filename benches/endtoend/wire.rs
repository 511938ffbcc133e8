//! What goes over the wire: how a client gets in, and the bytes of what it says and hears, in the two tongues there are:
//! bare bytes for the floor, WebSocket for everyone else.

use std::net::SocketAddr;

use websock::proto::frame::{self, Header, Opcode, Sender};

use crate::Result;
use crate::load::Part;

/// RFC 6455, section 1.3, has this key and the answer to it. All clients send the same: that costs a server nothing less.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Any key will do that is not zero.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0xe9];

/// The handshake of the floor.
const LINE: &[u8] = b"hello\n";

/// How a client gets in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// A line that comes back.
    Line,
    /// A WebSocket handshake.
    Upgrade {
        /// The resource.
        path: &'static str,
        /// It is a script, and reads streams properly.
        script: bool,
        /// A greeting with a UUID follows.
        greets: bool,
    },
}

/// What has come of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// More is to come.
    Part,
    /// All of it.
    Whole {
        /// The UUID of the greeting.
        uuid: Option<String>,
    },
}

impl Door {
    /// What the client sends.
    pub(crate) fn request(&self, address: SocketAddr) -> Vec<u8> {
        let Self::Upgrade { path, script, .. } = self else { return LINE.to_vec() };
        let script = if *script { "Client-Type: php\r\nSec-WebSocket-Protocol: websock.v1\r\n" } else { "" };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{script}\r\n"
        )
        .into_bytes()
    }

    /// Looks at what has come.
    pub(crate) fn check(&self, answer: &[u8]) -> Result<Answer> {
        let wrong = || format!("this is no way to let a client in: {}", answer.escape_ascii());
        let Self::Upgrade { greets, .. } = self else {
            return match answer {
                LINE => Ok(Answer::Whole { uuid: None }),
                _ if LINE.starts_with(answer) => Ok(Answer::Part),
                _ => Err(wrong().into()),
            };
        };
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(Answer::Part) };
        let (head, rest) = answer.split_at(end + 4);
        let head = std::str::from_utf8(head)?;
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
            return Err(wrong().into());
        }
        if !greets {
            return if rest.is_empty() { Ok(Answer::Whole { uuid: None }) } else { Err(wrong().into()) };
        }
        let header = match Header::parse(rest, Sender::Server) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Answer::Part),
            Err(_) => return Err(wrong().into()),
        };
        let payload = &rest[header.size..];
        match (payload.len() as u64).cmp(&header.length) {
            std::cmp::Ordering::Less => Ok(Answer::Part),
            std::cmp::Ordering::Equal => {
                let greeting: serde_json::Value = serde_json::from_slice(payload)?;
                let uuid = greeting["uuid"].as_str().ok_or_else(wrong)?;
                Ok(Answer::Whole { uuid: Some(uuid.to_owned()) })
            }
            std::cmp::Ordering::Greater => Err(wrong().into()),
        }
    }
}

/// `size` bytes of ASCII.
pub(crate) fn text(size: usize) -> String {
    (b'a'..=b'z').cycle().take(size).map(char::from).collect()
}

/// A text message as a client sends it.
pub(crate) fn said(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_masked_frame(&mut out, Opcode::Text, text.as_bytes(), MASK);
    out
}

/// A text message as a server sends it.
pub(crate) fn heard(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_frame(&mut out, Opcode::Text, text.as_bytes());
    out
}

/// The relay's acknowledgement of a message that was handed to so many.
pub(crate) fn acknowledged(delivered: usize) -> Vec<u8> {
    heard(&format!(r#"{{"opcode":"next","fyi":"","delivered":{delivered}}}"#))
}

/// Whoever says a text gets it back. `bare`: it is the floor that is spoken to.
pub(crate) fn echo(text: &str, bare: bool) -> Part {
    if bare { Part { says: text.into(), hears: text.into() } } else { Part { says: said(text), hears: heard(text) } }
}

//! What a session and whoever drives it say to each other: limits, a turn, the terms of an upgrade; events, and how it ended.
//!
//! [`session`](super::session) says in which order.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::deflate::{Agreement, Codec};
use super::frame::CloseCode;
use super::http::Refusal;
use super::incoming::Posted;
use super::message::Message;
use super::pacing::Pacer;
use super::tally::Tally;
use crate::clock::Moment;

/// What a session allows its peer. One for all of them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message in bytes; past it 1009, said at the header.
    pub message: usize,
    /// Most fragments of one message; past it 1008.
    pub fragments: u32,
    /// Most messages a second from a browser; past it 1008. Zero: no limit.
    pub rate: u32,
    /// How long a request head may take, from the accept or the answer before it.
    pub head_time: Duration,
    /// How long a message or a frame may stay unfinished; past it 1008. Zero: no limit.
    pub message_time: Duration,
    /// Time between pings to a browser, or between signs of life on a stream of events. Zero: none are sent.
    pub ping_interval: Duration,
    /// How long a peer has to answer a Close frame, and then to end the connection.
    pub close_wait: Duration,
}

/// What every call gets from the loop's turn.
#[derive(Debug)]
pub struct Turn<'t> {
    /// Now.
    pub now: Moment,
    /// What peers are allowed.
    pub limits: &'t Limits,
    /// Where output goes: whatever a call appends is for this connection.
    pub out: &'t mut Vec<u8>,
    /// An empty buffer that a message in pieces may be gathered in.
    pub spare: &'t mut Vec<u8>,
    /// What all connections share for compression.
    pub codec: &'t mut Codec,
    /// Where what is read and said is counted.
    pub tally: &'t mut Tally,
    /// The number of the latest event there was, for streams of events.
    pub latest: u64,
}

/// What came in.
#[derive(Debug)]
pub enum Event<'a> {
    /// A request head, for [`Request::parse`](super::http::Request::parse). The session wants it answered before the next
    /// call: accepted, streamed to, answered or refused, or its body asked for.
    Request(Cow<'a, [u8]>),
    /// The body that was asked for, with the head that it belongs to. Answer it as a request; for good where the body can't
    /// be had.
    Body(Box<Posted>),
    /// A complete message.
    Message(Message<'a>),
    /// The connection has left `Open`.
    Closed(End),
    /// A request head was answered with an error before it was whole.
    Refused(Refusal),
}

/// Why a connection is no longer open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The peer sent a Close frame, with this code and reason.
    ByPeer(Option<CloseCode>, Box<str>),
    /// We sent a Close frame.
    ByUs(CloseCode, Cow<'static, str>),
    /// The peer went without a word.
    Vanished,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPeer(Some(code), reason) if reason.is_empty() => write!(f, "closed by peer, {}", code.get()),
            Self::ByPeer(Some(code), reason) => write!(f, "closed by peer, {} {reason:?}", code.get()),
            Self::ByPeer(None, _) => f.write_str("closed by peer, no code"),
            Self::ByUs(code, why) => write!(f, "closed with {}: {why}", code.get()),
            Self::Vanished => f.write_str("peer vanished"),
        }
    }
}

/// On what terms a connection is upgraded.
#[derive(Debug)]
pub struct Terms {
    /// A browser is pinged and held to [`Limits::rate`]; a script is not.
    pub browser: bool,
    /// For scripts that read as the original PHP client does.
    pub pacer: Option<Pacer>,
    /// The subprotocol agreed on.
    pub subprotocol: Option<&'static str>,
    /// The compression agreed on.
    pub deflate: Option<Agreement>,
}

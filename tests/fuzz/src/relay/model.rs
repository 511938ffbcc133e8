//! The clients of the target `relay`: what each must get, and what it has got of that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use websock::proto::frame::{self, Opcode};

use crate::wire::Wire;

/// Clients 0 to 4.
pub(super) const ROLES: [Role; 5] =
    [Role::Browser, Role::NamedBrowser, Role::Script, Role::PacedScript, Role::Stranger];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Browser,
    /// Its ident is `b`.
    NamedBrowser,
    /// Its ident is `7`.
    Script,
    /// Reads as the original PHP client does; its ident is `p`.
    PacedScript,
    /// Is connected to `/echo`, and named as the browser is.
    Stranger,
}

impl Role {
    pub(super) fn request(self) -> String {
        let (path, ident) = (self.path(), self.ident());
        let fields = match self {
            Self::Script => "Client-Type: php\r\nSec-WebSocket-Protocol: websock.v1\r\n",
            Self::PacedScript => "Client-Type: php\r\n",
            Self::Browser | Self::NamedBrowser | Self::Stranger => "",
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nIdent: {ident}\r\n{fields}\r\n"
        )
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Browser => "/web",
            Self::NamedBrowser => "/",
            Self::Script | Self::PacedScript => "/php",
            Self::Stranger => "/echo",
        }
    }

    pub(super) const fn ident(self) -> &'static str {
        match self {
            Self::Browser => "",
            Self::NamedBrowser | Self::Stranger => "b",
            Self::Script => "7",
            Self::PacedScript => "p",
        }
    }

    /// Of the relay's browsers.
    pub(super) const fn is_browser(self) -> bool {
        matches!(self, Self::Browser | Self::NamedBrowser)
    }

    /// Of the relay's clients.
    pub(super) const fn is_relay(self) -> bool {
        !matches!(self, Self::Stranger)
    }
}

/// An acknowledgement; the greeting is the first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ack {
    Greeting,
    Plain,
    /// To so many.
    Delivered(usize),
    /// A browser may not.
    Refused,
    /// Whichever of them.
    Any,
}

impl Ack {
    fn is(self, text: &str) -> bool {
        match self {
            Self::Greeting => text.starts_with(r#"{"opcode":"ready","uuid":""#),
            Self::Plain => text == r#"{"opcode":"next","fyi":""}"#,
            Self::Delivered(to) => {
                // Behind that comes the id of the message, where it is one.
                let start = format!(r#"{{"opcode":"next","fyi":"","delivered":{to}"#);
                text.strip_prefix(&start).is_some_and(|rest| rest == "}" || rest.starts_with(r#","id":""#))
            }
            Self::Refused => text.starts_with(r#"{"opcode":"next","fyi":"","delivered":0,"error":""#),
            Self::Any => true,
        }
    }
}

/// Whether the server may close the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Closing {
    Never,
    /// It may, with this code, for what the client has sent last.
    Perhaps(u16),
    /// It must, with one of these codes: what has two faults may be closed for either.
    With([u16; 2]),
    /// It has, or the client went first.
    Done,
}

/// One client's side of things.
pub(super) struct Client {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) slot: usize,
    pub(super) role: Role,
    /// Empty where the client isn't told.
    pub(super) uuid: String,
    pub(super) upgraded: bool,
    /// The server takes nothing more from it, and nobody reaches it.
    pub(super) left: bool,
    pub(super) closing: Closing,
    /// Acknowledgements that must come, and how many have.
    pub(super) acks: VecDeque<Ack>,
    pub(super) acknowledged: usize,
    /// What else must come, and how many acknowledgements must have come before.
    pub(super) due: VecDeque<(usize, Opcode, Vec<u8>)>,
    /// Pings that must be answered.
    pub(super) pings: VecDeque<Vec<u8>>,
    /// A message in chunks: what there is of it, and their number.
    pub(super) chunks: Option<(String, usize)>,
}

impl Client {
    pub(super) fn new(role: Role, wire: Rc<RefCell<Wire>>, slot: usize) -> Self {
        Self {
            wire,
            slot,
            role,
            uuid: String::new(),
            upgraded: false,
            left: false,
            closing: Closing::Never,
            acks: role.is_relay().then_some(Ack::Greeting).into_iter().collect(),
            acknowledged: 0,
            due: VecDeque::new(),
            pings: VecDeque::new(),
            chunks: None,
        }
    }

    /// It will be closed with `code`.
    pub(super) fn leave(&mut self, code: u16) {
        self.leave_for_either([code, code]);
    }

    /// It will be closed with one of these codes.
    pub(super) fn leave_for_either(&mut self, codes: [u16; 2]) {
        self.left = true;
        self.closing = Closing::With(codes);
    }

    /// A frame has come for it.
    pub(super) fn understand(&mut self, opcode: Opcode, payload: &[u8], doubtful: &[Vec<u8>]) {
        let role = self.role;
        match opcode {
            Opcode::Ping => {
                assert!(!self.left || self.closing != Closing::Done, "a ping to {role:?}, which has gone");
                let mut pong = Vec::new();
                frame::write_masked_frame(&mut pong, Opcode::Pong, payload, [1, 2, 3, 4]);
                self.wire.borrow_mut().to_server.extend(pong);
            }
            Opcode::Pong => {
                let known = self.pings.iter().position(|ping| ping == payload);
                // Of several pings that a paced script sends at once, some may go unanswered (RFC 6455, section 5.5.3),
                // but not the last.
                let paced = role == Role::PacedScript;
                assert!(known.is_some_and(|place| place == 0 || paced), "a pong to {role:?}, of {:?}", self.pings);
                self.pings.drain(..=known.unwrap_or_default());
            }
            Opcode::Close => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                let expected = match (self.closing, code) {
                    (Closing::With(codes), Some(code)) => codes.contains(&code),
                    (Closing::Perhaps(expected), Some(code)) => expected == code,
                    _ => false,
                };
                assert!(expected, "{role:?} is closed: {}", payload.escape_ascii());
                assert!(
                    self.acks.is_empty() && self.due.is_empty(),
                    "{role:?} gets its Close last, after {:?}",
                    self.acks
                );
                (self.left, self.closing) = (true, Closing::Done);
                self.wire.borrow_mut().ended = true;
            }
            Opcode::Text if role.is_relay() => {
                let text = std::str::from_utf8(payload).expect("text is UTF-8");
                assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "{role:?} gets what is no JSON: {text:?}");
                self.understand_text(text, doubtful);
            }
            _ => self.take_due(opcode, payload, doubtful),
        }
    }

    fn understand_text(&mut self, text: &str, doubtful: &[Vec<u8>]) {
        let role = self.role;
        if !text.starts_with(r#"{"opcode":"next","#) && !text.starts_with(r#"{"opcode":"ready","#) {
            self.take_due(Opcode::Text, text.as_bytes(), doubtful);
            return;
        }
        let ack = self.acks.pop_front();
        assert!(ack.is_some_and(|ack| ack.is(text)), "{role:?} gets {text}, where {ack:?} was expected");
        self.acknowledged += 1;
        if let Some(Ack::Greeting) = ack {
            let greeting: Value = serde_json::from_str(text).expect("JSON");
            greeting["uuid"].as_str().expect("a UUID").clone_into(&mut self.uuid);
        }
    }

    /// What is no acknowledgement is what somebody has sent.
    fn take_due(&mut self, opcode: Opcode, payload: &[u8], doubtful: &[Vec<u8>]) {
        let role = self.role;
        match self.due.front() {
            Some((before, of, bytes)) if (*of, bytes.as_slice()) == (opcode, payload) => {
                assert!(
                    *before <= self.acknowledged,
                    "{role:?} gets what its message causes before the acknowledgement"
                );
                self.due.pop_front();
            }
            _ => {
                let doubted = role.is_relay() && doubtful.iter().any(|text| text == payload);
                assert!(doubted, "{role:?} gets {opcode:?} {}, which nobody sent it", payload.escape_ascii());
            }
        }
    }

    /// What need not wait has come.
    pub(super) fn check_prompt(&self) {
        let Self { role, acks, due, pings, closing, .. } = self;
        if *role == Role::PacedScript || *closing == Closing::Done {
            return;
        }
        assert!(!matches!(closing, Closing::With(_)), "{role:?} is not closed: {closing:?}");
        assert!(
            acks.is_empty() && due.is_empty() && pings.is_empty(),
            "{role:?} waits for {acks:?}, {due:?}, {pings:?}"
        );
    }
}

/// What a message says is to be done with it.
pub(super) enum Envelope {
    /// No JSON object with a string `opcode`.
    Nothing,
    /// See the top of the target.
    Doubtful,
    Read {
        opcode: String,
        uuid: String,
        ident: String,
    },
}

impl Envelope {
    pub(super) fn read(text: &str) -> Self {
        if serde_json::from_str::<&RawValue>(text).is_err() || !text.trim_start().starts_with('{') {
            return Self::Nothing;
        }
        let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else { return Self::Doubtful };
        // A member that stands twice is one member here; an escape could hide it.
        let twice = |name: &str| text.matches(name).count() > 1;
        if text.contains('\\') || ["\"opcode\"", "\"uuid\"", "\"ident\""].into_iter().any(twice) {
            return Self::Doubtful;
        }
        let word = |name| match members.get(name) {
            Some(Value::String(text)) => text.clone(),
            // As `JSON_NUMERIC_CHECK` of PHP writes a name of digits.
            Some(Value::Number(number)) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => number.to_string(),
                (_, Some(number), _) => number.to_string(),
                (.., number) => number.map_or_else(String::new, |number| number.to_string()),
            },
            _ => String::new(),
        };
        if !members.get("opcode").is_some_and(Value::is_string) {
            return Self::Nothing;
        }
        Self::Read { opcode: word("opcode"), uuid: word("uuid"), ident: word("ident") }
    }
}

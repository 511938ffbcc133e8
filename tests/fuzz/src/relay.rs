//! Target `relay`: the whole server in virtual time, and what its clients send each other.
//!
//! The input is a script of lines that `World::line` reads: who does what, so that `1 {"opcode":"quit"}` is client 1
//! sending that text. Permitted, and nothing besides:
//!
//! - Each complete message to the relay is acknowledged by one `next`, which comes before anything that the message
//!   causes to be sent to the same client; it says how many the message was handed to.
//! - Those get it, as it came and in order, and nobody else does. The relay sends JSON texts in whole frames.
//! - A client is closed for what it has sent itself, with the code that this asks for, and for nothing else: 1000 (it
//!   quits), 1003 (binary), 1007 (no UTF-8, no JSON, no opcode), 1008 (too many chunks), 1009 (too much). Those who
//!   have sent nothing of the kind stay, and are undisturbed; a client of another application gets nothing of the
//!   relay's.
//! - When all have gone nothing is left.
//!
//! One thing is left to the server: JSON that parsers disagree on (a number that no float holds, a member that stands
//! twice, nesting without end, half a surrogate pair) is passed on as it came or closed with 1007.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use websock::app::{HANDLERS, handler_names};
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::proto::frame::{self, Header, Opcode, Sender};

use crate::wire::{ServerEnd, Wire};

mod model;

use model::{Ack, Client, Closing, Envelope, Role};

const MAX_MESSAGE: usize = 10_000;
const MAX_CHUNKS: usize = 100;

/// What `$x` stands for: two of them are over the limit, one is more than the server copies.
const FILLER: usize = 5_100;

struct World {
    hub: Hub<ServerEnd>,
    now: Moment,
    clients: Vec<Client>,
    /// What browsers send is acknowledged and goes no further.
    browsers_may_not: bool,
    /// The client of whose messages on the wire the server has not been told.
    untold: Option<usize>,
    /// Texts that parsers disagree on: they may come to anybody.
    doubtful: Vec<Vec<u8>>,
}

thread_local! {
    static CONFIGS: [Config; 2] = ["", "[access]\nbrowsersMay = none\n"].map(|access| {
        let ini = format!("{access}[limits]\nmaxMessage = {MAX_MESSAGE}\n");
        Config::parse(&ini, Path::new("fuzz.ini"), &handler_names(), &|_| None).expect("a good file").0
    });
    static DRAWN: Cell<u8> = const { Cell::new(0) };
}

/// UUIDs need not be random here, and are to be the same every time.
fn count(bytes: &mut [u8]) {
    for id in bytes.chunks_mut(16) {
        id.fill(DRAWN.replace(DRAWN.get().wrapping_add(1)));
    }
}

/// See the top.
pub fn run(data: &[u8]) {
    let (browsers_may_not, script) = match data.strip_prefix(b"!") {
        Some(script) => (true, script),
        None => (false, data),
    };
    let mut world = World::new(browsers_may_not);
    for line in script.split(|byte| *byte == b'\n') {
        world.line(line);
        if world.untold.is_none() {
            world.clients.iter().for_each(Client::check_prompt);
        }
    }
    world.end();
}

impl World {
    fn new(browsers_may_not: bool) -> Self {
        DRAWN.set(0);
        let config = CONFIGS.with(|configs| configs[usize::from(browsers_may_not)].clone());
        let hub = Hub::new(config, HANDLERS, vec![Ipv4Addr::LOCALHOST.into()], (), ClientIds::new(count));
        let mut world =
            Self { hub, now: Moment::START, clients: Vec::new(), browsers_may_not, untold: None, doubtful: Vec::new() };
        for role in model::ROLES {
            world.connect(role);
        }
        // The greeting of the paced script comes later than the others'.
        while world.clients.iter().any(|client| !client.acks.is_empty()) {
            world.sleep();
        }
        world
    }

    fn connect(&mut self, role: Role) {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let peer = (Ipv4Addr::LOCALHOST, 5000).into();
        let slot = self.hub.open(ServerEnd(Rc::clone(&wire)), peer, Duration::ZERO, self.now);
        wire.borrow_mut().to_server.extend(role.request().as_bytes());
        self.clients.push(Client::new(role, wire, slot));
        self.turn(self.clients.len() - 1);
    }

    /// One line: a digit for the client, a letter for what it does, and the rest.
    ///
    /// A blank: it sends the rest as a text; `f`, in three fragments; `p`, cut by the network; `b`, as binary; `q`, as
    /// a text that comes in one read with what it does next. `i`: it pings. `c`: it closes. `e`: it is gone without a
    /// word. In the rest `$0` to `$4` are the clients' UUIDs, `$x` is filler. `w` instead of a client: as many
    /// milliseconds pass as the rest says.
    fn line(&mut self, line: &[u8]) {
        let [who, how, rest @ ..] = line else { return };
        let index = usize::from(who.wrapping_sub(b'0'));
        if let Some(untold) = self.untold.take_if(|untold| *untold != index) {
            self.turn(untold);
        }
        if *who == b'w' {
            let millis = std::str::from_utf8(&line[1..]).ok().and_then(|digits| digits.parse::<u16>().ok());
            self.now = self.now.after(Duration::from_millis(millis.unwrap_or_default().into()));
            self.rest();
            return;
        }
        if index >= self.clients.len() {
            return;
        }
        let payload = self.filled_in(rest);
        match how {
            b' ' => self.say(index, &[(Opcode::Text, &payload)], 1),
            b'q' => {
                self.untold = Some(index);
                self.say(index, &[(Opcode::Text, &payload)], 0);
            }
            b'p' => self.say(index, &[(Opcode::Text, &payload)], 4),
            b'b' => self.say(index, &[(Opcode::Binary, &payload)], 1),
            b'f' => {
                let third = payload.len() / 3;
                let (first, others) = payload.split_at(third);
                let (second, last) = others.split_at(third);
                let (text, more) = (Opcode::Text, Opcode::Continuation);
                self.say(index, &[(text, first), (more, second), (more, last)], 1);
            }
            b'i' => {
                let payload = &payload[..payload.len().min(frame::MAX_CONTROL_PAYLOAD)];
                if !self.clients[index].left {
                    self.clients[index].pings.push_back(payload.to_vec());
                }
                self.send(index, &[(Opcode::Ping, payload)], 1);
            }
            b'c' => {
                let client = &mut self.clients[index];
                if !client.left {
                    client.leave(1000);
                }
                self.send(index, &[(Opcode::Close, &1000_u16.to_be_bytes())], 1);
            }
            b'e' => {
                let client = &mut self.clients[index];
                client.left = true;
                // What it has sent last may still be answered with a Close.
                if client.closing == Closing::Never {
                    client.closing = Closing::Done;
                }
                client.wire.borrow_mut().ended = true;
                self.turn(index);
            }
            _ => {}
        }
    }

    /// Replaces `$0` and the like, and two fillers at most.
    fn filled_in(&self, rest: &[u8]) -> Vec<u8> {
        let mut filled = Vec::new();
        let mut bytes = rest;
        let mut fillers = 0;
        while let Some((&byte, after)) = bytes.split_first() {
            bytes = after;
            match after.first() {
                Some(b'x') if byte == b'$' && fillers < 2 => {
                    filled.resize(filled.len() + FILLER, b'x');
                    fillers += 1;
                    bytes = &after[1..];
                }
                Some(digit @ b'0'..=b'4') if byte == b'$' => {
                    filled.extend_from_slice(self.clients[usize::from(digit - b'0')].uuid.as_bytes());
                    bytes = &after[1..];
                }
                _ => filled.push(byte),
            }
        }
        filled
    }

    /// A client sends a message, in so many pieces; none: it is on its way, and the server isn't told.
    fn say(&mut self, index: usize, frames: &[(Opcode, &[u8])], pieces: usize) {
        let message = frames.iter().flat_map(|(_, payload)| payload.iter().copied()).collect();
        self.foresee(index, frames[0].0, message);
        self.send(index, frames, pieces);
        if matches!(self.clients[index].closing, Closing::Perhaps(_)) {
            self.turn(index);
        }
        // How has the server decided? The paced script will be told later.
        let client = &mut self.clients[index];
        if let Closing::Perhaps(code) = client.closing {
            let stays = self.hub.clients().iter().any(|other| other.id.to_string() == client.uuid);
            client.closing = Closing::Never;
            if !stays {
                client.leave(code);
            }
        }
    }

    fn send(&mut self, index: usize, frames: &[(Opcode, &[u8])], pieces: usize) {
        let mut bytes = Vec::new();
        for (at, (opcode, payload)) in frames.iter().enumerate() {
            let start = bytes.len();
            frame::write_masked_frame(&mut bytes, *opcode, payload, [0x1f, 0, 0x80, 0x55]);
            if at + 1 < frames.len() {
                // Without FIN.
                bytes[start] &= 0x7f;
            }
        }
        for piece in bytes.chunks(bytes.len() / pieces.max(1) + 1) {
            let wire = &self.clients[index].wire;
            if wire.borrow().ended {
                return;
            }
            wire.borrow_mut().to_server.extend(piece);
            if pieces > 0 {
                self.turn(index);
            }
        }
    }

    /// A turn of the loop in which the poll tells of one client; then everyone reads, and that may lead to more turns.
    fn turn(&mut self, index: usize) {
        self.untold = self.untold.filter(|untold| *untold != index);
        let mut told = Some(index);
        while let Some(index) = told {
            let client = &self.clients[index];
            let (dropped, ended) = (client.wire.borrow().dropped, client.wire.borrow().ended);
            self.hub.go_on(self.now);
            if !dropped {
                self.hub.ready(client.slot, false, ended, self.now);
            }
            self.settle();
            let unheard = |client: &Client| !client.wire.borrow().to_server.is_empty() && !client.wire.borrow().dropped;
            told = self.clients.iter().position(unheard);
        }
    }

    fn settle(&mut self) {
        self.hub.expire(self.now);
        self.hub.settle(self.now);
        for index in 0..self.clients.len() {
            self.read(index);
        }
        assert!(!self.hub.has_unread(), "all input is read");
    }

    /// A turn at this moment, in which the poll tells of nobody unless somebody answers.
    fn rest(&mut self) {
        self.settle();
        for index in 0..self.clients.len() {
            if !self.clients[index].wire.borrow().to_server.is_empty() {
                self.turn(index);
            }
        }
    }

    /// The time until the next deadline passes.
    fn sleep(&mut self) {
        assert!(self.hub.deadline() < Moment::NEVER, "it waits for nothing");
        self.now = self.now.max(self.hub.deadline());
        self.rest();
    }

    /// Lets a client read what has come for it.
    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let input = std::mem::take(&mut client.wire.borrow_mut().to_client);
        let mut input = input.as_slice();
        if !client.upgraded && !input.is_empty() {
            assert!(input.starts_with(b"HTTP/1.1 101 "), "{}", input.escape_ascii());
            let end = input.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
            input = &input[end + 4..];
            client.upgraded = true;
        }
        while !input.is_empty() {
            let header = Header::parse(input, Sender::Server).expect("a good frame").expect("a whole header");
            let length = header.size + usize::try_from(header.length).expect("a length");
            assert!(header.fin && length <= input.len(), "whole frames");
            client.understand(header.opcode, &input[header.size..length], &self.doubtful);
            input = &input[length..];
        }
    }

    /// What must come of a message, by the rules of the relay.
    fn foresee(&mut self, index: usize, opcode: Opcode, message: Vec<u8>) {
        let client = &mut self.clients[index];
        if client.left {
            return;
        }
        let is_text = std::str::from_utf8(&message).is_ok() || opcode != Opcode::Text;
        if message.len() > MAX_MESSAGE {
            // Of fragments the first is looked at before the last comes.
            client.leave_for_either([1009, if is_text { 1009 } else { 1007 }]);
            return;
        }
        if !is_text {
            client.leave(1007);
            return;
        }
        if !client.role.is_relay() {
            client.due.push_back((0, opcode, message));
            return;
        }
        let (Opcode::Text, Ok(text)) = (opcode, String::from_utf8(message)) else {
            client.acks.push_back(Ack::Plain);
            client.leave(1003);
            return;
        };
        match (text.as_str(), &mut client.chunks) {
            ("bufferOFF", Some((joined, _))) => {
                let joined = std::mem::take(joined);
                client.chunks = None;
                self.act(index, joined);
            }
            (_, Some((joined, count))) => {
                client.acks.push_back(Ack::Plain);
                *count += 1;
                if *count > MAX_CHUNKS {
                    client.leave(1008);
                } else if joined.len() + text.len() > MAX_MESSAGE {
                    client.leave(1009);
                } else {
                    joined.push_str(&text);
                }
            }
            ("bufferON", None) => {
                client.acks.push_back(Ack::Plain);
                client.chunks = Some((String::new(), 0));
            }
            (_, None) => self.act(index, text),
        }
    }

    /// What must come of a text that is acted on.
    fn act(&mut self, index: usize, text: String) {
        let me = &mut self.clients[index];
        let (opcode, uuid, ident) = match Envelope::read(&text) {
            Envelope::Nothing => {
                me.acks.push_back(Ack::Plain);
                me.leave(1007);
                return;
            }
            Envelope::Doubtful => {
                me.acks.push_back(Ack::Any);
                me.closing = Closing::Perhaps(1007);
                self.doubtful.push(text.into_bytes());
                return;
            }
            Envelope::Read { opcode, uuid, ident } => (opcode, uuid, ident),
        };
        let acted_on = matches!(opcode.as_str(), "feedback" | "broadcast" | "echo");
        if self.browsers_may_not && me.role.is_browser() && acted_on {
            me.acks.push_back(Ack::Refused);
            return;
        }
        let here = |client: &Client| client.role.is_relay() && !client.left;
        let position = |found: &dyn Fn(&Client) -> bool| {
            self.clients.iter().position(|client| here(client) && found(client)).into_iter().collect()
        };
        let to: Vec<usize> = match opcode.as_str() {
            "feedback" if !ident.is_empty() => position(&|client| client.role.ident() == ident),
            "feedback" => position(&|client| client.role.is_browser() && client.uuid.eq_ignore_ascii_case(&uuid)),
            "broadcast" => {
                let others =
                    |at: &usize| *at != index && here(&self.clients[*at]) && self.clients[*at].role.is_browser();
                (0..self.clients.len()).filter(others).collect()
            }
            "echo" => vec![index],
            _ => {
                self.clients[index].acks.push_back(Ack::Plain);
                if opcode == "quit" {
                    self.clients[index].leave(1000);
                }
                return;
            }
        };
        self.clients[index].acks.push_back(Ack::Delivered(to.len()));
        for to in to {
            let client = &mut self.clients[to];
            let before = client.acknowledged + client.acks.len();
            client.due.push_back((before, Opcode::Text, text.clone().into_bytes()));
        }
    }

    /// All that is held for the paced script goes out; then the server stops, and everyone leaves.
    fn end(&mut self) {
        if let Some(untold) = self.untold {
            self.turn(untold);
        }
        let held = |client: &Client| client.acks.len() + client.due.len();
        let most = self.clients.iter().map(held).sum::<usize>() + self.doubtful.len();
        for _ in 0..=most {
            if self.clients.iter().all(|client| client.left || held(client) == 0) {
                break;
            }
            self.sleep();
        }
        for client in &self.clients {
            assert!(
                client.left || held(client) == 0,
                "{:?} waits for {:?}, {:?}",
                client.role,
                client.acks,
                client.due
            );
        }
        let here = self.clients.iter().filter(|client| !client.left).count();
        assert_eq!(self.hub.clients().len(), here, "who has not gone is there");
        for client in self.clients.iter_mut().filter(|client| !client.left) {
            client.leave(1001);
        }
        self.hub.drain(self.now);
        self.rest();
        // The paced script's frames, each with a deadline; then lingering. More than enough for the corpora's longest.
        for _ in 0..10_000 {
            if self.hub.is_empty() {
                break;
            }
            self.sleep();
        }
        assert_eq!((self.hub.len(), self.hub.held()), (0, 0), "nothing is left");
        assert!(self.hub.clients().is_empty());
    }
}

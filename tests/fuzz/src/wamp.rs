//! Target `wamp`: the whole server in virtual time, and clients of WAMP that say anything.
//!
//! The input is a script of lines: who does what, see `World::line`. Clients 0 and 1 speak version 2 in JSON, 2 in
//! MessagePack, 3 speaks version 1; a witness is subscribed to `t` and publishes to it after every line. Permitted, and
//! nothing besides:
//!
//! - A client gets whole frames of its own format: JSON lists that begin with the code of a message that routers send, or
//!   MessagePack lists.
//! - An answer (SUBSCRIBED and the like, RESULT without `progress`, ERROR) is to something that the client has said:
//!   there are never more of them than it has sent messages. Ids are its own choice, and may come again.
//! - A client that is closed was told why, by ABORT in version 2; the code is 1000, 1002, 1003 or 1007.
//! - The witness hears each of its own publications, once and in order, whatever the others do; what they publish to its
//!   topic it may hear as well. It is never closed.
//! - When all have gone nothing is left: no client, no memory, no deadline.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use websock::app::{HANDLERS, handler_names};
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::proto::frame::{self, Header, Opcode, Sender};

use crate::wire::{ServerEnd, Wire};

const SUBPROTOCOLS: [&str; 5] = ["wamp.2.json", "wamp.2.json", "wamp.2.msgpack", "wamp", "wamp.2.json"];

/// The last of them.
const WITNESS: usize = 4;

/// What the witness's publications begin with; nobody can say this by chance.
const MARK: &str = "the witness's own number ";

const HELLO: &str = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{},"caller":{},"callee":{"features":{"call_canceling":true,"progressive_call_results":true}}}}]"#;

struct Client {
    wire: Rc<RefCell<Wire>>,
    slot: usize,
    upgraded: bool,
    /// It has been closed, or is gone.
    over: bool,
    aborted: bool,
    /// How many answers it has had.
    answered: usize,
    /// How many messages it has sent.
    texts: usize,
}

struct World {
    hub: Hub<ServerEnd>,
    now: Moment,
    clients: Vec<Client>,
    published: u64,
    heard: u64,
}

thread_local! {
    static CONFIG: Config = {
        let ini = "[resources]\n/wamp = wamp\n[limits]\nmaxMessage = 10000\npingInterval = 0\n[wamp]\nlockGrace = 2\n";
        Config::parse(ini, Path::new("fuzz.ini"), &handler_names(), &|_| None).expect("a good file").0
    };
    static DRAWN: Cell<u8> = const { Cell::new(0) };
}

/// Ids need not be random here, and are to be the same every time.
fn count(bytes: &mut [u8]) {
    for id in bytes.chunks_mut(16) {
        id.fill(DRAWN.replace(DRAWN.get().wrapping_add(1)));
    }
}

/// See the top.
pub fn run(data: &[u8]) {
    DRAWN.set(0);
    let hub = CONFIG
        .with(|config| Hub::new(config.clone(), HANDLERS, vec![Ipv4Addr::LOCALHOST.into()], (), ClientIds::new(count)));
    let mut world = World { hub, now: Moment::START, clients: Vec::new(), published: 0, heard: 0 };
    SUBPROTOCOLS.iter().for_each(|subprotocol| world.connect(subprotocol));
    world.say(WITNESS, Opcode::Text, HELLO.as_bytes());
    world.say(WITNESS, Opcode::Text, br#"[32,1,{},"t"]"#);
    for line in data.split(|byte| *byte == b'\n').take(200) {
        world.line(line);
        world.witness();
    }
    world.end();
}

impl World {
    fn connect(&mut self, subprotocol: &str) {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let slot =
            self.hub.open(ServerEnd(Rc::clone(&wire)), (Ipv4Addr::LOCALHOST, 5000).into(), Duration::ZERO, self.now);
        let request = format!(
            "GET /wamp HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        wire.borrow_mut().to_server.extend(request.as_bytes());
        self.clients.push(Client { wire, slot, upgraded: false, over: false, aborted: false, answered: 0, texts: 0 });
        self.turn(self.clients.len() - 1);
    }

    /// A digit for the client, a letter for what it does, and the rest. A blank: it sends the rest as a text; `b`, as
    /// binary; `h`, as binary whose hexadecimal digits these are. `j`: it joins `realm1`, in JSON. `e`: it is gone. `w` in
    /// place of a client: so many milliseconds pass.
    fn line(&mut self, line: &[u8]) {
        let [who, how, rest @ ..] = line else { return };
        if *who == b'w' {
            let millis = std::str::from_utf8(&line[1..]).ok().and_then(|digits| digits.parse::<u16>().ok());
            self.now = self.now.after(Duration::from_millis(millis.unwrap_or_default().into()));
            self.settle();
            return;
        }
        let index = usize::from(who.wrapping_sub(b'0'));
        if index >= WITNESS {
            return;
        }
        match how {
            b' ' => self.say(index, Opcode::Text, rest),
            b'b' => self.say(index, Opcode::Binary, rest),
            b'h' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let digits: Vec<u8> = rest.iter().filter_map(digit).collect();
                let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
                self.say(index, Opcode::Binary, &bytes);
            }
            b'j' => self.say(index, Opcode::Text, HELLO.as_bytes()),
            b'e' => {
                self.clients[index].over = true;
                self.clients[index].wire.borrow_mut().ended = true;
                self.turn(index);
            }
            _ => {}
        }
    }

    fn say(&mut self, index: usize, opcode: Opcode, payload: &[u8]) {
        if self.clients[index].wire.borrow().ended {
            return;
        }
        let mut bytes = Vec::new();
        frame::write_masked_frame(&mut bytes, opcode, payload, [0x1f, 0, 0x80, 0x55]);
        self.clients[index].texts += 1;
        self.clients[index].wire.borrow_mut().to_server.extend(bytes);
        self.turn(index);
    }

    /// The witness publishes, and has heard it once the turn is over.
    fn witness(&mut self) {
        self.published += 1;
        let number = self.published;
        let message = format!(r#"[16,{},{{"exclude_me":false}},"t",["{MARK}{number}"]]"#, number + 1);
        self.say(WITNESS, Opcode::Text, message.as_bytes());
        assert_eq!(self.heard, self.published, "the witness hears itself");
        assert!(!self.clients[WITNESS].over, "the witness stays");
    }

    fn turn(&mut self, index: usize) {
        let client = &self.clients[index];
        let (dropped, ended) = (client.wire.borrow().dropped, client.wire.borrow().ended);
        self.hub.go_on(self.now);
        if !dropped {
            self.hub.ready(client.slot, false, ended, self.now);
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.hub.expire(self.now);
        self.hub.settle(self.now);
        (0..self.clients.len()).for_each(|index| self.read(index));
    }

    fn read(&mut self, index: usize) {
        let input = std::mem::take(&mut self.clients[index].wire.borrow_mut().to_client);
        let mut input = input.as_slice();
        if !self.clients[index].upgraded && !input.is_empty() {
            assert!(input.starts_with(b"HTTP/1.1 101 "), "{}", input.escape_ascii());
            let end = input.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head");
            input = &input[end + 4..];
            self.clients[index].upgraded = true;
        }
        while !input.is_empty() {
            let header = Header::parse(input, Sender::Server).expect("a good frame").expect("a whole header");
            let length = header.size + usize::try_from(header.length).expect("a length");
            assert!(header.fin && length <= input.len(), "whole frames");
            self.understand(index, header.opcode, &input[header.size..length]);
            input = &input[length..];
        }
    }

    fn understand(&mut self, index: usize, opcode: Opcode, payload: &[u8]) {
        let client = &mut self.clients[index];
        let subprotocol = SUBPROTOCOLS[index];
        match opcode {
            Opcode::Close => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                // 1001: in the end, when the server stops. 1009: more than `maxMessage`.
                assert!(matches!(code, Some(1000..=1003 | 1007 | 1009)), "{code:?}");
                let told = client.aborted || subprotocol != "wamp.2.json" || code != Some(1002);
                assert!(told, "ABORT says why: {}", payload.escape_ascii());
                client.over = true;
            }
            Opcode::Binary => {
                assert_eq!(subprotocol, "wamp.2.msgpack");
                assert!(matches!(payload, [0x92..=0x9f, ..]), "{}", payload.escape_ascii());
            }
            Opcode::Text => {
                assert_ne!(subprotocol, "wamp.2.msgpack");
                // What was passed on may be JSON that parsers disagree on.
                let Ok(message) = serde_json::from_slice::<Value>(payload) else { return };
                let code = message[0].as_u64().unwrap_or(u64::MAX);
                if subprotocol == "wamp" {
                    assert!(matches!(code, 0 | 3 | 4 | 8), "{message}");
                    return;
                }
                match code {
                    3 => client.aborted = true,
                    2 | 6 | 68 | 69 => {}
                    17 | 33 | 35 | 50 | 65 | 67 | 8 => {
                        let part = code == 50 && message[2]["progress"] == true;
                        client.answered += usize::from(!part);
                        assert!(client.answered <= client.texts, "nobody has asked this: {message}");
                    }
                    36 => {
                        let text = message[4][0].as_str().unwrap_or_default();
                        if let Some(own) = text.strip_prefix(MARK).filter(|_| index == WITNESS) {
                            self.heard += 1;
                            assert_eq!(own, self.heard.to_string(), "in order");
                        }
                    }
                    _ => panic!("routers don't say {message}"),
                }
            }
            Opcode::Ping | Opcode::Pong | Opcode::Continuation => {}
        }
    }

    fn end(&mut self) {
        self.hub.drain(self.now);
        for index in 0..self.clients.len() {
            self.clients[index].wire.borrow_mut().ended = true;
            self.turn(index);
        }
        while self.hub.deadline() < Moment::NEVER {
            self.now = self.now.max(self.hub.deadline());
            self.settle();
        }
        assert!(self.hub.clients().is_empty() && self.hub.is_empty(), "all have gone");
        assert_eq!(self.hub.held(), 0, "and nothing is held for them");
    }
}

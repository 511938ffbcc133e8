//! Many sessions in virtual time: the very code of the loop, on wires of our own.
//!
//! Browsers and scripts come and go, send whole and in pieces, stop reading, vanish in the middle of a frame; the wires
//! take as much as they like; time jumps. A small model says what must hold: each message is acknowledged exactly once
//! and in order, what was said to be delivered arrives, once and in order, unless its receiver goes first; what was not
//! said to be delivered never arrives; a paced script gets one frame at a time; and when all have gone nothing is left.
//!
//! A run that fails prints its seed: `WEBSOCK_SEED=… cargo test --test simulation` plays it again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use websock::app::{HANDLERS, handler_names};
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::net::socket::Socket;
use websock::proto::frame::{self, Header, Opcode, Sender};

const SEEDS: u64 = 60;
const STEPS: usize = 600;
const FRAME_GAP: u64 = 20;
const GREETING_DELAY: u64 = 30;

/// xorshift64*: what is random must come again from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `most`.
    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % most.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A connection between a simulated client and the server.
#[derive(Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// How much the wire holds for the client.
    room: usize,
    client_gone: bool,
    server_shut: bool,
    server_gone: bool,
    /// The server asked to be told when there is room, and it has not been told yet.
    wants_room: bool,
    /// Something has come that the server has not been told of.
    edge: bool,
    now: u64,
    /// Of a script that is paced and whose wire takes every frame whole: from when on the server may write, unless it
    /// has heard from the script since it wrote last.
    quiet_until: Option<u64>,
}

struct End(Rc<RefCell<Wire>>);

impl Socket for End {
    type Poll = ();

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.to_server.is_empty() {
            return if wire.client_gone { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = wire.to_server.len().min(buffer.len());
        wire.quiet_until = wire.quiet_until.map(|_| 0);
        for (place, byte) in buffer.iter_mut().zip(wire.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.client_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!wire.server_shut, "nothing is written after the end was said");
        if let Some(until) = wire.quiet_until {
            assert!(wire.now >= until, "a paced script gets a frame {} ms early", until - wire.now);
            let upgraded = slices[0].starts_with(b"HTTP/");
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>();
            let one = upgraded
                || Header::parse(&bytes, Sender::Server).is_ok_and(|header| {
                    header.is_some_and(|header| header.size as u64 + header.length == bytes.len() as u64)
                });
            assert!(one, "a paced script gets one frame at a time");
            wire.quiet_until = Some(wire.now + if upgraded { GREETING_DELAY } else { FRAME_GAP });
        }
        let mut left = wire.room.saturating_sub(wire.to_client.len());
        let before = left;
        for slice in slices {
            let count = slice.len().min(left);
            wire.to_client.extend(&slice[..count]);
            left -= count;
        }
        if before == left { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(before - left) }
    }

    fn shut(&mut self) {
        self.0.borrow_mut().server_shut = true;
    }

    fn watch(&mut self, (): &(), _slot: usize, writable: bool, _first: bool) -> io::Result<()> {
        self.0.borrow_mut().wants_room = writable;
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().server_gone = true;
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Browser,
    /// Reads as the original PHP client does.
    OldScript,
    Script,
}

struct Client {
    wire: Rc<RefCell<Wire>>,
    slot: usize,
    role: Role,
    uuid: Option<String>,
    /// Bytes from the server, not yet a frame.
    input: Vec<u8>,
    upgraded: bool,
    /// Bytes to the server that are held back, so that frames come in pieces.
    unsent: VecDeque<u8>,
    /// Messages sent whose acknowledgement is awaited: what kind, and the number in it.
    awaiting: VecDeque<Sent>,
    /// Numbers received, by who sent them.
    received: HashMap<usize, Vec<u64>>,
    closed: bool,
    reading: bool,
}

#[derive(Debug)]
enum Sent {
    Feedback { number: u64, to: usize },
    Broadcast,
    Echo { number: u64 },
    Other,
}

struct World {
    hub: Hub<End>,
    random: Random,
    now: u64,
    clients: Vec<Client>,
    numbers: u64,
    /// Feedback that was said to be delivered, and to whom.
    promised: HashMap<u64, usize>,
    /// Feedback that was said to reach nobody.
    refused: HashSet<u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let ini = "[limits]\nmaxMessage = 20000\nmaxBacklog = 150000\nmessageTimeout = 60\n";
        let (config, _) = Config::parse(ini, Path::new("simulated.ini"), &handler_names(), &|_| None).expect("good");
        Self {
            hub: Hub::new(config, HANDLERS, vec![Ipv4Addr::LOCALHOST.into()], (), ClientIds::new(scramble)),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: 0,
            clients: Vec::new(),
            numbers: 0,
            promised: HashMap::new(),
            refused: HashSet::new(),
        }
    }

    fn moment(&self) -> Moment {
        Moment::from_millis(self.now)
    }

    fn connect(&mut self) {
        let role = [Role::Browser, Role::Browser, Role::OldScript, Role::Script][self.random.below(4)];
        let room = [50, 500, 5_000, 1_000_000][self.random.below(4)];
        let quiet_until = (role == Role::OldScript && room > 100_000).then_some(0);
        let wire = Rc::new(RefCell::new(Wire { room, quiet_until, ..Wire::default() }));
        let slot =
            self.hub.open(End(Rc::clone(&wire)), (Ipv4Addr::LOCALHOST, 5000).into(), Duration::ZERO, self.moment());
        let path = ["/", "/web", "/php"][self.random.below(3)];
        let further = match role {
            Role::Browser => "",
            Role::OldScript => "Client-Type: php\r\n",
            Role::Script => "Client-Type: php\r\nSec-WebSocket-Protocol: websock.v1\r\n",
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
        );
        self.clients.push(Client {
            wire,
            slot,
            role,
            uuid: None,
            input: Vec::new(),
            upgraded: false,
            unsent: request.into_bytes().into(),
            awaiting: VecDeque::new(),
            received: HashMap::new(),
            closed: false,
            reading: true,
        });
    }

    /// A message of some kind, from a client that has been greeted.
    fn say(&mut self, sender: usize) {
        if self.clients[sender].uuid.is_none() || self.clients[sender].closed {
            return;
        }
        // Scripts of the original kind send and wait.
        if self.clients[sender].role == Role::OldScript && !self.clients[sender].awaiting.is_empty() {
            return;
        }
        self.numbers += 1;
        let number = self.numbers;
        let filler = "é".repeat([0, 10, 100, 3000, 9000][self.random.below(5)]);
        let to = self.random.below(self.clients.len());
        let uuid = self.clients[to].uuid.clone().unwrap_or_else(|| "nobody".to_owned());
        let (text, sent) = match self.random.below(6) {
            0 => {
                let text = json!({"opcode": "broadcast", "message": [sender, number, filler]}).to_string();
                (text, Sent::Broadcast)
            }
            1 => {
                let text = json!({"opcode": "echo", "message": [sender, number, filler]}).to_string();
                (text, Sent::Echo { number })
            }
            2 => (json!({"opcode": "uuid", "message": "ignored"}).to_string(), Sent::Other),
            _ => {
                let text = json!({"opcode": "feedback", "uuid": uuid, "message": [sender, number, filler]}).to_string();
                (text, Sent::Feedback { number, to })
            }
        };
        let client = &mut self.clients[sender];
        client.awaiting.push_back(sent);
        let mut frame = Vec::new();
        let key = u32::try_from(self.random.next() >> 32).expect("32 bits").to_be_bytes();
        frame::write_masked_frame(&mut frame, Opcode::Text, text.as_bytes(), key);
        client.unsent.extend(frame);
    }

    /// A large message that comes back: a run of them is more than one read takes, and more than a slow wire holds.
    fn say_to_itself(&mut self, sender: usize) {
        let client = &mut self.clients[sender];
        if client.uuid.is_none() || client.closed || client.role == Role::OldScript {
            return;
        }
        self.numbers += 1;
        let number = self.numbers;
        let text = json!({"opcode": "echo", "message": [sender, number, "é".repeat(9000)]}).to_string();
        client.awaiting.push_back(Sent::Echo { number });
        let mut frame = Vec::new();
        frame::write_masked_frame(&mut frame, Opcode::Text, text.as_bytes(), [9, 8, 7, 6]);
        client.unsent.extend(frame);
    }

    /// Puts some of what a client has to send on its wire.
    fn send_some(&mut self, index: usize) {
        let most = if self.random.one_in(3) { 7 } else { usize::MAX };
        let client = &mut self.clients[index];
        let count = client.unsent.len().min(most);
        if count > 0 && !client.closed {
            let mut wire = client.wire.borrow_mut();
            wire.to_server.extend(client.unsent.drain(..count));
            wire.edge = true;
        }
    }

    /// Lets the server run a turn.
    fn turn(&mut self) {
        let now = self.moment();
        for client in &self.clients {
            client.wire.borrow_mut().now = self.now;
        }
        self.hub.go_on(now);
        for client in &self.clients {
            let (edge, room, gone) = {
                let mut wire = client.wire.borrow_mut();
                let room = wire.wants_room && wire.to_client.len() < wire.room;
                let told = (std::mem::take(&mut wire.edge), room, wire.client_gone);
                if wire.server_gone { (false, false, false) } else { told }
            };
            if edge || room {
                self.hub.ready(client.slot, room, gone, now);
            }
        }
        self.hub.expire(now);
        self.hub.settle(now);
    }

    /// Lets a client read all that its wire holds.
    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.reading || client.closed {
            return;
        }
        client.input.extend(client.wire.borrow_mut().to_client.drain(..));
        if !client.upgraded {
            let Some(end) = client.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return };
            assert!(client.input.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&client.input));
            client.input.drain(..end + 4);
            client.upgraded = true;
        }
        while let Some(header) = Header::parse(&self.clients[index].input, Sender::Server).expect("good frames") {
            let client = &mut self.clients[index];
            let length = header.size + usize::try_from(header.length).expect("a length");
            if client.input.len() < length {
                break;
            }
            let payload = client.input.drain(..length).skip(header.size).collect::<Vec<_>>();
            match header.opcode {
                Opcode::Text => self.understand(index, &payload),
                Opcode::Close => {
                    client.closed = true;
                    let mut wire = client.wire.borrow_mut();
                    wire.client_gone = true;
                    wire.edge = true;
                    return;
                }
                Opcode::Ping => {
                    let mut pong = Vec::new();
                    frame::write_masked_frame(&mut pong, Opcode::Pong, &payload, [1, 2, 3, 4]);
                    // Not in the middle of a message that is only half on its way.
                    if client.unsent.is_empty() {
                        client.unsent.extend(pong);
                    }
                }
                other => panic!("the server sends {other:?}"),
            }
        }
    }

    fn understand(&mut self, index: usize, payload: &[u8]) {
        let message: Value = serde_json::from_slice(payload).expect("the relay sends JSON");
        let client = &mut self.clients[index];
        match message["opcode"].as_str().expect("an opcode") {
            "ready" => {
                assert!(client.uuid.is_none(), "greeted once");
                client.uuid = Some(message["uuid"].as_str().expect("a uuid").to_owned());
            }
            "next" => {
                let sent = client.awaiting.pop_front().expect("an acknowledgement for each message and no more");
                let delivered = message["delivered"].as_u64();
                match sent {
                    Sent::Feedback { number, to } => match delivered {
                        Some(0) => assert!(self.refused.insert(number)),
                        Some(1) => assert!(self.promised.insert(number, to).is_none()),
                        other => panic!("feedback delivered to {other:?}"),
                    },
                    Sent::Broadcast => assert!(delivered.is_some()),
                    Sent::Echo { number } => {
                        assert_eq!(delivered, Some(1));
                        self.promised.insert(number, index);
                    }
                    Sent::Other => assert_eq!(delivered, None),
                }
            }
            opcode => {
                let sender = usize::try_from(message["message"][0].as_u64().expect("a sender")).expect("an index");
                let number = message["message"][1].as_u64().expect("a number");
                match opcode {
                    "broadcast" => assert!(client.role == Role::Browser && sender != index),
                    "feedback" => assert_eq!(client.role, Role::Browser),
                    _ => {
                        assert_eq!((opcode, sender), ("echo", index));
                        let acknowledged = !client
                            .awaiting
                            .iter()
                            .any(|sent| matches!(sent, Sent::Echo { number: n } if *n == number));
                        assert!(acknowledged, "the acknowledgement comes before the echo");
                    }
                }
                client.received.entry(sender).or_default().push(number);
            }
        }
    }

    fn step(&mut self) {
        self.now += [0, 0, 1, 3, 25][self.random.below(5)];
        if self.clients.is_empty() || (self.clients.len() < 25 && self.random.one_in(8)) {
            self.connect();
        }
        let index = self.random.below(self.clients.len());
        match self.random.below(60) {
            0 => {
                // Gone, perhaps in the middle of a frame.
                let client = &mut self.clients[index];
                client.closed = true;
                let mut wire = client.wire.borrow_mut();
                wire.client_gone = true;
                wire.edge = true;
            }
            1..=3 => self.clients[index].reading ^= true,
            4..=30 => self.say(index),
            31 => (0..15).for_each(|_| self.say_to_itself(index)),
            _ => {}
        }
        for index in 0..self.clients.len() {
            if self.random.one_in(2) {
                self.send_some(index);
            }
        }
        self.turn();
        for index in 0..self.clients.len() {
            self.read(index);
        }
    }

    /// Everyone gets to read what is still to come.
    fn come_to_rest(&mut self) {
        for client in &mut self.clients {
            client.reading = true;
            client.wire.borrow_mut().room = [100_000, 1_000_000][self.random.below(2)];
        }
        // The last word: no later one tells the server that there is something left to read.
        for index in 0..self.clients.len() {
            if self.random.one_in(4) {
                (0..15).for_each(|_| self.say_to_itself(index));
            }
        }
        for _ in 0..400 {
            self.now += FRAME_GAP;
            for index in 0..self.clients.len() {
                let client = &mut self.clients[index];
                let all = client.unsent.len();
                if all > 0 && !client.closed {
                    let mut wire = client.wire.borrow_mut();
                    wire.to_server.extend(client.unsent.drain(..));
                    wire.edge = true;
                }
            }
            self.turn();
            for index in 0..self.clients.len() {
                self.read(index);
            }
        }
    }

    fn check(&self) {
        for (index, client) in self.clients.iter().enumerate() {
            for numbers in client.received.values() {
                assert!(numbers.is_sorted_by(|a, b| a < b), "in order and once: {numbers:?}");
                assert!(!numbers.iter().any(|number| self.refused.contains(number)), "said to reach nobody");
            }
            if !client.closed {
                assert!(client.awaiting.is_empty(), "client {index} waits for {:?}", client.awaiting);
            }
        }
        for (number, to) in &self.promised {
            let client = &self.clients[*to];
            let arrived = client.received.values().flatten().any(|received| received == number);
            assert!(arrived || client.closed, "message {number} was delivered to {to} and is not there");
        }
    }

    /// Everyone leaves, and nothing remains.
    fn end(&mut self) {
        self.hub.drain(self.moment());
        for _ in 0..400 {
            self.turn();
            for index in 0..self.clients.len() {
                self.read(index);
            }
            self.now += 100;
        }
        assert!(self.hub.is_empty(), "{} connections left", self.hub.len());
        assert_eq!(self.hub.held(), 0, "memory is given back");
        assert!(self.hub.clients().is_empty());
    }
}

thread_local! {
    static STATE: RefCell<Random> = const { RefCell::new(Random(0x5eed)) };
}

/// Random enough for UUIDs that must only differ.
fn scramble(bytes: &mut [u8]) {
    STATE.with_borrow_mut(|random| {
        for byte in bytes {
            *byte = u8::try_from(random.next() >> 56).expect("8 bits");
        }
    });
}

fn run(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.come_to_rest();
    world.check();
    world.end();
    (world.promised.len(), world.refused.len())
}

#[test]
fn many_sessions_keep_their_promises() {
    if let Some(seed) = std::env::var("WEBSOCK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let (mut promised, mut refused) = (0, 0);
    for seed in 1..=SEEDS {
        let result = std::panic::catch_unwind(|| run(seed));
        match result {
            Ok((kept, none)) => {
                promised += kept;
                refused += none;
            }
            Err(panic) => {
                eprintln!("WEBSOCK_SEED={seed} plays this again");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // A simulation in which nothing happens proves nothing.
    assert!(promised > 2_000 && refused > 200, "only {promised} delivered, {refused} not");
}

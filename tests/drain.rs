//! The good-bye to thousands: who is told when, and that it always ends in time. In virtual time, on wires that only
//! remember, and once with a process.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use websock::app::handler_names;
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::net::socket::Socket;

#[path = "common/server.rs"]
mod server;

use server::{CLOSE, Client, NEXT_1, Server, masked, upgrade};

/// What the server and a peer have said.
#[derive(Default)]
struct Wire {
    to_server: Vec<u8>,
    to_peer: Vec<u8>,
    dropped: bool,
}

struct End(Rc<RefCell<Wire>>);

impl Socket for End {
    type Poll = ();

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = std::mem::take(&mut self.0.borrow_mut().to_server);
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let before = wire.to_peer.len();
        slices.iter().for_each(|slice| wire.to_peer.extend_from_slice(slice));
        Ok(wire.to_peer.len() - before)
    }

    fn shut(&mut self) {}

    fn watch(&mut self, (): &(), _slot: usize, _writable: bool, _first: bool) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}

/// Bytes that make UUIDs which differ.
fn count(bytes: &mut [u8]) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    for chunk in bytes.chunks_mut(8) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        chunk.copy_from_slice(&count[..chunk.len()]);
    }
}

/// A server with some connections, and the time.
struct World {
    hub: Hub<End>,
    wires: Vec<(usize, Rc<RefCell<Wire>>)>,
    now: Moment,
}

impl World {
    fn new(clients: usize, drain_timeout: u64) -> Self {
        let ini = format!("[limits]\npingInterval = 0\ndrainTimeout = {drain_timeout}\n");
        let (config, _) = Config::parse(&ini, Path::new("virtual.ini"), &handler_names(), &|_| None).expect("good");
        let mut world = Self {
            hub: Hub::new(config, Vec::new(), (), ClientIds::new(count)),
            wires: Vec::new(),
            now: Moment::START,
        };
        for _ in 0..clients {
            let slot = world.connect();
            world.say(slot, upgrade("/echo", "").as_bytes());
        }
        assert_eq!(world.hub.clients().len(), clients);
        world.wires.iter().for_each(|(_, wire)| wire.borrow_mut().to_peer.clear());
        world
    }

    /// A connection; gives its place among the wires.
    fn connect(&mut self) -> usize {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let peer = (Ipv4Addr::LOCALHOST, 5000).into();
        let slot = self.hub.open(End(Rc::clone(&wire)), peer, self.now).expect("a wire can be watched");
        self.wires.push((slot, wire));
        self.wires.len() - 1
    }

    fn say(&mut self, index: usize, bytes: &[u8]) {
        let (slot, wire) = &self.wires[index];
        wire.borrow_mut().to_server.extend_from_slice(bytes);
        self.hub.ready(*slot, false, false, self.now);
        self.hub.settle(self.now);
    }

    /// A turn at the next deadline. How long that took, in milliseconds.
    fn pass(&mut self) -> u64 {
        let before = self.now;
        self.now = self.hub.deadline();
        assert_ne!(self.now, Moment::NEVER, "there is something to wait for");
        self.hub.expire(self.now);
        self.hub.settle(self.now);
        self.now.as_millis() - before.as_millis()
    }

    fn told(&self) -> usize {
        self.wires.iter().filter(|(_, wire)| wire.borrow().to_peer.starts_with(&[CLOSE])).count()
    }

    fn drain(&mut self) {
        self.hub.drain(self.now);
        self.hub.settle(self.now);
    }
}

#[test]
fn up_to_a_thousand_are_told_at_once() {
    for clients in [1, 999, 1000] {
        let mut world = World::new(clients, 10);
        world.drain();
        assert_eq!(world.told(), clients);
    }
}

#[test]
fn more_are_told_in_waves() {
    let mut world = World::new(1001, 10);
    let idle = world.connect();
    world.drain();
    assert_eq!(world.told(), 1000);
    assert!(world.wires[idle].1.borrow().dropped, "who is no client is not told, and has not to wait");
    assert_eq!((world.pass(), world.told()), (500, 1001));
    // The next thing to come is that those who have not answered are dropped.
    assert_eq!(world.pass(), 4500);
    assert_eq!(world.hub.len(), 1);
    world.pass();
    assert!(world.hub.is_empty());
}

#[test]
fn all_are_told_within_half_of_the_time_however_many_they_are() {
    for (clients, drain_timeout, step) in [(2500, 10, 500), (12_000, 10, 416), (3000, 1, 166), (2001, 3600, 500)] {
        let mut world = World::new(clients, drain_timeout);
        world.drain();
        let mut told = 1000;
        while told < clients {
            assert_eq!(world.told(), told);
            assert_eq!(world.pass(), step, "{clients} in {drain_timeout} s");
            told = clients.min(told + 1000);
        }
        assert_eq!(world.told(), clients);
        assert!(world.now.as_millis() * 2 <= drain_timeout * 1000);
    }
}

#[test]
fn without_time_all_are_told_at_once() {
    let mut world = World::new(3000, 0);
    world.drain();
    assert_eq!(world.told(), 3000);
}

#[test]
fn a_loop_that_comes_late_catches_up() {
    let mut world = World::new(4000, 10);
    world.drain();
    world.now = world.now.after(Duration::from_millis(1200));
    world.hub.expire(world.now);
    world.hub.settle(world.now);
    assert_eq!(world.told(), 3000);
    assert_eq!(world.hub.deadline().as_millis(), 1500);
}

#[test]
fn who_is_not_told_yet_is_served_and_who_leaves_first_is_not_told() {
    let mut world = World::new(1500, 10);
    world.drain();
    let waits: Vec<usize> = (0..1500).filter(|index| world.wires[*index].1.borrow().to_peer.is_empty()).collect();
    assert_eq!(waits.len(), 500);
    world.say(waits[0], &masked(0x81, b"still here"));
    assert_eq!(world.wires[waits[0]].1.borrow().to_peer, server::plain(0x81, b"still here"));
    world.say(waits[1], &masked(CLOSE, &1000_u16.to_be_bytes()));
    world.pass();
    let heard = |index: usize| world.wires[index].1.borrow().to_peer.clone();
    assert!(heard(waits[0]).ends_with(b"server is stopping"));
    assert_eq!(heard(waits[1]), server::plain(CLOSE, &1000_u16.to_be_bytes()), "its own Close, answered, and no more");
    assert_eq!(world.told(), 1499);
}

#[test]
fn a_server_with_thousands_ends_in_time_and_loses_nothing_for_those_who_read() {
    let mut server = Server::start("[limits]\ndrainTimeout = 4\nmaxBacklog = 100000000\n");
    let (mut reader, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    let mut crowd: Vec<Client> = (0..2200).map(|_| Client::open(server.address(), "/echo", "")).collect();
    // More than the kernel keeps for it, so that some of it waits at the server.
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{}"}}"#, "x".repeat(2 << 20));
    for _ in 0..4 {
        script.say(&message);
        script.expect(&[NEXT_1]);
    }
    let began = Instant::now();
    server.signal(Signal::TERM);
    for _ in 0..4 {
        reader.expect(&[&message]);
    }
    reader.expect_closed(1001);
    script.expect_closed(1001);
    let mut first = None;
    let mut last = began.elapsed();
    // The latest of them are told first: whoever has waited longest waits longest.
    for client in crowd.iter_mut().rev() {
        client.expect_close_frame(1001);
        last = began.elapsed();
        first.get_or_insert(last);
        // All but a few answer; those have until the end.
        if client.local_address().port() % 64 != 0 {
            client.send(&masked(CLOSE, &1001_u16.to_be_bytes()));
        }
    }
    let first = first.expect("there is a crowd");
    assert!(last >= Duration::from_millis(990), "three waves, half a second apart: {first:?} to {last:?}");
    drop((reader, script));
    crowd.retain(|client| client.local_address().port() % 64 == 0);
    assert!(!crowd.is_empty(), "some don't answer");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let took = began.elapsed();
    assert!(took > last && took < Duration::from_millis(5500), "{took:?}");
}

//! The loop without its poll, in virtual time, on wires that take everything and only remember.

#![allow(dead_code, reason = "every test file uses another part of this")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use websock::app::{HANDLERS, handler_names};
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::net::socket::Socket;

use crate::server::upgrade;

/// What the server and a peer have said.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) to_peer: Vec<u8>,
    /// The server has no more of it.
    pub(crate) dropped: bool,
}

/// The server's end of it.
pub(crate) struct End(Rc<RefCell<Wire>>);

impl Socket for End {
    type Poll = ();

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.to_server.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        io::Read::read(&mut wire.to_server, buffer)
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
pub(crate) struct World {
    pub(crate) hub: Hub<End>,
    /// Each with its slot.
    pub(crate) wires: Vec<(usize, Rc<RefCell<Wire>>)>,
    pub(crate) now: Moment,
}

impl World {
    /// A server with these settings, and so many clients of its echo.
    pub(crate) fn new(clients: usize, ini: &str) -> Self {
        let (config, _) = Config::parse(ini, Path::new("virtual.ini"), &handler_names(), &|_| None).expect("good");
        let mut world = Self {
            hub: Hub::new(config, HANDLERS, Vec::new(), (), ClientIds::new(count)),
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
    pub(crate) fn connect(&mut self) -> usize {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let peer = (Ipv4Addr::LOCALHOST, 5000).into();
        let slot = self.hub.open(End(Rc::clone(&wire)), peer, Duration::ZERO, self.now);
        self.wires.push((slot, wire));
        self.wires.len() - 1
    }

    /// Somebody sends something, and the server has a turn.
    pub(crate) fn say(&mut self, index: usize, bytes: &[u8]) {
        let (slot, wire) = &self.wires[index];
        wire.borrow_mut().to_server.extend(bytes);
        self.hub.ready(*slot, false, false, self.now);
        self.hub.settle(self.now);
    }

    /// A turn at the next deadline. How long that took, in milliseconds.
    pub(crate) fn pass(&mut self) -> u64 {
        let before = self.now;
        self.now = self.hub.deadline();
        assert_ne!(self.now, Moment::NEVER, "there is something to wait for");
        self.hub.expire(self.now);
        self.hub.settle(self.now);
        self.now.as_millis() - before.as_millis()
    }
}

//! A connection without a network: two queues, of which the server has one end as its [`Socket`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use websock::net::socket::Socket;

/// Both ends of a connection. It takes all that is written to it at once.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) to_server: VecDeque<u8>,
    pub(crate) to_client: Vec<u8>,
    /// The client sends no more.
    pub(crate) ended: bool,
    /// The server has said that it sends no more.
    shut: bool,
    /// The server has dropped its end.
    pub(crate) dropped: bool,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct ServerEnd(pub(crate) Rc<RefCell<Wire>>);

impl Socket for ServerEnd {
    type Poll = ();

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.to_server.is_empty() && !wire.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = wire.to_server.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(wire.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.shut, "nothing is written after the end was said");
        let before = wire.to_client.len();
        slices.iter().for_each(|slice| wire.to_client.extend_from_slice(slice));
        Ok(wire.to_client.len() - before)
    }

    fn shut(&mut self) {
        self.0.borrow_mut().shut = true;
    }

    fn watch(&mut self, (): &(), _slot: usize, writable: bool, _first: bool) -> io::Result<()> {
        assert!(!writable, "nothing ever waits for room");
        Ok(())
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.borrow_mut().dropped = true;
    }
}

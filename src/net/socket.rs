//! What the loop needs of a connection's byte stream.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// A non-blocking byte stream. Its errors are `std::io`'s; [`io::ErrorKind::WouldBlock`] means "not now".
pub trait Socket {
    /// What tells the loop when a socket is ready.
    type Poll;

    /// Reads what is there; zero: the peer will send no more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of `slices`, in their order, as is taken now.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says that we will send no more.
    fn shut(&mut self);

    /// From now on the loop is told under `slot` when the socket gets readable, and if `writable` when it gets that.
    /// `first`: it was not told before.
    fn watch(&mut self, poll: &Self::Poll, slot: usize, writable: bool, first: bool) -> io::Result<()>;
}

impl Socket for TcpStream {
    type Poll = Registry;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream: &Self = self;
        stream.read(buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream: &Self = self;
        match slices {
            // send(2) is cheaper than writev(2).
            [slice] => stream.write(slice),
            _ => stream.write_vectored(slices),
        }
    }

    fn shut(&mut self) {
        // It can only fail where the peer has gone already.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn watch(&mut self, poll: &Registry, slot: usize, writable: bool, first: bool) -> io::Result<()> {
        let interest = if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if first { poll.register(self, Token(slot), interest) } else { poll.reregister(self, Token(slot), interest) }
    }
}

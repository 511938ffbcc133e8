//! What the loop needs of a connection's byte stream.

use std::io::{self, IoSlice};
use std::time::Duration;

/// A non-blocking byte stream. Its errors are `std::io`'s; [`io::ErrorKind::WouldBlock`] means "not now".
///
/// Between the loop and the wire a socket may have something of its own to say and to hear, as TLS has. What a plain
/// socket answers to questions about that stands here, constant, so that it pays nothing.
pub trait Socket {
    /// What tells the loop when a socket is ready.
    type Poll;

    /// Reads what is there; zero: the peer will send no more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of `slices`, in their order, as is taken now.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Says that we will send no more, once what was taken is out.
    fn shut(&mut self);

    /// From now on the loop is told under `slot` when the socket gets readable, and if `writable` when it gets that.
    /// `first`: it was not told before.
    fn watch(&mut self, poll: &Self::Poll, slot: usize, writable: bool, first: bool) -> io::Result<()>;

    /// How large the buffer of a read must be at least.
    fn least_room(&self) -> usize {
        1
    }

    /// Whether a read just done, which gave `read` bytes where there was room for `room`, has taken all that there was:
    /// what comes later comes with an event of its own.
    fn is_drained(&self, read: usize, room: usize) -> bool {
        read < room
    }

    /// Whether something that was taken, or that the socket has to say itself, waits for the kernel.
    fn holds_output(&self) -> bool {
        false
    }

    /// Goes on writing that.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Bytes of memory that it holds of input and output on their way.
    fn held(&self) -> usize {
        0
    }

    /// Bytes written of which it is not known that the peer's end has received them, or somewhat more. `None`: it can't be
    /// told.
    fn unreceived(&self) -> Option<usize> {
        None
    }

    /// Gives the connection up once the peer has shown no sign of life for so long while output waited for it; zero: never.
    fn give_up_after(&mut self, _time: Duration) {}

    /// What it is in the middle of, in words for the log, where the peer has begun something that must be done before
    /// the first byte can be read.
    fn unfinished(&self) -> Option<&'static str> {
        None
    }
}

/// Writes once, by `write`; zero where the kernel takes nothing now.
pub(super) fn write_some(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

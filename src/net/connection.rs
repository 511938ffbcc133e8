//! One connection: its socket, its session, and what of its output waits.

use std::io::{self, IoSlice};
use std::time::Duration;

use super::backlog::Backlog;
use super::outgoing::{Chain, Outgoing, Places};
use super::socket::{Socket, write_some};
use crate::app::fates::Progress;
use crate::app::registry::Address;
use crate::clock::Moment;
use crate::id::ConnectionKey;
use crate::proto::frame::{self, MAX_HEADER};
use crate::proto::session::Session;

/// A connection that has more than this waiting is not read from: it is not to cause even more output.
const CONGESTED: usize = 64 * 1024;

/// Most slices in one write.
const MAX_SLICES: usize = 16;

/// How much a connection sends, as far as its last read tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sends {
    /// Next to nothing, or what a page has to say.
    Little,
    /// Much.
    Much,
    /// Much, in many small frames: a little of that takes as long as a lot of something else.
    Many,
}

/// Everything the loop keeps of one connection. Idle, it is this and the entry in the registry: no buffers.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) socket: S,
    pub(super) session: Session,
    pub(super) serial: u32,
    pub(super) address: Address,
    /// This turn's output.
    pub(super) chain: Chain,
    /// There while something waits for the kernel, be it in the socket alone.
    backlog: Option<Box<Backlog>>,
    /// The earliest entry among the timers.
    pub(super) armed: Moment,
    /// What it counted for in the memory of all.
    pub(super) counted: u32,
    /// It is in the loop's list of those to be settled.
    pub(super) dirty: bool,
    /// It is in the loop's list of those with input that no event will tell of.
    pub(super) unread: bool,
    /// What its last read brought.
    pub(super) sends: Sends,
    /// The poll has said that the peer has ended its side, or that it is broken: no further event will tell of it.
    pub(super) ended: bool,
    /// The poll tells when it is writable.
    pub(super) watched_writable: bool,
    /// Our side is shut.
    pub(super) shut: bool,
}

impl<S: Socket> Connection<S> {
    pub(super) fn new(socket: S, session: Session, serial: u32, address: Address) -> Self {
        Self {
            socket,
            session,
            serial,
            address,
            chain: Chain::EMPTY,
            backlog: None,
            armed: Moment::NEVER,
            counted: 0,
            dirty: false,
            unread: false,
            sends: Sends::Little,
            ended: false,
            watched_writable: false,
            shut: false,
        }
    }

    /// Its key, given the slot that it is in.
    pub(super) fn key(&self, slot: usize) -> ConnectionKey {
        ConnectionKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), serial: self.serial }
    }

    /// Bytes that wait, for the kernel or for a script to read.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.len()) + self.session.paced()
    }

    /// Whether so much waits for the kernel that it is not read from.
    pub(super) fn is_congested(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.len() > CONGESTED)
    }

    /// Whether nothing waits for the kernel.
    pub(super) const fn is_flushed(&self) -> bool {
        self.backlog.is_none() && self.chain.is_empty()
    }

    /// How far its output has got.
    pub(super) fn progress(&self, outgoing: &Outgoing) -> Progress {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.len());
        Progress {
            output: self.session.output(),
            waiting: backlog + outgoing.length(self.chain),
            unreceived: self.socket.unreceived(),
        }
    }

    /// Bytes of memory that unfinished input and waiting output hold.
    pub(super) fn held(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.held()) + self.session.held() + self.socket.held()
    }

    /// When it is to be looked at next. `patience`: how long output may wait without a moment of none.
    pub(super) fn deadline(&self, patience: Duration) -> Moment {
        self.session.deadline().min(self.slow_at(patience))
    }

    /// When its output has waited for `patience`. Never for one that is closed already: that has its own time to end.
    pub(super) fn slow_at(&self, patience: Duration) -> Moment {
        match &self.backlog {
            Some(backlog) if self.session.is_open() => backlog.since.limit(patience),
            _ => Moment::NEVER,
        }
    }

    /// Hands this turn's output to the kernel, and keeps what it doesn't take.
    pub(super) fn flush(&mut self, outgoing: &Outgoing, places: &Places<'_>, now: Moment) -> io::Result<()> {
        let chain = std::mem::replace(&mut self.chain, Chain::EMPTY);
        if chain.is_empty() {
            self.note_held_output(now);
            return Ok(());
        }
        let mut slices = outgoing.bytes(chain, places);
        // Where something waits already, the kernel has just refused more.
        let Some(backlog) = &mut self.backlog else {
            let written = self.write(&mut slices)?;
            match written {
                Some(written) => self.keep(outgoing, chain, places, written, now),
                None => self.note_held_output(now),
            }
            return Ok(());
        };
        slices.for_each(|slice| backlog.push(slice));
        Ok(())
    }

    /// What waits in the socket waits like any other output: there is a backlog, if an empty one, until it is out.
    #[inline]
    pub(super) fn note_held_output(&mut self, now: Moment) {
        if self.socket.holds_output() && self.backlog.is_none() {
            self.backlog = Some(Box::new(Backlog::new(now, Some(0))));
        }
    }

    /// Writes slices until there are none. `Some(n)`: the kernel took no more than the first `n` bytes.
    fn write<'b>(&mut self, slices: &mut impl Iterator<Item = &'b [u8]>) -> io::Result<Option<usize>> {
        let mut total = 0;
        loop {
            let mut batch = [IoSlice::new(&[]); MAX_SLICES];
            let (mut count, mut length) = (0, 0);
            for (place, slice) in batch.iter_mut().zip(&mut *slices) {
                *place = IoSlice::new(slice);
                count += 1;
                length += slice.len();
            }
            if count == 0 {
                return Ok(None);
            }
            let written = write_some(|| self.socket.write(&batch[..count]))?;
            total += written;
            if written < length {
                return Ok(Some(total));
            }
        }
    }

    /// Makes a backlog of what stands in the chain behind its first `written` bytes.
    fn keep(&mut self, outgoing: &Outgoing, chain: Chain, places: &Places<'_>, written: usize, now: Moment) {
        let peek = |at: usize, header: &mut [u8; MAX_HEADER]| {
            let bytes = rest(outgoing.bytes(chain, places), at).flatten();
            bytes.zip(header).map(|(byte, place)| *place = *byte).count()
        };
        let boundary = frame::boundary_after(0, written, peek).map(|boundary| boundary - written);
        let mut backlog = Box::new(Backlog::new(now, boundary));
        rest(outgoing.bytes(chain, places), written).for_each(|slice| backlog.push(slice));
        self.backlog = Some(backlog);
    }

    /// Goes on with what waits, now that the kernel may take more.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        self.socket.flush()?;
        while let Some(backlog) = &mut self.backlog {
            if self.socket.holds_output() {
                break;
            }
            if backlog.is_empty() {
                self.backlog = None;
                break;
            }
            let [front, back] = backlog.slices();
            let length = front.len() + back.len();
            let count = if back.is_empty() { 1 } else { 2 };
            let written = write_some(|| self.socket.write(&[front, back][..count]))?;
            backlog.advance(written);
            if written < length {
                break;
            }
        }
        Ok(())
    }

    /// Throws away the output that waits, but for a frame that has been sent in part. `false`: that can't be done.
    pub(super) fn cut_backlog(&mut self) -> bool {
        let Some(backlog) = &mut self.backlog else { return true };
        let cut = backlog.cut();
        if backlog.is_empty() && !self.socket.holds_output() {
            self.backlog = None;
        }
        cut
    }
}

/// What is left of slices behind their first `skip` bytes.
fn rest<'b>(slices: impl Iterator<Item = &'b [u8]>, mut skip: usize) -> impl Iterator<Item = &'b [u8]> {
    slices.map(move |slice| {
        let cut = skip.min(slice.len());
        skip -= cut;
        &slice[cut..]
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::outgoing::Source;
    use super::*;
    use crate::proto::session::Limits;

    /// A socket that takes everything, and has not brought out all of it.
    struct Holding(usize);

    impl Socket for Holding {
        type Poll = ();

        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let written = slices.iter().map(|slice| slice.len()).sum();
            self.0 += written;
            Ok(written)
        }

        fn shut(&mut self) {}

        fn watch(&mut self, (): &(), _: usize, _: bool, _: bool) -> io::Result<()> {
            Ok(())
        }

        fn holds_output(&self) -> bool {
            self.0 > 0
        }
    }

    #[test]
    fn what_waits_in_the_socket_is_not_out() {
        let second = Duration::from_secs(1);
        let limits = Limits {
            message: 1,
            fragments: 1,
            rate: 0,
            head_time: second,
            message_time: second,
            ping_interval: second,
            close_wait: second,
        };
        let session = Session::new(Moment::START, &limits);
        let address = Address::from(SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut connection = Connection::new(Holding(0), session, 1, address);
        let mut outgoing = Outgoing::default();
        let places = Places { arena: b"0123456789", received: b"" };
        let now = Moment::from_millis(5);
        connection.flush(&outgoing, &places, now).unwrap();
        assert!(connection.is_flushed());
        outgoing.link(&mut connection.chain, Source::Arena, 0..10);
        connection.flush(&outgoing, &places, now).unwrap();
        assert!(!connection.is_flushed() && connection.waiting() == 0);
        let since = |connection: &Connection<Holding>| connection.backlog.as_ref().map(|backlog| backlog.since);
        assert_eq!(since(&connection), Some(now), "it waits from now on");
        // More comes, and waits above it; the time goes on.
        outgoing.link(&mut connection.chain, Source::Arena, 0..4);
        connection.flush(&outgoing, &places, now.after(second)).unwrap();
        connection.drain().unwrap();
        assert_eq!((connection.waiting(), since(&connection)), (4, Some(now)));
        // What comes out above may be held below again: there was no moment of nothing.
        connection.socket.0 = 0;
        connection.drain().unwrap();
        assert_eq!((connection.socket.0, connection.waiting(), since(&connection)), (4, 0, Some(now)));
        connection.socket.0 = 0;
        connection.drain().unwrap();
        assert!(connection.is_flushed());
        // What the socket has to say by itself counts as well.
        connection.socket.0 = 7;
        connection.flush(&outgoing, &places, now).unwrap();
        assert!(!connection.is_flushed());
    }
}

//! What a connection's bytes go through: TCP, a Unix socket, or TLS on TCP.
//!
//! A plain socket is in its place here; TLS, which is large and which not all have, is behind a pointer.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use log::debug;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt;

use super::socket::Socket;
use super::tcp_info;
use super::tls::{self, Stream, Tls};

/// The stream of a connection.
#[derive(Debug)]
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls<TcpStream>>),
}

impl Socket for Transport {
    type Poll = Registry;

    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    #[inline]
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            // send(2) is cheaper than writev(2).
            (Self::Tcp(stream), [slice]) => stream.write(slice),
            (Self::Tcp(stream), _) => stream.write_vectored(slices),
            (Self::Unix(stream), [slice]) => stream.write(slice),
            (Self::Unix(stream), _) => stream.write_vectored(slices),
            (Self::Tls(tls), _) => tls.write(slices),
        }
    }

    fn shut(&mut self) {
        match self {
            Self::Tcp(stream) => Stream::shut(stream),
            // It can only fail where the peer has gone already.
            Self::Unix(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Tls(tls) => tls.shut(),
        }
    }

    fn watch(&mut self, poll: &Registry, slot: usize, writable: bool, first: bool) -> io::Result<()> {
        let source: &mut dyn Source = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(tls) => tls.stream_mut(),
        };
        let interest = if writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        if first {
            source.register(poll, Token(slot), interest)
        } else {
            source.reregister(poll, Token(slot), interest)
        }
    }

    #[inline]
    fn least_room(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 1,
            Self::Tls(_) => tls::LEAST_ROOM,
        }
    }

    #[inline]
    fn is_drained(&self, read: usize, room: usize) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => read < room,
            Self::Tls(tls) => !tls.has_more(),
        }
    }

    #[inline]
    fn holds_output(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(tls) => tls.holds_output(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(tls) => tls.flush().map(drop),
        }
    }

    #[inline]
    fn held(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Tls(tls) => tls.held(),
        }
    }

    fn unreceived(&self) -> Option<usize> {
        match self {
            Self::Tcp(stream) => tcp_info::unreceived(stream),
            Self::Unix(_) => None,
            Self::Tls(tls) => tcp_info::unreceived(tls.stream()).map(|bytes| bytes + tls.held()),
        }
    }

    /// RFC 5482. A Unix socket has nobody to lose.
    fn give_up_after(&mut self, time: Duration) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Unix(_) => return,
            Self::Tls(tls) => tls.stream_mut(),
        };
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = sockopt::set_tcp_user_timeout(stream, millis) {
            debug!("a TCP user timeout can't be set: {error}");
        }
    }

    fn unfinished(&self) -> Option<&'static str> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => tls.is_shaking_hands().then_some("TLS handshake"),
        }
    }
}

impl Stream for TcpStream {
    fn shut(&mut self) {
        // It can only fail where the peer has gone already.
        let _ = self.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Connection;
    use super::*;

    /// With 56 bytes in the registry, 8 in the table of UUIDs and a timer, an idle client stays below 200 bytes.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_connection_keeps_its_size() {
        assert!(size_of::<Connection<Transport>>() <= 112, "{} bytes", size_of::<Connection<Transport>>());
    }
}

//! What a test's client may talk over: TCP, a Unix socket, TLS by rustls's own client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// The TCP connection, which there is but with a Unix socket.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(tls) => tls.get_ref(),
            Self::Unix(_) => panic!("a Unix socket is no TCP connection"),
        }
    }

    /// The state of TLS.
    pub(crate) fn tls(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        match self {
            Self::Tls(tls) => tls,
            _ => panic!("there is no TLS"),
        }
    }

    pub(crate) fn set_read_timeout(&self, time: Duration) {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(time)),
            _ => self.tcp().set_read_timeout(Some(time)),
        }
        .expect("a socket");
    }

    pub(crate) fn set_write_timeout(&self, time: Duration) {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(time)),
            _ => self.tcp().set_write_timeout(Some(time)),
        }
        .expect("a socket");
    }

    /// Ends our side, without a word from TLS.
    pub(crate) fn shut(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            _ => self.tcp().shutdown(Shutdown::Write),
        }
    }

    /// The same connection once more; not with TLS, which has a state.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tls(_) => panic!("TLS has one end"),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            // Done with every write.
            Self::Tls(stream) => stream.flush(),
        }
    }
}

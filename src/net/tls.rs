//! TLS as a filter of bytes, between a stream and the loop.
//!
//! It is built on rustls's unbuffered connection: ciphertext is read into the loop's one read buffer and decrypted
//! there, and what is encrypted goes straight into one scratch buffer that all connections share. So an idle connection
//! has no buffer at all, a large message takes as few reads as it does without TLS, and what waits for the kernel is in
//! our hands and bounded: plaintext is taken only while no ciphertext waits, [`PIECE`] bytes at a time.
//!
//! It refuses to know what the plaintext means, where certificates come from, and what a poll is.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

mod scratch;
#[cfg(test)]
mod tests;

use super::socket::write_some;
pub(super) use scratch::Scratch;
use scratch::Source;

/// Most plaintext that is encrypted before the kernel is asked to take it, and so about the most that waits here.
///
/// A message of 64 KiB with its header is one piece.
const PIECE: usize = 5 * RECORD;

/// Most plaintext in one record (RFC 8446, section 5.1).
const RECORD: usize = 16 * 1024;

/// What a record takes on the wire besides its plaintext, at most: header, nonce or content type, tag, and change.
const OVERHEAD: usize = 64;

/// How far into the read buffer ciphertext is read: the plaintext of a record is put in front of it.
const GAP: usize = RECORD;

/// Room for the longest handshake message that rustls takes, and a record.
pub(super) const LEAST_ROOM: usize = 128 * 1024;

/// What must be free in the read buffer for another read to be worth its while.
const ROOM: usize = 2 * RECORD;

/// What TLS is the filter of. Its errors are those of a non-blocking socket.
pub(super) trait Stream: Read + Write {
    /// Says that we will send no more.
    fn shut(&mut self);
}

/// How the input of a connection has ended.
#[derive(Debug)]
enum End {
    /// Properly, or at least by the end of the stream.
    Closed,
    /// By an error, which has not been told yet.
    Failed(io::Error),
    /// By an error, which has been told.
    Broken,
}

/// A stream with TLS on it, our side being the server.
pub(super) struct Tls<S: Stream> {
    stream: S,
    connection: UnbufferedServerConnection,
    scratch: Rc<Cell<Scratch>>,
    /// The beginning of a record, or of a handshake message. No buffer while there is none.
    partial: Vec<u8>,
    /// Ciphertext that the kernel has not taken, from `sent` on. No buffer while there is none.
    outgoing: Vec<u8>,
    sent: usize,
    /// Nothing more comes in.
    end: Option<End>,
    /// Something has come in.
    heard: bool,
    /// The last read had no room for all that there is.
    more: bool,
    /// Nothing more goes out but what waits.
    silent: bool,
}

impl<S: Stream> Tls<S> {
    /// A connection just accepted. `scratch`: the one of this loop.
    pub(super) fn new(stream: S, config: Arc<ServerConfig>, scratch: Rc<Cell<Scratch>>) -> Result<Self, rustls::Error> {
        Ok(Self {
            stream,
            connection: UnbufferedServerConnection::new(config)?,
            scratch,
            partial: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            end: None,
            heard: false,
            more: false,
            silent: false,
        })
    }

    /// The stream below.
    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    /// What it goes over, to be watched.
    pub(super) const fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Whether the handshake has begun and is not done.
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.heard && self.connection.is_handshaking()
    }

    /// Whether there may be input that no event will tell of.
    pub(super) const fn has_more(&self) -> bool {
        self.more
    }

    /// Whether ciphertext waits for the kernel.
    pub(super) fn holds_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Bytes of memory that unfinished records and waiting ciphertext hold.
    pub(super) const fn held(&self) -> usize {
        self.partial.capacity() + self.outgoing.capacity()
    }

    /// Whether nothing can be sent any more.
    const fn is_broken(&self) -> bool {
        matches!(self.end, Some(End::Failed(_) | End::Broken))
    }

    // --- Reading ----------------------------------------------------------------------------------------------------

    /// Reads what there is, as far as there is room: see [`Socket::read`](super::socket::Socket::read). `buffer` has at
    /// least [`LEAST_ROOM`].
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        debug_assert!(buffer.len() >= LEAST_ROOM, "{} bytes of room", buffer.len());
        self.more = false;
        let mut reading = Reading { plain: 0, start: GAP, filled: GAP };
        while self.end.is_none() {
            let fill = self.fill(buffer, &mut reading);
            if reading.filled > reading.start {
                self.decrypt(buffer, &mut reading);
            }
            // A short read has emptied the stream, but of its end it tells only when it is asked again. Whoever gets
            // plaintext asks again where the end has been announced.
            if fill == Fill::None || (fill == Fill::Short && reading.plain > 0) {
                break;
            }
            if buffer.len() - reading.filled < ROOM {
                if reading.plain > 0 {
                    self.more = true;
                    break;
                }
                // Nothing but talk between the two TLS ends: nobody would come back for the rest.
                buffer.copy_within(reading.start..reading.filled, GAP);
                reading = Reading { plain: 0, start: GAP, filled: GAP + reading.filled - reading.start };
                if buffer.len() - reading.filled < ROOM {
                    self.fail("a handshake message without end");
                }
            }
        }
        self.keep(&buffer[reading.start..reading.filled]);
        // What the handshake has to say is said at once: no application will cause it to be written.
        self.send_scratch();
        if reading.plain > 0 {
            // The end is told by itself.
            self.more |= self.end.is_some();
            return Ok(reading.plain);
        }
        match self.end.take() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(End::Closed) => {
                self.end = Some(End::Closed);
                Ok(0)
            }
            Some(End::Failed(error)) => {
                self.end = Some(End::Broken);
                Err(error)
            }
            Some(End::Broken) => {
                self.end = Some(End::Broken);
                Ok(0)
            }
        }
    }

    /// Reads ciphertext, once, behind what is left of the last.
    fn fill(&mut self, buffer: &mut [u8], reading: &mut Reading) -> Fill {
        if !self.partial.is_empty() {
            let kept = std::mem::take(&mut self.partial);
            buffer[reading.filled..reading.filled + kept.len()].copy_from_slice(&kept);
            reading.filled += kept.len();
        }
        let room = &mut buffer[reading.filled..];
        let wanted = room.len();
        loop {
            match self.stream.read(room) {
                Ok(0) => {
                    self.end = Some(if self.is_shaking_hands() {
                        End::Failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer left in the middle of it"))
                    } else {
                        End::Closed
                    });
                    return Fill::None;
                }
                Ok(read) => {
                    reading.filled += read;
                    self.heard = true;
                    return if read < wanted { Fill::Short } else { Fill::Full };
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fill::None,
                Err(error) => {
                    self.end = Some(End::Failed(error));
                    return Fill::None;
                }
            }
        }
    }

    /// Decrypts all whole records, and puts the plaintext together in front of the buffer.
    fn decrypt(&mut self, buffer: &mut [u8], reading: &mut Reading) {
        let mut scratch = self.scratch.take();
        // Every TLS record begins with a byte that no method has.
        let http = self.connection.is_handshaking() && looks_like_http(&buffer[reading.start..reading.filled]);
        loop {
            let (front, back) = buffer.split_at_mut(reading.start);
            let incoming = &mut back[..reading.filled - reading.start];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(incoming);
            let mut done = false;
            let mut over = false;
            let mut trouble = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        // A record is longer than its plaintext, so what is put in front never gets as far as `start`.
                        let end = reading.plain + record.payload.len();
                        match front.get_mut(reading.plain..end) {
                            Some(place) => place.copy_from_slice(record.payload),
                            None => trouble = Some("a record that is too long".to_owned()),
                        }
                        reading.plain = end;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    done = !scratch.append(0, |out| Ok(data.encode(out)?));
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => {
                    self.end = Some(End::Closed);
                    over = true;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                    done = true;
                }
                // Early data is not offered.
                Ok(_) => trouble = Some("something that was not offered".to_owned()),
                Err(_) if http => trouble = Some("this looks like plain HTTP, on a port for wss://".to_owned()),
                Err(error) => trouble = Some(error.to_string()),
            }
            reading.start += discard;
            if let Some(trouble) = trouble {
                self.fail(&trouble);
                self.last_words(&mut buffer[reading.start..reading.filled], &mut scratch);
                over = true;
            }
            if over {
                // What comes behind the end means nothing (RFC 8446, section 6.1).
                reading.start = reading.filled;
            }
            if done || over {
                break;
            }
        }
        self.scratch.set(scratch);
    }

    /// The alert that says what was wrong. `incoming` must be what led to it, since rustls refers to it.
    fn last_words(&mut self, incoming: &mut [u8], scratch: &mut Scratch) {
        let mut from = 0;
        while self.connection.wants_write() {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut incoming[from..]);
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    scratch.append(0, |out| Ok(data.encode(out)?));
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                _ => break,
            }
            from += discard;
        }
    }

    /// The input is no TLS, or none that we speak.
    fn fail(&mut self, why: &str) {
        self.end = Some(End::Failed(io::Error::new(io::ErrorKind::InvalidData, why)));
    }

    /// Keeps what is unfinished for the next read.
    fn keep(&mut self, unfinished: &[u8]) {
        // Not at the end of the stream either: rustls refers to it when it encrypts.
        if !unfinished.is_empty() && !self.is_broken() {
            self.partial = unfinished.to_vec();
        }
    }

    // --- Writing ----------------------------------------------------------------------------------------------------

    /// Encrypts and writes as much of `slices`, in their order, as the kernel takes, and up to [`PIECE`] bytes more.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_broken() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.flush()? || self.connection.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut source = Source::new(slices);
        let mut taken = 0;
        while !source.is_empty() && !self.holds_output() {
            taken += self.with_traffic(|traffic, scratch| scratch.encrypt_piece(traffic, &mut source))?;
            if !self.send_scratch() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(taken)
    }

    /// Lets `work` encrypt into the scratch buffer. What rustls has to say itself goes out first.
    fn with_traffic<T>(
        &mut self,
        work: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Scratch) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut scratch = self.scratch.take();
        let mut from = 0;
        let result = loop {
            // rustls refers to what it has seen of an unfinished handshake message, so it must see that again.
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.partial[from..]);
            from += discard;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => break work(&mut traffic, &mut scratch),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    scratch.append(0, |out| Ok(data.encode(out)?));
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => self.end = Some(End::Closed),
                Ok(_) => break Err(io::Error::other("TLS is not ready to send")),
                Err(error) => break Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        };
        self.partial.drain(..from);
        self.scratch.set(scratch);
        result
    }

    /// Writes what is in the scratch buffer, and keeps what the kernel doesn't take. `false`: the stream is broken.
    fn send_scratch(&mut self) -> bool {
        let mut scratch = self.scratch.take();
        let bytes = scratch.bytes();
        let sent = if bytes.is_empty() {
            true
        } else if self.holds_output() {
            self.outgoing.extend_from_slice(bytes);
            true
        } else {
            match write_some(|| self.stream.write(bytes)) {
                Ok(written) => {
                    self.outgoing = bytes[written..].to_vec();
                    true
                }
                Err(error) => {
                    // A second error would say nothing that the first does not.
                    if !self.is_broken() {
                        self.end = Some(End::Failed(error));
                    }
                    false
                }
            }
        };
        scratch.clear();
        self.scratch.set(scratch);
        sent
    }

    /// Goes on writing the ciphertext that waits. `true`: none does any more.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if self.outgoing.is_empty() {
            return Ok(true);
        }
        self.sent += write_some(|| self.stream.write(&self.outgoing[self.sent..]))?;
        if self.sent < self.outgoing.len() {
            return Ok(false);
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        if self.silent {
            self.stream.shut();
        }
        Ok(true)
    }

    /// Says that we will send no more: close_notify (RFC 8446, section 6.1), and then the end of the stream.
    pub(super) fn shut(&mut self) {
        self.say_goodbye();
        if !self.holds_output() {
            self.stream.shut();
        }
    }

    fn say_goodbye(&mut self) {
        let said = std::mem::replace(&mut self.silent, true);
        if said || self.is_broken() || self.connection.is_handshaking() {
            return;
        }
        // Where that can't be said any more, the end of the stream says it.
        let _ = self.with_traffic(|traffic, scratch| {
            scratch.append(OVERHEAD, |out| Ok(traffic.queue_close_notify(out)?));
            Ok(())
        });
        self.send_scratch();
    }
}

/// A connection that is dropped without [`Tls::shut`], as an idle one is when the server stops, still says that it was
/// not cut off.
impl<S: Stream> Drop for Tls<S> {
    fn drop(&mut self) {
        if !self.holds_output() {
            self.say_goodbye();
        }
    }
}

impl<S: Stream> fmt::Debug for Tls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("end", &self.end).field("held", &self.held()).finish_non_exhaustive()
    }
}

/// How much a read gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fill {
    /// Nothing: there is no more for now, or for good.
    None,
    /// All that there was.
    Short,
    /// As much as there was room for.
    Full,
}

/// How far a read has come: plaintext up to `plain`, ciphertext from `start` to `filled`.
struct Reading {
    plain: usize,
    start: usize,
    filled: usize,
}

/// Whether a client takes this port for one of plain HTTP.
fn looks_like_http(bytes: &[u8]) -> bool {
    let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    word.len() >= 3 && word.len() < bytes.len() && word.iter().all(u8::is_ascii_uppercase)
}

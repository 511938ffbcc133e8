//! What is on its way from plaintext to the kernel: one buffer of ciphertext for all connections of a loop.

use std::io::{self, IoSlice};

use rustls::server::ServerConnectionData;
use rustls::unbuffered::{EncodeError, EncryptError, InsufficientSizeError, WriteTraffic};

use super::{OVERHEAD, PIECE, RECORD};

/// Buffers that all connections of a loop share, since only one is at work at a time. An empty one has no memory.
#[derive(Debug, Default)]
pub(in crate::net) struct Scratch {
    /// Ciphertext on its way to the kernel, in its first `filled` bytes.
    out: Vec<u8>,
    filled: usize,
    /// Small slices that are to share a record.
    gathered: Vec<u8>,
}

impl Scratch {
    /// Has `write` append to the ciphertext, with `expected` bytes of room or what it says it needs.
    pub(super) fn append(
        &mut self,
        expected: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Shortage>,
    ) -> bool {
        let mut needed = expected;
        loop {
            if self.out.len() < self.filled + needed {
                self.out.resize(self.filled + needed, 0);
            }
            match write(&mut self.out[self.filled..]) {
                Ok(written) => {
                    self.filled += written;
                    return true;
                }
                Err(Shortage::Of(more)) if more > needed => needed = more,
                Err(_) => return false,
            }
        }
    }

    /// Encrypts a piece of `source`, and says how long it was.
    pub(super) fn encrypt_piece(
        &mut self,
        traffic: &mut WriteTraffic<'_, ServerConnectionData>,
        source: &mut Source<'_, '_>,
    ) -> io::Result<usize> {
        let mut left = PIECE;
        while left > 0
            && let Some(mut rest) = source.next(left)
        {
            left -= rest.len();
            // What fills records is encrypted where it lies, but for the end of one that was begun.
            while !rest.is_empty() {
                let gathered = self.gathered.len();
                let last = source.is_empty() || left == 0;
                let (some, tail) = match gathered {
                    0 if last => (rest, &[][..]),
                    0 if rest.len() >= RECORD => rest.split_at(rest.len() - rest.len() % RECORD),
                    _ => rest.split_at(rest.len().min(RECORD - gathered)),
                };
                rest = tail;
                if gathered == 0 && (last || some.len() >= RECORD) {
                    self.encrypt(traffic, some)?;
                    continue;
                }
                self.gathered.extend_from_slice(some);
                if self.gathered.len() == RECORD {
                    self.encrypt_gathered(traffic)?;
                }
            }
        }
        self.encrypt_gathered(traffic)?;
        Ok(PIECE - left)
    }

    /// The ciphertext.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out[..self.filled]
    }

    /// The ciphertext is out.
    pub(super) const fn clear(&mut self) {
        self.filled = 0;
    }

    fn encrypt(&mut self, traffic: &mut WriteTraffic<'_, ServerConnectionData>, plaintext: &[u8]) -> io::Result<()> {
        let records = plaintext.len().div_ceil(RECORD);
        let fits = self.append(plaintext.len() + records * OVERHEAD, |out| Ok(traffic.encrypt(plaintext, out)?));
        if fits { Ok(()) } else { Err(io::Error::other("TLS keys are used up")) }
    }

    /// Encrypts what is gathered, as one record.
    fn encrypt_gathered(&mut self, traffic: &mut WriteTraffic<'_, ServerConnectionData>) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let result = self.encrypt(traffic, &gathered);
        self.gathered = gathered;
        self.gathered.clear();
        result
    }
}

/// Why rustls wrote nothing.
pub(super) enum Shortage {
    /// It needs so many bytes of room.
    Of(usize),
    /// It never will.
    Final,
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Of(required_size),
            EncryptError::EncryptExhausted => Self::Final,
        }
    }
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Of(required_size),
            EncodeError::AlreadyEncoded => Self::Final,
        }
    }
}

/// What is left of slices that are being written.
pub(super) struct Source<'s, 'b> {
    slices: &'s [IoSlice<'b>],
    /// Bytes of the first slice that have been taken.
    at: usize,
}

impl<'s, 'b> Source<'s, 'b> {
    pub(super) fn new(slices: &'s [IoSlice<'b>]) -> Self {
        let mut source = Self { slices, at: 0 };
        source.skip_empty();
        source
    }

    /// Takes up to `most` bytes of the next slice.
    fn next(&mut self, most: usize) -> Option<&'s [u8]> {
        let first = self.slices.first()?;
        let some = &first[self.at..];
        let some = &some[..some.len().min(most)];
        self.at += some.len();
        self.skip_empty();
        Some(some)
    }

    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.slices.split_first()
            && self.at == first.len()
        {
            self.slices = rest;
            self.at = 0;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

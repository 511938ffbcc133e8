//! The bytes of one read, from which whoever understands them takes piece after piece.

/// What is left of a read. A piece that was taken outlives the `Input`: it stays where it lies in the read buffer.
#[derive(Debug)]
pub struct Input<'a>(&'a mut [u8]);

impl<'a> Input<'a> {
    /// All of a read.
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes left.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, to look at.
    pub const fn peek(&self) -> &[u8] {
        self.0
    }

    /// The next `count` bytes, or all that are left where that is less.
    pub fn take(&mut self, count: usize) -> &'a mut [u8] {
        let rest = std::mem::take(&mut self.0);
        let (piece, rest) = rest.split_at_mut(count.min(rest.len()));
        self.0 = rest;
        piece
    }

    /// Drops what is left.
    pub fn clear(&mut self) {
        self.0 = &mut [];
    }
}

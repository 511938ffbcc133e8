//! Is this text UTF-8 (RFC 3629), when it comes in pieces?
//!
//! A message that is whole is checked in one go. One that comes in fragments, or in a frame that comes in pieces, is
//! checked piece by piece, so that a bad byte ends it at once (RFC 6455, section 8.1) and not at its end.

use simdutf8::compat::from_utf8;

/// What was fed so far is the beginning of good UTF-8; a piece may end inside a character.
#[derive(Clone, Debug, Default)]
pub struct Utf8Checker {
    /// The first bytes of a character whose rest is still to come.
    cut: [u8; 4],
    length: usize,
}

/// A byte that can't stand where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Utf8Error;

impl Utf8Checker {
    /// Takes the next piece.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Utf8Error> {
        while self.length > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.cut[self.length] = byte;
            self.length += 1;
            match from_utf8(&self.cut[..self.length]) {
                Ok(_) => self.length = 0,
                // A character has four bytes at most, so `cut` never overflows: the fourth completes it or is wrong.
                Err(error) if error.error_len().is_some() => return Err(Utf8Error),
                Err(_) => {}
            }
        }
        if let Err(error) = from_utf8(piece) {
            if error.error_len().is_some() {
                return Err(Utf8Error);
            }
            let tail = &piece[error.valid_up_to()..];
            self.cut[..tail.len()].copy_from_slice(tail);
            self.length = tail.len();
        }
        Ok(())
    }

    /// Whether the text may end here: not inside a character.
    pub const fn is_complete(&self) -> bool {
        self.length == 0
    }
}

/// As much of `text` as fits in `length` bytes, cut between characters.
pub fn cut(text: &str, length: usize) -> &str {
    let mut end = text.len().min(length);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> Result<bool, Utf8Error> {
        let mut checker = Utf8Checker::default();
        for piece in pieces {
            checker.feed(piece)?;
        }
        Ok(checker.is_complete())
    }

    #[test]
    fn good_text_is_good_wherever_it_is_cut() {
        let text = "aé€😀z\u{10ffff}".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(check(&[&text[..first], &text[first..second], &text[second..]]), Ok(true));
            }
        }
    }

    #[test]
    fn bad_text_is_bad_wherever_it_is_cut() {
        let cases: [&[u8]; 8] = [
            b"\xff",
            b"a\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x28\xa1",
            b"\x80",
            b"\xf8\x88\x80\x80\x80",
            b"ok\xc3\xc3",
        ];
        for text in cases {
            for cut in 0..=text.len() {
                assert_eq!(check(&[&text[..cut], &text[cut..]]), Err(Utf8Error), "{text:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_character_begun_is_not_complete() {
        assert_eq!(check(&["é".as_bytes().split_at(1).0]), Ok(false));
        assert_eq!(check(&[b"\xf0", b"\x9f", b"\x98"]), Ok(false));
    }
}

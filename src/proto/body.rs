//! The body of a request, in whatever pieces it comes (RFC 9112, sections 6 and 7).
//!
//! It is kept whole: those who ask here send one JSON text. The limit is checked before anything is kept, and nothing is
//! reserved on the word of a header. It refuses to know what a body is for.

use super::http::{Framing, Refusal};
use super::input::Input;

/// Longest line of a chunked body: a size with its extensions, or a trailer field.
const MAX_LINE: usize = 1024;

/// Most bytes of lines in a chunked body for each byte that it carries, and as many again for its beginning and end.
const MAX_OVERHEAD: usize = 16;

/// A body that is coming in.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    data: Vec<u8>,
    /// A line that is not all there yet.
    line: Vec<u8>,
    /// Bytes of lines so far.
    overhead: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes are missing, and then it is whole.
    Counted(usize),
    /// A chunk's size is expected (section 7.1).
    Size,
    /// So many bytes of a chunk are missing.
    Chunk(usize),
    /// The line end behind a chunk's data.
    ChunkEnd,
    /// Trailer fields, which are dropped, up to an empty line (section 7.1.2).
    Trailer,
    Whole,
}

impl BodyReader {
    /// A body of which nothing has come yet. `limit`: its most bytes.
    ///
    /// # Errors
    ///
    /// 413 where the header itself announces more.
    pub fn new(framing: Framing, limit: usize) -> Result<Self, Refusal> {
        let state = match framing {
            Framing::Length(0) => State::Whole,
            Framing::Length(length) => {
                State::Counted(usize::try_from(length).ok().filter(|length| *length <= limit).ok_or(TOO_LONG)?)
            }
            Framing::Chunked => State::Size,
        };
        Ok(Self { state, data: Vec::new(), line: Vec::new(), overhead: 0, limit })
    }

    /// Takes what `input` has of it. `Ok(true)`: it is whole.
    ///
    /// # Errors
    ///
    /// 400 where the chunks are none, 413 where it gets too long.
    pub fn take(&mut self, input: &mut Input<'_>) -> Result<bool, Refusal> {
        loop {
            match self.state {
                State::Whole => return Ok(true),
                _ if input.is_empty() => return Ok(false),
                State::Counted(missing) => {
                    let missing = self.fill(missing, input);
                    self.state = if missing == 0 { State::Whole } else { State::Counted(missing) };
                }
                State::Chunk(missing) => {
                    let missing = self.fill(missing, input);
                    self.state = if missing == 0 { State::ChunkEnd } else { State::Chunk(missing) };
                }
                State::Size | State::ChunkEnd | State::Trailer => {
                    if self.take_line(input)? {
                        self.state = self.after_line()?;
                        self.line.clear();
                    }
                }
            }
        }
    }

    /// What has come, once it is whole.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// Bytes of memory held.
    pub fn held(&self) -> usize {
        self.data.capacity() + self.line.capacity()
    }

    fn fill(&mut self, missing: usize, input: &mut Input<'_>) -> usize {
        let piece = input.take(missing);
        self.data.extend_from_slice(piece);
        missing - piece.len()
    }

    /// Takes bytes up to a line's end. `Ok(true)`: `line` is one, without its CRLF.
    fn take_line(&mut self, input: &mut Input<'_>) -> Result<bool, Refusal> {
        let there = input.peek();
        let end = there.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let piece = input.take(end.unwrap_or(input.len()));
        self.overhead += piece.len();
        if self.line.len() + piece.len() > MAX_LINE
            || self.overhead > (self.data.len() + MAX_LINE).saturating_mul(MAX_OVERHEAD)
        {
            return Err(Refusal::new(400, "more chunk lines than a body needs"));
        }
        self.line.extend_from_slice(piece);
        if end.is_none() {
            return Ok(false);
        }
        self.line.pop();
        // A line ends in CRLF and nothing else: two readings of a body are the stuff of request smuggling.
        if self.line.pop() != Some(b'\r') || self.line.contains(&b'\r') {
            return Err(Refusal::new(400, "a line of the chunked body does not end in CRLF"));
        }
        Ok(true)
    }

    fn after_line(&self) -> Result<State, Refusal> {
        match self.state {
            State::Size => {
                let size = chunk_size(&self.line).ok_or(Refusal::new(400, "a chunk without a size"))?;
                match size {
                    0 => Ok(State::Trailer),
                    size if size > self.limit - self.data.len() => Err(TOO_LONG),
                    size => Ok(State::Chunk(size)),
                }
            }
            State::ChunkEnd if self.line.is_empty() => Ok(State::Size),
            State::ChunkEnd => Err(Refusal::new(400, "a chunk longer than its size")),
            _ if self.line.is_empty() => Ok(State::Whole),
            state => Ok(state),
        }
    }
}

/// What is said of a body over the limit.
const TOO_LONG: Refusal = Refusal::new(413, "the body is longer than maxMessage");

/// The size that a chunk's first line announces; its extensions are not looked at (section 7.1.1). Sizes beyond all
/// memory come out as the largest there is.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    let extension = line[digits.len()..].trim_ascii_start();
    if digits.is_empty() || !(extension.is_empty() || extension[0] == b';') {
        return None;
    }
    digits.iter().try_fold(0_usize, |size, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(size.saturating_mul(16).saturating_add(digit as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and what is left of `text`, which comes whole, and cut at every place.
    fn read(framing: Framing, limit: usize, text: &[u8]) -> Result<(Vec<u8>, usize), u16> {
        let in_pieces = |cut: usize| -> Result<(Vec<u8>, usize), u16> {
            let mut reader = BodyReader::new(framing, limit).map_err(|refusal| refusal.status)?;
            let (mut first, mut second) = (text[..cut].to_vec(), text[cut..].to_vec());
            let mut left = text.len();
            for piece in [&mut first, &mut second] {
                let mut input = Input::new(piece);
                let before = input.len();
                let whole = reader.take(&mut input).map_err(|refusal| refusal.status)?;
                left -= before - input.len();
                if whole {
                    return Ok((reader.into_data(), left));
                }
            }
            Err(0)
        };
        let whole = in_pieces(text.len());
        for cut in 0..text.len() {
            assert_eq!(in_pieces(cut), whole, "cut at {cut} of {}", text.escape_ascii());
        }
        whole
    }

    #[test]
    fn a_counted_body_ends_where_its_length_says() {
        assert_eq!(read(Framing::Length(3), 10, b"abcGET"), Ok((b"abc".to_vec(), 3)));
        assert_eq!(read(Framing::Length(0), 10, b"GET"), Ok((Vec::new(), 3)));
        assert_eq!(read(Framing::Length(10), 10, b"0123456789"), Ok((b"0123456789".to_vec(), 0)));
        assert_eq!(read(Framing::Length(11), 10, b""), Err(413));
        assert_eq!(read(Framing::Length(u64::MAX), usize::MAX - 1, b""), Err(413));
        assert_eq!(read(Framing::Length(4), 10, b"abc"), Err(0), "it is not whole");
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        for (text, expected) in [
            (&b"3\r\nabc\r\n0\r\n\r\nGET"[..], Ok((b"abc".to_vec(), 3))),
            (b"0\r\n\r\n", Ok((Vec::new(), 0))),
            (b"3;name=value\r\nabc\r\n0002 ;x\r\nde\r\n0\r\nTrailer: x\r\n\r\n", Ok((b"abcde".to_vec(), 0))),
            (b"A\r\n0123456789\r\n0\r\n\r\n", Ok((b"0123456789".to_vec(), 0))),
            (b"a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", Err(413)),
            (b"b\r\n", Err(413)),
            (b"ffffffffffffffffffff\r\n", Err(413)),
            (b"\r\n", Err(400)),
            (b"-1\r\n", Err(400)),
            (b"0x3\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"3 x\r\nabc\r\n0\r\n\r\n", Err(400)),
            (b"3\nabc\r\n0\r\n\r\n", Err(400)),
            (b"3\r\nabcd\r\n0\r\n\r\n", Err(400)),
            (b"3\r\nabc\n0\r\n\r\n", Err(400)),
            (b"0\r\nTrailer: x\n\r\n", Err(400)),
            (b"3\r\nab", Err(0)),
        ] {
            assert_eq!(read(Framing::Chunked, 10, text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn chunk_lines_are_bounded() {
        let mut long = b"1;".to_vec();
        long.resize(MAX_LINE - 2, b'x');
        long.extend_from_slice(b"\r\na\r\n0\r\n\r\n");
        assert_eq!(read(Framing::Chunked, 10, &long), Ok((b"a".to_vec(), 0)));
        long.insert(2, b'x');
        assert_eq!(read(Framing::Chunked, 10, &long), Err(400));
        let mut trailers = [&b"0\r\n"[..], &b"A: b\r\n".repeat(MAX_LINE * MAX_OVERHEAD / 6 + 1)].concat();
        let mut reader = BodyReader::new(Framing::Chunked, 10).unwrap();
        assert_eq!(reader.take(&mut Input::new(&mut trailers)).unwrap_err().status, 400);
        assert!(reader.held() < 2 * MAX_LINE);
    }
}

//! Compression of messages: permessage-deflate (RFC 7692), negotiation and both directions.
//!
//! Without context takeover, which is what this server asks for unless it is told otherwise, each message is packed by
//! itself: one compressor for each window size and one decompressor serve all connections, an idle connection holds
//! nothing, and a broadcast is packed once for all who agreed on the same window. With it a connection has both of its
//! own, about 350 KiB, and packs everything itself.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The end of every sync flush, which stays off the wire (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The largest window, and what is meant where none is agreed on.
const MAX_BITS: u8 = 15;

/// An inflated message grows by at most this at once.
const STEP: usize = 64 * 1024;

/// Fast, and for JSON nearly as small: a push server packs far more than it can afford to think about.
const LEVEL: Compression = Compression::new(1);

/// The field of extension offers is not well formed (RFC 6455, section 9.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// What client and server have agreed on (RFC 7692, section 7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreement {
    /// We may refer to earlier messages.
    server_takeover: bool,
    /// The client may.
    client_takeover: bool,
    /// Our window, where the client asked for a size: 9 to 15. zlib can't do 8, so an offer of that is declined.
    server_bits: Option<u8>,
    /// The client's window, where it offered a size.
    client_bits: Option<u8>,
}

impl Agreement {
    /// Answers the offers in the values of `Sec-WebSocket-Extensions`: the first that can be agreed to.
    ///
    /// `takeover`: whether earlier messages may be referred to where the client doesn't mind. An offer with a parameter
    /// that is unknown, repeated or out of range is declined, as is one for another extension; what is not well formed
    /// is an error.
    pub fn negotiate<'a>(values: impl Iterator<Item = &'a str>, takeover: bool) -> Result<Option<Self>, Malformed> {
        let mut agreement = None;
        for value in values {
            for offer in split_unquoted(value, b',') {
                // Empty list elements are ignored (RFC 9110, section 5.6.1).
                if offer.is_empty() {
                    continue;
                }
                let mut parts = split_unquoted(offer, b';');
                let name = parts.next().unwrap_or_default();
                if !is_token(name) {
                    return Err(Malformed);
                }
                let parameters = parts.map(parameter).collect::<Result<Vec<_>, _>>()?;
                if agreement.is_none() && name.eq_ignore_ascii_case("permessage-deflate") {
                    agreement = Self::to_offer(&parameters, takeover);
                }
            }
        }
        Ok(agreement)
    }

    fn to_offer(parameters: &[(&str, Option<&str>)], takeover: bool) -> Option<Self> {
        let mut agreement =
            Self { server_takeover: takeover, client_takeover: takeover, server_bits: None, client_bits: None };
        for (index, (name, value)) in parameters.iter().enumerate() {
            if parameters[..index].iter().any(|(earlier, _)| earlier == name) {
                return None;
            }
            match (*name, value) {
                ("server_no_context_takeover", None) => agreement.server_takeover = false,
                ("client_no_context_takeover", None) => agreement.client_takeover = false,
                ("server_max_window_bits", Some(bits)) => {
                    agreement.server_bits = Some(window_bits(bits).filter(|bits| *bits > 8)?);
                }
                ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => agreement.client_bits = Some(window_bits(bits)?),
                _ => return None,
            }
        }
        Some(agreement)
    }

    fn bits(self) -> u8 {
        self.server_bits.unwrap_or(MAX_BITS)
    }
}

/// As it stands in the response.
impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate")?;
        if !self.server_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if !self.client_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if let Some(bits) = self.client_bits {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

/// What a connection keeps of its compression.
#[derive(Debug)]
pub struct Deflate {
    agreement: Agreement,
    /// Only with context takeover, and only from the first message on.
    compress: Option<Compress>,
    decompress: Option<Decompress>,
}

/// Who packs a message for a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// The compressor for this window, which all connections share.
    Shared(u8),
    /// The connection's own.
    Own,
}

impl Deflate {
    /// Nothing was sent or received yet.
    pub const fn new(agreement: Agreement) -> Self {
        Self { agreement, compress: None, decompress: None }
    }

    /// Who packs what is sent.
    pub fn packing(&self) -> Packing {
        if self.agreement.server_takeover { Packing::Own } else { Packing::Shared(self.agreement.bits()) }
    }

    /// Packs a message with the connection's own compressor, and gives it in the codec's scratch buffer.
    pub fn pack<'c>(&mut self, codec: &'c mut Codec, payload: &[u8]) -> &'c [u8] {
        let bits = self.agreement.bits();
        let compress = self.compress.get_or_insert_with(|| Compress::new_with_window_bits(LEVEL, false, bits));
        pack(compress, payload, &mut codec.packed);
        &codec.packed
    }

    /// Unpacks a message into `out`, which is empty. It never gets longer than `limit`.
    pub fn unpack(
        &mut self,
        codec: &mut Codec,
        packed: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), UnpackError> {
        if self.agreement.client_takeover {
            let decompress = self.decompress.get_or_insert_with(|| Decompress::new(false));
            return unpack(decompress, packed, limit, out);
        }
        let decompress = &mut codec.decompress;
        decompress.reset(false);
        unpack(decompress, packed, limit, out)
    }
}

/// What all connections without context takeover share.
pub struct Codec {
    /// By window bits.
    compress: [Option<Compress>; MAX_BITS as usize + 1],
    decompress: Decompress,
    /// The message packed last.
    packed: Vec<u8>,
}

impl Default for Codec {
    fn default() -> Self {
        Self { compress: std::array::from_fn(|_| None), decompress: Decompress::new(false), packed: Vec::new() }
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl Codec {
    /// Packs a message by itself with a window of `bits`.
    pub fn pack(&mut self, bits: u8, payload: &[u8]) -> &[u8] {
        let place = &mut self.compress[usize::from(bits.min(MAX_BITS))];
        let compress = place.get_or_insert_with(|| Compress::new_with_window_bits(LEVEL, false, bits));
        compress.reset();
        pack(compress, payload, &mut self.packed);
        &self.packed
    }
}

/// Why a message could not be unpacked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnpackError {
    /// It is no deflate data.
    Corrupt,
    /// It would get longer than is allowed.
    TooBig,
}

/// RFC 7692, section 7.2.1.
fn pack(compress: &mut Compress, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = payload;
    loop {
        // Room for what deflate makes of incompressible data, so that almost always one call does it.
        out.reserve(rest.len() + rest.len() / 1000 + 64);
        let before = compress.total_in();
        let room = out.capacity();
        let status = compress.compress_vec(rest, out, FlushCompress::Sync);
        debug_assert!(status.is_ok(), "deflate takes anything");
        let used = usize::try_from(compress.total_in() - before).unwrap_or(rest.len());
        rest = &rest[used..];
        // A flush is complete when it left room.
        if rest.is_empty() && out.len() < room {
            break;
        }
    }
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    // An empty message is packed as one byte (RFC 7692, section 7.2.3.6).
    if out.is_empty() {
        out.push(0);
    }
}

/// RFC 7692, section 7.2.2.
fn unpack(decompress: &mut Decompress, packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), UnpackError> {
    for mut rest in [packed, &TAIL] {
        loop {
            if out.len() > limit {
                return Err(UnpackError::TooBig);
            }
            // One byte more than the limit tells a message of exactly that length from a longer one.
            out.reserve((rest.len() * 4).clamp(256, STEP).min(limit + 1 - out.len()));
            let (before, length) = (decompress.total_in(), out.len());
            let status =
                decompress.decompress_vec(rest, out, FlushDecompress::Sync).map_err(|_| UnpackError::Corrupt)?;
            let used = usize::try_from(decompress.total_in() - before).unwrap_or(rest.len());
            rest = &rest[used..];
            match status {
                // The sender ended the stream with this message (RFC 7692, section 7.2.3.4); what follows begins anew.
                Status::StreamEnd => {
                    decompress.reset(false);
                    if rest.is_empty() {
                        break;
                    }
                }
                Status::BufError | Status::Ok => {
                    if rest.is_empty() && out.len() < out.capacity() {
                        break;
                    }
                    if used == 0 && out.len() == length && out.len() < out.capacity() {
                        return Err(UnpackError::Corrupt);
                    }
                }
            }
        }
    }
    if out.len() > limit { Err(UnpackError::TooBig) } else { Ok(()) }
}

/// A window size as RFC 7692, section 7.1.2 writes it: 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let bits = text.parse().ok().filter(|bits| (8..=MAX_BITS).contains(bits))?;
    (!text.starts_with(['0', '+'])).then_some(bits)
}

/// `name` or `name=value`, the value a token or a quoted token (RFC 6455, section 9.1).
fn parameter(text: &str) -> Result<(&str, Option<&str>), Malformed> {
    let Some((name, value)) = text.split_once('=') else {
        return if is_token(text) { Ok((text, None)) } else { Err(Malformed) };
    };
    let (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
    let bare = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    match bare {
        Some(bare) if is_token(name) && is_token(bare) => Ok((name, Some(bare))),
        _ => Err(Malformed),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The pieces of `text` between separators that do not stand in quotes, blanks around them removed.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let end = text.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == separator && !quoted
        });
        let piece = match end {
            Some(end) => {
                rest = Some(&text[end + 1..]);
                &text[..end]
            }
            None => {
                rest = None;
                text
            }
        };
        Some(piece.trim_matches([' ', '\t']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(offers: &str, takeover: bool) -> Result<Option<String>, Malformed> {
        Agreement::negotiate([offers].into_iter(), takeover).map(|agreement| agreement.map(|a| a.to_string()))
    }

    #[test]
    fn offers_are_answered_as_written() {
        for (offer, takeover, answer) in [
            ("permessage-deflate", true, Some("")),
            ("permessage-deflate", false, Some("; server_no_context_takeover; client_no_context_takeover")),
            ("x-webkit-deflate-frame, PerMessage-Deflate; client_max_window_bits", true, Some("")),
            (
                "permessage-deflate; server_no_context_takeover; client_max_window_bits=\"10\"",
                true,
                Some("; server_no_context_takeover; client_max_window_bits=10"),
            ),
            (
                "permessage-deflate;server_max_window_bits = 9 ;client_no_context_takeover",
                true,
                Some("; client_no_context_takeover; server_max_window_bits=9"),
            ),
            ("permessage-deflate; server_max_window_bits=99, permessage-deflate", true, Some("")),
            (", ,permessage-deflate", true, Some("")),
            ("", true, None),
            ("permessage-deflate; server_max_window_bits=8", true, None),
            ("permessage-deflate; server_max_window_bits=09", true, None),
            ("permessage-deflate; server_max_window_bits", true, None),
            ("permessage-deflate; client_max_window_bits=16", true, None),
            ("permessage-deflate; server_no_context_takeover=1", true, None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits", true, None),
            ("permessage-deflate; unknown", true, None),
            ("permessage-bzip2", true, None),
        ] {
            let expected = answer.map(|answer| format!("permessage-deflate{answer}"));
            assert_eq!(agreed(offer, takeover), Ok(expected), "{offer}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for offer in ["permessage-deflate;", "a b", "permessage-deflate; x=", "x; y=\"", "x; =1", "é"] {
            assert_eq!(agreed(offer, true), Err(Malformed), "{offer}");
        }
    }

    fn both(takeover: bool) -> (Deflate, Deflate, Codec, Codec) {
        let agreement = Agreement::negotiate(["permessage-deflate"].into_iter(), takeover).unwrap().unwrap();
        (Deflate::new(agreement), Deflate::new(agreement), Codec::default(), Codec::default())
    }

    fn packed_by(sender: &mut Deflate, codec: &mut Codec, message: &[u8]) -> Vec<u8> {
        match sender.packing() {
            Packing::Own => sender.pack(codec, message).to_vec(),
            Packing::Shared(bits) => codec.pack(bits, message).to_vec(),
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let random: Vec<u8> = (0_u32..300_000).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let messages = [&b""[..], b"x", &b"hello ".repeat(5000), &random, b"hello"];
        for takeover in [false, true] {
            let (mut sender, mut receiver, mut out, mut back) = both(takeover);
            for message in messages.iter().cycle().take(12) {
                let packed = packed_by(&mut sender, &mut out, message);
                let mut unpacked = Vec::new();
                receiver.unpack(&mut back, &packed, message.len(), &mut unpacked).expect("good data");
                assert_eq!(&unpacked, message, "takeover {takeover}, {} bytes", message.len());
            }
        }
    }

    #[test]
    fn takeover_makes_what_was_said_before_short() {
        let text = b"{\"opcode\":\"feedback\",\"uuid\":\"2f1c8f0e-5a0b-4b57-9a53-6f0f6d0c1a2b\",\"message\":1}";
        let (mut sender, _, mut codec, _) = both(true);
        let first = packed_by(&mut sender, &mut codec, text).len();
        assert!(packed_by(&mut sender, &mut codec, text).len() * 3 < first);
        let (mut sender, _, mut codec, _) = both(false);
        assert_eq!(packed_by(&mut sender, &mut codec, text), packed_by(&mut sender, &mut codec, text));
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for packed in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            let (_, mut receiver, _, mut codec) = both(true);
            let mut out = Vec::new();
            assert_eq!(receiver.unpack(&mut codec, packed, 100, &mut out), Ok(()), "{packed:x?}");
            assert_eq!(out, b"Hello", "{packed:x?}");
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_takes_no_more_memory() {
        let (mut sender, mut receiver, mut out, mut back) = both(false);
        let bomb = packed_by(&mut sender, &mut out, &vec![0; 16 << 20]);
        assert!(bomb.len() < 1_000_000, "{} bytes", bomb.len());
        for (limit, expected) in
            [(1 << 20, Err(UnpackError::TooBig)), ((16 << 20) - 1, Err(UnpackError::TooBig)), (16 << 20, Ok(()))]
        {
            let mut unpacked = Vec::new();
            assert_eq!(receiver.unpack(&mut back, &bomb, limit, &mut unpacked), expected);
            assert!(unpacked.capacity() <= 2 * (limit + STEP), "{} bytes for {limit}", unpacked.capacity());
        }
    }

    #[test]
    fn garbage_is_corrupt_and_harms_nobody_after_it() {
        let (mut sender, mut receiver, mut out, mut back) = both(false);
        for garbage in [&[0xff, 0xff, 0xff][..], &[0x06], &[0x07, 0x12, 0x34]] {
            assert_eq!(
                receiver.unpack(&mut back, garbage, 1000, &mut Vec::new()),
                Err(UnpackError::Corrupt),
                "{garbage:x?}"
            );
        }
        let packed = packed_by(&mut sender, &mut out, b"hello");
        let mut unpacked = Vec::new();
        assert_eq!(receiver.unpack(&mut back, &packed, 5, &mut unpacked), Ok(()));
        assert_eq!(unpacked, b"hello");
    }
}

//! `deflate`: offers, packing and unpacking of permessage-deflate.
//!
//! Permitted, and nothing else:
//!
//! - offers, which the input is taken for: an agreement whose answer is itself a good offer and leads to the same
//!   agreement again, none, or "not well formed";
//! - unpacking, which the input is taken for as well: a message of at most the limit, "too big" or "corrupt"; the memory
//!   used stays near the limit; and whatever came, the next good message of another connection comes out whole;
//! - packing, for every window and with context takeover or without: what comes out is what went in.

use websock::proto::deflate::{Agreement, Codec, Deflate, Packing, UnpackError};

/// Longest message.
const LIMIT: usize = 20_000;

/// See the top.
pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        negotiate(text);
    }
    unpack(data);
    pack(data);
}

fn negotiate(text: &str) {
    for takeover in [false, true] {
        let Ok(Some(agreement)) = Agreement::negotiate(text.lines(), takeover) else { continue };
        let answer = agreement.to_string();
        let again = Agreement::negotiate([answer.as_str()].into_iter(), takeover);
        assert_eq!(again, Ok(Some(agreement)), "the answer {answer:?}");
    }
}

fn unpack(data: &[u8]) {
    let mut codec = Codec::default();
    for takeover in [false, true] {
        let mut deflate = Deflate::new(agreement("permessage-deflate", takeover));
        // In two messages: with context takeover the second may refer to the first.
        for piece in [&data[..data.len() / 2], &data[data.len() / 2..]] {
            let mut out = Vec::new();
            match deflate.unpack(&mut codec, piece, LIMIT, &mut out) {
                Ok(()) => assert!(out.len() <= LIMIT, "{} bytes", out.len()),
                Err(UnpackError::Corrupt | UnpackError::TooBig) => {}
            }
            assert!(out.capacity() <= 4 * LIMIT, "{} bytes of memory", out.capacity());
        }
    }
    let mut deflate = Deflate::new(agreement("permessage-deflate", false));
    let mut out = Vec::new();
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(deflate.unpack(&mut codec, &hello, LIMIT, &mut out), Ok(()), "the next message");
    assert_eq!(out, b"Hello");
}

fn pack(data: &[u8]) {
    let data = &data[..data.len().min(LIMIT)];
    for bits in [9, 12, 15] {
        for takeover in [false, true] {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let agreed = agreement(&offer, takeover);
            let (mut sender, mut receiver) = (Deflate::new(agreed), Deflate::new(agreed));
            let (mut there, mut here) = (Codec::default(), Codec::default());
            for message in [data, &data[..data.len() / 3], data] {
                let packed = match sender.packing() {
                    Packing::Own => sender.pack(&mut there, message).to_vec(),
                    Packing::Shared(bits) => there.pack(bits, message).to_vec(),
                };
                let mut out = Vec::new();
                let told = receiver.unpack(&mut here, &packed, LIMIT, &mut out);
                assert_eq!((told, out.as_slice()), (Ok(()), message), "window {bits}, takeover {takeover}");
            }
        }
    }
}

fn agreement(offer: &str, takeover: bool) -> Agreement {
    Agreement::negotiate([offer].into_iter(), takeover).expect("a good offer").expect("an offer that is agreed to")
}

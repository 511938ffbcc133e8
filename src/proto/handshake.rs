//! The opening handshake, server side (RFC 6455, section 4.2), and the little of it that a client needs.
//!
//! It checks what the RFC says of any WebSocket request. Who may come in, and by which path, is
//! [`app::gate`](crate::app::gate)'s to say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::deflate::Agreement;
use super::http::{Refusal, Request};

/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key that a good opening handshake carries: 16 bytes in base64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key<'a>(&'a str);

/// Whether a request asks to become a WebSocket at all: both tokens are there, in any case, in any list.
pub fn is_upgrade(request: &Request<'_>) -> bool {
    let has = |field, token: &str| request.list(field).any(|member| member.eq_ignore_ascii_case(token));
    has("upgrade", "websocket") && has("connection", "upgrade")
}

/// Checks an upgrade request (RFC 6455, section 4.2.1) and gives its key.
pub fn check<'a>(request: &Request<'a>) -> Result<Key<'a>, Refusal> {
    if request.http_1_0 {
        return Err(Refusal::new(426, "an upgrade needs HTTP/1.1"));
    }
    match request.only("sec-websocket-version") {
        Ok(Some("13")) => {}
        Ok(Some(_)) => return Err(Refusal::new(426, "this server speaks version 13 of the WebSocket protocol")),
        Ok(None) => return Err(Refusal::new(400, "no Sec-WebSocket-Version field")),
        Err(_) => return Err(Refusal::new(400, "more than one Sec-WebSocket-Version field")),
    }
    match request.only("sec-websocket-key") {
        // 16 bytes are 24 characters; decoding into the exact room also refuses other lengths.
        Ok(Some(key)) if key.len() == 24 && STANDARD.decode_slice(key, &mut [0; 18]) == Ok(16) => Ok(Key(key)),
        Ok(Some(_)) => Err(Refusal::new(400, "the Sec-WebSocket-Key is not 16 bytes in base64")),
        Ok(None) => Err(Refusal::new(400, "no Sec-WebSocket-Key field")),
        Err(_) => Err(Refusal::new(400, "more than one Sec-WebSocket-Key field")),
    }
}

/// The compression to agree on, of what the client offers (RFC 6455, section 9.1). `takeover`: see
/// [`Agreement::negotiate`]. An offer that is not well formed is refused.
pub fn agree(request: &Request<'_>, takeover: bool) -> Result<Option<Agreement>, Refusal> {
    Agreement::negotiate(request.all("sec-websocket-extensions"), takeover)
        .map_err(|_| Refusal::new(400, "the Sec-WebSocket-Extensions field is not well formed"))
}

/// What `Sec-WebSocket-Accept` must say to `key` (RFC 6455, section 4.2.2, step 5.4).
pub fn accept_value(key: &str) -> String {
    STANDARD.encode(digest(key))
}

fn digest(key: &str) -> sha1::digest::Output<Sha1> {
    Sha1::new().chain_update(key).chain_update(GUID).finalize()
}

/// Appends the `101`. It stays under 1,024 bytes and has `Connection: Upgrade` alone, since the original PHP client
/// reads it in one piece of that size and compares exactly.
pub fn write_101(out: &mut Vec<u8>, key: Key<'_>, subprotocol: Option<&str>, deflate: Option<Agreement>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    // A SHA-1 digest is 20 bytes, so 28 in base64.
    let mut accept = [0; 28];
    let encoded = STANDARD.encode_slice(digest(key.0), &mut accept);
    debug_assert_eq!(encoded, Ok(28), "28 characters hold a digest");
    out.extend_from_slice(&accept);
    if let Some(subprotocol) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    if let Some(agreement) = deflate {
        out.extend_from_slice(format!("\r\nSec-WebSocket-Extensions: {agreement}").as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::super::http::fields;
    use super::*;

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    fn status(version: &str, extra: &[&str]) -> u16 {
        let text = format!("GET / {version}\r\nHost: a\r\n{}\r\n\r\n", extra.join("\r\n"));
        let mut room = fields();
        let request = Request::parse(text.as_bytes(), &mut room).expect("a good head");
        check(&request).map_or_else(|refusal| refusal.status, |_| 101)
    }

    #[test]
    fn the_sample_of_the_rfc() {
        let mut out = Vec::new();
        write_101(&mut out, Key("dGhlIHNhbXBsZSBub25jZQ=="), Some("websock.v1"), None);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: websock.v1\r\n\r\n"
        );
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn every_way_to_get_it_wrong() {
        const VERSION: &str = "Sec-WebSocket-Version: 13";
        for (fields, expected) in [
            (&[KEY, VERSION][..], 101),
            (&["sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==", "SEC-WEBSOCKET-VERSION: 13 "], 101),
            (&[KEY], 400),
            (&[KEY, VERSION, VERSION], 400),
            (&[KEY, "Sec-WebSocket-Version: 12"], 426),
            (&[KEY, "Sec-WebSocket-Version: 4294967309"], 426),
            (&[KEY, "Sec-WebSocket-Version: 13;x"], 426),
            (&[VERSION], 400),
            (&[KEY, KEY, VERSION], 400),
            (&["Sec-WebSocket-Key:", VERSION], 400),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j", VERSION], 400),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=", VERSION], 400),
            (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j?Q==", VERSION], 400),
        ] {
            assert_eq!(status("HTTP/1.1", fields), expected, "{fields:?}");
        }
        assert_eq!(status("HTTP/1.0", &[KEY, VERSION]), 426);
    }

    #[test]
    fn upgrade_tokens_stand_in_lists_in_any_case() {
        let asks = |lines: &str| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
            let mut room = fields();
            is_upgrade(&Request::parse(text.as_bytes(), &mut room).expect("a good head"))
        };
        assert!(asks("Upgrade: WebSocket\r\nConnection: keep-alive, UPGRADE"));
        assert!(asks("Upgrade: h2c, websocket\r\nConnection: keep-alive\r\nConnection: upgrade"));
        assert!(!asks("Upgrade: h2c\r\nConnection: Upgrade"));
        assert!(!asks("Upgrade: websocket"));
        assert!(!asks("Connection: Upgrade"));
    }
}

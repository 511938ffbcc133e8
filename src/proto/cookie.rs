//! The cookies that a browser sends along (RFC 6265, sections 4.2 and 5.4).
//!
//! A server looks for one by its name and takes its value as it is: what the value means, and how whoever set the cookie
//! has encoded it, is not known here.

use super::http::Request;

/// The value of the cookie called `name` (case counts); the first, where there are several: a browser puts the one with
/// the longest path first, and PHP takes that one as well.
///
/// Bytes and not text, since another cookie beside it may be in any encoding, and that must not hide this one.
pub fn find<'a>(request: &Request<'a>, name: &str) -> Option<&'a [u8]> {
    request.bytes("cookie").flat_map(|field| field.split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        (&pair[..equals] == name.as_bytes()).then(|| &pair[equals + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::super::http::fields;
    use super::*;

    fn found(lines: &[u8]) -> Option<Vec<u8>> {
        let text = [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat();
        let mut room = fields();
        let request = Request::parse(&text, &mut room).expect("a good head");
        find(&request, "SID").map(<[u8]>::to_vec)
    }

    #[test]
    fn one_of_many_is_found() {
        for (lines, expected) in [
            (&b"Cookie: SID=x"[..], Some("x")),
            (b"cookie: a=b; SID=x; c=d", Some("x")),
            (b"Cookie: a=b;SID=x;c=d", Some("x")),
            (b"Cookie: SID=first; SID=second", Some("first")),
            (b"Cookie: a=b\r\nCookie: SID=x", Some("x")),
            (b"Cookie: SID=a=b", Some("a=b")),
            (b"Cookie: SID=", Some("")),
            (b"Cookie: SID=\"x\"", Some("\"x\"")),
            (b"Cookie: name=M\xfcller; SID=x", Some("x")),
            (b"Cookie: sid=x; XSID=x; SIDX=x; SID; SID =x", None),
            (b"Cookie: a=SID=x", None),
            (b"Cookie:", None),
            (b"X-Cookie: SID=x", None),
        ] {
            assert_eq!(found(lines).as_deref(), expected.map(str::as_bytes), "{}", lines.escape_ascii());
        }
    }
}

//! Server-sent events, the writing side (HTML standard, section 9.2: the `text/event-stream` format).
//!
//! An event is lines and an empty line. Each message has an `id`, which a browser shows as `Last-Event-ID` when it comes
//! again. What such an id means, and whom an event is for, is not known here.

use std::ops::Range;

use super::frame::CloseCode;

/// The media type of a stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// What an event is, besides its data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Label {
    /// Its number, which its id begins with. Zero: it has none of its own, and goes by that of the latest event there was.
    pub number: u64,
    /// What a page listens for.
    pub name: Name,
}

/// The types of events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Name {
    /// `message`, which is not written: it is what an event is that has no type.
    #[default]
    Message,
    /// `gap`: something may be missing before what follows.
    Gap,
}

/// Appends the head of a response whose body lasts as long as the connection (RFC 9112, section 6.3). `fields`: further
/// ones, each a whole line without its CRLF.
pub fn write_head(out: &mut Vec<u8>, fields: &[&str]) {
    // The last one is for nginx, which would gather events otherwise.
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                        Connection: close\r\nX-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n";
    out.extend_from_slice(HEAD.as_bytes());
    for field in fields {
        out.extend_from_slice(field.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends how many milliseconds a browser is to wait before it connects again.
pub fn write_retry(out: &mut Vec<u8>, millis: u64) {
    out.extend_from_slice(format!("retry: {millis}\n\n").as_bytes());
}

/// Appends the beginning of an event, which [`write_data`] ends. Its id is `number` and `owner`, which has no line break.
pub fn write_label(out: &mut Vec<u8>, name: Name, number: u64, owner: &str) {
    match name {
        Name::Message => {}
        Name::Gap => out.extend_from_slice(b"event: gap\n"),
    }
    write_id(out, number, owner);
}

/// Appends the data of an event, and its end. A message of several lines is several lines here; a page gets them with `\n`
/// between, whatever stood there.
pub fn write_data(out: &mut Vec<u8>, data: &[u8]) {
    let mut next = Some(0);
    while let Some(start) = next {
        let (end, after) = line(data, start);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&data[start..end]);
        out.push(b'\n');
        next = after;
    }
    out.push(b'\n');
}

/// The same where the message stands in `out` already, at `data`.
pub fn write_data_within(out: &mut Vec<u8>, data: Range<usize>) {
    let mut next = Some(data.start);
    while let Some(start) = next {
        let (end, after) = line(&out[..data.end], start);
        out.extend_from_slice(b"data: ");
        out.extend_from_within(start..end);
        out.push(b'\n');
        next = after;
    }
    out.push(b'\n');
}

/// Appends a comment, so that whoever is in between sees that the connection is alive, and an event without data: it
/// reaches no listener, and moves on the id that the browser shows when it comes again.
pub fn write_beat(out: &mut Vec<u8>, number: u64, owner: &str) {
    out.extend_from_slice(b":\n");
    write_id(out, number, owner);
    out.push(b'\n');
}

/// Appends the last event, of the type `close`, which says why the stream ends. It has no id: who comes again goes on where
/// it was.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, why: &str) {
    let mut said = format!(r#"{{"opcode":"close","code":{},"error":""#, code.get());
    for character in why.chars() {
        match character {
            '"' | '\\' => said.extend(['\\', character]),
            '\0'..='\x1f' => said.extend(format!("\\u{:04x}", u32::from(character)).chars()),
            _ => said.push(character),
        }
    }
    said.push_str("\"}");
    out.extend_from_slice(b"event: close\n");
    write_data(out, said.as_bytes());
}

/// Where the line of `data` that begins at `start` ends, and where the next begins, if there is one.
fn line(data: &[u8], start: usize) -> (usize, Option<usize>) {
    match data[start..].iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None => (data.len(), None),
        Some(length) => {
            let end = start + length;
            (end, Some(end + if data[end..].starts_with(b"\r\n") { 2 } else { 1 }))
        }
    }
}

fn write_id(out: &mut Vec<u8>, number: u64, owner: &str) {
    // By hand: it is written for every event to every stream, and formatting takes five times as long.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(&digits[start..]);
    out.push(b'-');
    out.extend_from_slice(owner.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_of_data_for_each_line_of_the_message() {
        for (data, lines) in [
            ("", "data: \n\n"),
            ("{}", "data: {}\n\n"),
            (" x ", "data:  x \n\n"),
            ("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"),
            ("\n", "data: \ndata: \n\n"),
            ("a\r\r\n", "data: a\ndata: \ndata: \n\n"),
            ("x\n\nid: 1\nevent: y", "data: x\ndata: \ndata: id: 1\ndata: event: y\n\n"),
            ("ü\u{2028}", "data: ü\u{2028}\n\n"),
        ] {
            assert_eq!(written(|out| write_data(out, data.as_bytes())), lines, "{data:?}");
            let mut out = format!("\n{data}\n").into_bytes();
            write_data_within(&mut out, 1..1 + data.len());
            assert_eq!(String::from_utf8(out).unwrap(), format!("\n{data}\n{lines}"));
        }
    }

    #[test]
    fn an_event_has_an_id_and_a_type_where_it_is_not_a_message() {
        for (number, digits) in [(0, "0"), (7, "7"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(written(|out| write_label(out, Name::Message, number, "me")), format!("id: {digits}-me\n"));
        }
        assert_eq!(written(|out| write_label(out, Name::Gap, 12, "me")), "event: gap\nid: 12-me\n");
        assert_eq!(written(|out| write_beat(out, 3, "me")), ":\nid: 3-me\n\n");
        assert_eq!(written(|out| write_retry(out, 1500)), "retry: 1500\n\n");
    }

    #[test]
    fn the_last_event_is_json_whatever_the_reason() {
        let said = written(|out| write_close(out, CloseCode::GOING_AWAY, "a \"b\" \\ ü\n"));
        let expected = "event: close\ndata: {\"opcode\":\"close\",\"code\":1001,\
                        \"error\":\"a \\\"b\\\" \\\\ ü\\u000a\"}\n\n";
        assert_eq!(said, expected);
    }

    #[test]
    fn the_head_takes_further_fields() {
        let head = written(|out| write_head(out, &["Vary: Origin"]));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("no\r\nVary: Origin\r\n\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Type: {CONTENT_TYPE}\r\n")) && !head.contains("Content-Length"));
    }
}

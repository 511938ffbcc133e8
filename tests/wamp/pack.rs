//! MessagePack by code of its own, so that a mistake in the server's is not made twice: as much as the tests say.

use serde_json::{Map, Value};

/// Bytes, which JSON has no value for: they stand in a string behind this.
const BYTES: char = '\0';

pub(crate) fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => {
                out.push(0xcf);
                out.extend(number.to_be_bytes());
            }
            (_, Some(number), _) => {
                out.push(0xd3);
                out.extend(number.to_be_bytes());
            }
            (.., number) => {
                out.push(0xcb);
                out.extend(number.expect("a number").to_be_bytes());
            }
        },
        Value::String(text) => match text.strip_prefix(BYTES) {
            Some(bytes) => {
                out.extend([0xc4, u8::try_from(bytes.len()).expect("few bytes")]);
                out.extend(bytes.bytes());
            }
            None => {
                out.push(0xdb);
                out.extend(u32::try_from(text.len()).expect("a length").to_be_bytes());
                out.extend(text.bytes());
            }
        },
        Value::Array(items) => {
            out.push(0xdc);
            out.extend(u16::try_from(items.len()).expect("a length").to_be_bytes());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Object(members) => {
            out.push(0xde);
            out.extend(u16::try_from(members.len()).expect("a length").to_be_bytes());
            for (name, value) in members {
                write(out, &Value::String(name.clone()));
                write(out, value);
            }
        }
    }
}

pub(crate) fn unpack(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = read(&mut rest);
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
    value
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8], bytes: usize) -> u64 {
    take(rest, bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn read(rest: &mut &[u8]) -> Value {
    let marker = take(rest, 1)[0];
    let length = |rest: &mut &[u8], bytes| usize::try_from(number(rest, bytes)).expect("a length");
    let size = 1 << (marker & 3);
    match marker {
        0x00..=0x7f => marker.into(),
        0x80..=0x8f => dict(rest, usize::from(marker & 15)),
        0x90..=0x9f => list(rest, usize::from(marker & 15)),
        0xa0..=0xbf => text(rest, usize::from(marker & 31)),
        0xc0 => Value::Null,
        0xc2 | 0xc3 => (marker == 0xc3).into(),
        0xc4 => {
            let length = length(rest, 1);
            let bytes = String::from_utf8(take(rest, length).to_vec()).expect("the tests' bytes are text");
            format!("{BYTES}{bytes}").into()
        }
        0xcb => f64::from_bits(number(rest, 8)).into(),
        0xcc..=0xcf => number(rest, size).into(),
        0xd0..=0xd3 => {
            let shift = 64 - 8 * u32::try_from(size).expect("eight at most");
            ((number(rest, size) << shift).cast_signed() >> shift).into()
        }
        0xd9..=0xdb => {
            let length = length(rest, 1 << (marker - 0xd9));
            text(rest, length)
        }
        0xdc | 0xdd => {
            let length = length(rest, 2 << (marker - 0xdc));
            list(rest, length)
        }
        0xde | 0xdf => {
            let length = length(rest, 2 << (marker - 0xde));
            dict(rest, length)
        }
        0xe0..=0xff => marker.cast_signed().into(),
        other => panic!("marker {other:x}"),
    }
}

fn text(rest: &mut &[u8], length: usize) -> Value {
    std::str::from_utf8(take(rest, length)).expect("UTF-8").into()
}

fn list(rest: &mut &[u8], length: usize) -> Value {
    (0..length).map(|_| read(rest)).collect()
}

fn dict(rest: &mut &[u8], length: usize) -> Value {
    let members: Map<String, Value> = (0..length)
        .map(|_| {
            let name = read(rest).as_str().expect("a name").to_owned();
            (name, read(rest))
        })
        .collect();
    members.into()
}

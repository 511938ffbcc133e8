//! Target `login`: the bytes of a PHP session file, and of a cookie.
//!
//! The input is what stands in the file. Permitted, and nothing besides:
//!
//! - Both variables that are asked for are found or not, or the file is malformed.
//! - A string that is found is a part of the file, where the format says that it is: behind its length and a quote.
//! - Asked for one at a time, or in another order, the variables are the same.
//! - A good session is still good, and says the same, with one more variable behind; in an array, with one more counted.
//! - Cut off before its end, an array is no session.
//! - As a cookie's value the input is an id, or not; an id is made of 1 to 256 letters, digits, commas and minus signs.

use websock::login::session::look_up;
use websock::login::{SessionId, Value};

/// See the top.
pub fn run(data: &[u8]) {
    check_cookie(data);
    let Ok([ok, user]) = look_up(data, ["ok", "user"]) else {
        assert!(look_up(data, ["user"]).is_err() && look_up(data, []).is_err(), "malformed for some");
        return;
    };
    for value in [ok, user].into_iter().flatten() {
        check_value(data, value);
    }
    for (name, value) in [("ok", ok), ("user", user)] {
        let [alone] = look_up(data, [name]).expect("good for both");
        assert_eq!(shown(alone), shown(value));
    }
    let [again, twice, swapped] = look_up(data, ["user", "user", "ok"]).expect("good in any order");
    assert_eq!([shown(again), shown(twice), shown(swapped)], [shown(user), shown(user), shown(ok)]);
    if matches!(data, [b'a', b':', b'0'..=b'9', ..]) {
        check_array(data, ok);
    } else {
        let more = [data, b"more|s:3:\"end\";"].concat();
        let [still, end] = look_up(&more, ["ok", "more"]).expect("a good session with one more variable");
        assert_eq!((shown(still), end), (shown(ok), Some(Value::Text(b"end"))));
    }
}

fn check_array(data: &[u8], ok: Option<Value<'_>>) {
    for end in [1, data.len() / 2, data.len() - 1] {
        assert!(look_up(&data[..end], []).is_err(), "the first {end} bytes of an array");
    }
    let text = data.iter().position(|byte| *byte == b'{').expect("an array has a beginning");
    let count: usize = std::str::from_utf8(&data[2..text - 1]).expect("digits").parse().expect("a number");
    let inside = &data[text + 1..data.len() - 1];
    let more = [format!("a:{}:{{", count + 1).as_bytes(), inside, b"s:4:\"more\";b:1;}"].concat();
    let [still, end] = look_up(&more, ["ok", "more"]).expect("a good array with one more element");
    assert_eq!((shown(still), end), (shown(ok), Some(Value::Boolean(true))));
}

fn check_value(data: &[u8], value: Value<'_>) {
    let truth = match value {
        Value::Null | Value::Reference => false,
        Value::Boolean(truth) => truth,
        Value::Integer(number) => number != 0,
        Value::Float(number) => number != 0.0,
        Value::Text(text) => {
            let written = [format!("s:{}:\"", text.len()).as_bytes(), text, b"\";"].concat();
            // The length may be written with zeros in front, which PHP doesn't, and reads.
            let end = &written[written.iter().position(|byte| *byte == b'"').expect("a quote")..];
            assert!(data.windows(end.len()).any(|bytes| bytes == end), "a string of the file");
            !text.is_empty() && text != b"0"
        }
        Value::Array(count) => {
            assert!(count <= data.len() / 4, "{count} elements in {} bytes", data.len());
            count > 0
        }
        Value::Object => true,
    };
    assert_eq!(value.is_true(), truth, "{value:?}");
}

fn check_cookie(data: &[u8]) {
    let Some(id) = SessionId::from_cookie(data) else {
        let plain = data.iter().all(|byte| byte.is_ascii_alphanumeric() || b",-".contains(byte));
        assert!(!plain || data.is_empty() || data.len() > 256, "an id as PHP makes them");
        return;
    };
    let id = id.as_str();
    assert!((1..=256).contains(&id.len()), "{} characters", id.len());
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b",-".contains(&byte)), "{id:?}");
    // Of an id that has been decoded, decoding has nothing left to do.
    assert_eq!(SessionId::from_cookie(id.as_bytes()).expect("an id").as_str(), id);
}

/// For comparing: NAN is not equal to itself.
fn shown(value: Option<Value<'_>>) -> String {
    format!("{value:?}")
}

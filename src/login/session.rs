//! What a session file of PHP says of a few variables, in either of the two formats that `session.serialize_handler`
//! commonly names.
//!
//! - `php`: for each variable its name, a bar, and its value in the serialize format: `name|s:3:"kim";ok|b:1;`.
//! - `php_serialize`: one array of all of them: `a:2:{s:4:"name";s:3:"kim";s:2:"ok";b:1;}`.
//!
//! Which of them it is shows in the bytes. All of a file is read, not only as far as the variables that are asked for:
//! PHP takes a session with anything wrong in it for no session, and so a file that PHP is just writing is none either.

use super::serialized::{Malformed, Reader, Value};

/// The values of the variables called `names`, as far as the session has them.
///
/// # Errors
///
/// The bytes are in neither format, or cut off, or nested deeper than PHP reads.
pub fn look_up<'a, const N: usize>(data: &'a [u8], names: [&str; N]) -> Result<[Option<Value<'a>>; N], Malformed> {
    let mut found = [None; N];
    let mut reader = Reader::new(data);
    // The beginning alone decides. What begins as an array and has no end must not be tried as the other format: what a
    // visitor has written into a string of his session could then be taken for its variables.
    if matches!(data, [b'a', b':', b'0'..=b'9', ..]) {
        for _ in 0..reader.array_start()? {
            let name = reader.key()?;
            note(&mut found, names, name, reader.value()?);
        }
        reader.array_end()?;
        return if reader.is_at_end() { Ok(found) } else { Err(Malformed) };
    }
    // Without variables the file is empty.
    while !reader.is_at_end() {
        let name = reader.until(b'|')?;
        note(&mut found, names, name, reader.value()?);
    }
    Ok(found)
}

/// A name that comes again takes the later value, as it does in PHP.
fn note<'a, const N: usize>(found: &mut [Option<Value<'a>>; N], names: [&str; N], name: &[u8], value: Value<'a>) {
    for (wanted, found) in names.iter().zip(found) {
        if wanted.as_bytes() == name {
            *found = Some(value);
        }
    }
}

//! PHP's serialize format, as far as it takes to find one value among others: scalars are read, everything else is
//! stepped over.
//!
//! | value    | written as                                    | value     | written as                               |
//! |----------|-----------------------------------------------|-----------|------------------------------------------|
//! | null     | `N;`                                          | array     | `a:COUNT:{` keys and values `}`          |
//! | boolean  | `b:0;` `b:1;`                                 | object    | `O:LENGTH:"CLASS":COUNT:{` likewise `}`  |
//! | integer  | `i:-5;`                                       |           | `C:LENGTH:"CLASS":LENGTH:{` bytes `}`    |
//! | float    | `d:0.5;` `d:1.0E+25;` `d:INF;` `d:NAN;`       | enum case | `E:LENGTH:"ENUM:CASE";`                  |
//! | string   | `s:LENGTH:"` bytes `";`                       | seen before | `R:NUMBER;`, an object `r:NUMBER;`     |
//!
//! A length is only ever compared with the bytes that are there, and a count only counted down, so neither can make
//! anything be allocated or read that isn't there. Nesting takes a machine word a level, and no stack.
//! Nothing here knows a session, a file, or a class: no object is ever made.

/// Deepest nesting that is read; PHP's own limit (`unserialize_max_depth`).
pub(super) const MAX_DEPTH: usize = 4096;

/// A value, or of one that is made of others what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string: bytes in any encoding.
    Text(&'a [u8]),
    /// An array of so many elements.
    Array(usize),
    /// An object or the case of an enum, whatever its class.
    Object,
    /// The same variable as an earlier one. It is not looked up which: PHP writes that only where a script has made two
    /// variables one with `&`.
    Reference,
}

impl Value<'_> {
    /// Whether PHP's `if` takes it for true: all but null, false, zero, the empty string, `"0"` and the empty array. What
    /// a reference stands for isn't known, so it is not.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Null | Self::Reference => false,
            Self::Boolean(value) => *value,
            Self::Integer(value) => *value != 0,
            // That NAN is true is PHP's rule.
            Self::Float(value) => *value != 0.0,
            Self::Text(value) => !matches!(*value, b"" | b"0"),
            Self::Array(count) => *count > 0,
            Self::Object => true,
        }
    }
}

/// These bytes are not what PHP writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// Reads values one behind the other.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// The beginning of a value: what it is and, where others are inside, how many are to follow.
type Head<'a> = (Value<'a>, Option<usize>);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads a value to its end, whatever is inside.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let (value, elements) = self.head()?;
        // Of each array and object that has begun and not ended, the values still to come.
        let mut open: Vec<usize> = elements.into_iter().collect();
        while let Some(left) = open.last_mut() {
            if *left == 0 {
                self.expect(b"}")?;
                open.pop();
                continue;
            }
            *left -= 1;
            self.key()?;
            if let (_, Some(elements)) = self.head()? {
                if open.len() == MAX_DEPTH {
                    return Err(Malformed);
                }
                open.push(elements);
            }
        }
        Ok(value)
    }

    /// Reads the beginning of an array, and gives the number of its elements: as many keys and values follow, in turn,
    /// and then [`Reader::array_end`].
    pub(super) fn array_start(&mut self) -> Result<usize, Malformed> {
        self.expect(b"a:")?;
        self.elements()
    }

    pub(super) fn array_end(&mut self) -> Result<(), Malformed> {
        self.expect(b"}")
    }

    /// Reads the key of an element. PHP writes integers in one way only, so the digits are as good as the number.
    pub(super) fn key(&mut self) -> Result<&'a [u8], Malformed> {
        match self.tag()? {
            b's' => self.string(b";"),
            b'i' => {
                let digits = self.until(b';')?;
                integer(digits).map(|_| digits)
            }
            _ => Err(Malformed),
        }
    }

    /// What stands before the next `end`, which is stepped over as well.
    pub(super) fn until(&mut self, end: u8) -> Result<&'a [u8], Malformed> {
        let at = self.rest.iter().position(|byte| *byte == end).ok_or(Malformed)?;
        let before = self.take(at)?;
        self.take(1)?;
        Ok(before)
    }

    fn head(&mut self) -> Result<Head<'a>, Malformed> {
        if self.rest.starts_with(b"N;") {
            self.take(2)?;
            return Ok((Value::Null, None));
        }
        let scalar = match self.tag()? {
            b'b' => match self.until(b';')? {
                b"0" => Value::Boolean(false),
                b"1" => Value::Boolean(true),
                _ => return Err(Malformed),
            },
            b'i' => Value::Integer(integer(self.until(b';')?)?),
            b'd' => Value::Float(float(self.until(b';')?)?),
            b's' => Value::Text(self.string(b";")?),
            b'E' => {
                self.string(b";")?;
                Value::Object
            }
            b'r' => {
                number(self.until(b';')?)?;
                Value::Object
            }
            b'R' => {
                number(self.until(b';')?)?;
                Value::Reference
            }
            b'a' => {
                let elements = self.elements()?;
                return Ok((Value::Array(elements), Some(elements)));
            }
            b'O' => {
                self.string(b":")?;
                return Ok((Value::Object, Some(self.elements()?)));
            }
            b'C' => {
                self.string(b":")?;
                let length = self.elements()?;
                self.take(length)?;
                self.expect(b"}")?;
                Value::Object
            }
            _ => return Err(Malformed),
        };
        Ok((scalar, None))
    }

    /// A letter and a colon.
    fn tag(&mut self) -> Result<u8, Malformed> {
        match self.take(2)? {
            [letter, b':'] => Ok(*letter),
            _ => Err(Malformed),
        }
    }

    /// `LENGTH:"bytes"` and then `end`.
    fn string(&mut self, end: &[u8]) -> Result<&'a [u8], Malformed> {
        let length = number(self.until(b':')?)?;
        self.expect(b"\"")?;
        let string = self.take(length)?;
        self.expect(b"\"")?;
        self.expect(end)?;
        Ok(string)
    }

    /// `COUNT:{`
    fn elements(&mut self) -> Result<usize, Malformed> {
        let count = number(self.until(b':')?)?;
        self.expect(b"{")?;
        Ok(count)
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(Malformed)?;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn number(digits: &[u8]) -> Result<usize, Malformed> {
    parsed(digits, u8::is_ascii_digit)
}

fn integer(digits: &[u8]) -> Result<i64, Malformed> {
    parsed(digits, |byte| byte.is_ascii_digit() || *byte == b'-')
}

fn float(digits: &[u8]) -> Result<f64, Malformed> {
    match digits {
        b"INF" => Ok(f64::INFINITY),
        b"-INF" => Ok(f64::NEG_INFINITY),
        b"NAN" => Ok(f64::NAN),
        _ => parsed(digits, |byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)),
    }
}

/// A number of characters that it may have: Rust's own readers take more than PHP writes.
fn parsed<T: std::str::FromStr>(digits: &[u8], may_have: impl Fn(&u8) -> bool) -> Result<T, Malformed> {
    if !digits.iter().all(may_have) {
        return Err(Malformed);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed)
}

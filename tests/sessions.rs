//! PHP's session formats: what PHP itself writes, that cut off anywhere, changed anywhere, and made up to do harm.
//!
//! It needs `php` (Debian: `php-cli`), which says that the samples are what it writes.

use std::process::Command;
use std::time::{Duration, Instant};

use websock::login::session::look_up;
use websock::login::{Malformed, Value};

/// What the expressions below need.
const DECLARATIONS: &str = r#"
    enum Suit: string { case Hearts = 'h'; }
    class Point { public $x = 1; protected $y = 2; private $z = 3; }
    class Old implements Serializable {
        public function serialize() { return "a}\0b|"; }
        public function unserialize($data) {}
    }
    class Made {
        public function __serialize(): array { return ['k' => true, 1 => [2]]; }
        public function __unserialize(array $data): void {}
    }
    class Knot { public $self; public function __construct() { $this->self = $this; } }
"#;

/// An expression of PHP, what `serialize` makes of it, what it is, and whether PHP's `if` takes it for true.
type Sample = (&'static str, &'static [u8], Value<'static>, bool);

const SAMPLES: &[Sample] = &[
    ("null", b"N;", Value::Null, false),
    ("true", b"b:1;", Value::Boolean(true), true),
    ("false", b"b:0;", Value::Boolean(false), false),
    ("0", b"i:0;", Value::Integer(0), false),
    ("42", b"i:42;", Value::Integer(42), true),
    ("-7", b"i:-7;", Value::Integer(-7), true),
    ("PHP_INT_MAX", b"i:9223372036854775807;", Value::Integer(i64::MAX), true),
    ("PHP_INT_MIN", b"i:-9223372036854775808;", Value::Integer(i64::MIN), true),
    ("0.0", b"d:0;", Value::Float(0.0), false),
    ("-0.0", b"d:-0;", Value::Float(-0.0), false),
    ("0.1", b"d:0.1;", Value::Float(0.1), true),
    ("-2.5", b"d:-2.5;", Value::Float(-2.5), true),
    ("1e100", b"d:1.0E+100;", Value::Float(1e100), true),
    ("1.5e-7", b"d:1.5E-7;", Value::Float(1.5e-7), true),
    ("INF", b"d:INF;", Value::Float(f64::INFINITY), true),
    ("-INF", b"d:-INF;", Value::Float(f64::NEG_INFINITY), true),
    ("NAN", b"d:NAN;", Value::Float(f64::NAN), true),
    ("''", b"s:0:\"\";", Value::Text(b""), false),
    ("'0'", b"s:1:\"0\";", Value::Text(b"0"), false),
    ("'0.0'", b"s:3:\"0.0\";", Value::Text(b"0.0"), true),
    ("'kim'", b"s:3:\"kim\";", Value::Text(b"kim"), true),
    ("'quote\";b:1;}'", b"s:12:\"quote\";b:1;}\";", Value::Text(b"quote\";b:1;}"), true),
    ("'a|b:1;'", b"s:6:\"a|b:1;\";", Value::Text(b"a|b:1;"), true),
    ("\"\\0\\xff\"", b"s:2:\"\x00\xff\";", Value::Text(b"\x00\xff"), true),
    ("'Grüße'", b"s:7:\"Gr\xc3\xbc\xc3\x9fe\";", Value::Text("Grüße".as_bytes()), true),
    ("[]", b"a:0:{}", Value::Array(0), false),
    ("[0]", b"a:1:{i:0;i:0;}", Value::Array(1), true),
    (
        "[1, 'two' => [2.5, null], -3 => [[[]]]]",
        b"a:3:{i:0;i:1;s:3:\"two\";a:2:{i:0;d:2.5;i:1;N;}i:-3;a:1:{i:0;a:1:{i:0;a:0:{}}}}",
        Value::Array(3),
        true,
    ),
    ("new stdClass", b"O:8:\"stdClass\":0:{}", Value::Object, true),
    (
        "new Point",
        b"O:5:\"Point\":3:{s:1:\"x\";i:1;s:4:\"\x00*\x00y\";i:2;s:8:\"\x00Point\x00z\";i:3;}",
        Value::Object,
        true,
    ),
    ("new Made", b"O:4:\"Made\":2:{s:1:\"k\";b:1;i:1;a:1:{i:0;i:2;}}", Value::Object, true),
    ("new Old", b"C:3:\"Old\":5:{a}\x00b|}", Value::Object, true),
    ("Suit::Hearts", b"E:11:\"Suit:Hearts\";", Value::Object, true),
    ("new Knot", b"O:4:\"Knot\":1:{s:4:\"self\";r:1;}", Value::Object, true),
    (
        "[new Point, Suit::Hearts, new Old]",
        b"a:3:{i:0;O:5:\"Point\":3:{s:1:\"x\";i:1;s:4:\"\x00*\x00y\";i:2;s:8:\"\x00Point\x00z\";i:3;}\
          i:1;E:11:\"Suit:Hearts\";i:2;C:3:\"Old\":5:{a}\x00b|}}",
        Value::Array(3),
        true,
    ),
];

/// A session as `php` writes it with these variables.
fn one_by_one(variables: &[(&str, &[u8])]) -> Vec<u8> {
    variables.iter().flat_map(|(name, value)| [name.as_bytes(), b"|", value].concat()).collect()
}

/// A session as `php_serialize` writes it with these variables.
fn in_one_array(variables: &[(&str, &[u8])]) -> Vec<u8> {
    let element = |(name, value): &(&str, &[u8])| [format!("s:{}:\"{name}\";", name.len()).as_bytes(), value].concat();
    let elements: Vec<u8> = variables.iter().flat_map(element).collect();
    [format!("a:{}:{{", variables.len()).as_bytes(), &elements, b"}"].concat()
}

/// Equal, and NAN is itself.
fn same(one: Value<'_>, other: Value<'_>) -> bool {
    one == other || matches!((one, other), (Value::Float(one), Value::Float(other)) if one.is_nan() && other.is_nan())
}

#[test]
fn php_writes_the_samples_and_takes_them_for_true_or_not() {
    let mut script = format!("error_reporting(0);{DECLARATIONS}");
    for (expression, ..) in SAMPLES {
        script.push_str(&format!("$v = {expression}; echo bin2hex(serialize($v)), $v ? ' true' : ' false', \"\\n\";"));
    }
    let php = Command::new("php").args(["-n", "-r", &script]).output();
    let output = php.expect("php, which these tests need: tests/run installs it");
    let lines = String::from_utf8(output.stdout).expect("ASCII");
    assert_eq!(lines.lines().count(), SAMPLES.len(), "{lines}");
    for ((expression, bytes, _, truth), line) in SAMPLES.iter().zip(lines.lines()) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line, format!("{hex} {truth}"), "{expression}");
    }
}

#[test]
fn any_value_is_read_and_any_value_is_stepped_over() {
    for (expression, bytes, value, truth) in SAMPLES {
        assert_eq!(value.is_true(), *truth, "{expression}");
        let variables: &[(&str, &[u8])] = &[("before", b"b:1;"), ("it", bytes), ("after", b"s:3:\"end\";")];
        for data in [one_by_one(variables), in_one_array(variables)] {
            let found = look_up(&data, ["it", "after", "it", "none", "before"]);
            let [it, after, again, none, before] = found.unwrap_or_else(|_| panic!("{expression} is not read"));
            assert!(same(it.unwrap(), *value) && same(again.unwrap(), *value), "{expression}: {it:?}");
            assert_eq!((none, before), (None, Some(Value::Boolean(true))), "{expression}");
            assert_eq!(after, Some(Value::Text(b"end")), "{expression}");
        }
    }
}

/// All samples in one session, the deepest and the plain ones.
fn everything() -> Vec<(String, &'static [u8])> {
    SAMPLES.iter().enumerate().map(|(at, (_, bytes, ..))| (format!("v{at}"), *bytes)).collect()
}

#[test]
fn a_session_cut_off_anywhere_has_no_more_variables_than_came_whole() {
    let everything = everything();
    let variables: Vec<(&str, &[u8])> = everything.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let array = in_one_array(&variables);
    look_up(&array, []).expect("the whole is read");
    for end in 1..array.len() {
        assert_eq!(look_up(&array[..end], []), Err(Malformed), "the first {end} bytes");
    }
    // One by one, what ends where a variable does is whole.
    let mut borders = vec![0];
    borders.extend((1..=variables.len()).map(|count| one_by_one(&variables[..count]).len()));
    let session = one_by_one(&variables);
    for end in 0..=session.len() {
        let whole = borders.contains(&end);
        assert_eq!(look_up(&session[..end], []).is_ok(), whole, "the first {end} bytes");
    }
    assert_eq!(look_up(b"", ["it"]), Ok([None]), "a session without variables");
}

/// What a visitor may have had written into his session must never become its variables.
#[test]
fn a_string_in_half_an_array_is_not_read_as_variables() {
    let comment = "x|N;ok|b:1;";
    let whole = in_one_array(&[("comment", format!("s:{}:\"{comment}\";", comment.len()).as_bytes())]);
    assert_eq!(look_up(&whole, ["ok"]), Ok([None]));
    let end = whole.windows(comment.len()).position(|bytes| bytes == comment.as_bytes()).unwrap() + comment.len();
    assert_eq!(look_up(&whole[..end], ["ok"]), Err(Malformed));
}

#[test]
fn a_session_changed_anywhere_is_read_or_not_and_ends() {
    let everything = everything();
    let variables: Vec<(&str, &[u8])> = everything.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let mut read = 0;
    for data in [one_by_one(&variables), in_one_array(&variables)] {
        for at in 0..data.len() {
            for byte in [0, b'0', b'9', b':', b';', b'"', b'{', b'}', b'|', b'a', b'-', b'N', 0xff] {
                let mut changed = data.clone();
                changed[at] = byte;
                read += usize::from(look_up(&changed, ["v1"]).is_ok());
            }
        }
    }
    assert!(read > 1000, "most changes inside a string, or of a digit, leave it readable: {read}");
}

#[test]
fn announced_lengths_are_not_believed() {
    for value in [
        "s:5:\"kim\";",
        "s:2:\"kim\";",
        "s:18446744073709551615:\"kim\";",
        "s:99999999999999999999:\"kim\";",
        "s:-1:\"kim\";",
        "s:+3:\"kim\";",
        "s::\"kim\";",
        "s:3:'kim';",
        "s:3:\"kim\"",
        "a:2:{i:0;i:1;}",
        "a:0:{i:0;i:1;}",
        "a:4294967295:{i:0;i:1;}",
        "a:18446744073709551615:{}",
        "a:-1:{}",
        "a:1:{i:0;i:1;",
        "a:1:{i:0;}",
        "a:1:{N;i:1;}",
        "a:1:{b:1;i:1;}",
        "O:8:\"stdClass\":1:{}",
        "O:9:\"stdClass\":0:{}",
        "C:3:\"Old\":50:{a}",
        "C:3:\"Old\":18446744073709551615:{a}",
        "C:3:\"Old\":0:{a}",
        "E:99:\"Suit:Hearts\";",
        "i:9223372036854775808;",
        "i:;",
        "i:+-1;",
        "i:1 ;",
        "i: 1;",
        "b:2;",
        "b:true;",
        "d:;",
        "d:inf;",
        "d:nan;",
        "d:1.2.3;",
        "d:0x10;",
        "r:;",
        "R:-1;",
        "N",
        "n;",
        "S:3:\"kim\";",
        "x:1;",
        ";",
        "",
    ] {
        for data in [one_by_one(&[("it", value.as_bytes())]), in_one_array(&[("it", value.as_bytes())])] {
            assert_eq!(look_up(&data, ["it"]), Err(Malformed), "{value}");
        }
    }
}

#[test]
fn nesting_is_read_as_deep_as_php_reads_it_and_no_deeper() {
    let nested = |levels: usize| ["x|", &"a:1:{i:0;".repeat(levels), "N;", &"}".repeat(levels)].concat();
    assert_eq!(look_up(nested(4096).as_bytes(), ["x"]), Ok([Some(Value::Array(1))]));
    assert_eq!(look_up(nested(4097).as_bytes(), ["x"]), Err(Malformed));
    // As much as a file may hold, and nothing of it whole.
    let began = Instant::now();
    for piece in ["a:1:{i:0;", "O:1:\"P\":1:{i:0;", "x|", "a:", "s:1:\"", "a:9:{", "x|a:0:{}"] {
        let data = piece.repeat((1 << 20) / piece.len());
        let _ = look_up(data.as_bytes(), ["x"]);
        let _ = look_up(["x|", &data].concat().as_bytes(), ["x"]);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn names_are_what_php_makes_of_them() {
    // A key that is a number, an empty one, a name that comes twice.
    let data = b"a:3:{i:1;s:3:\"num\";s:0:\"\";s:5:\"empty\";s:2:\"ok\";b:1;}";
    let text = |text: &'static str| Some(Value::Text(text.as_bytes()));
    assert_eq!(look_up(data, ["1", "", "ok"]), Ok([text("num"), text("empty"), Some(Value::Boolean(true))]));
    assert_eq!(look_up(b"ok|b:1;ok|b:0;", ["ok"]), Ok([Some(Value::Boolean(false))]));
    assert_eq!(look_up(b"a:1:{s:2:\"ok\";b:1;}x", ["ok"]), Err(Malformed), "something behind the array");
    // A variable that a script has made the same as another.
    let found = look_up(b"one|i:1;two|R:1;o|O:8:\"stdClass\":0:{}o2|r:2;", ["two", "o2"]).unwrap();
    assert_eq!(found, [Some(Value::Reference), Some(Value::Object)]);
    assert_eq!(found.map(|value| value.unwrap().is_true()), [false, true]);
    // The format of php_binary, and of igbinary, are others.
    assert_eq!(look_up(b"\x02okb:1;", ["ok"]), Err(Malformed));
    assert_eq!(look_up(b"\0\0\0\x02\x14\x01\x11\x02ok\x05", ["ok"]), Err(Malformed));
}

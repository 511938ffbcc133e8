//! From when until when a certificate is valid: the one thing of it that rustls does not tell.
//!
//! It walks the DER of RFC 5280, section 4.1, as far as `validity`, and knows nothing of what else a certificate holds.

/// Seconds since 1970 from which and until which a certificate is valid; before 1970 is 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Validity {
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Validity {
    /// That of a certificate in DER. `None`: it is none.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (fields, _) = value(certificate, SEQUENCE)?;
        // The version is left out of certificates of version 1.
        let fields = value(fields, VERSION).map_or(fields, |(_, rest)| rest);
        let (_serial, fields) = value(fields, INTEGER)?;
        let (_signature, fields) = value(fields, SEQUENCE)?;
        let (_issuer, fields) = value(fields, SEQUENCE)?;
        let (validity, _) = value(fields, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT`.
const VERSION: u8 = 0xa0;

/// The value at the beginning of `der`, which has this tag, and what stands behind it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // Four bytes of length are more than any certificate needs.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (first == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from 2050 on (RFC 5280, section 4.1.2.5), and what stands behind it.
fn time(der: &[u8]) -> Option<(u64, &[u8])> {
    let (year, text, rest) = match value(der, UTC_TIME) {
        Some((text, rest)) => {
            let (year, text) = number(text, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text, rest)
        }
        None => {
            let (text, rest) = value(der, GENERALIZED_TIME)?;
            let (year, text) = number(text, 4)?;
            (year, text, rest)
        }
    };
    let (month, text) = number(text, 2)?;
    let (day, text) = number(text, 2)?;
    let (hour, text) = number(text, 2)?;
    let (minute, text) = number(text, 2)?;
    let (second, text) = number(text, 2)?;
    let is_time = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_time || text != b"Z" {
        return None;
    }
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some((u64::try_from(seconds).unwrap_or(0), rest))
}

/// The number that the first `digits` characters are.
fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let all = digits.iter().all(u8::is_ascii_digit);
    all.then(|| (digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')), rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end, and months whose days before them are a line.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
        - 719_469
}

/// The date of a moment in seconds since 1970, as `2026-08-24`.
pub(super) fn date(seconds: u64) -> String {
    let day = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
    // Off by one at most, so that two steps find it.
    let mut year = 1970 + day * 400 / 146_097;
    while days(year + 1, 1, 1) <= day {
        year += 1;
    }
    while days(year, 1, 1) > day {
        year -= 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (year, month, day, expected) in [
            (1970, 1, 1, 0),
            (1969, 12, 31, -1),
            (1970, 3, 1, 59),
            (1972, 2, 29, 789),
            (2000, 2, 29, 11_016),
            (2000, 3, 1, 11_017),
            (2100, 3, 1, 47_541),
            (2026, 8, 24, 20_689),
        ] {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
            if expected >= 0 {
                assert_eq!(date(expected.cast_unsigned() * 86_400 + 86_399), format!("{year}-{month:02}-{day:02}"));
            }
        }
        for day in 0..80_000 {
            assert_eq!(date(day * 86_400).len(), 10);
        }
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let read = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend_from_slice(text.as_bytes());
            time(&der).map(|(seconds, _)| seconds)
        };
        assert_eq!(read(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(read(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(read(UTC_TIME, "500101000000Z"), Some(0), "1950");
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(read(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for text in ["7001010000Z", "700101000000", "700101000000+0100", "701301000000Z", "7001010000 0Z", ""] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_found_and_of_a_piece_of_one_is_not() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (until, expected) in
            [(rcgen::date_time_ymd(2031, 2, 3), 1_927_843_200), (rcgen::date_time_ymd(2060, 1, 1), 2_840_140_800)]
        {
            let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = until;
            let certificate = parameters.self_signed(&key).unwrap();
            let der = certificate.der();
            assert_eq!(Validity::of(der), Some(Validity { from: 1_577_836_800, until: expected }));
            for end in 0..der.len() {
                assert_eq!(Validity::of(&der[..end]), None, "the first {end} bytes");
            }
            for at in 0..der.len().min(200) {
                let mut changed = der.to_vec();
                changed[at] ^= 0x80;
                // Whatever it says, it says it.
                let _ = Validity::of(&changed);
            }
        }
    }
}

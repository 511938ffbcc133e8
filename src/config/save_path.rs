//! Where PHP keeps its sessions, written as PHP's own `session.save_path` is: `/folder`, `N;/folder` or `N;MODE;/folder`.

use std::path::PathBuf;

use super::report::Mismatch;
use super::values::{Value, digits};

/// More levels than anyone has made folders for: 64 to the power of it.
const MAX_LEVELS: u64 = 8;

/// The folder of PHP's session files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SavePath {
    /// The folder itself.
    pub folder: PathBuf,
    /// How many levels of folders are in it, each named by the next character of a session's id; 0 to 8. The files are
    /// in the last.
    pub levels: usize,
}

/// Reads what `ssp` takes: where a number and a `;` stand in front, PHP's form, else a folder. The mode is for files that
/// PHP makes; here it means nothing.
pub(super) fn read(value: &Value<'_>) -> Result<Option<SavePath>, Mismatch> {
    const EXPECTED: &str = "a folder, or as PHP has it N;/folder or N;MODE;/folder, with N from 0 to 8";
    let text = value.text();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Mismatch::value(text, EXPECTED);
    let (levels, folder) = match text.split_once(';') {
        Some((levels, rest)) if levels.bytes().all(|byte| byte.is_ascii_digit()) && !levels.is_empty() => {
            let is_mode = |mode: &str| !mode.is_empty() && mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            let folder = rest.split_once(';').filter(|(mode, _)| is_mode(mode)).map_or(rest, |(_, folder)| folder);
            let levels = digits(levels).filter(|levels| *levels <= MAX_LEVELS).ok_or_else(wrong)?;
            (usize::try_from(levels).map_err(|_| wrong())?, folder)
        }
        _ => (0, text),
    };
    if folder.is_empty() {
        return Err(wrong());
    }
    Ok(Some(SavePath { folder: PathBuf::from(folder), levels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_php() {
        let path = |folder: &str, levels| SavePath { folder: PathBuf::from(folder), levels };
        for (text, expected) in [
            ("/var/lib/php/sessions", path("/var/lib/php/sessions", 0)),
            ("sessions", path("sessions", 0)),
            ("0;/s", path("/s", 0)),
            ("2;/s", path("/s", 2)),
            ("8;0640;/s", path("/s", 8)),
            ("1;600;/s;t", path("/s;t", 1)),
            ("1;/s;t", path("/s;t", 1)),
            ("D:/web#sock;.log", path("D:/web#sock;.log", 0)),
            (";/s", path(";/s", 0)),
        ] {
            assert_eq!(read(&Value::new(text)).unwrap(), Some(expected), "{text}");
        }
        assert_eq!(read(&Value::new("")).unwrap(), None);
        for text in ["2;", "9;/s", "99999999999999999999;/s", "1;600;"] {
            let error = read(&Value::new(text)).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("N;/folder"), "{error}");
        }
    }
}

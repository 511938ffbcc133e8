//! The folder of PHP's session files: opens one, looks what it is, and reads it. Nothing is ever locked or written.
//!
//! The name of the file comes from a browser's cookie, so a [`SessionId`] can't hold a character that means anything
//! in a path. Links are not followed below the folder, and what is no plain file is not read. To open one never waits: a
//! FIFO has an end that nobody may ever open.
//!
//! The folder itself is opened only to look names up in (`O_PATH`), which takes no permission to list it: Debian's
//! `/var/lib/php/sessions` gives that to nobody.

use std::borrow::Cow;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::{Errno, retry_on_intr};

use super::Denial;
use crate::config::SavePath;

/// Most bytes of a session file that are read; PHP reads as many as its memory takes, sessions have a few thousand.
const MAX_FILE: usize = 1 << 20;

/// The longest id that PHP takes.
const MAX_ID: usize = 256;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The id of a session in the characters that PHP makes one of: letters, digits, comma and minus, 1 to 256 of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionId<'a>(Cow<'a, str>);

impl<'a> SessionId<'a> {
    /// The id in a cookie's value. PHP percent-encodes what it sets (a comma comes as `%2C`) and decodes what comes.
    pub fn from_cookie(value: &'a [u8]) -> Option<Self> {
        let id = if value.contains(&b'%') {
            Cow::Owned(String::from_utf8(decoded(value)?).ok()?)
        } else {
            Cow::Borrowed(std::str::from_utf8(value).ok()?)
        };
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b',' | b'-');
        ((1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_fit)).then_some(Self(id))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `%XX` as the byte it stands for.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = value.iter().copied();
    let mut out = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { digit(bytes.next()?)? << 4 | digit(bytes.next()?)? } else { byte });
    }
    Some(out)
}

/// Whether sessions can be looked up in the folder at all.
pub(super) fn check(path: &SavePath) -> Result<(), Errno> {
    open(&path.folder, DIRECTORY, Mode::empty()).map(drop)
}

/// All that is in a session's file now.
pub(super) fn read(path: &SavePath, id: &SessionId<'_>) -> Result<Vec<u8>, Denial> {
    let file = open_file(path, id)?;
    let about = fstat(&file).map_err(Denial::of_file)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(Denial::NoPlainFile);
    }
    let size = usize::try_from(about.st_size).unwrap_or(usize::MAX);
    if size > MAX_FILE {
        return Err(Denial::TooLarge);
    }
    // One more, so that it shows where the file has grown meanwhile: then it is being written.
    let mut data = vec![0; size + 1];
    let mut filled = 0;
    while filled < data.len() {
        match retry_on_intr(|| rustix::io::read(&file, &mut data[filled..])).map_err(Denial::of_file)? {
            0 => break,
            read => filled += read,
        }
    }
    if filled > size {
        return Err(Denial::Malformed);
    }
    data.truncate(filled);
    Ok(data)
}

fn open_file(path: &SavePath, id: &SessionId<'_>) -> Result<OwnedFd, Denial> {
    let id = id.as_str();
    let mut folder = open(&path.folder, DIRECTORY, Mode::empty()).map_err(Denial::of_folder)?;
    for level in 0..path.levels {
        // As in PHP, an id must be longer than there are levels.
        let name = id.get(level..=level).filter(|_| id.len() > path.levels).ok_or(Denial::NoSession)?;
        folder = openat(&folder, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(Denial::of_file)?;
    }
    openat(&folder, format!("sess_{id}"), FILE, Mode::empty()).map_err(Denial::of_file)
}

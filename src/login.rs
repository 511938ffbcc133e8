//! Login by PHP session (`[jsauth]`): whether the session that a browser's cookie names is one that somebody has logged
//! in with, and who.
//!
//! The site's own PHP does the login and keeps the session in a file. This reads the file when a browser connects, and
//! at no other time: who logs out later stays connected. In reading order: `folder` finds the file of a session and
//! reads it, `session` knows its two formats, `serialized` the format of the values in it.
//!
//! It refuses to know sockets, clients, and what being logged in permits. A session's id is as good as a password, so none
//! is ever logged.
//!
//! Reading is part of the loop's turn: seven system calls, which on a local disk take some microseconds, and a pass over
//! at most 1 MiB.

pub mod session;

mod folder;
mod serialized;

use std::borrow::Cow;
use std::fmt;

use log::warn;
use rustix::io::Errno;

use crate::config::{Config, SessionLogin};
use crate::proto::cookie;
use crate::proto::http::Request;

pub use folder::SessionId;
pub use serialized::{Malformed, Value};

/// Longest name of a user in bytes.
pub const MAX_USER: usize = 256;

/// Who is logged in by the session that the request's cookie names, as the variable `user` says; `None` where that names
/// nobody, or where no session is asked for.
///
/// # Errors
///
/// A session is asked for, and this request has none that will do.
pub fn check(set: &SessionLogin, request: &Request<'_>) -> Result<Option<Box<str>>, Denial> {
    if !set.require {
        return Ok(None);
    }
    // The configuration has been checked: where a session is required, there is a folder.
    let path = set.save_path.as_ref().ok_or(Denial::NoFolder)?;
    let cookie = cookie::find(request, &set.cookie_name).ok_or(Denial::NoCookie)?;
    let id = SessionId::from_cookie(cookie).ok_or(Denial::NoId)?;
    // PHP writes a session that has become shorter by emptying the file first, and whoever comes just then is refused. A
    // second look at once finds it no better: emptying waits for the disk, for up to some milliseconds.
    let data = folder::read(path, &id)?;
    let [key, user] = session::look_up(&data, [&set.key, &set.user]).map_err(|Malformed| Denial::Malformed)?;
    // PHP can have a variable without a name, which is not the one that isn't configured.
    let user = user.filter(|_| !set.user.is_empty());
    if key.is_some_and(|value| value.is_true()) { Ok(user.and_then(name)) } else { Err(Denial::NotLoggedIn) }
}

/// A user's name: an integer, or a string that is fit to be shown. Anything else names nobody.
fn name(value: Value<'_>) -> Option<Box<str>> {
    let name = match value {
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Text(text) => Cow::Borrowed(std::str::from_utf8(text).ok()?),
        _ => return None,
    };
    (1..=MAX_USER).contains(&name.len()).then(|| name.into())
}

/// What an administrator is to be told before the first browser is: that the folder of the sessions can't be opened, and
/// that nothing keeps pages of other sites from connecting with a visitor's session.
pub fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let set = &config.session_login;
    if !set.require {
        return problems;
    }
    if let Some(path) = &set.save_path
        && let Err(error) = folder::check(path)
    {
        let folder = path.folder.display();
        problems.push(format!(
            "no browser can connect: [jsauth] ssp, the folder of PHP's sessions, can't be opened: {folder}: {error}"
        ));
    }
    // A browser sends the cookie along whatever page connects (RFC 6455, section 10.2).
    if config.access.allowed_origins.is_empty() {
        let risk = "pages of any site can connect with the session of whoever visits them";
        problems.push(format!("[jsauth] require without [access] allowedOrigins: {risk}"));
    }
    problems
}

/// Why a browser is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// It sent no cookie of the name that is configured.
    NoCookie,
    /// The cookie holds what PHP would take for no id either.
    NoId,
    /// There is no file of that session.
    NoSession,
    /// The session's variable is not there, or not true.
    NotLoggedIn,
    /// The folder is not there.
    NoFolder,
    /// The server may not look names up in the folder.
    FolderForbidden,
    /// The folder can't be opened for another reason.
    FolderFailed,
    /// The server may not read the file, or not enter a folder on the way.
    FileForbidden,
    /// A link, a folder, a FIFO, a device.
    NoPlainFile,
    /// The file has more than 1 MiB.
    TooLarge,
    /// The file is in neither format, or cut off.
    Malformed,
    /// The file can't be read for another reason: descriptors have run out, or the disk is broken.
    FileFailed,
}

impl Denial {
    fn of_folder(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR => Self::NoFolder,
            Errno::ACCESS | Errno::PERM => Self::FolderForbidden,
            _ => {
                warn!("the folder of PHP's sessions can't be opened: {error}");
                Self::FolderFailed
            }
        }
    }

    fn of_file(error: Errno) -> Self {
        match error {
            // Too long a name for a file is an id that PHP has never had a file for.
            Errno::NOENT | Errno::NAMETOOLONG => Self::NoSession,
            Errno::ACCESS | Errno::PERM => Self::FileForbidden,
            // What a link comes to that isn't followed, a link or a file where a folder should be, and a UNIX socket.
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => Self::NoPlainFile,
            _ => {
                warn!("a session's file can't be read: {error}");
                Self::FileFailed
            }
        }
    }

    /// One sentence for whoever tried to connect, and for the log.
    pub const fn why(self) -> &'static str {
        match self {
            Self::NoCookie => "no session cookie came along: log in first",
            Self::NoId => "the session cookie holds no session id",
            Self::NoSession => "there is no such session: log in first",
            Self::NotLoggedIn => "nobody is logged in by this session",
            Self::NoFolder => "sessions can't be read: their folder (ssp) is not there",
            Self::FolderForbidden => "sessions can't be read: the server may not enter their folder (ssp)",
            Self::FolderFailed => "sessions can't be read: their folder (ssp) can't be opened",
            Self::FileForbidden => "the session can't be read: the server may not read its file",
            Self::NoPlainFile => "the session can't be read: there is something else in place of its file",
            Self::TooLarge => "the session can't be read: its file has more than 1 MiB",
            Self::Malformed => "the session can't be read: its file is not, or not wholly, in PHP's format",
            Self::FileFailed => "the session can't be read: the system gave an error",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

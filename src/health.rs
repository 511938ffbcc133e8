//! `websock --health`: asks a running server how it is, for whoever has nothing else to ask with: a container that holds
//! one file. A client like any other, with a time limit on everything.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::time::Instant;

use crate::config::Config;
use crate::send::{PATIENCE, connect};

/// As much of an answer as is looked at.
const MOST: usize = 1024;

/// Why a server is not taken for healthy.
#[derive(Debug)]
pub enum HealthError {
    /// Every address speaks TLS.
    OnlySecure,
    /// Nobody answers, or not in time.
    Silent(String, io::Error),
    /// The line that it answers with.
    Unwell(String, String),
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlySecure => f.write_str("every address speaks TLS, which --health does not"),
            Self::Silent(address, error) => write!(f, "{address} does not answer: {error}"),
            Self::Unwell(address, line) => write!(f, "{address} answers {line:?}"),
        }
    }
}

impl std::error::Error for HealthError {}

/// Asks the first address of `config` that speaks without TLS for `/healthz`; everything but a `200` is an error.
pub fn ask(config: &Config) -> Result<(), HealthError> {
    let listen = config.listen.iter().find(|listen| !listen.is_secure()).ok_or(HealthError::OnlySecure)?;
    let silent = |error| HealthError::Silent(listen.to_string(), error);
    let until = Instant::now() + PATIENCE;
    let mut stream = connect(listen).map_err(silent)?;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUser-Agent: websock\r\nConnection: close\r\n\r\n")
        .map_err(silent)?;
    let mut answer = Vec::new();
    let mut buffer = [0; MOST];
    let line = loop {
        if let Some(end) = answer.windows(2).position(|bytes| bytes == b"\r\n") {
            break &answer[..end];
        }
        // The stream's own limit is for each read, and one that says a byte now and then keeps within it.
        if Instant::now() > until {
            return Err(silent(io::ErrorKind::TimedOut.into()));
        }
        let read = stream.read(&mut buffer).map_err(silent)?;
        answer.extend_from_slice(&buffer[..read]);
        if read == 0 || answer.len() > MOST {
            break &answer[..];
        }
    };
    let line = String::from_utf8_lossy(line).into_owned();
    if line.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(HealthError::Unwell(listen.to_string(), line)) }
}

//! `websock why UUID|MESSAGE-ID`: asks a running server why somebody did not get something, and prints what it knows, a
//! line an event. A client like any other: it makes a call of the control API (`relay/why`), with a time limit.

use std::fmt::{self, Write as _};
use std::io::{self, Read as _, Write};
use std::time::Instant;

use serde_json::{Value, json};

use crate::config::{Config, ListenAddress};
use crate::id::MessageId;
use crate::send::{PATIENCE, connect};

/// As much of an answer as is read: a recorder of the usual size has less to say.
const MOST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug)]
pub enum WhyError {
    /// Every address speaks TLS.
    OnlySecure,
    /// Nobody answers, or not in time.
    Silent(String, io::Error),
    /// It answers with something else than what the API does.
    Strange(String),
    /// The server's own words: nothing is known, or the call is not allowed.
    Refused(String),
    /// It can't be printed.
    Local(io::Error),
}

impl fmt::Display for WhyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlySecure => f.write_str("every address speaks TLS, which why does not"),
            Self::Silent(address, error) => write!(f, "{address} does not answer: {error}"),
            Self::Strange(address) => write!(f, "{address} answers, and is no websock"),
            Self::Refused(why) => f.write_str(why),
            Self::Local(error) => write!(f, "can't write: {error}"),
        }
    }
}

impl std::error::Error for WhyError {}

/// Asks the first address of `config` that speaks without TLS, with the first key there is, and prints the answer to `out`.
pub fn run(config: &Config, subject: &str, out: &mut impl Write) -> Result<(), WhyError> {
    let listen = config.listen.iter().find(|listen| !listen.is_secure()).ok_or(WhyError::OnlySecure)?;
    let question = match MessageId::parse(subject) {
        Some(_) => json!({ "id": subject }),
        None => json!({ "uuid": subject }),
    };
    let key = config.api.keys.first().map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let answer =
        ask(listen, &key, &question.to_string()).map_err(|error| WhyError::Silent(listen.to_string(), error))?;
    let strange = || WhyError::Strange(listen.to_string());
    let start = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(strange)?;
    let said: Value = serde_json::from_slice(&answer[start + 4..]).map_err(|_| strange())?;
    match (&said["result"], said["error"].as_str()) {
        (_, Some(error)) => Err(WhyError::Refused(printable(error))),
        (history, None) if history["events"].is_array() => print(history, out).map_err(WhyError::Local),
        _ => Err(strange()),
    }
}

fn ask(listen: &ListenAddress, key: &str, question: &str) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut stream = connect(listen)?;
    let head = format!(
        "POST /api/relay/why HTTP/1.1\r\nHost: localhost\r\nUser-Agent: websock\r\n{key}Connection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(format!("{head}{question}").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&buffer[..read]),
        }
        if answer.len() > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The stream's own limit is for each read, and one that says a byte now and then keeps within it.
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn print(history: &Value, out: &mut impl Write) -> io::Result<()> {
    match (history["uuid"].as_str(), history["connected"].as_bool()) {
        (Some(uuid), Some(true)) => writeln!(out, "{uuid} is connected")?,
        (Some(uuid), _) => writeln!(out, "{uuid} is not connected")?,
        (None, _) => writeln!(out, "message {}", history["id"].as_str().unwrap_or_default())?,
    }
    if let Some(earlier) = history["earlier"].as_u64() {
        writeln!(out, "({earlier} earlier events are left out)")?;
    }
    for event in history["events"].as_array().into_iter().flatten() {
        writeln!(out, "{}  {}", time(&event["at"]), printable(&sentence(event)))?;
    }
    if history["since"].is_number() {
        writeln!(out, "(what happened before {} is not remembered)", time(&history["since"]))?;
    }
    Ok(())
}

/// As the log writes it: UTC, to the millisecond.
fn time(at: &Value) -> String {
    let millis = at.as_f64().map_or(0.0, |at| (at * 1000.0).round());
    // Nobody's clock is so wrong that it does not fit.
    #[expect(clippy::cast_possible_truncation, reason = "a float is cut to what fits")]
    let at = jiff::Timestamp::from_millisecond(millis as i64).unwrap_or_default();
    format!("{at:.3}")
}

/// A text that a terminal shows as it is: much of what is told here are the words of a peer.
fn printable(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// An event in words, what concerns it behind them.
fn sentence(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let mut said = match text("event") {
        "opened" => format!("opened by a {} at {} on {}", text("type"), text("address"), text("path")),
        "closed" => text("why").to_owned(),
        "handed" if !text("uuid").is_empty() => format!("handed to {}, {}", text("uuid"), text("fate")),
        "handed" => format!("was handed {} {}, {}", text("what"), text("id"), text("fate")),
        "pushed" if text("from").is_empty() => format!("pushed {} {}", text("what"), text("id")),
        "pushed" => format!("{} pushed by {}", text("what"), text("from")),
        "dropped" => format!("not handed {} {}: {}", text("what"), text("id"), text("why")),
        "not connected" if text("what").is_empty() => {
            let whom =
                if text("uuid").is_empty() { format!("ident {:?}", text("ident")) } else { text("uuid").to_owned() };
            return format!("{whom} was not connected");
        }
        "not connected" => format!("was not connected when {} {} came", text("what"), text("id")),
        "acknowledged" if !text("uuid").is_empty() => format!("confirmed by {}", text("uuid")),
        "acknowledged" => format!("confirmed {}", text("id")),
        other => [other, " ", text("id")].concat(),
    };
    if let Some(clients) = event["clients"].as_u64() {
        let _ = write!(said, ", to {clients} clients");
    }
    if text("event") != "pushed" && !text("from").is_empty() {
        let _ = write!(said, ", from {}", text("from"));
    }
    if let Some(bytes) = event["bytes"].as_u64() {
        let _ = write!(said, ", {bytes} bytes");
    }
    for name in ["ident", "origin"] {
        if !text(name).is_empty() {
            let _ = write!(said, ", {name} {:?}", text(name));
        }
    }
    match event["outstanding"].as_u64() {
        Some(0) | None => {}
        Some(bytes) => {
            let _ = write!(said, "; {bytes} bytes had not been received");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_like_sentences() {
        let mut out = Vec::new();
        let history = json!({
            "uuid": "U",
            "connected": false,
            "since": 1_700_000_000.0,
            "events": [
                {"at": 1_700_000_000.5, "event": "opened", "type": "browser", "address": "192.0.2.1:5", "path": "/web",
                 "origin": "https://a.example"},
                {"at": 1_700_000_001.0, "event": "handed", "id": "M", "what": "feedback", "from": "backend", "bytes": 60,
                 "fate": "lost"},
                {"at": 1_700_000_002.25, "event": "closed", "why": "the client vanished\n\u{1b}[2J", "outstanding": 60},
                {"at": 1_700_000_003.0, "event": "not connected", "id": "N", "what": "feedback", "from": "backend"},
            ],
        });
        print(&history, &mut out).unwrap();
        let missed = |whom: &str| sentence(&json!({"event": "not connected", "id": "N", whom: "W"}));
        assert_eq!(
            (missed("uuid"), missed("ident")),
            ("W was not connected".into(), "ident \"W\" was not connected".into())
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "U is not connected\n\
             2023-11-14T22:13:20.500Z  opened by a browser at 192.0.2.1:5 on /web, origin \"https://a.example\"\n\
             2023-11-14T22:13:21.000Z  was handed feedback M, lost, from backend, 60 bytes\n\
             2023-11-14T22:13:22.250Z  the client vanished\\n\\u{1b}[2J; 60 bytes had not been received\n\
             2023-11-14T22:13:23.000Z  was not connected when feedback N came, from backend\n\
             (what happened before 2023-11-14T22:13:20.000Z is not remembered)\n"
        );
    }
}

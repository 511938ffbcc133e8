//! `websock send`: a script for people at a shell. It connects as any script does, sends, and says how many got it.
//!
//! It is plain blocking code with a time limit on everything, and a client of the relay like any other: it knows
//! nothing of the server's inside but the frames they share.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::{Message, Recipient, SPEAKS_NO_TLS, SendArgs};
use crate::config::{Config, ListenAddress, TcpAddress};
use crate::net::server::random;
use crate::proto::frame::{self, Header, Opcode, Sender};
use crate::proto::handshake::accept_value;

/// How long connecting may take, and how long each answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Longest head, and longest message, that a server may answer with.
const MOST: usize = 1 << 20;

/// Why a message could not be sent.
#[derive(Debug)]
pub enum SendError {
    /// The server can't be reached, or went away.
    Connect(String, io::Error),
    /// The server listens with TLS alone, which is not spoken here.
    Secure(String),
    /// The server doesn't want us, in its words.
    Refused(String),
    /// The server answers as a relay doesn't.
    Strange(&'static str),
    /// What was to be sent is not JSON, although it was said to be.
    NotJson(serde_json::Error),
    /// Standard input can't be read, or standard output not be written.
    Local(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(address, error) if is_timeout(error) => write!(f, "{address} does not answer"),
            Self::Connect(address, error) => write!(f, "can't talk to {address}: {error}"),
            Self::Secure(address) => write!(f, "can't talk to {address}: {SPEAKS_NO_TLS}"),
            Self::Refused(why) => write!(f, "the server refused: {why}"),
            Self::Strange(what) => write!(f, "this is no relay: {what}"),
            Self::NotJson(error) => write!(f, "the message is not JSON: {error}"),
            Self::Local(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SendError {}

/// Sends what `args` say to the server of `config`, and writes a line about each message to `out`.
///
/// Gives whether every message was handed to somebody.
pub fn run(args: &SendArgs, config: &Config, input: impl BufRead, out: &mut impl Write) -> Result<bool, SendError> {
    let mut connection = Connection::open(config)?;
    let mut send = |connection: &mut Connection, text: &str| -> Result<bool, SendError> {
        let delivered = connection.send(&packet(&args.to, text, args.json)?)?;
        writeln!(out, "delivered to {delivered}").map_err(SendError::Local)?;
        Ok(delivered > 0)
    };
    let mut all = true;
    match &args.message {
        Message::Text(text) => all = send(&mut connection, text)?,
        Message::Lines => {
            for line in input.lines() {
                all &= send(&mut connection, &line.map_err(SendError::Local)?)?;
            }
        }
    }
    connection.close();
    Ok(all)
}

/// The relay's message for a recipient. `json`: `text` is sent as the JSON that it is.
fn packet(to: &Recipient, text: &str, json: bool) -> Result<String, SendError> {
    let quoted = serde_json::Value::from(text).to_string();
    let message =
        if json { serde_json::from_str::<&RawValue>(text).map_err(SendError::NotJson)?.get() } else { &quoted };
    Ok(match to {
        Recipient::Broadcast => format!(r#"{{"opcode":"broadcast","message":{message}}}"#),
        Recipient::Uuid(uuid) => {
            let uuid = serde_json::Value::from(uuid.as_str());
            format!(r#"{{"opcode":"feedback","uuid":{uuid},"message":{message}}}"#)
        }
        Recipient::Ident(ident) => {
            let ident = serde_json::Value::from(ident.as_str());
            format!(r#"{{"opcode":"feedback","ident":{ident},"message":{message}}}"#)
        }
    })
}

/// What the relay says to a script.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    opcode: String,
    #[serde(default)]
    delivered: Option<u64>,
    #[serde(default)]
    error: Option<String>,
}

/// What it may go over.
pub(crate) trait Stream: Read + Write {}

impl Stream for TcpStream {}
impl Stream for UnixStream {}

/// A script's connection.
struct Connection {
    stream: Box<dyn Stream>,
    address: String,
    /// What came and was not used yet.
    input: Vec<u8>,
}

impl Connection {
    fn open(config: &Config) -> Result<Self, SendError> {
        let path = config.resources.iter().filter(|row| row.handler == "relay").map(|row| row.path.as_str());
        let path = path.clone().find(|path| *path == "/php").or_else(|| path.clone().next());
        let path = path.ok_or(SendError::Strange("its INI file has no resource with the handler relay"))?;
        let listen = config.listen.iter().find(|listen| !listen.is_secure()).or_else(|| config.listen.first());
        let listen = listen.ok_or(SendError::Strange("its INI file has no address"))?;
        if listen.is_secure() {
            return Err(SendError::Secure(listen.to_string()));
        }
        let stream = connect(listen).map_err(|error| SendError::Connect(listen.to_string(), error))?;
        let mut connection = Self { stream, address: listen.to_string(), input: Vec::new() };
        connection.shake_hands(listen, path)?;
        let greeting = connection.reply()?;
        match greeting.opcode.as_str() {
            "ready" => Ok(connection),
            "close" => Err(SendError::Refused(greeting.error.unwrap_or_default())),
            _ => Err(SendError::Strange("it does not greet")),
        }
    }

    fn shake_hands(&mut self, listen: &ListenAddress, path: &str) -> Result<(), SendError> {
        let mut key = [0; 16];
        random(&mut key);
        let key = STANDARD.encode(key);
        let host = match listen {
            ListenAddress::Tcp(TcpAddress { host, port, .. }) if host.contains(':') => format!("[{host}]:{port}"),
            ListenAddress::Tcp(TcpAddress { host, port, .. }) => format!("{host}:{port}"),
            ListenAddress::Unix(_) => "localhost".to_owned(),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: websock.v1\r\n\
             Client-Type: php\r\n\r\n"
        );
        self.write(request.as_bytes())?;
        let end = loop {
            if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more()?;
        };
        let head = String::from_utf8_lossy(&self.input[..end]).into_owned();
        self.input.drain(..end);
        let status = head.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, status)| status);
        if !status.starts_with("101") {
            // The sentence that says why follows, as far as it has come.
            let why = String::from_utf8_lossy(&self.input);
            let why = why.trim();
            return Err(SendError::Refused(if why.is_empty() {
                status.to_owned()
            } else {
                format!("{status}: {why}")
            }));
        }
        let accept = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim())
        });
        if accept != Some(accept_value(&key).as_str()) {
            return Err(SendError::Strange("its handshake is not an answer to ours"));
        }
        Ok(())
    }

    /// Sends a message and waits for its acknowledgement: how many connections it was handed to.
    fn send(&mut self, text: &str) -> Result<u64, SendError> {
        let mut key = [0; 4];
        random(&mut key);
        let mut out = Vec::with_capacity(text.len() + frame::MAX_HEADER);
        frame::write_masked_frame(&mut out, Opcode::Text, text.as_bytes(), key);
        self.write(&out)?;
        loop {
            let reply = self.reply()?;
            if reply.opcode == "next" {
                return Ok(reply.delivered.unwrap_or(0));
            }
        }
    }

    /// The next message from the server.
    fn reply(&mut self) -> Result<Reply, SendError> {
        loop {
            let header = loop {
                match Header::parse(&self.input, Sender::Server) {
                    Err(_) => return Err(SendError::Strange("it sends broken frames")),
                    Ok(Some(header)) => break header,
                    Ok(None) => self.read_more()?,
                }
            };
            let length = usize::try_from(header.length).unwrap_or(usize::MAX);
            if length > MOST {
                return Err(SendError::Strange("it sends more than 1 MiB"));
            }
            while self.input.len() < header.size + length {
                self.read_more()?;
            }
            let payload: Vec<u8> = self.input.drain(..header.size + length).skip(header.size).collect();
            match header.opcode {
                Opcode::Text => {
                    return serde_json::from_slice(&payload).map_err(|_| SendError::Strange("it does not send JSON"));
                }
                Opcode::Close => {
                    let why = payload.get(2..).map(String::from_utf8_lossy).unwrap_or_default();
                    return Err(SendError::Refused(format!("it closed the connection: {why}")));
                }
                _ => {}
            }
        }
    }

    /// Leaves in peace; whether the server hears it makes no difference.
    fn close(mut self) {
        let mut out = Vec::new();
        frame::write_masked_frame(&mut out, Opcode::Close, &frame::CloseCode::NORMAL.get().to_be_bytes(), [0; 4]);
        if self.write(&out).is_ok() {
            while self.read_more().is_ok() {}
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.stream.write_all(bytes).map_err(|error| SendError::Connect(self.address.clone(), error))
    }

    fn read_more(&mut self) -> Result<(), SendError> {
        let mut buffer = [0; 8192];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(read),
            Err(error) => Err(error),
        };
        let read = read.map_err(|error| SendError::Connect(self.address.clone(), error))?;
        self.input.extend_from_slice(&buffer[..read]);
        if self.input.len() > 2 * MOST {
            return Err(SendError::Strange("it sends without end"));
        }
        Ok(())
    }
}

/// Connects to `listen`: for a host, to the first of its addresses that takes us.
pub(crate) fn connect(listen: &ListenAddress) -> io::Result<Box<dyn Stream>> {
    let listen = match listen {
        ListenAddress::Tcp(address) => address,
        ListenAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Box::new(stream));
        }
    };
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    let until = Instant::now() + PATIENCE;
    for address in listen.resolve()? {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&reachable(address), left) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(Box::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where to find a server that listens on `address`: a wildcard is this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_as_text_and_json_as_it_is() {
        let uuid = Recipient::Uuid("u".to_owned());
        assert_eq!(
            packet(&uuid, "40 \"%\"", false).unwrap(),
            r#"{"opcode":"feedback","uuid":"u","message":"40 \"%\""}"#
        );
        assert_eq!(
            packet(&Recipient::Broadcast, r#" {"a": 1} "#, true).unwrap(),
            r#"{"opcode":"broadcast","message":{"a": 1}}"#
        );
        assert_eq!(
            packet(&Recipient::Ident("a\"b".to_owned()), "x", false).unwrap(),
            r#"{"opcode":"feedback","ident":"a\"b","message":"x"}"#
        );
        assert!(packet(&uuid, "{", true).is_err());
    }

    #[test]
    fn a_wildcard_is_reached_on_this_machine() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()), "10.0.0.1:1".parse().unwrap());
    }
}

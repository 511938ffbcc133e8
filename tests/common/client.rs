//! A client of the server that speaks bytes.
//!
//! Nothing of the crate is used here: frames and requests are written and read by code of their own, so that a mistake
//! in the server's is not made twice. Every read has a deadline.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::stream::Stream;
use super::{PATIENCE, Server, wait_until};

/// What a message is acknowledged with that was not for anybody.
pub(crate) const NEXT: &str = r#"{"opcode":"next","fyi":""}"#;
pub(crate) const NEXT_0: &str = r#"{"opcode":"next","fyi":"","delivered":0}"#;
pub(crate) const NEXT_1: &str = r#"{"opcode":"next","fyi":"","delivered":1}"#;

/// The answer to [`upgrade`], to the byte (RFC 6455, section 1.3 has the key and what it is answered with).
pub(crate) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                                   Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The fields of a script that reads as the original PHP client does.
pub(crate) const OLD_SCRIPT: &str = "Client-Type: php\r\n";
/// The fields of a script that parses streams properly.
pub(crate) const SCRIPT: &str = "Client-Type: php\r\nSec-WebSocket-Protocol: websock.v1\r\n";

/// The first byte of a whole text.
pub(crate) const TEXT: u8 = 0x81;
/// The first byte of a whole binary message.
pub(crate) const BINARY: u8 = 0x82;
/// The first byte of a Close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// The first byte of a Ping.
pub(crate) const PING: u8 = 0x89;
/// The first byte of a Pong.
pub(crate) const PONG: u8 = 0x8a;

/// The mask of every frame sent here (RFC 6455, section 5.7 uses it as well).
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// From here on a payload is sent with a mask of zeros: a debug build takes a while to change millions of bytes.
const HUGE: usize = 1 << 20;

// --- Requests and frames --------------------------------------------------------------------------------------------

/// A good upgrade request with `fields`, each of them a line with its CRLF, behind those that it needs.
pub(crate) fn upgrade(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// A frame as a client sends it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_header(first, 0x80, payload.len());
    if payload.len() >= HUGE {
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
    } else {
        frame.extend_from_slice(&MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
    frame
}

/// A text as a client sends it.
pub(crate) fn masked_text(text: &str) -> Vec<u8> {
    masked(TEXT, text.as_bytes())
}

/// A frame as the server sends it.
pub(crate) fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_header(first, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The header of a frame of which no more is sent.
pub(crate) fn masked_header(first: u8, length: u64) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&MASK);
    frame
}

fn frame_header(first: u8, mask: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(mask | u8::try_from(length).expect("a short length")),
        126..=0xffff => {
            header.push(mask | 126);
            header.extend_from_slice(&u16::try_from(length).expect("a medium length").to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

/// A frame from the server.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// What is said in a text.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.first, TEXT, "{:?}", self.payload.escape_ascii().to_string());
        std::str::from_utf8(&self.payload).expect("UTF-8")
    }
}

// --- The client -----------------------------------------------------------------------------------------------------

/// A connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// What was read and not looked at yet.
    input: Vec<u8>,
}

impl Client {
    /// Connects, and says nothing yet.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts"))
    }

    /// Connects from another address of this machine, and with a receive buffer of so many bytes, where they are given.
    pub(crate) fn connect_from(from: Option<Ipv4Addr>, buffer: Option<usize>, to: SocketAddr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        if let Some(bytes) = buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a small buffer");
        }
        if let Some(ip) = from {
            rustix::net::bind(&socket, &SocketAddrV4::new(ip, 0)).expect("all of 127.0.0.0/8 is loopback");
        }
        rustix::net::connect(&socket, &to).expect("the server accepts");
        Self::of(TcpStream::from(socket))
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self::over(Stream::Tcp(stream))
    }

    /// A client on a connection that there is already.
    pub(crate) fn over(stream: Stream) -> Self {
        stream.set_write_timeout(PATIENCE);
        Self { stream, input: Vec::new() }
    }

    /// Connects and upgrades on `path`.
    pub(crate) fn open(address: SocketAddr, path: &str, fields: &str) -> Self {
        Self::connect(address).upgraded(path, fields)
    }

    /// Upgrades on `path`; `fields` as in [`upgrade`].
    pub(crate) fn upgraded(mut self, path: &str, fields: &str) -> Self {
        self.send(upgrade(path, fields).as_bytes());
        self.expect_switch(fields);
        self
    }

    /// Reads the `101` that answers a request with `fields`, to the byte.
    pub(crate) fn expect_switch(&mut self, fields: &str) {
        let mut expected = SWITCHED.to_owned();
        if fields.contains("websock.v1") {
            expected.insert_str(expected.len() - 2, "Sec-WebSocket-Protocol: websock.v1\r\n");
        }
        let head = self.head();
        assert_eq!(head, expected, "{:?}", self.input.escape_ascii().to_string());
    }

    /// A browser on `path`, greeted, and its UUID.
    pub(crate) fn browser(server: &Server, path: &str) -> (Self, String) {
        Self::greeted(server.address(), path, "")
    }

    /// A script that parses streams properly, greeted.
    pub(crate) fn script(server: &Server) -> Self {
        Self::greeted(server.address(), "/php", SCRIPT).0
    }

    /// Another on a path of its own.
    pub(crate) fn script_on(server: &Server, path: &str) -> Self {
        Self::greeted(server.address(), path, SCRIPT).0
    }

    /// A client of the relay, greeted, and its UUID.
    pub(crate) fn greeted(address: SocketAddr, path: &str, fields: &str) -> (Self, String) {
        let mut client = Self::open(address, path, fields);
        let uuid = client.expect_greeting();
        (client, uuid)
    }

    /// The same connection for another thread to read from; what was read already stays here.
    pub(crate) fn second_handle(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a descriptor"), input: Vec::new() }
    }

    /// Its socket, for what only a few tests do to one.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Its own address.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream.tcp().local_addr().expect("a connected socket")
    }

    // --- Sending ----------------------------------------------------------------------------------------------------

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("the server takes it");
    }

    /// Sends bytes as far as the server takes them, which may have given the connection up.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends bytes where they are taken soon; `false`: the server doesn't read on.
    pub(crate) fn try_send_now(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Duration::from_millis(200));
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a text.
    pub(crate) fn say(&mut self, text: &str) {
        self.send(&masked_text(text));
    }

    /// Ends its own side.
    pub(crate) fn half_close(&self) {
        self.stream.shut().expect("a connected socket");
    }

    /// Waits until everything that was sent, the end included, is with the server's kernel.
    pub(crate) fn wait_until_arrived(&self) {
        let port = format!(":{:04X}", self.local_address().port());
        let is_through = || {
            let sockets = fs::read_to_string("/proc/net/tcp").expect("the kernel's list of sockets");
            let own = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            // FIN-WAIT-2: our FIN is acknowledged, and so is all before it.
            own.into_iter().any(|line| line[1].ends_with(&port) && line[3] == "05")
        };
        wait_until("all that was sent has arrived", is_through);
    }

    // --- Reading ----------------------------------------------------------------------------------------------------

    /// Reads once, and says how much came; zero: the server has ended the connection.
    pub(crate) fn read_some(&mut self, until: Instant) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(left);
            match self.stream.read(&mut buffer) {
                Ok(read) => {
                    self.input.extend_from_slice(&buffer[..read]);
                    return read;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return 0,
                Err(error) => panic!("{error}; read so far: {:?}", self.input.escape_ascii().to_string()),
            }
        }
    }

    /// Reads until there are `count` bytes.
    fn fill(&mut self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.input.len() < count {
            let read = self.read_some(until);
            assert!(read > 0, "ended after {:?}", self.input.escape_ascii().to_string());
        }
    }

    /// Exactly the next `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.fill(count);
        self.input.drain(..count).collect()
    }

    /// A response's head, with its empty line.
    pub(crate) fn head(&mut self) -> String {
        String::from_utf8(self.through(b"\r\n\r\n")).expect("a head is ASCII")
    }

    /// All up to and with `end`.
    pub(crate) fn through(&mut self, end: &[u8]) -> Vec<u8> {
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.input[looked_at..].windows(end.len()).position(|bytes| bytes == end) {
                return self.bytes(looked_at + at + end.len());
            }
            looked_at = self.input.len().saturating_sub(end.len());
            self.fill(self.input.len() + 1);
        }
    }

    /// A response: its head, and as much body as that announces.
    pub(crate) fn response(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let body = self.bytes(length.expect("a Content-Length").parse().expect("a number"));
        (head, body)
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        self.fill(2);
        assert_eq!(self.input[1] & 0x80, 0, "a server masks nothing");
        let (size, length) = match self.input[1] {
            126 => {
                self.fill(4);
                (4, usize::from(u16::from_be_bytes([self.input[2], self.input[3]])))
            }
            127 => {
                self.fill(10);
                let length = u64::from_be_bytes(self.input[2..10].try_into().expect("eight bytes"));
                (10, usize::try_from(length).expect("a length that fits"))
            }
            short => (2, usize::from(short)),
        };
        let first = self.input[0];
        Frame { first, payload: self.bytes(size + length).split_off(size) }
    }

    /// Everything until the server ends the connection, which it does before `until`.
    pub(crate) fn rest(&mut self, until: Instant) -> Vec<u8> {
        while self.read_some(until) > 0 {}
        std::mem::take(&mut self.input)
    }

    // --- Expecting --------------------------------------------------------------------------------------------------

    /// The next bytes are exactly these.
    pub(crate) fn expect_bytes(&mut self, expected: &[u8]) {
        let came = self.bytes(expected.len());
        assert!(came == expected, "expected {}\n    came {}", expected.escape_ascii(), came.escape_ascii());
    }

    /// The next frames are exactly these texts, but for the id that a pushed message has got.
    pub(crate) fn expect(&mut self, texts: &[&str]) {
        for text in texts {
            let frame = self.frame();
            assert_eq!(without_id(frame.text()), *text);
        }
    }

    /// The next frame is a greeting; gives the UUID.
    pub(crate) fn expect_greeting(&mut self) -> String {
        let frame = self.frame();
        let text = frame.text();
        let uuid =
            text.strip_prefix(r#"{"opcode":"ready","uuid":""#).and_then(|rest| rest.strip_suffix(r#"","acks":true}"#));
        uuid.unwrap_or_else(|| panic!("a greeting, not {text}")).to_owned()
    }

    /// Nothing was sent to a client of the relay that has not been read here.
    pub(crate) fn expect_nothing_else(&mut self) {
        // An opcode that means nothing is acknowledged and does nothing.
        self.say(r#"{"opcode":"-"}"#);
        self.expect(&[NEXT]);
        assert!(self.input.is_empty(), "{:?}", self.input.escape_ascii().to_string());
    }

    /// Nothing comes for so long.
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        assert!(self.input.is_empty(), "{}", self.input.escape_ascii());
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(left);
            match self.stream.read(&mut [0; 1]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => panic!("{other:?} where nothing was to come"),
            }
        }
    }

    /// The next frame is a Close with this code; it is answered, and the server then ends the connection.
    pub(crate) fn expect_closed(&mut self, code: u16) {
        let payload = self.expect_close_frame(code);
        // Where the server has failed the connection it takes nothing more, and may be gone.
        self.try_send(&masked(CLOSE, &payload[..2]));
        self.expect_end();
    }

    /// The next frame is a Close with this code and a reason; gives its payload.
    pub(crate) fn expect_close_frame(&mut self, code: u16) -> Vec<u8> {
        let frame = self.frame();
        let shown = frame.payload.escape_ascii().to_string();
        assert_eq!((frame.first, frame.payload.get(..2)), (CLOSE, Some(&code.to_be_bytes()[..])), "{shown}");
        assert!(frame.payload.len() > 2 && std::str::from_utf8(&frame.payload[2..]).is_ok(), "a reason: {shown}");
        frame.payload
    }

    /// The server ends the connection, and sends nothing more before.
    pub(crate) fn expect_end(&mut self) {
        let rest = self.rest(Instant::now() + PATIENCE);
        assert!(rest.is_empty(), "{}", rest.escape_ascii());
    }

    /// Leaves as RFC 6455 wants it, and waits until the server has forgotten it.
    pub(crate) fn leave(mut self) {
        self.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
        self.expect_bytes(&plain(CLOSE, &1000_u16.to_be_bytes()));
        self.expect_end();
    }
}

/// An acknowledgement without the id of the message that it acknowledges: that is 16 digits which nobody can foresee.
pub(crate) fn without_id(text: &str) -> String {
    const BEFORE: &str = r#","id":""#;
    match text.split_once(BEFORE) {
        Some((next, rest)) if next.starts_with(r#"{"opcode":"next","#) => {
            let (id, rest) = rest.split_at(16);
            assert!(id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{text}");
            [next, rest.strip_prefix('"').expect("the end of the id")].concat()
        }
        _ => text.to_owned(),
    }
}

/// 127.0.0.2: loopback, and not on the allow list.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Whether nothing listens on `address` any more.
pub(crate) fn is_deaf(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_err()
}

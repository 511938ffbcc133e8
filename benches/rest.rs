//! How long it takes a backend to send so many messages to a browser, one after the other: by calls of the control API, and
//! over one WebSocket.
//!
//! ```text
//! cargo bench --bench rest             five rounds of up to 10,000 messages, and docs/plots/rest.svg: a minute
//! cargo bench --bench rest -- --quick  one round of up to 100, to try; the plot goes to target/tmp
//! ```
//!
//! Each message waits for the answer to the one before: the result of a call, or the relay's `next`. What it takes to connect
//! is part of it, and for the WebSocket the handshake and the greeting. A batch is one call with up to a hundred messages.
//! The server has a CPU, the backend and the browser another; all of it is over the loopback, so a call over a network takes
//! longer by as many round trips as it makes: two with a connection of its own, one on a connection that is there. The
//! browser looks once a millisecond for what has come, since its waking up would count for the backend's.

use std::fmt;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use websock::proto::frame::{self, Header, MAX_HEADER, Opcode, Sender};

#[path = "endtoend/figures.rs"]
mod figures;
#[path = "endtoend/measure.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod measure;
#[path = "endtoend/plot.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod plot;
#[path = "../tests/common/server.rs"]
mod server;

use figures::{Spread, figure, grouped, markdown};
use measure::{Cpus, cpu_at_rest};
use server::{Client, SCRIPT, Server, program, upgrade};

/// What fails here ends the program, with words for whoever runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const COUNTS: [usize; 4] = [10, 100, 1000, 10_000];
/// Characters of a message.
const SIZE: usize = 100;
/// Most messages of a batch.
const BATCH: usize = 100;
/// Few messages are sent several times over, until it is as many as this.
const ENOUGH: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(10);
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0xe9];

/// How messages are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    Connections,
    Calls,
    Batches,
    WebSocket,
}

impl Way {
    const ALL: [Self; 4] = [Self::Connections, Self::Calls, Self::Batches, Self::WebSocket];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connections => "a connection for each call",
            Self::Calls => "calls on one connection",
            Self::Batches => "batches of up to 100",
            Self::WebSocket => "one WebSocket",
        })
    }
}

impl plot::Subject for Way {
    fn color(self) -> &'static str {
        match self {
            Self::Connections => "orange",
            Self::Calls => "green",
            Self::Batches => "grey",
            Self::WebSocket => "blue",
        }
    }
}

/// What a way has taken in one round, in microseconds a message.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Until the last answer.
    time: f64,
    /// CPU time of the server.
    cpu: f64,
}

fn main() -> ExitCode {
    let result = match parse() {
        Ok(Some(quick)) => measure(quick),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether it is to be quick. `None`: `cargo test --benches` runs this without `--bench`, and there is nothing to test.
fn parse() -> std::result::Result<Option<bool>, lexopt::Error> {
    let (mut bench, mut quick) = (false, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => bench = true,
            Long("quick") => quick = true,
            argument => return Err(argument.unexpected()),
        }
    }
    Ok(bench.then_some(quick))
}

fn measure(quick: bool) -> Result<()> {
    let cpus = Cpus::divide()?;
    if cpus.is_none() {
        eprintln!("there is one CPU: the server and everyone else share it, and the figures are worth little");
    }
    let (rounds, counts) = if quick { (1, &COUNTS[..2]) } else { (5, &COUNTS[..]) };
    let mut samples = vec![Vec::new(); counts.len() * Way::ALL.len()];
    for round in 0..rounds {
        // A new one each time: nothing that an earlier round has left in it counts.
        let server = start(cpus)?;
        let browser = Browser::open(&server);
        for (place, count) in counts.iter().enumerate() {
            eprint!("round {} of {rounds}, {} messages:", round + 1, grouped(*count));
            for index in 0..Way::ALL.len() {
                let way = (index + round) % Way::ALL.len();
                let sample = sample(Way::ALL[way], *count, &server, &browser)?;
                eprint!("  {} {}", Way::ALL[way], figure(sample.time));
                samples[place * Way::ALL.len() + way].push(sample);
            }
            eprintln!(" µs");
        }
    }
    println!(
        "\nA message of {SIZE} characters to one browser; median of {rounds} rounds, and how far the times spread.\n"
    );
    report(counts, &samples, quick)
}

fn start(cpus: Option<Cpus>) -> Result<Server> {
    let start = || {
        let mut command = program();
        command.env("RUST_LOG", "error,websock::net::server=info");
        Server::start_as(command, "[limits]\npingInterval = 0\n", "ws://127.0.0.1:0")
    };
    Ok(match cpus {
        Some(cpus) => cpus.beside(start)?,
        None => start(),
    })
}

/// Sends so many messages, often enough to be measured, and sees to it that each has arrived.
fn sample(way: Way, count: usize, server: &Server, browser: &Browser) -> Result<Sample> {
    let times = (ENOUGH / count).max(1);
    let before = cpu_at_rest(server.id())?;
    let mut time = Duration::ZERO;
    for _ in 0..times {
        let began = Instant::now();
        send(way, count, server.address(), browser)?;
        time += began.elapsed();
        browser.expect(count);
    }
    let messages = (times * count) as f64;
    let cpu = cpu_at_rest(server.id())? - before;
    Ok(Sample { time: time.as_secs_f64() * 1e6 / messages, cpu: cpu as f64 / 1e3 / messages })
}

fn send(way: Way, count: usize, address: SocketAddr, browser: &Browser) -> Result<()> {
    let data = &browser.data;
    match way {
        Way::Connections => {
            let call = post("feedback", "Connection: close\r\n", data);
            for _ in 0..count {
                let mut line = Line::connect(address)?;
                line.say(&call)?;
                line.expect_result(1)?;
            }
        }
        Way::Calls => {
            let call = post("feedback", "", data);
            let mut line = Line::connect(address)?;
            for _ in 0..count {
                line.say(&call)?;
                line.expect_result(1)?;
            }
        }
        Way::Batches => {
            let items = count.min(BATCH);
            let item = format!(r#"{{"action":"feedback","data":{data}}}"#);
            let call = post("batch", "", &format!("[{}]", vec![item; items].join(",")));
            let mut line = Line::connect(address)?;
            for _ in 0..count / items {
                line.say(&call)?;
                line.expect_result(items)?;
            }
        }
        Way::WebSocket => {
            let message = format!(r#"{{"opcode":"feedback",{}"#, &data[1..]);
            let mut said = Vec::new();
            frame::write_masked_frame(&mut said, Opcode::Text, message.as_bytes(), MASK);
            let mut line = Line::connect(address)?;
            line.say(upgrade("/php", &format!("{SCRIPT}Sec-WebSocket-Protocol: websock.v1\r\n")).as_bytes())?;
            line.expect_head()?;
            line.expect_frame(r#"{"opcode":"ready","#)?;
            for _ in 0..count {
                line.say(&said)?;
                line.expect_frame(r#"{"opcode":"next","fyi":"","delivered":1"#)?;
            }
        }
    }
    Ok(())
}

fn post(action: &str, fields: &str, data: &str) -> Vec<u8> {
    let length = data.len();
    format!("POST /api/relay/{action} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{data}")
        .into_bytes()
}

/// A backend's connection. What it costs is much the same for every way: a write and a read a message.
struct Line {
    stream: TcpStream,
    buffer: [u8; 16 * 1024],
    filled: usize,
}

impl Line {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: [0; 16 * 1024], filled: 0 })
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    fn read(&mut self) -> Result<()> {
        let read = self.stream.read(&mut self.buffer[self.filled..])?;
        if read == 0 {
            return Err("the server has ended the connection, or said too much".into());
        }
        self.filled += read;
        Ok(())
    }

    /// Drops the first `count` bytes of what has come.
    fn take(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Reads to the end of a head. Gives how long it is; it is still there.
    fn head(&mut self) -> Result<usize> {
        loop {
            if let Some(at) = self.buffer[..self.filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return Ok(at + 4);
            }
            self.read()?;
        }
    }

    fn expect_head(&mut self) -> Result<()> {
        let head = self.head()?;
        if !self.buffer.starts_with(b"HTTP/1.1 101 ") {
            return Err(self.wrong());
        }
        self.take(head);
        Ok(())
    }

    /// A call was answered well: so many messages were handed to the browser.
    fn expect_result(&mut self, messages: usize) -> Result<()> {
        let head = self.head()?;
        let fields = std::str::from_utf8(&self.buffer[..head])?;
        let length =
            fields.lines().find_map(|line| line.strip_prefix("Content-Length: ")).ok_or("no Content-Length")?;
        let whole = head + length.parse::<usize>()?;
        while self.filled < whole {
            self.read()?;
        }
        let body = &self.buffer[head..whole];
        // Looking at each would count for the server.
        let handed = if messages == 1 { contains(body, r#""result":1"#) } else { !contains(body, "ERROR") };
        if !self.buffer.starts_with(b"HTTP/1.1 200 ") || !handed {
            return Err(self.wrong());
        }
        self.take(whole);
        Ok(())
    }

    fn expect_frame(&mut self, beginning: &str) -> Result<()> {
        let (start, whole) = loop {
            match Header::parse(&self.buffer[..self.filled], Sender::Server).map_err(|_| self.wrong())? {
                Some(header) if (self.filled - header.size) as u64 >= header.length => {
                    break (header.size, header.size + usize::try_from(header.length)?);
                }
                _ => self.read()?,
            }
        };
        if !self.buffer[start..whole].starts_with(beginning.as_bytes()) {
            return Err(self.wrong());
        }
        self.take(whole);
        Ok(())
    }

    fn wrong(&self) -> Box<dyn std::error::Error> {
        format!("this is no good answer: {}", self.buffer[..self.filled].escape_ascii()).into()
    }
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

/// The one that all is sent to.
struct Browser {
    /// What it takes to send it a message.
    data: String,
    /// Bytes of a message as it arrives.
    size: usize,
    /// Bytes that have come.
    came: Arc<AtomicUsize>,
}

impl Browser {
    fn open(server: &Server) -> Self {
        let (client, uuid) = Client::browser(server, "/");
        let message: String = ('a'..='z').cycle().take(SIZE).collect();
        let data = format!(r#"{{"uuid":"{uuid}","message":"{message}"}}"#);
        // The opcode is put into it on the way.
        let payload = data.len() + r#""opcode":"feedback","#.len();
        let size = payload + MAX_HEADER.min(if payload < 126 { 2 } else { 4 });
        let came = Arc::new(AtomicUsize::new(0));
        let mut stream = client.stream().try_clone().expect("a handle");
        stream.set_read_timeout(None).expect("no limit");
        let count = Arc::clone(&came);
        // It ends with the server.
        thread::spawn(move || {
            let _client = client;
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                count.fetch_add(read, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { data, size, came }
    }

    /// So many messages have come since this was asked last, and nothing else.
    fn expect(&self, count: usize) {
        let came = || self.came.load(Ordering::Relaxed);
        server::wait_until("every message arrives", || came() >= count * self.size);
        assert_eq!(came(), count * self.size, "what arrives is what was sent");
        self.came.store(0, Ordering::Relaxed);
    }
}

fn report(counts: &[usize], samples: &[Vec<Sample>], quick: bool) -> Result<()> {
    let head = ["messages", "way", "time, ms", "a message, µs", "min to max", "CPU, µs", "over one WebSocket"];
    let mut rows = vec![head.map(str::to_owned)];
    let mut series: Vec<(Way, Vec<(usize, Spread)>)> = Way::ALL.map(|way| (way, Vec::new())).into();
    for (count, samples) in counts.iter().zip(samples.chunks(Way::ALL.len())) {
        for (way, of_way) in samples.iter().enumerate() {
            // Of the same round, so that what disturbs both counts for neither.
            let socket = &samples[Way::ALL.len() - 1];
            let ratios = of_way.iter().zip(socket).map(|(sample, socket)| sample.time / socket.time);
            let time = Spread::of(of_way.iter().map(|sample| sample.time)).ok_or("no rounds")?;
            let cpu = Spread::of(of_way.iter().map(|sample| sample.cpu)).ok_or("no rounds")?;
            let ratio = Spread::of(ratios).ok_or("no rounds")?;
            rows.push([
                if way == 0 { grouped(*count) } else { String::new() },
                Way::ALL[way].to_string(),
                figure(time.median * *count as f64 / 1000.0),
                figure(time.median),
                format!("{} to {}", figure(time.least), figure(time.most)),
                figure(cpu.median),
                format!("{:.2}", ratio.median),
            ]);
            series[way].1.push((*count, time));
        }
    }
    print!("{}", markdown(&rows));
    let root = if quick { env!("CARGO_TARGET_TMPDIR") } else { concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plots") };
    let file = Path::new(root).join("rest.svg");
    let axes = plot::Axes { x: "messages, each sent when the one before is answered", x_log: true, y_log: true };
    let subtitle = "To one browser by a backend, until the last answer; connecting is part of it";
    fs::write(&file, plot::lines("Time a message takes, by how it is sent", subtitle, axes, &series))?;
    println!("\ndrawn: {}", file.display());
    Ok(())
}

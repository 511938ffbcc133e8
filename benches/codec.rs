//! What the code between the two system calls costs: `cargo bench --bench codec`.
//!
//! First the parts (headers, masks, text, UUIDs), then a whole turn of the loop on sockets that are but memory: a message
//! is received, understood, handed to its application and written out. What that takes is what websock adds to the floor
//! of `cargo bench --bench endtoend`, and some for the memory that stands in for the kernel.

use std::cell::RefCell;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustix::rand::{GetRandomFlags, getrandom};
use websock::app::{HANDLERS, handler_names};
use websock::clock::Moment;
use websock::config::Config;
use websock::id::ClientIds;
use websock::net::hub::Hub;
use websock::net::socket::Socket;
use websock::proto::frame::{self, Header, MAX_HEADER, Opcode, Sender};
use websock::proto::utf8::Utf8Checker;

const SIZES: [usize; 6] = [20, 125, 1024, 4096, 16_384, 65_536];

/// Its bytes have no high bit, so ASCII stays ASCII under it however often it is applied.
const MASK: [u8; 4] = [0x13, 0x05, 0x1a, 0x0c];

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for size in [20, 1024, 65_536] {
        let mut masked = Vec::new();
        frame::write_masked_frame(&mut masked, Opcode::Text, &vec![b'x'; size], MASK);
        masked.truncate(MAX_HEADER);
        group.bench_function(BenchmarkId::new("parse", size), |b| {
            b.iter(|| Header::parse(black_box(&masked), Sender::Client));
        });
        let mut out = Vec::with_capacity(MAX_HEADER);
        group.bench_function(BenchmarkId::new("write", size), |b| {
            b.iter(|| {
                out.clear();
                frame::write_header(black_box(&mut out), Opcode::Text, black_box(size));
            });
        });
    }
    group.finish();
}

fn masks(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask");
    for size in SIZES {
        let mut payload = vec![b'x'; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("alone", size), |b| {
            b.iter(|| frame::unmask(black_box(&mut payload), MASK));
        });
        group.bench_function(BenchmarkId::new("seeing ASCII", size), |b| {
            b.iter(|| frame::unmask_seeing_ascii(black_box(&mut payload), MASK));
        });
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("UTF-8");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, character) in [("ASCII", "x"), ("Greek", "λ"), ("Han", "語")] {
            let text = character.repeat(size / character.len());
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter(|| {
                    let mut checker = Utf8Checker::default();
                    checker.feed(black_box(text.as_bytes())).is_ok() && checker.is_complete()
                });
            });
        }
    }
    group.finish();
}

fn uuids(c: &mut Criterion) {
    let mut ids = ClientIds::new(random);
    c.bench_function("UUID/draw", |b| b.iter(|| ids.draw()));
    let id = ids.draw();
    c.bench_function("UUID/encode", |b| {
        b.iter(|| {
            let mut buffer = [0; 36];
            black_box(id).encode(&mut buffer);
            buffer
        });
    });
    let text = id.to_string();
    c.bench_function("UUID/parse", |b| b.iter(|| websock::id::ClientId::parse(black_box(&text))));
}

fn random(bytes: &mut [u8]) {
    // Up to 256 bytes come in one piece, more does as a rule; for measuring it makes no difference.
    let filled = getrandom(&mut *bytes, GetRandomFlags::empty()).expect("the kernel has random bytes");
    assert!(filled > 0, "the kernel has given none");
}

// --- A whole turn ---------------------------------------------------------------------------------------------------

/// A connection whose other end is a buffer: what is to be read next, and what was written last.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Ends>>);

#[derive(Default)]
struct Ends {
    /// Read again and again.
    input: Vec<u8>,
    readable: bool,
    output: Vec<u8>,
    /// Bytes written so far, of which only what the handshake brings is kept.
    written: usize,
    keep: bool,
}

impl Socket for Wire {
    type Poll = ();

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        if !std::mem::take(&mut ends.readable) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..ends.input.len()].copy_from_slice(&ends.input);
        Ok(ends.input.len())
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut ends = self.0.borrow_mut();
        let count = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if ends.keep {
            slices.iter().for_each(|slice| ends.output.extend_from_slice(slice));
        }
        ends.written += count;
        Ok(count)
    }

    fn shut(&mut self) {}

    fn watch(&mut self, (): &(), _slot: usize, _writable: bool, _first: bool) -> io::Result<()> {
        Ok(())
    }
}

struct Client {
    wire: Wire,
    slot: usize,
    uuid: String,
}

struct World {
    hub: Hub<Wire>,
}

impl World {
    fn new() -> Self {
        let (config, _) = Config::parse("", Path::new("bench.ini"), &handler_names(), &|_| None)
            .expect("the defaults are good settings");
        Self { hub: Hub::new(config, HANDLERS, vec![Ipv4Addr::LOCALHOST.into()], (), ClientIds::new(random)) }
    }

    fn connect(&mut self, path: &str, further: &str) -> Client {
        let wire = Wire::default();
        let peer = (Ipv4Addr::LOCALHOST, 5000).into();
        let slot = self.hub.open(wire.clone(), peer, Duration::ZERO, Moment::START);
        let mut client = Client { wire, slot, uuid: String::new() };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
        );
        client.wire.0.borrow_mut().keep = true;
        client.says(request.into_bytes());
        self.turn(&client);
        let mut ends = client.wire.0.borrow_mut();
        ends.keep = false;
        let answer = String::from_utf8_lossy(&ends.output).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        drop(ends);
        client.uuid = answer
            .split_once(r#""uuid":""#)
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or_else(String::new, |(uuid, _)| uuid.to_owned());
        client
    }

    /// A turn in which `sender` is readable. Gives how many bytes it has heard so far.
    fn turn(&mut self, sender: &Client) -> usize {
        sender.wire.0.borrow_mut().readable = true;
        self.hub.ready(sender.slot, false, false, Moment::START);
        self.hub.settle(Moment::START);
        sender.wire.0.borrow().written
    }
}

impl Client {
    fn says(&self, input: Vec<u8>) {
        self.wire.0.borrow_mut().input = input;
    }

    fn says_frame(&self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        frame::write_masked_frame(&mut out, opcode, payload, MASK);
        self.says(out);
    }
}

fn echoes(c: &mut Criterion) {
    let mut group = c.benchmark_group("echo");
    let mut world = World::new();
    let client = world.connect("/echo", "");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        for (name, opcode) in [("text", Opcode::Text), ("binary", Opcode::Binary)] {
            client.says_frame(opcode, &vec![b'x'; size]);
            let before = client.wire.0.borrow().written;
            assert!(world.turn(&client) > before + size, "the echo comes in the same turn");
            group.bench_function(BenchmarkId::new(name, size), |b| b.iter(|| world.turn(&client)));
        }
    }
    let mut batch = Vec::new();
    for _ in 0..16 {
        frame::write_masked_frame(&mut batch, Opcode::Text, &[b'x'; 20], MASK);
    }
    client.says(batch);
    group.throughput(Throughput::Elements(16));
    group.bench_function("16 texts of 20 in one read", |b| b.iter(|| world.turn(&client)));
    group.finish();
}

fn relay(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    let mut world = World::new();
    let script = world.connect("/php", "Client-Type: php\r\nSec-WebSocket-Protocol: websock.v1\r\n");
    let browser = world.connect("/web", "");
    let message = "x".repeat(60);
    let feedback = format!(r#"{{"opcode":"feedback","uuid":"{}","message":"{message}"}}"#, browser.uuid);
    script.says_frame(Opcode::Text, feedback.as_bytes());
    let before = browser.wire.0.borrow().written;
    world.turn(&script);
    assert!(browser.wire.0.borrow().written > before + feedback.len(), "the browser gets it in the same turn");
    group.bench_function("feedback to one of 2", |b| b.iter(|| world.turn(&script)));
    while world.hub.len() < 1001 {
        world.connect("/web", "");
    }
    group.bench_function("feedback to one of 1,000", |b| b.iter(|| world.turn(&script)));
    let broadcast = format!(r#"{{"opcode":"broadcast","message":"{message}"}}"#);
    script.says_frame(Opcode::Text, broadcast.as_bytes());
    group.throughput(Throughput::Elements(1000));
    group.bench_function("broadcast to 1,000", |b| b.iter(|| world.turn(&script)));
    group.finish();
}

criterion_group!(parts, headers, masks, text, uuids);
criterion_group!(turns, echoes, relay);
criterion_main!(parts, turns);

//! What it costs to publish to many WAMP subscribers, beside the relay's broadcast to as many browsers: server CPU time for
//! each receiver, in one run.
//!
//! ```text
//! cargo bench --bench wamp              1,000 receivers, five rounds
//! cargo bench --bench wamp -- --quick   one short round, to try
//! ```
//!
//! One server, with a CPU of its own. In each round every kind of receiver is sent the same number of messages, the next when
//! all have heard the last; the others are connected and idle meanwhile. The text is 100 bytes in all of them; an event of
//! WAMP v2 has three ids besides, so its frames are longer.

use std::process::ExitCode;

use lexopt::prelude::*;

#[path = "endtoend/measure.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod measure;
#[path = "../tests/common/server.rs"]
mod server;

use measure::{Cpus, cpu_at_rest};
use server::{BINARY, Client, NEXT_0, Server, TEXT, masked, masked_text, program, upgrade};

/// What fails here ends the program, with words for whoever runs it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RECEIVERS: usize = 1000;

const INI: &str = "[resources]\n/ = relay\n/wamp = wamp\n[limits]\npingInterval = 0\n";

struct Options {
    rounds: usize,
    messages: usize,
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    let mut options = Options { rounds: 5, messages: 200 };
    let mut bench = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => bench = true,
            Long("quick") => options = Options { rounds: 1, messages: 20 },
            argument => return Err(argument.unexpected()),
        }
    }
    Ok(bench.then_some(options))
}

fn main() -> ExitCode {
    let result = match parse() {
        Ok(Some(options)) => run(&options),
        // `cargo test --benches` runs this program without `--bench`: there is nothing to test.
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wamp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A sender and those who hear it.
struct Group {
    name: &'static str,
    sender: Client,
    receivers: Vec<Client>,
    /// The frame that is sent; of WAMP v2 its request id has still to be put in.
    message: fn(u64) -> Vec<u8>,
    /// How many frames the sender hears of it itself.
    answers: usize,
    /// CPU time for each receiver by round, in microseconds.
    costs: Vec<f64>,
}

fn said() -> String {
    "x".repeat(100)
}

impl Group {
    fn relay(server: &Server) -> Self {
        Self {
            name: "relay, broadcast",
            sender: Client::browser(server, "/").0,
            receivers: (0..RECEIVERS).map(|_| Client::browser(server, "/").0).collect(),
            message: |_| masked_text(&format!(r#"{{"opcode":"broadcast","message":"{}"}}"#, said())),
            answers: 1,
            costs: Vec::new(),
        }
    }

    /// Publishers and subscribers of one version and serialization.
    fn wamp(server: &Server, name: &'static str, subprotocol: &str) -> Self {
        let topic = format!("com.example.{subprotocol}");
        let packed = subprotocol.ends_with("msgpack");
        let open = |listens: bool| {
            let mut client = Client::connect(server.address());
            client.send(upgrade("/wamp", &format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")).as_bytes());
            client.head();
            if subprotocol == "wamp" {
                client.frame();
                if listens {
                    client.send(&masked_text(&format!(r#"[5,"{topic}"]"#)));
                    // Answered, so that what was said before has been heard.
                    client.send(&masked_text(r#"[2,"c","nobody"]"#));
                    client.frame();
                }
                return client;
            }
            let hello = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{}}}]"#;
            let subscribe = format!(r#"[32,1,{{}},"{topic}"]"#);
            let mut say = |text: &str, bytes: &[u8]| {
                client.send(&if packed { masked(BINARY, bytes) } else { masked_text(text) });
                client.frame();
            };
            say(hello, b"\x93\x01\xa6realm1\x81\xa5roles\x82\xa9publisher\x80\xaasubscriber\x80");
            if listens {
                let length = [u8::try_from(topic.len()).unwrap_or(0)];
                let bytes = [&b"\x94\x20\x01\x80\xd9"[..], &length, topic.as_bytes()];
                say(&subscribe, &bytes.concat());
            }
            client
        };
        let message: fn(u64) -> Vec<u8> = match subprotocol {
            "wamp" => |_| masked_text(&format!(r#"[7,"com.example.wamp","{}"]"#, said())),
            "wamp.2.json" => {
                |request| masked_text(&format!(r#"[16,{request},{{}},"com.example.wamp.2.json",["{}"]]"#, said()))
            }
            _ => |request| {
                let request = u32::try_from(request).unwrap_or(0).to_be_bytes();
                let topic = b"\x80\xbacom.example.wamp.2.msgpack\x91\xd9\x64";
                masked(BINARY, &[&b"\x95\x10\xce"[..], &request, topic, said().as_bytes()].concat())
            },
        };
        let receivers = (0..RECEIVERS).map(|_| open(true)).collect();
        Self { name, sender: open(false), receivers, message, answers: 0, costs: Vec::new() }
    }

    /// Sends so many messages, each when all have heard the one before.
    fn send(&mut self, first: u64, messages: usize) {
        for request in (first..).take(messages) {
            self.sender.send(&(self.message)(request));
            for receiver in &mut self.receivers {
                let frame = receiver.frame();
                debug_assert!(matches!(frame.first, TEXT | BINARY));
                assert!(frame.payload.len() > 100, "{}", frame.payload.escape_ascii());
            }
            for _ in 0..self.answers {
                assert!(self.sender.frame().text().len() >= NEXT_0.len());
            }
        }
    }
}

fn run(options: &Options) -> Result<()> {
    raise_descriptors();
    let start = || {
        let mut command = program();
        command.env("RUST_LOG", "error,websock::net::server=info");
        Server::start_as(command, INI, "ws://127.0.0.1:0")
    };
    let server = match Cpus::divide()? {
        Some(cpus) => cpus.beside(start)?,
        None => start(),
    };
    let mut groups = [
        Group::relay(&server),
        Group::wamp(&server, "WAMP v2, JSON", "wamp.2.json"),
        Group::wamp(&server, "WAMP v2, MessagePack", "wamp.2.msgpack"),
        Group::wamp(&server, "WAMP v1", "wamp"),
    ];
    let mut request = 1;
    groups.iter_mut().for_each(|group| group.send(request, 1));
    request += 1;
    for round in 0..options.rounds {
        let count = groups.len();
        // In an order that rotates, so that what disturbs the machine falls on all of them.
        for index in 0..count {
            let group = &mut groups[(index + round) % count];
            let before = cpu_at_rest(server.id())?;
            group.send(request, options.messages);
            let nanos = cpu_at_rest(server.id())? - before;
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            group.costs.push(nanos as f64 / 1000.0 / (options.messages * RECEIVERS) as f64);
        }
        request += options.messages as u64;
    }
    println!(
        "Server CPU time for each of {RECEIVERS} receivers, in µs; median of {} rounds, and all of them",
        options.rounds
    );
    for group in &mut groups {
        let all: Vec<String> = group.costs.iter().map(|cost| format!("{cost:.3}")).collect();
        group.costs.sort_by(f64::total_cmp);
        println!("{:>22}{:>8.3}   {}", group.name, group.costs[group.costs.len() / 2], all.join(" "));
    }
    Ok(())
}

/// Raises the limit of descriptors as far as it goes, for this process and the server.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it can't be raised, connecting fails and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

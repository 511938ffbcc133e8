//! A long run: thousands of clients that come and go and send each other messages, and hostile ones among them. No message
//! may be lost, and when everyone has gone memory must be what it was.
//!
//! ```text
//! cargo bench --bench soak                          one minute
//! cargo bench --bench soak -- --minutes 10
//! cargo bench --bench soak -- --clients 5000 --hostile 500
//! ```
//!
//! It prints memory over time, and fails when a message is lost or memory has grown by more than [`MAY_GROW`]. The server has
//! one CPU, everyone else another.
//!
//! What is lost: see [`world`]. What a client is: see [`client`].

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

mod attacked;
mod client;
#[path = "../../tests/common/crowd.rs"]
mod crowd;
#[path = "../endtoend/measure.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod measure;
#[path = "../../tests/common/server.rs"]
mod server;
mod world;

use attacked::Result;
use client::{Announcer, Client};
use crowd::Crowd;
use crowd::hostile::{Attack, Limits};
use server::Server;
use world::World;

const LIMIT: Duration = Duration::from_secs(5);
const LIMITS: Limits =
    Limits { handshake: LIMIT, message: LIMIT, ping: Duration::from_secs(10), backlog: Duration::from_secs(10) };

/// How much memory the server may keep when everyone has left: tables that have grown, and what its allocator holds on to.
const MAY_GROW: u64 = 16 << 20;

/// In which all of them come, and at the end leave.
const CHANGE: Duration = Duration::from_secs(10);

struct Options {
    minutes: f64,
    clients: u32,
    hostile: usize,
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    let mut options = Options { minutes: 1.0, clients: 5000, hostile: 500 };
    let mut bench = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => bench = true,
            Long("minutes") => options.minutes = arguments.value()?.parse()?,
            Long("clients") => options.clients = arguments.value()?.parse()?,
            Long("hostile") => options.hostile = arguments.value()?.parse()?,
            argument => return Err(argument.unexpected()),
        }
    }
    Ok(bench.then_some(options))
}

fn main() -> ExitCode {
    attacked::conclude("soak", parse(), soak)
}

fn soak(options: &Options) -> Result<()> {
    let server = attacked::start(&LIMITS)?;
    let mut world = World::default();
    let mut crowd = Crowd::new(server.address());
    crowd.add(Announcer::default(), &mut world);
    crowd.run(Instant::now() + Duration::from_secs(1), &mut world);
    let (memory, descriptors) = (server.memory(), server.descriptors());

    let began = Instant::now();
    for number in 0..options.clients {
        crowd.add_at(began + CHANGE * number / options.clients, Client::default());
    }
    let attack = Attack::begin(server.address(), options.hostile, LIMITS, "");
    let end = began + CHANGE + Duration::from_secs_f64(options.minutes * 60.0);
    let step = Duration::from_secs_f64(options.minutes * 60.0 / 20.0).max(Duration::from_secs(1));
    println!("{}", Report::HEAD);
    Report::of(&server, &world, began).print();
    while Instant::now() < end {
        crowd.run((Instant::now() + step).min(end), &mut world);
        Report::of(&server, &world, began).print();
        world.check()?;
    }
    attack.end();
    world.ends = true;
    crowd.goes_on = false;
    let until = Instant::now() + Duration::from_secs(60);
    // The announcer stays, as it was there when memory was looked at first.
    while crowd.connected() > 1 && Instant::now() < until {
        crowd.run(Instant::now() + Duration::from_millis(100), &mut world);
    }
    // Those that were hostile have their time.
    while server.descriptors() > descriptors && Instant::now() < until {
        crowd.run(Instant::now() + Duration::from_millis(100), &mut world);
    }
    Report::of(&server, &world, began).print();
    world.check()?;
    let left = world.unaccounted();
    if crowd.connected() > 1 || server.descriptors() != descriptors {
        return Err(format!(
            "{} clients and {} connections are left",
            crowd.connected() - 1,
            server.descriptors() - descriptors
        )
        .into());
    }
    println!("\n{}", world.summary());
    if left > 0 {
        return Err(format!("{left} messages were said to be delivered and never came").into());
    }
    let grown = server.memory().saturating_sub(memory);
    println!("memory: {} KiB when it began, {} KiB now: {} KiB more", memory >> 10, server.memory() >> 10, grown >> 10);
    if grown > MAY_GROW {
        return Err(format!("memory has grown by {grown} bytes, where {MAY_GROW} are allowed").into());
    }
    Ok(())
}

/// A line of the table.
struct Report {
    seconds: u64,
    memory: u64,
    cpu: Duration,
    connections: usize,
    clients: usize,
    sent: u64,
    received: u64,
    lost: u64,
}

impl Report {
    const HEAD: &str = " seconds  VmRSS KiB     CPU s  descriptors  clients        sent    received  lost";

    fn of(server: &Server, world: &World, began: Instant) -> Self {
        Self {
            seconds: began.elapsed().as_secs(),
            memory: server.memory(),
            cpu: server.cpu(),
            connections: server.descriptors(),
            clients: world.here(),
            sent: world.sent,
            received: world.received,
            lost: world.lost,
        }
    }

    fn print(&self) {
        println!(
            "{:>8}{:>11}{:>10.1}{:>13}{:>9}{:>12}{:>12}{:>6}",
            self.seconds,
            self.memory >> 10,
            self.cpu.as_secs_f64(),
            self.connections,
            self.clients,
            self.sent,
            self.received,
            self.lost
        );
    }
}

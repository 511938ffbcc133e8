//! How long honest clients wait for their answers while a thousand hostile connections do their worst, beside how long they
//! wait when nobody disturbs them: in one run, with the same server.
//!
//! ```text
//! cargo bench --bench hostile                   ten seconds of each, five times in turn
//! cargo bench --bench hostile -- --quick        two seconds of each, once, to try
//! cargo bench --bench hostile -- --hostile 5000 so many hostile connections
//! cargo bench --bench hostile -- --only pongs   only those that have this in their name
//! ```
//!
//! The server has one CPU, everyone else another. There the hostile ones have a thread of the least importance, so that what
//! is measured is how the server divides its time and not how this program divides its own. An honest client sends a
//! message every 20 ms and measures until it has the answer; where an answer is later than that, the next message counts from
//! when it should have been sent.
//!
//! `waited` says how long the server was ready to run and had to wait for its CPU, which then had other things to do: where
//! that is much, the machine is not quiet, and the figures say more about it than about the server. The last columns are the
//! server's own share in a wait, by its `/metrics`: what comes in during a turn waits for its end. The rest is the kernel's,
//! and this program's, whose threads share a CPU: `chrt -f 10` in front of it keeps them out of each other's way.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lexopt::prelude::*;

#[path = "soak/attacked.rs"]
mod attacked;
#[path = "../tests/common/crowd.rs"]
mod crowd;
#[path = "endtoend/measure.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod measure;
#[path = "../tests/common/server.rs"]
mod server;

use attacked::Result;
use crowd::honest::{Broadcaster, Echoer, Listener, Witness, percentile};
use crowd::hostile::{Attack, Limits};
use crowd::{Crowd, held_by_server};
use server::{Client, Server};

const LIMIT: Duration = Duration::from_secs(5);
const LIMITS: Limits = Limits { handshake: LIMIT, message: LIMIT, ping: LIMIT, backlog: LIMIT };

const ECHOERS: u32 = 50;
const LISTENERS: usize = 10;
const PACE: Duration = Duration::from_millis(20);

/// Until all of the hostile ones are there and at it, and after they are gone.
const CHANGE: Duration = Duration::from_secs(3);

struct Options {
    time: Duration,
    rounds: usize,
    hostile: usize,
    only: Option<String>,
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    let mut options = Options { time: Duration::from_secs(10), rounds: 5, hostile: 1000, only: None };
    let mut bench = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => bench = true,
            Long("quick") => (options.time, options.rounds) = (Duration::from_secs(2), 1),
            Long("only") => options.only = Some(arguments.value()?.string()?),
            Long("hostile") => options.hostile = arguments.value()?.parse()?,
            argument => return Err(argument.unexpected()),
        }
    }
    Ok(bench.then_some(options))
}

fn main() -> ExitCode {
    attacked::conclude("hostile", parse(), measure)
}

fn measure(options: &Options) -> Result<()> {
    let server = attacked::start(&LIMITS)?;
    let mut witness = Witness::default();
    let mut crowd = Crowd::new(server.address());
    let began = Instant::now();
    for number in 0..ECHOERS {
        // Not all in the same millisecond.
        crowd.add(Echoer::new(PACE, began + PACE * number / ECHOERS, 100), &mut witness);
    }
    for _ in 0..LISTENERS {
        crowd.add(Listener::default(), &mut witness);
    }
    // Seldom: how long it takes to send to many is not what is measured here.
    crowd.add(Broadcaster::new(PACE * 12, 4_000), &mut witness);
    let mut observe = |time: Duration| -> Result<Vec<Duration>> {
        crowd.run(Instant::now() + time, &mut witness);
        match witness.complaints.first() {
            Some(complaint) => Err(complaint.clone().into()),
            None => Ok(std::mem::take(&mut witness.latencies)),
        }
    };
    observe(CHANGE)?;
    let memory = server.memory();
    let mut ratios = Vec::new();
    let mut most = 0;
    println!(
        "{:>24}{:>9}{:>9}{:>9}{:>9}{:>10}{:>8}{:>9}   turns of the loop, in s: 99 % and 99.9 % below",
        "µs", "p50", "p99", "p99.9", "worst", "messages", "CPU", "waited"
    );
    for _ in 0..options.rounds {
        let before = Load::of(&server);
        let mut alone = observe(options.time)?;
        before.show("undisturbed", &mut alone, &server);

        let attack =
            Attack::begin(server.address(), options.hostile, LIMITS, options.only.as_deref().unwrap_or_default());
        observe(CHANGE)?;
        let before = Load::of(&server);
        let mut disturbed = observe(options.time)?;
        most = most.max(server.memory());
        let connected = held_by_server(server.address().port()).len();
        before.show(&format!("{connected} connections"), &mut disturbed, &server);
        ratios.push(percentile(&mut disturbed, 990).as_secs_f64() / percentile(&mut alone, 990).as_secs_f64());
        attack.end();
        observe(CHANGE)?;
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "\np99 beside {} hostile connections over p99 undisturbed: {:.2} in the median of {} rounds, {:.2} to {:.2}",
        options.hostile,
        ratios[ratios.len() / 2],
        ratios.len(),
        ratios[0],
        ratios[ratios.len() - 1]
    );
    println!("{} messages came as they should, none was lost", witness.good);
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!(
        "memory: {:.1} MiB before, {:.1} MiB at most, {:.1} MiB after",
        mib(memory),
        mib(most),
        mib(server.memory())
    );
    Ok(())
}

/// What a server has used of its CPU, and how long it has waited for it.
struct Load {
    since: Instant,
    cpu: Duration,
    waited: Duration,
    turns: Vec<(String, u64)>,
}

impl Load {
    fn of(server: &Server) -> Self {
        Self { since: Instant::now(), cpu: server.cpu(), waited: server.waited(), turns: turns(server) }
    }

    /// A line of the table, with what has been used since then.
    fn show(&self, name: &str, latencies: &mut [Duration], server: &Server) {
        print!("{name:>24}");
        for share in [500, 990, 999, 1000] {
            print!("{:>9}", percentile(latencies, share).as_micros());
        }
        let share = |time: Duration| 100.0 * time.as_secs_f64() / self.since.elapsed().as_secs_f64();
        let (cpu, waited) = (share(server.cpu() - self.cpu), share(server.waited() - self.waited));
        println!("{:>10}{cpu:>6.1} %{waited:>7.1} %   {}", latencies.len(), self.turns_since(server));
    }

    /// Below what 99 %, and 99.9 %, of the loop's turns have stayed since then, in seconds.
    fn turns_since(&self, server: &Server) -> String {
        let now = turns(server);
        let done: Vec<_> = now.iter().zip(&self.turns).map(|((limit, now), (_, then))| (limit, now - then)).collect();
        let all = done.last().map_or(0, |(_, count)| *count);
        let below = |share: u64| done.iter().find(|(_, count)| count * 1000 >= all * share).map(|(limit, _)| *limit);
        [990, 999].map(|share| below(share).map_or("-", String::as_str)).join(" ")
    }
}

/// How many turns of its loop the server says took less than so long: its histogram, cumulative.
fn turns(server: &Server) -> Vec<(String, u64)> {
    let mut client = Client::connect(server.address());
    client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(client.response().1).expect("text");
    text.lines()
        .filter_map(|line| line.strip_prefix("websock_turn_seconds_bucket{le=\""))
        .filter_map(|rest| rest.split_once("\"} "))
        .filter_map(|(limit, count)| Some((limit.to_owned(), count.parse().ok()?)))
        .collect()
}

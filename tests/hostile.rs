//! A thousand hostile connections at once, and some honest ones among them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

#[path = "common/crowd.rs"]
mod crowd;
#[path = "common/server.rs"]
mod server;

use crowd::honest::{Broadcaster, Echoer, Listener, Witness, percentile};
use crowd::hostile::{CLOSE_WAIT, Hostile, Limits, vices};
use crowd::{Crowd, held_by_server};
use server::Server;

const HOSTILE: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(2);
const LIMITS: Limits = Limits { handshake: LIMIT, message: LIMIT, ping: LIMIT, backlog: LIMIT };

/// What may be in the way of a limit on a machine with other things to do.
const SLACK: Duration = Duration::from_secs(3);

/// Until the kernels' buffers of all who fill them are full.
const FILLING: Duration = Duration::from_secs(15);

/// Bytes that may wait for one of them, and the longest message.
const BACKLOG: u64 = 65_536;
const MESSAGE: u64 = 1_000_000;

/// Bytes that all together may hold.
const MEMORY: u64 = 48 << 20;

fn run(crowd: &mut Crowd<Witness>, witness: &mut Witness, time: Duration) {
    crowd.run(Instant::now() + time, witness);
    assert!(witness.complaints.is_empty(), "{:#?}", &witness.complaints[..witness.complaints.len().min(5)]);
}

#[test]
fn a_thousand_hostile_connections_go_by_their_limits_and_cost_the_others_nothing() {
    let settings = format!("maxBacklog = {BACKLOG}\nmaxMessage = {MESSAGE}\nmaxMemory = {MEMORY}\n");
    let mut command = server::program();
    command.env("RUST_LOG", "error,websock::net::server=info").env(server::GIVES_BACK.0, server::GIVES_BACK.1);
    let ini = format!("[limits]\n{}{settings}", LIMITS.ini());
    let server = Server::start_as(command, &ini, "ws://127.0.0.1:0");
    let port = server.address().port();
    let mut witness = Witness::default();
    let mut crowd = Crowd::new(server.address());
    for _ in 0..10 {
        crowd.add(Echoer::new(Duration::from_millis(20), Instant::now(), 100), &mut witness);
        crowd.add(Listener::default(), &mut witness);
    }
    crowd.add(Broadcaster::new(Duration::from_millis(20), 4000), &mut witness);
    run(&mut crowd, &mut witness, SECOND / 2);
    let (before, descriptors) = (server.memory(), server.descriptors());

    let vices = vices(&LIMITS, Duration::from_millis(100));
    let mut hostile = Vec::new();
    let mut resetting = Vec::new();
    for number in 0..HOSTILE {
        let vice = &vices[number % vices.len()];
        let index = crowd.add(Hostile::new(vice), &mut witness);
        match vice.limit {
            Some(limit) => {
                let port = crowd.port(index).expect("it is connected");
                let filling = if vice.fills { FILLING } else { Duration::ZERO };
                hostile.push((vice.name, port, Instant::now() + limit + SLACK + filling));
            }
            None => resetting.push(index),
        }
        if number % 50 == 0 {
            run(&mut crowd, &mut witness, Duration::from_millis(5));
        }
    }
    // How much time there was left to each kind, at the least.
    let mut margins: HashMap<&str, Duration> = HashMap::new();
    let mut most = 0;
    let mut most_held = 0;
    let last = Instant::now() + LIMIT * 2 + CLOSE_WAIT + SLACK + FILLING;
    while !hostile.is_empty() {
        run(&mut crowd, &mut witness, Duration::from_millis(50));
        let now = Instant::now();
        let held: HashSet<u16> = held_by_server(port).into_iter().collect();
        most = most.max(server.memory());
        most_held = most_held.max(held.len());
        hostile.retain(|(name, port, until)| {
            let there = held.contains(port);
            if !there {
                let left = until.saturating_duration_since(now);
                let least = margins.entry(*name).or_insert(left);
                *least = left.min(*least);
            }
            there
        });
        let late: Vec<_> = hostile.iter().filter(|(_, _, until)| *until < now).map(|(name, ..)| name).collect();
        assert!(late.is_empty(), "still there: {late:?}");
        assert!(now < last, "{hostile:?}");
    }
    resetting.into_iter().for_each(|index| crowd.drop(index));
    // All of them were there at once: what is gone at once shows nothing.
    assert!(most_held > HOSTILE * 3 / 4, "{most_held}");

    // The arena, the read buffer and the tables are beside what the settings bound.
    let bound = MEMORY + (8 << 20);
    assert!(most - before < bound, "{} bytes, {bound} are allowed", most - before);
    run(&mut crowd, &mut witness, SECOND / 2);
    server::wait_until("their descriptors are given back", || server.descriptors() == descriptors);
    let after = server.memory();
    println!("{margins:#?}");
    println!("memory: {before} before, {most} at most, {after} after");
    assert!(after.saturating_sub(before) < 16 << 20, "{before} bytes before, {after} after");

    // The honest ones have seen nothing of it.
    let [p50, p99, slowest] = [500, 990, 1000].map(|share| percentile(&mut witness.latencies, share));
    println!("{} good, p50 {p50:?}, p99 {p99:?}, at worst {slowest:?}", witness.good);
    // This program has one thread for all of them, and takes its time itself; benches/hostile.rs measures.
    assert!(slowest < SECOND * 2, "{slowest:?}");
    assert!(witness.good > 2000, "{}", witness.good);
}

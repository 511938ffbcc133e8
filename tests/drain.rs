//! The good-bye to thousands: who is told when, and that it always ends in time. In virtual time, on wires that only
//! remember, and once with a process.

use std::time::{Duration, Instant};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;
#[path = "common/wires.rs"]
mod wires;

use server::{CLOSE, Client, NEXT_1, Server, masked};
use wires::World;

fn world(clients: usize, drain_timeout: u64) -> World {
    World::new(clients, &format!("[limits]\npingInterval = 0\ndrainTimeout = {drain_timeout}\n"))
}

/// How many have got a Close.
fn told(world: &World) -> usize {
    world.wires.iter().filter(|(_, wire)| wire.borrow().to_peer.starts_with(&[CLOSE])).count()
}

fn drain(world: &mut World) {
    world.hub.drain(world.now);
    world.hub.settle(world.now);
}

#[test]
fn up_to_a_thousand_are_told_at_once() {
    for clients in [1, 999, 1000] {
        let mut world = world(clients, 10);
        drain(&mut world);
        assert_eq!(told(&world), clients);
    }
}

#[test]
fn more_are_told_in_waves() {
    let mut world = world(1001, 10);
    let idle = world.connect();
    drain(&mut world);
    assert_eq!(told(&world), 1000);
    let untouched = world.wires[idle].1.borrow().to_peer.is_empty() && !world.wires[idle].1.borrow().dropped;
    assert!(untouched, "who is no client is not told");
    assert_eq!((world.pass(), told(&world)), (500, 1001));
    // The next thing to come is that those who have not answered are dropped.
    assert_eq!(world.pass(), 4500);
    assert_eq!(world.hub.unfinished().count(), 1);
    world.pass();
    assert_eq!(world.hub.unfinished().count(), 0, "nobody is waited for");
}

#[test]
fn all_are_told_within_half_of_the_time_however_many_they_are() {
    for (clients, drain_timeout, step) in [(2500, 10, 500), (12_000, 10, 416), (3000, 1, 166), (2001, 3600, 500)] {
        let mut world = world(clients, drain_timeout);
        drain(&mut world);
        let mut expected = 1000;
        while expected < clients {
            assert_eq!(told(&world), expected);
            assert_eq!(world.pass(), step, "{clients} in {drain_timeout} s");
            expected = clients.min(expected + 1000);
        }
        assert_eq!(told(&world), clients);
        assert!(world.now.as_millis() * 2 <= drain_timeout * 1000);
    }
}

#[test]
fn without_time_all_are_told_at_once() {
    let mut world = world(3000, 0);
    drain(&mut world);
    assert_eq!(told(&world), 3000);
}

#[test]
fn a_loop_that_comes_late_catches_up() {
    let mut world = world(4000, 10);
    drain(&mut world);
    world.now = world.now.after(Duration::from_millis(1200));
    world.hub.expire(world.now);
    world.hub.settle(world.now);
    assert_eq!(told(&world), 3000);
    assert_eq!(world.hub.deadline().as_millis(), 1500);
}

#[test]
fn who_is_not_told_yet_is_served_and_who_leaves_first_is_not_told() {
    let mut world = world(1500, 10);
    drain(&mut world);
    let waits: Vec<usize> = (0..1500).filter(|index| world.wires[*index].1.borrow().to_peer.is_empty()).collect();
    assert_eq!(waits.len(), 500);
    world.say(waits[0], &masked(0x81, b"still here"));
    assert_eq!(world.wires[waits[0]].1.borrow().to_peer, server::plain(0x81, b"still here"));
    world.say(waits[1], &masked(CLOSE, &1000_u16.to_be_bytes()));
    world.pass();
    let heard = |index: usize| world.wires[index].1.borrow().to_peer.clone();
    assert!(heard(waits[0]).ends_with(b"server is stopping"));
    assert_eq!(heard(waits[1]), server::plain(CLOSE, &1000_u16.to_be_bytes()), "its own Close, answered, and no more");
    assert_eq!(told(&world), 1499);
}

#[test]
fn a_server_with_thousands_ends_in_time_and_loses_nothing_for_those_who_read() {
    let mut server = Server::start("[limits]\ndrainTimeout = 4\nmaxBacklog = 100000000\n");
    let (mut reader, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    let mut crowd: Vec<Client> = (0..2200).map(|_| Client::open(server.address(), "/echo", "")).collect();
    // More than the kernel keeps for it, so that some of it waits at the server.
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{}"}}"#, "x".repeat(2 << 20));
    for _ in 0..4 {
        script.say(&message);
        script.expect(&[NEXT_1]);
    }
    let began = Instant::now();
    server.signal(Signal::TERM);
    for _ in 0..4 {
        reader.expect(&[&message]);
    }
    reader.expect_closed(1001);
    script.expect_closed(1001);
    let mut first = None;
    let mut last = began.elapsed();
    // The latest of them are told first: whoever has waited longest waits longest.
    for client in crowd.iter_mut().rev() {
        client.expect_close_frame(1001);
        last = began.elapsed();
        first.get_or_insert(last);
        // All but a few answer; those have until the end.
        if client.local_address().port() % 64 != 0 {
            client.send(&masked(CLOSE, &1001_u16.to_be_bytes()));
        }
    }
    let first = first.expect("there is a crowd");
    assert!(last >= Duration::from_millis(990), "three waves, half a second apart: {first:?} to {last:?}");
    drop((reader, script));
    crowd.retain(|client| client.local_address().port() % 64 == 0);
    assert!(!crowd.is_empty(), "some don't answer");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let took = began.elapsed();
    assert!(took > last && took < Duration::from_millis(5500), "{took:?}");
}

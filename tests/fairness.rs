//! Those who send much, beside one who sends little: how long that one waits. In virtual time, on wires.

#[path = "common/server.rs"]
mod server;
#[path = "common/wires.rs"]
mod wires;

use server::{BINARY, TEXT, masked, plain};
use wires::World;

/// Bytes of one read.
const READ: usize = 128 * 1024;

#[test]
fn who_sends_little_does_not_wait_for_all_who_send_much() {
    const MANY: usize = 100;
    let mut world = World::new(MANY + 1, "[limits]\npingInterval = 0\nmessageTimeout = 0\n");
    // A message that takes hundreds of reads, in the smallest fragments, from each of them.
    let flood = masked(0x00, b"").repeat(4 * READ / 6);
    for index in 0..MANY {
        world.wires[index].1.borrow_mut().to_server.extend(masked(0x01, b""));
        world.wires[index].1.borrow_mut().to_server.extend(&flood);
    }
    let unread =
        |world: &World| world.wires[..MANY].iter().map(|(_, wire)| wire.borrow().to_server.len()).sum::<usize>();
    // The poll tells of all of them once: each gets one read.
    for index in 0..MANY {
        world.hub.ready(world.wires[index].0, false, false, world.now);
    }
    world.hub.settle(world.now);
    let mut left = unread(&world);
    assert!(world.hub.has_unread());
    let honest = MANY;
    let mut turns = 0;
    while world.hub.has_unread() {
        world.hub.go_on(world.now);
        // More of their bytes come, and the poll says so; that does not make it their turn.
        for index in 0..MANY {
            world.hub.ready(world.wires[index].0, false, false, world.now);
        }
        world.say(honest, &masked(TEXT, b"little"));
        let mut wire = world.wires[honest].1.borrow_mut();
        assert_eq!(std::mem::take(&mut wire.to_peer), plain(TEXT, b"little"));
        drop(wire);
        let now = unread(&world);
        // A thousand of the smallest frames, and what one more read brings.
        assert!(left - now <= 16 * 1024, "{} bytes in a turn", left - now);
        left = now;
        turns += 1;
    }
    assert_eq!(left, 0, "all of it was read");
    assert!(turns >= 30 * MANY, "{turns} turns");
}

#[test]
fn those_who_send_much_take_turns() {
    const MANY: usize = 20;
    let mut world = World::new(MANY, "[limits]\npingInterval = 0\nmaxMessage = 10000000\n");
    let frame = masked(BINARY, &vec![b'x'; 10 * READ]);
    for (_, wire) in &world.wires {
        wire.borrow_mut().to_server.extend(&frame);
    }
    for index in 0..MANY {
        world.hub.ready(world.wires[index].0, false, false, world.now);
    }
    world.hub.settle(world.now);
    while world.hub.has_unread() {
        world.hub.go_on(world.now);
        world.hub.settle(world.now);
        let left: Vec<usize> = world.wires.iter().map(|(_, wire)| wire.borrow().to_server.len()).collect();
        let (most, least) = (left.iter().max().unwrap(), left.iter().min().unwrap());
        assert!(most - least <= READ, "{left:?}");
    }
    for (_, wire) in &world.wires {
        assert_eq!(wire.borrow().to_peer.len(), 10 * READ + 10, "the echo of all of it");
    }
}

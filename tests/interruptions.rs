//! What comes from outside of the program: it is killed, it is stopped for a while, its peers are reset at bad moments.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{
    BINARY, CLOSE, Client, NEXT, NEXT_0, PING, PONG, Server, TEXT, masked, masked_header, plain, program, upgrade,
};

#[test]
fn killed_and_started_again_it_serves_within_a_second() {
    let server = Server::start("");
    let address = server.address();
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut halfway = Client::connect(address);
    halfway.send(&upgrade("/", "").as_bytes()[..50]);
    // Dropping it kills it: SIGKILL, with connections open.
    drop(server);
    browser.expect_end();
    let began = Instant::now();
    let again = Server::start_as(program(), "", &format!("ws://{address}"));
    let (_browser, new) = Client::browser(&again, "/");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // A page learns by its new UUID that the server is not the one it was connected to, and whoever still has the old one
    // learns that nobody got the message.
    assert_ne!(new, uuid);
    let mut script = Client::script(&again);
    script.say(&format!(r#"{{"opcode":"feedback","uuid":"{uuid}"}}"#));
    script.expect(&[NEXT_0]);
}

/// The next frame that is no ping is this text. On a slow machine a ping may come first.
fn expect_besides_pings(client: &mut Client, text: &str) {
    let mut frame = client.frame();
    while frame.first == PING {
        client.send(&masked(PONG, b""));
        frame = client.frame();
    }
    assert_eq!(frame.text(), text);
}

#[test]
fn time_in_which_it_was_stopped_is_held_against_nobody() {
    let server = Server::start("[limits]\npingInterval = 3\nmessageTimeout = 6\nhandshakeTimeout = 6\n");
    let ping = plain(PING, b"");
    let mut crowd: Vec<Client> = (0..20).map(|_| Client::browser(&server, "/").0).collect();
    let (mut mute, _) = Client::browser(&server, "/");
    let mut echo = Client::open(server.address(), "/echo", "");
    let mut halfway = Client::connect(server.address());
    let request = upgrade("/echo", "");
    halfway.send(&request.as_bytes()[..40]);
    let cut = masked(TEXT, b"begun before, ended after");
    echo.send(&cut[..12]);
    for client in crowd.iter_mut().chain([&mut mute, &mut echo]) {
        client.expect_bytes(&ping);
    }
    // Everyone owes an answer now. All deadlines pass while it stands still.
    server.freeze();
    thread::sleep(Duration::from_millis(6500));
    server.signal(Signal::CONT);
    server.wait_for_line("stood still for");
    // Nothing of this was in the server's kernel when it woke: only because it waits on, it hears them.
    echo.send(&cut[12..]);
    expect_besides_pings(&mut echo, "begun before, ended after");
    halfway.send(&request.as_bytes()[40..]);
    halfway.expect_switch("");
    for client in &mut crowd {
        client.send(&masked(PONG, b""));
        client.say(r#"{"opcode":"-"}"#);
        expect_besides_pings(client, NEXT);
    }
    // And deadlines go on: who says nothing at all is dropped.
    let mut frame = mute.frame();
    while frame.first == PING {
        frame = mute.frame();
    }
    assert_eq!((frame.first, &frame.payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
    mute.expect_end();
    server.wait_for_line("no answer to a ping");
    assert_eq!(server.lines_with("no answer to a ping").len(), 1, "nobody else is");
}

#[test]
fn answers_that_came_while_it_was_stopped_count() {
    let server = Server::start("[limits]\npingInterval = 2\n");
    // More than one poll takes.
    let mut crowd: Vec<Client> = (0..1500).map(|_| Client::open(server.address(), "/echo", "")).collect();
    let ping = plain(PING, b"");
    crowd.iter_mut().for_each(|client| client.expect_bytes(&ping));
    server.freeze();
    crowd.iter_mut().for_each(|client| client.send(&masked(PONG, b"")));
    thread::sleep(Duration::from_millis(3500));
    server.signal(Signal::CONT);
    for client in &mut crowd {
        client.expect_bytes(&ping);
    }
    assert_eq!(server.lines_with("no answer to a ping"), [""; 0]);
}

/// Ends a connection with a reset, and without a word.
fn reset(client: Client) {
    sockopt::set_socket_linger(client.stream(), Some(Duration::ZERO)).expect("a socket");
    drop(client);
}

#[test]
fn resets_at_any_moment_leave_nothing_behind() {
    let server = Server::start("");
    let (mut honest, _) = Client::browser(&server, "/");
    honest.expect_nothing_else();
    let before = server.descriptors();
    let large = masked(BINARY, &vec![b'x'; 4 << 20]);
    for round in 0..500 {
        match round % 10 {
            // In the middle of a frame.
            0 => {
                let mut client = Client::open(server.address(), "/echo", "");
                client.send(&masked_header(BINARY, 100));
                client.send(b"some of it");
                reset(client);
            }
            // In the middle of what the server writes.
            1 => {
                let mut client = Client::connect_from(None, Some(4096), server.address()).upgraded("/echo", "");
                client.send(&large);
                client.bytes(1);
                reset(client);
            }
            // In the middle of a head.
            2 => {
                let mut client = Client::connect(server.address());
                client.send(b"GET / HT");
                reset(client);
            }
            // Between the accept and the first read.
            _ => reset(Client::connect(server.address())),
        }
        if round % 50 == 0 {
            honest.say(r#"{"opcode":"-"}"#);
            honest.expect(&[NEXT]);
        }
    }
    // Some before they are accepted: it wakes to connections that are gone already.
    server.freeze();
    (0..100).for_each(|_| reset(Client::connect(server.address())));
    server.signal(Signal::CONT);
    honest.expect_nothing_else();
    server::wait_until("their descriptors are given back", || server.descriptors() == before);
    assert_eq!(server.lines_with(" ERROR "), [""; 0]);
}

/// The kernel's timer of a connection at the end that is `here`, as `/proc/net/tcp` tells it: what it waits for, and how many
/// hundredths of a second more.
fn timer_of(here: SocketAddr, there: SocketAddr) -> Option<(u32, u64)> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells");
    // Ports alone: all of this machine's are on loopback here. Both of them, since one may be another connection's as well.
    let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let here = (port(fields[1]), port(fields[2])) == (Some(here.port()), Some(there.port()));
        let (waits_for, left) = fields[5].split_once(':')?;
        here.then_some((u32::from_str_radix(waits_for, 16).ok()?, u64::from_str_radix(left, 16).ok()?))
    })
}

#[test]
fn the_kernel_asks_whether_a_silent_script_is_still_there() {
    let server = Server::start("");
    let script = Client::script(&server);
    const KEEPALIVE: u32 = 2;
    // Right after the greeting the timer is that of its delivery.
    server::wait_until("the kernel's timer is that of keep-alive", || {
        timer_of(server.address(), script.local_address())
            .is_some_and(|(waits_for, left)| waits_for == KEEPALIVE && left <= 6000)
    });
}

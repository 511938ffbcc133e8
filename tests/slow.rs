//! Clients that don't read, read too slowly, hold too much, or vanish: what becomes of them, and that the others are
//! neither kept waiting nor lose anything.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{
    BINARY, Client, NEXT, NEXT_0, NEXT_1, OLD_SCRIPT, PATIENCE, PING, SCRIPT, Server, TEXT, masked, masked_header,
    masked_text, plain, upgrade, without_id,
};

/// A browser whose kernel takes little on its behalf, so that what it doesn't read waits at the server soon.
fn slow_browser(server: &Server, ident: &str) -> Client {
    let client = Client::connect_from(None, Some(4096), server.address());
    let mut client = client.upgraded("/", &format!("Ident: {ident}\r\n"));
    client.expect_greeting();
    client
}

/// A numbered message of about 32 KiB.
fn message(ident: &str, number: usize) -> String {
    format!(r#"{{"opcode":"feedback","ident":"{ident}","number":{number},"message":"{}"}}"#, "x".repeat(32 * 1024))
}

/// An honest client, which gets its answers in no time whatever the others do.
struct Honest(Client);

impl Honest {
    fn of(server: &Server) -> Self {
        Self(Client::browser(server, "/").0)
    }

    fn check(&mut self) {
        let began = Instant::now();
        self.0.say(r#"{"opcode":"echo","message":"honest"}"#);
        self.0.expect(&[NEXT_1, r#"{"opcode":"echo","message":"honest"}"#]);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_and_its_sender_told() {
    let server = Server::start("[limits]\nmaxBacklog = 262144\n");
    let mut slow = slow_browser(&server, "slow");
    let mut honest = Honest::of(&server);
    let mut script = Client::script(&server);
    let mut sent = 0;
    // More than its backlog, and what two kernels keep for it.
    for number in 0..1000 {
        script.say(&message("slow", number));
        let answer = script.frame();
        honest.check();
        if without_id(answer.text()) == NEXT_0 {
            break;
        }
        assert_eq!(without_id(answer.text()), NEXT_1);
        sent += 1;
    }
    assert!((8..1000).contains(&sent), "{sent} of 32 KiB: at least the backlog, and not for ever");
    server.wait_for_line("closed with 1013");
    script.say(&message("slow", 0));
    script.expect(&[NEXT_0]);
    // What was said to be delivered arrives, in order, with nothing left out; then it learns why that is all.
    for number in 0..sent {
        slow.expect(&[&message("slow", number)]);
    }
    slow.expect_closed(1013);
    honest.check();
}

#[test]
fn one_message_larger_than_the_backlog_fits_where_nothing_waits() {
    let server = Server::start("[limits]\nmaxBacklog = 4096\n");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut script = Client::script(&server);
    let large = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{}"}}"#, "x".repeat(4 << 20));
    for _ in 0..2 {
        script.say(&large);
        script.expect(&[NEXT_1]);
        browser.expect(&[&large]);
        // The server has seen it all leave once it answers.
        browser.expect_nothing_else();
    }
}

#[test]
fn a_broadcast_reaches_everyone_who_reads() {
    let server = Server::start("[limits]\nmaxBacklog = 65536\n");
    let mut slow = slow_browser(&server, "slow");
    let mut readers: Vec<Client> = (0..5).map(|_| Client::browser(&server, "/").0).collect();
    let mut honest = Honest::of(&server);
    let mut script = Client::script(&server);
    let mut number = 0;
    while server.lines_with("closed with 1013").is_empty() {
        assert!(number < 1000, "a reader that doesn't read is closed");
        let text = format!(r#"{{"opcode":"broadcast","number":{number},"message":"{}"}}"#, "x".repeat(32 * 1024));
        script.say(&text);
        let answer = script.frame();
        assert!(matches!(
            without_id(answer.text()).strip_prefix(r#"{"opcode":"next","fyi":"","delivered":"#),
            Some("7}" | "6}")
        ));
        for reader in readers.iter_mut().chain([&mut honest.0]) {
            reader.expect(&[&text]);
        }
        honest.check();
        number += 1;
    }
    for reader in &mut readers {
        reader.expect_nothing_else();
    }
    assert!(slow.frame().text().contains(r#""number":0,"#));
}

/// So much at once that the kernel can't take it all for a client that isn't reading.
fn too_much(ident: &str) -> String {
    format!(r#"{{"opcode":"feedback","ident":"{ident}","message":"{}"}}"#, "x".repeat(8 << 20))
}

#[test]
fn a_client_that_reads_too_slowly_for_too_long_is_closed() {
    let server = Server::start("[limits]\nmaxMessage = 10000000\nmaxBacklogTime = 1\n");
    let mut slow = slow_browser(&server, "slow");
    let mut honest = Honest::of(&server);
    let mut script = Client::script(&server);
    let message_to_it = masked_text(&too_much("slow"));
    let began = Instant::now();
    script.send(&message_to_it);
    script.expect(&[NEXT_1]);
    // It reads on, so there is progress, and yet never a moment of nothing waiting.
    let until = Instant::now() + PATIENCE;
    while server.lines_with("reads too slowly").is_empty() {
        assert!(Instant::now() < until, "a reader that is too slow is closed");
        slow.bytes(4096);
        honest.check();
        thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() >= Duration::from_millis(990), "it has its time");
    server.wait_for_line("closed with 1013");
    script.say(&message("slow", 0));
    script.expect(&[NEXT_0]);

    // Its connection is kept for a while, for the Close frame to be read; that costs nothing.
    let before = server.sleeps();
    honest.0.expect_silence(Duration::from_millis(300));
    let woken = server.sleeps() - before;
    assert!(woken < 50, "the loop woke {woken} times in 300 ms with nothing to do");
}

#[test]
fn a_client_that_catches_up_in_time_is_kept() {
    let server = Server::start("[limits]\nmaxMessage = 10000000\nmaxBacklogTime = 2\n");
    let (mut reader, _) = Client::greeted(server.address(), "/", "Ident: reader\r\n");
    let mut script = Client::script(&server);
    let (sent, received) = (masked_text(&too_much("reader")), plain(TEXT, too_much("reader").as_bytes()));
    let began = Instant::now();
    // Each time something waits for it, and then nothing: the time begins anew.
    while began.elapsed() < Duration::from_millis(2300) {
        script.send(&sent);
        script.expect(&[NEXT_1]);
        reader.expect_bytes(&received);
        reader.expect_nothing_else();
    }
}

#[test]
fn who_holds_the_most_is_closed_when_memory_runs_out() {
    let server = Server::start("[limits]\nmaxMemory = 16000000\nmaxMessage = 64000000\n");
    let mut honest = Honest::of(&server);
    let mut modest = Client::open(server.address(), "/echo", "");
    let mut greedy = Client::open(server.address(), "/echo", "");
    let payload = vec![b'x'; 1_000_000];
    let whole = masked(BINARY, &payload);
    modest.send(&whole[..whole.len() - 1]);
    greedy.send(&masked_header(BINARY, 60_000_000));
    for _ in 0..60 {
        // It may be cut off in the middle; a piece is small enough that being closed is no error to a writer.
        greedy.try_send(&payload);
        honest.check();
    }
    greedy.expect_close_frame(1013);
    greedy.expect_end();
    server.wait_for_line("maxMemory");
    modest.send(&whole[whole.len() - 1..]);
    modest.expect_bytes(&plain(BINARY, &payload));
    assert_eq!(server.lines_with("closed with 1013").len(), 1, "nobody else was closed");
    // Its memory was given back: the same fits again.
    modest.send(&masked_header(BINARY, 60_000_000));
    modest.send(&payload);
    honest.check();
}

#[test]
fn output_that_waits_counts_towards_memory() {
    let server = Server::start("[limits]\nmaxMemory = 4000000\nmaxBacklog = 1000000000\nmaxBacklogTime = 0\n");
    let mut slow = slow_browser(&server, "slow");
    let mut honest = Honest::of(&server);
    let mut script = Client::script(&server);
    let mut sent = 0;
    loop {
        script.say(&message("slow", sent));
        let answer = script.frame();
        honest.check();
        if without_id(answer.text()) == NEXT_0 {
            break;
        }
        sent += 1;
        assert!(sent < 1000, "what waits is not bounded");
    }
    server.wait_for_line("maxMemory");
    // What waited is gone, the frame that was being sent is whole, and then it is told.
    let mut received = 0;
    let close = loop {
        let frame = slow.frame();
        if frame.first != TEXT {
            break frame;
        }
        assert_eq!(frame.text(), message("slow", received));
        received += 1;
    };
    assert_eq!((close.first, &close.payload[..2]), (server::CLOSE, &1013_u16.to_be_bytes()[..]));
    assert!(received < sent, "{received} of {sent}");
}

#[test]
fn chunks_that_are_kept_count_towards_memory() {
    let server = Server::start("[limits]\nmaxMemory = 1048576\nmaxMessage = 100000000\n");
    let mut honest = Honest::of(&server);
    let (mut greedy, _) = Client::browser(&server, "/");
    greedy.say("bufferON");
    greedy.expect(&[NEXT]);
    let chunk = "x".repeat(100_000);
    let mut kept = 0;
    let close = loop {
        greedy.say(&chunk);
        let frame = greedy.frame();
        if frame.first != TEXT {
            break frame;
        }
        kept += 1;
        assert!(kept < 50, "what is kept is not bounded");
    };
    assert_eq!((close.first, &close.payload[..2]), (server::CLOSE, &1013_u16.to_be_bytes()[..]));
    honest.check();
}

#[test]
fn who_reads_no_answers_is_not_read_from() {
    let server = Server::start("[limits]\nmaxBacklogTime = 0\n");
    let mut honest = Honest::of(&server);
    for flood in [masked_text(r#"{"opcode":"-"}"#), masked(PING, &[0; 125])] {
        let mut deaf = Client::connect_from(None, Some(4096), server.address()).upgraded("/echo", "");
        // 64 MiB, if the server took them; its own backlog and the kernels' buffers are less than half.
        let pieces = flood.repeat((256 << 10) / flood.len());
        let taken = (0..256).take_while(|_| deaf.try_send_now(&pieces)).count();
        assert!(taken < 128, "{taken} pieces of 256 KiB were taken");
        honest.check();
    }
}

#[test]
fn peers_that_vanish_leave_nothing_behind() {
    let server = Server::start("[limits]\nmaxClients = 2\n");
    let mut honest = Honest::of(&server);
    let before = server.descriptors();
    let gone = |number: usize| {
        server::wait_until("they have vanished", || server.lines_with("peer vanished").len() >= number);
    };
    let frame = masked_text(r#"{"opcode":"echo","message":"half"}"#);
    let mut count = 0;
    for cut in [0, 1, 3, 6, 20, frame.len()] {
        // Goes with a FIN.
        let (mut client, _) = Client::browser(&server, "/");
        client.send(&frame[..cut]);
        if cut == frame.len() {
            client.frame();
            client.frame();
        }
        drop(client);
        count += 1;
        gone(count);
        // Goes with a reset: its kernel sends one where something came that was never read.
        let mut client = Client::open(server.address(), "/", "");
        client.bytes(1);
        honest.check();
        client.send(&frame[..cut]);
        drop(client);
        count += 1;
        gone(count);
    }
    honest.0.say(r#"{"opcode":"broadcast"}"#);
    honest.0.expect(&[NEXT_0]);
    // Those that go before they are anybody, and in all ways at once.
    for cut in [0, 1, 30] {
        let mut client = Client::connect(server.address());
        client.send(&upgrade("/", "").as_bytes()[..cut]);
    }
    for _ in 0..200 {
        Client::connect(server.address());
    }
    honest.check();
    let (last, _) = Client::browser(&server, "/");
    last.leave();
    server::wait_until("their descriptors are given back", || server.descriptors() == before);
    for level in [" ERROR ", " WARN "] {
        assert_eq!(server.lines_with(level), [""; 0]);
    }
}

#[test]
fn a_peer_that_sends_much_and_then_ends_its_side_is_forgotten() {
    let server = Server::start("");
    let mut honest = Honest::of(&server);
    let mut script = Client::script(&server);
    // Bytes that nothing is answered to. The kernel gives a connection room for many only once it has been busy.
    let pongs = masked(server::PONG, &[0; 125]).repeat(2000);
    for _ in 0..60 {
        script.send(&pongs);
    }
    // Twice: from the second answer on it has nothing left to do but to wait.
    script.expect_nothing_else();
    script.expect_nothing_else();
    // So that the server finds them all, and the end behind them, at once.
    server.freeze();
    script.send(&[&pongs[..], &pongs].concat());
    script.half_close();
    script.wait_until_arrived();
    server.signal(Signal::CONT);
    script.expect_end();
    honest.check();
}

#[test]
fn a_script_that_is_held_back_is_held_to_the_backlog() {
    let server = Server::start("[limits]\nmaxBacklog = 100000\n[script]\nframeGap = 10000\n");
    let mut script = Client::open(server.address(), "/php", &format!("{OLD_SCRIPT}Ident: job\r\n"));
    script.expect_greeting();
    let mut sender = Client::greeted(server.address(), "/php", SCRIPT).0;
    let mut sent = 0;
    loop {
        sender.say(&message("job", sent));
        if without_id(sender.frame().text()) == NEXT_0 {
            break;
        }
        sent += 1;
        assert!(sent < 10, "what is held back for a script is not bounded");
    }
    assert!(sent >= 4, "{sent}");
}

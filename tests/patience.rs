//! Where five seconds are waited and no longer: by the server for a peer to end its connection, by `websock send` for
//! an answer. In a file of their own, so that they are waited for at the same time.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, NEXT, Server, TEXT, masked, program};

#[test]
fn a_connection_that_failed_is_dropped_whatever_its_peer_does() {
    let server = Server::start("");
    let address = server.address();
    let fault = masked(0x83, b"");
    // The server waits five seconds for its peer to end the connection.
    let (early, late) = (Duration::from_millis(4500), Duration::from_secs(7));
    thread::scope(|scope| {
        // Keeps talking, and never ends its side.
        scope.spawn(|| {
            let mut talker = Client::open(address, "/echo", "");
            talker.send(&fault);
            let began = Instant::now();
            talker.expect_close_frame(1002);
            talker.expect_end();
            while talker.try_send(&masked(TEXT, b"still here")) {
                assert!(began.elapsed() < late, "the server still listens");
                thread::sleep(Duration::from_millis(20));
            }
            assert!(began.elapsed() > early, "it has its time: a reset could destroy the Close frame on its way");
        });
        // Doesn't answer our Close, and doesn't read it.
        scope.spawn(|| {
            let mut mute = Client::greeted(address, "/", "").0;
            mute.say(r#"{"opcode":"quit"}"#);
            let began = Instant::now();
            mute.expect(&[NEXT]);
            mute.expect_close_frame(1000);
            assert_eq!(mute.rest(began + late), b"");
            assert!(began.elapsed() > early, "it has its time to answer");
        });
        // Was refused, and holds on to the connection.
        scope.spawn(|| {
            let mut refused = Client::connect(address);
            refused.send(b"BREW /echo HTTP/1.1\r\nHost: pot\r\n\r\n");
            refused.response();
            refused.expect_end();
            let began = Instant::now();
            while refused.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") {
                assert!(began.elapsed() < late, "the server still listens");
                thread::sleep(Duration::from_millis(20));
            }
        });
    });
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    // One that says nothing at all, and one that upgrades and doesn't greet.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo = Server::start("[resources]\n/php = echo\n");
    thread::scope(|scope| {
        for address in [silent.local_addr().unwrap(), echo.address()] {
            scope.spawn(move || {
                let folder = Folder::new();
                let mut command = program();
                command.args(["send", "--address", &address.to_string(), "--broadcast", "x"]);
                let output = command.current_dir(folder.path()).output().expect("the program runs");
                assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
                let expected = format!("websock: ws://{address} does not answer\n");
                assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
            });
        }
    });
}

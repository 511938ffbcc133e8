//! `websock --health`, which a container's health check is made of.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Output;
use std::thread;

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, Server, is_deaf, program};

fn asked(address: &str) -> Output {
    let folder = Folder::new();
    folder.write("websock.ini", "");
    program().args(["--health", "--address", address]).current_dir(folder.path()).output().expect("the program runs")
}

/// What is found of a server that answers with these pieces, and then ends the connection.
fn of_a_server_that_says(pieces: &'static [&'static str]) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound socket").to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer).expect("a request");
            assert!(read > 0, "{}", request.escape_ascii());
            request.extend_from_slice(&buffer[..read]);
        }
        assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\nHost: "), "{}", request.escape_ascii());
        for piece in pieces {
            // It may have heard enough.
            let _ = stream.write_all(piece.as_bytes());
        }
    });
    let output = asked(&address);
    server.join().expect("a request as it should be");
    let told = String::from_utf8(output.stderr).expect("UTF-8").replace(&address, "IT");
    (output.status.code(), told)
}

#[test]
fn a_running_server_is_healthy_and_one_that_stops_is_not() {
    let mut server = Server::start("");
    let address = server.address().to_string();
    assert_eq!(asked(&address).status.code(), Some(0));
    let (mut page, _) = Client::browser(&server, "/");
    server.signal(Signal::TERM);
    page.expect_close_frame(1001);
    assert_eq!(asked(&address).status.code(), Some(1));
    drop(page);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn only_a_200_is_healthy() {
    assert_eq!(of_a_server_that_says(&["HTTP/1.1 200 OK\r\n\r\nok"]), (Some(0), String::new()));
    assert_eq!(of_a_server_that_says(&["HTTP/", "1.1 2", "00 ", "OK\r", "\n\r\n"]), (Some(0), String::new()));
    for (pieces, told) in [
        (&["HTTP/1.1 503 Service Unavailable\r\n\r\n"][..], "answers \"HTTP/1.1 503 Service Unavailable\""),
        (&["HTTP/1.1 2000 OK\r\n\r\n"], "answers \"HTTP/1.1 2000 OK\""),
        (&["hello \x1b[2J\r\n"], "answers \"hello \\u{1b}[2J\""),
        (&["HTTP/1.1 200"], "answers \"HTTP/1.1 200\""),
        (&[], "answers \"\""),
    ] {
        assert_eq!(of_a_server_that_says(pieces), (Some(1), format!("websock: ws://IT {told}\n")));
    }
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    static ENDLESS: [&str; 64] = ["................................................................"; 64];
    let (code, told) = of_a_server_that_says(&ENDLESS);
    assert_eq!(code, Some(1));
    assert!(told.len() < 4096, "{told}");
}

#[test]
fn nobody_there_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("a bound socket");
    drop(listener);
    assert!(is_deaf(address));
    let output = asked(&address.to_string());
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.starts_with(&format!("websock: ws://{address} does not answer: Connection refused")), "{told}");
}

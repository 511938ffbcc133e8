//! `websock send`, as a shell sees it: what arrives, what it prints, and its exit codes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, SCRIPT, Server, program};

/// Sends to `server`, named by its address.
fn send(server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
    let address = format!("ws://{}", server.address());
    let folder = Folder::new();
    let mut command = program();
    command.args(["send", "--address", &address]).args(arguments).current_dir(folder.path());
    told(&command.stdin(Stdio::null()).output().expect("the program runs"))
}

/// The exit code, standard output and standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn delivered_to(count: usize) -> (Option<i32>, String, String) {
    (Some(0), format!("delivered to {count}\n"), String::new())
}

fn nobody() -> (Option<i32>, String, String) {
    (Some(1), "delivered to 0\n".to_owned(), "websock: nobody got it\n".to_owned())
}

/// An INI file that says where `server` listens, and `text`.
fn ini_of(folder: &Folder, server: &Server, text: &str) -> PathBuf {
    folder.write("server.ini", &format!("address = ws://{}\n{text}", server.address()))
}

#[test]
fn to_a_uuid() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (mut other, _) = Client::browser(&server, "/");
    assert_eq!(send(&server, &["--uuid", &uuid, "Back in \"5\" minutes\n🙂"]), delivered_to(1));
    let text = r#"{"opcode":"feedback","uuid":"UUID","message":"Back in \"5\" minutes\n🙂"}"#;
    browser.expect(&[&text.replace("UUID", &uuid)]);
    assert_eq!(send(&server, &["--uuid", &uuid, "--", "-5"]), delivered_to(1));
    browser.expect(&[&format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"-5"}}"#)]);
    browser.expect_nothing_else();
    other.expect_nothing_else();
    assert_eq!(send(&server, &["--uuid", "00000000-0000-4000-8000-000000000000", "x"]), nobody());
}

#[test]
fn to_an_ident() {
    let server = Server::start("");
    let (mut browser, _) = Client::greeted(server.address(), "/", "Ident: 42\r\n");
    let (mut script, _) = Client::greeted(server.address(), "/php", &format!("{SCRIPT}Ident: a \"b\"\r\n"));
    assert_eq!(send(&server, &["--ident", "42", "x"]), delivered_to(1));
    browser.expect(&[r#"{"opcode":"feedback","ident":"42","message":"x"}"#]);
    assert_eq!(send(&server, &["--ident", "a \"b\"", "x"]), delivered_to(1));
    script.expect(&[r#"{"opcode":"feedback","ident":"a \"b\"","message":"x"}"#]);
    assert_eq!(send(&server, &["--ident", "nobody", "x"]), nobody());
}

#[test]
fn to_everybody() {
    let server = Server::start("");
    assert_eq!(send(&server, &["--broadcast", "x"]), nobody());
    let mut browsers: Vec<Client> = ["/", "/web", "/php"].map(|path| Client::browser(&server, path).0).into();
    assert_eq!(send(&server, &["--broadcast", "x"]), delivered_to(3));
    for browser in &mut browsers {
        browser.expect(&[r#"{"opcode":"broadcast","message":"x"}"#]);
    }
}

#[test]
fn json_is_sent_as_it_is() {
    let server = Server::start("");
    let (mut browser, _) = Client::browser(&server, "/");
    let json = r#" {"paid": true, "invoice": 7.10} "#;
    assert_eq!(send(&server, &["--broadcast", "--json", json]), delivered_to(1));
    browser.expect(&[r#"{"opcode":"broadcast","message":{"paid": true, "invoice": 7.10}}"#]);
    assert_eq!(send(&server, &["--json", "--broadcast", "[1]"]), delivered_to(1));
    browser.expect(&[r#"{"opcode":"broadcast","message":[1]}"#]);
    for wrong in ["{", "hello", "1 2", ""] {
        let (code, out, err) = send(&server, &["--broadcast", "--json", wrong]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{wrong}");
        assert!(err.starts_with("websock: the message is not JSON: ") && err.lines().count() == 1, "{err}");
    }
    browser.expect_nothing_else();
}

#[test]
fn every_line_of_standard_input_is_sent_as_it_comes() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let address = format!("ws://{}", server.address());
    let mut command = program();
    command.args(["send", "--address", &address, "--uuid", &uuid, "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    for line in ["one", "", "\"three\"", "{\"4\":4}"] {
        writeln!(input, "{line}").unwrap();
        let message = line.replace('"', "\\\"");
        browser.expect(&[&format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{message}"}}"#)]);
        let mut said = String::new();
        output.read_line(&mut said).unwrap();
        assert_eq!(said, "delivered to 1\n");
    }
    browser.leave();
    write!(input, "and a last one without its end").unwrap();
    drop(input);
    let mut said = String::new();
    output.read_line(&mut said).unwrap();
    assert_eq!(said, "delivered to 0\n");
    let (code, _, err) = told(&child.wait_with_output().expect("it ends"));
    assert_eq!((code, err.as_str()), (Some(1), "websock: nobody got it\n"));
}

#[test]
fn no_lines_at_all_are_sent_to_nobody_and_well() {
    let server = Server::start("");
    assert_eq!(send(&server, &["--broadcast", "-"]), (Some(0), String::new(), String::new()));
}

#[test]
fn it_takes_the_first_relay_and_address_of_the_servers_own_settings() {
    let server = Server::start("[resources]\n/e = echo\n/deep/relay = relay\n");
    let (mut browser, _) = Client::browser(&server, "/deep/relay");
    let folder = Folder::new();
    let ini = ini_of(&folder, &server, "[resources]\n/e = echo\n/deep/relay = relay\n");
    for arguments in [&["-i", ini.to_str().unwrap()][..], &["-i", "server.ini"]] {
        let mut command = program();
        command.arg("send").args(arguments).args(["--broadcast", "x"]).current_dir(folder.path());
        assert_eq!(told(&command.output().unwrap()), delivered_to(1));
        browser.expect(&[r#"{"opcode":"broadcast","message":"x"}"#]);
    }
}

#[test]
fn what_cannot_be_sent_is_said_in_a_sentence() {
    let expect = |told: (Option<i32>, String, String), expected: &str| {
        let (code, out, err) = told;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(err.starts_with(&format!("websock: {expected}")) && err.lines().count() == 1, "{err}");
    };
    // Nobody listens there.
    let mut server = Server::start("");
    server.signal(rustix::process::Signal::TERM);
    server.wait_for_exit();
    let refused = format!("can't talk to ws://{}: Connection refused", server.address());
    expect(send(&server, &["--broadcast", "x"]), &refused);

    let folder = Folder::new();
    let with_ini = |server: &Server, text: &str| {
        let mut command = program();
        command.args(["send", "-i"]).arg(ini_of(&folder, server, text)).args(["--broadcast", "x"]);
        told(&command.current_dir(folder.path()).output().unwrap())
    };
    // The server has no relay, or not where it was looked for.
    let echo = Server::start("[resources]\n/e = echo\n");
    expect(with_ini(&echo, "[resources]\n/e = echo\n"), "this is no relay: its INI file has no resource");
    expect(with_ini(&echo, ""), "the server refused: 404 Not Found: there is no such resource here");
    // It is full.
    let full = Server::start("[limits]\nmaxClients = 1\n");
    let client = Client::browser(&full, "/");
    expect(send(&full, &["--broadcast", "x"]), "the server refused: too many connections: try again later");
    drop(client);
    // It is no server of ours.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n\r\n").unwrap();
        stream
    });
    let mut command = program();
    command.args(["send", "--address", &address.to_string(), "--broadcast", "x"]).current_dir(folder.path());
    expect(told(&command.output().unwrap()), "the server refused: ");
    drop(answering.join().unwrap());
}

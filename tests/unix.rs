//! Unix sockets: for a proxy on the same host, or for `websock send`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, NEXT_1, OLD_SCRIPT, SCRIPT, Server, Stream, masked, plain, program};

/// A server on an address and on a Unix socket in a directory of its own.
fn start(folder: &Folder, ini: &str) -> (Server, PathBuf) {
    let path = folder.path().join("w.sock");
    let addresses = format!("ws://127.0.0.1:0, unix:{}", path.display());
    (Server::start_as(program(), ini, &addresses), path)
}

fn connect(path: &Path) -> Client {
    Client::over(Stream::Unix(UnixStream::connect(path).expect("the server accepts")))
}

/// Runs a server to its end, which is to come at once: the exit code and standard error.
fn fails(path: &Path) -> (Option<i32>, String) {
    let folder = Folder::new();
    folder.write("websock.ini", "");
    let mut command = program();
    command.arg("--address").arg(format!("unix:{}", path.display())).current_dir(folder.path());
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn its_clients_are_clients_like_any_other() {
    let folder = Folder::new();
    let (server, path) = start(&folder, "");
    server.wait_for_line(&format!("listening on unix:{}", path.display()));
    let (mut browser, uuid) = Client::browser(&server, "/");
    // From this machine, so that it may be a script.
    let mut script = connect(&path).upgraded("/php", SCRIPT);
    script.expect_greeting();
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"through the file system"}}"#);
    script.say(&message);
    script.expect(&[NEXT_1]);
    browser.expect(&[&message]);
    assert!(server.wait_for_line("/php opened").contains(" 127.0.0.1:0 "));
    let mut echo = connect(&path).upgraded("/echo", "");
    let large = vec![b'x'; 5_000_000];
    let mut writer = echo.second_handle();
    let sender = std::thread::spawn(move || writer.send(&masked(server::TEXT, &[b'x'; 5_000_000])));
    echo.expect_bytes(&plain(server::TEXT, &large));
    sender.join().expect("all is sent");
    echo.leave();
}

#[test]
fn behind_a_proxy_nobody_is_local_unless_it_is_trusted() {
    let folder = Folder::new();
    let (_server, path) = start(&folder, "");
    let mut forwarded = connect(&path);
    forwarded.send(server::upgrade("/php", &format!("{OLD_SCRIPT}X-Forwarded-For: 127.0.0.1\r\n")).as_bytes());
    assert!(forwarded.response().0.starts_with("HTTP/1.1 403 "));

    let folder = Folder::new();
    let (server, path) = start(&folder, "[access]\ntrustedProxies = 127.0.0.1\n");
    let mut browser = connect(&path).upgraded("/", "X-Forwarded-For: 192.0.2.7\r\n");
    browser.expect_greeting();
    server.wait_for_line(" 192.0.2.7:0 / opened");
    let mut forged = connect(&path);
    forged.send(server::upgrade("/php", &format!("{OLD_SCRIPT}X-Forwarded-For: 192.0.2.7\r\n")).as_bytes());
    assert!(forged.response().0.starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_silent_client_has_all_of_its_time() {
    let folder = Folder::new();
    let (_server, path) = start(&folder, "[limits]\nhandshakeTimeout = 1\n");
    let began = std::time::Instant::now();
    connect(&path).expect_end();
    let took = began.elapsed().as_millis();
    assert!((950..2500).contains(&took), "{took} ms");
}

#[test]
fn permissions_are_as_they_are_set() {
    for (ini, mode) in [("", 0o660), ("socketMode = 0666\n", 0o666), ("socketMode = 600\n", 0o600)] {
        let folder = Folder::new();
        let (_server, path) = start(&folder, ini);
        let found = fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(found & 0o7777, mode, "{ini}");
    }
}

#[test]
fn the_socket_is_removed_at_the_stop() {
    let folder = Folder::new();
    let (mut server, path) = start(&folder, "");
    let mut client = connect(&path).upgraded("/echo", "");
    server.signal(Signal::TERM);
    client.expect_closed(1001);
    drop(client);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_socket_of_somebody_else_is_left_alone() {
    let folder = Folder::new();
    let (mut server, path) = start(&folder, "");
    fs::remove_file(&path).expect("a socket");
    let _other = UnixListener::bind(&path).expect("a free name");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(path.exists());
}

#[test]
fn what_a_dead_server_left_behind_is_replaced() {
    let folder = Folder::new();
    let (server, path) = start(&folder, "");
    server.signal(Signal::KILL);
    drop(server);
    assert!(path.exists());
    let (server, path) = start(&folder, "");
    server.wait_for_line("was left behind by a server that is no more");
    connect(&path).upgraded("/echo", "").leave();
}

#[test]
fn a_socket_that_lives_is_not_taken() {
    let folder = Folder::new();
    let (server, path) = start(&folder, "");
    let (code, err) = fails(&path);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("can't listen on unix:{}: ", path.display())) && err.contains("in use"), "{err}");
    connect(&path).upgraded("/echo", "").leave();
    // One that is too busy to accept lives as well.
    server.freeze();
    let crowd: Vec<_> = (0..50).map(|_| connect(&path)).collect();
    let (code, err) = fails(&path);
    assert_eq!(code, Some(1), "{err}");
    server.signal(Signal::CONT);
    drop(crowd);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_not_touched() {
    let folder = Folder::new();
    let path = folder.write("w.sock", "precious");
    let (code, err) = fails(&path);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("no socket"), "{err}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
    let (code, err) = fails(Path::new("/nowhere/at/all.sock"));
    assert!(code == Some(1) && err.contains("No such file or directory"), "{err}");
}

#[test]
fn send_goes_through_it() {
    let folder = Folder::new();
    let (server, path) = start(&folder, "");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut command = Command::new(env!("CARGO_BIN_EXE_websock"));
    command.args(["send", "--address"]).arg(format!("unix:{}", path.display())).args(["--uuid", &uuid, "hello"]);
    let mut child = command.current_dir(folder.path()).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut said = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    assert_eq!(said, "delivered to 1\n");
    assert!(child.wait().expect("it ends").success());
    assert!(browser.frame().text().contains("hello"));
}

#[test]
fn send_says_that_it_speaks_no_tls() {
    let folder = Folder::new();
    folder.write("websock.ini", "address = wss://localhost:1\ncertFile = a\npkFile = b\n");
    for (arguments, code, told) in [
        (&["send", "--broadcast", "x"][..], 1, "can't talk to wss://localhost:1: TLS is not spoken here"),
        (
            &["send", "--address", "wss://localhost:1", "--broadcast", "x"],
            2,
            "wss://localhost:1: TLS is not spoken here",
        ),
    ] {
        let mut command = program();
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut err = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("UTF-8");
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{err}");
        assert!(err.contains(told), "{err}");
    }
}

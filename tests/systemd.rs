//! Life with a service manager: what it is told (sd_notify(3)), and the sockets that it holds for the server
//! (sd_listen_fds(3)). The test is the service manager here; `dist/` has the units for the real one.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, PATIENCE, SWITCHED, Server, is_deaf, program, upgrade};

// --- What the service manager is told -------------------------------------------------------------------------------

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { socket, folder }
    }

    /// The program, told where to report.
    fn program(&self) -> Command {
        let mut command = program();
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command
    }

    /// What comes next, within `patience`.
    fn told_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("a socket");
        let mut buffer = [0; 512];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => return Some(String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn told(&self) -> String {
        self.told_within(PATIENCE).expect("the service manager is told something")
    }
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops() {
    let manager = Manager::new();
    let mut server = Server::start_as(manager.program(), "[limits]\ndrainTimeout = 7\n", "ws://127.0.0.1:0");
    assert_eq!(manager.told(), "READY=1");
    assert!(!is_deaf(server.address()));

    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    };
    // Settings that can't be used are a reload that is over, too.
    for ini in ["[limits]\ndrainTimeout = 2\n", "[limits]\ndrainTimeOut = 1\n"] {
        let before = now();
        server.folder().write("websock.ini", ini);
        server.signal(Signal::HUP);
        let told = manager.told();
        let micros = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("a reload and its moment");
        assert!((before..=now()).contains(&micros.parse().expect("a number")), "{told}");
        assert_eq!(manager.told(), "READY=1");
    }

    let (mute, _) = Client::browser(&server, "/");
    server.signal(Signal::TERM);
    // The time that is configured by then, and a second.
    assert_eq!(manager.told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3000000");
    drop(mute);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert_eq!(manager.told_within(Duration::from_millis(1)), None, "no watchdog was asked for");
}

#[test]
fn the_loop_itself_feeds_the_watchdog() {
    let manager = Manager::new();
    let mut command = manager.program();
    command.env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let server = Server::start_as(command, "[limits]\npingInterval = 0\n", "ws://127.0.0.1:0");
    assert_eq!(manager.told(), "READY=1");
    let (_client, _) = Client::browser(&server, "/");
    // Idle, it wakes for this alone: at once, and then every 200 ms.
    let began = Instant::now();
    let beats: Vec<String> = (0..6).map(|_| manager.told()).collect();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(750) && took < Duration::from_millis(2000), "{took:?}");
    assert!(beats.iter().all(|beat| beat.starts_with("WATCHDOG=1\nSTATUS=")), "{beats:?}");
    assert_eq!(beats[5], "WATCHDOG=1\nSTATUS=1 connections");

    // Nothing beats for a loop that stands still.
    server.freeze();
    while manager.told_within(Duration::from_millis(1)).is_some() {}
    assert_eq!(manager.told_within(Duration::from_millis(500)), None);
    server.signal(Signal::CONT);
    assert!(manager.told().starts_with("WATCHDOG=1\n"));
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let mut command = manager.program();
    command.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let server = Server::start_as(command, "", "ws://127.0.0.1:0");
    assert_eq!(manager.told(), "READY=1");
    assert_eq!(manager.told_within(Duration::from_millis(200)), None);
    drop(server);
}

#[test]
fn the_service_manager_may_be_at_an_abstract_name_or_gone() {
    let name = format!("websock-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut command = program();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let mut server = Server::start_as(command, "", "ws://127.0.0.1:0");
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).expect("it is told");
    assert_eq!(&buffer[..length], b"READY=1");

    drop(socket);
    Client::browser(&server, "/");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert_eq!(server.lines_with("the service manager was not told").len(), 1);

    for name in ["relative", "vsock:2:1"] {
        let mut command = program();
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "1000");
        let server = Server::start_as(command, "", "ws://127.0.0.1:0");
        assert!(server.wait_for_line("NOTIFY_SOCKET").contains(" WARN "));
        Client::browser(&server, "/");
    }
}

// --- Sockets that are there before the server -----------------------------------------------------------------------

/// The program, with `socket` as its descriptor 3. The shell can say which process it is about to become.
fn handed(socket: OwnedFd, names: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ exec "$0" "$@""#, env!("CARGO_BIN_EXE_websock")]);
    command.env_remove("RUST_LOG").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names).stdin(Stdio::from(socket));
    command
}

/// Starts a server with `socket` as its descriptor 3, and settings that name its address.
fn start_on(socket: &TcpListener) -> Server {
    let addresses = format!("ws://{}", address(socket));
    Server::start_with_input(handed(socket.try_clone().expect("a descriptor").into(), "ws"), "", &addresses)
}

fn address(socket: &TcpListener) -> SocketAddr {
    socket.local_addr().expect("a bound socket")
}

#[test]
fn who_connects_before_the_server_runs_is_served_once_it_does() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut early = Client::connect(address(&socket));
    early.send(upgrade("/", "").as_bytes());
    let server = start_on(&socket);
    assert_eq!(server.address(), address(&socket));
    server.wait_for_line("inherited socket 127.0.0.1:");
    assert_eq!(server.lines_with("(\"ws\") is one of the addresses in the settings").len(), 1);
    early.expect_switch("");
    early.expect_greeting();
    early.expect_nothing_else();
}

#[test]
fn a_restart_refuses_nobody() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = address(&socket);
    let mut server = start_on(&socket);
    let mut opened = 1;
    for _ in 0..3 {
        let (mut old, _) = Client::browser(&server, "/");
        server.signal(Signal::TERM);
        old.expect_close_frame(1001);
        // The drain goes on until `old` has gone. Who comes now waits, at no cost to the one that goes.
        let mut waiting: Vec<Client> = (0..5).map(|_| Client::connect(address)).collect();
        waiting.iter_mut().for_each(|client| client.send(upgrade("/", "").as_bytes()));
        drop(old);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert_eq!(server.lines_with(" opened by a browser").len(), opened, "nobody came in meanwhile");
        opened = 7;
        // So does who comes while nothing runs at all.
        waiting.push(Client::connect(address));
        waiting[5].send(upgrade("/", "").as_bytes());
        server = start_on(&socket);
        for mut client in waiting {
            client.expect_switch("");
            client.expect_greeting();
            client.leave();
        }
    }
}

#[test]
fn a_stopping_server_does_not_wake_for_those_that_wait_for_the_next() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut server = start_on(&socket);
    let (mut old, _) = Client::browser(&server, "/");
    server.signal(Signal::TERM);
    old.expect_close_frame(1001);
    let before = server.sleeps();
    let waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(address(&socket));
            client.send(b"GET / HTTP/1.1\r\n");
            // Long enough for a server that is told of it to have gone back to sleep.
            old.expect_silence(Duration::from_millis(5));
            client
        })
        .collect();
    assert!(server.sleeps() - before < 5, "{} turns", server.sleeps() - before);
    drop((old, waiting));
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn a_socket_that_the_settings_do_not_name_is_served_beside_the_others() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let command = handed(socket.try_clone().expect("a descriptor").into(), "other.socket");
    let server = Server::start_with_input(command, "", "ws://127.0.0.2:0");
    server.wait_for_line("(\"other.socket\") is none of the addresses in the settings");
    let own = server.wait_for_line("listening on ws://127.0.0.2:");
    let own = own.split_once("ws://").expect("an address").1.parse().expect("an address");
    for address in [own, address(&socket)] {
        Client::greeted(address, "/", "");
    }
}

#[test]
fn a_wildcard_takes_the_place_of_what_would_come_to_it() {
    let socket = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = address(&socket).port();
    let command = handed(socket.into(), "");
    let server = Server::start_with_input(command, "", &format!("ws://127.0.0.1:{port}"));
    assert_eq!(server.lines_with("listening on").len(), 1);
    Client::greeted(SocketAddr::from(([127, 0, 0, 1], port)), "/", "");
}

#[test]
fn a_unix_socket_is_taken_over_and_left_behind() {
    let folder = Folder::new();
    let path = folder.path().join("web.sock");
    let socket = UnixListener::bind(&path).expect("a socket");
    for _ in 0..2 {
        // Before the server runs, as above.
        let mut early = UnixStream::connect(&path).expect("the socket listens");
        early.set_read_timeout(Some(PATIENCE)).expect("a socket");
        early.write_all(upgrade("/echo", "").as_bytes()).expect("room for a request");
        let command = handed(socket.try_clone().expect("a descriptor").into(), "ws");
        let addresses = format!("ws://127.0.0.1:0,unix:{}", path.display());
        let mut server = Server::start_with_input(command, "", &addresses);
        let named = format!("inherited socket {} (\"ws\") is one of the addresses in the settings", path.display());
        server.wait_for_line(&named);
        let mut answer = vec![0; SWITCHED.len()];
        early.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer.escape_ascii().to_string(), SWITCHED.as_bytes().escape_ascii().to_string());
        drop(early);
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert!(path.exists(), "whoever made it goes on listening there");
    }
}

#[test]
fn a_socket_that_asks_for_tls_without_a_certificate_is_exit_code_1() {
    let folder = Folder::new();
    folder.write("websock.ini", "address = 127.0.0.1:0\n");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let output = handed(socket.into(), "wss").current_dir(folder.path()).output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("websock: can't listen on inherited socket 127.0.0.1:"), "{told}");
    assert!(told.contains("(\"wss\"): it asks for TLS by its name, and there is no certFile"), "{told}");
}

#[test]
fn what_can_not_be_served_is_exit_code_1() {
    let folder = Folder::new();
    folder.write("websock.ini", "address = 127.0.0.1:0\n");
    let connected = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = std::net::TcpStream::connect(address(&connected)).expect("a connection");
    let file = fs::File::open(folder.path().join("websock.ini")).expect("the settings");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for (socket, why) in [
        (OwnedFd::from(stream), "it does not listen"),
        (OwnedFd::from(file), "not a socket"),
        (OwnedFd::from(udp), "not a valid tcp socket"),
    ] {
        let output = handed(socket, "a").current_dir(folder.path()).output().expect("the program runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with("websock: inherited socket 1 (\"a\") is of no use: ") && told.contains(why), "{told}");
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 0</dev/null; exec "$0" "$@""#, env!("CARGO_BIN_EXE_websock")]);
    command
        .env_remove("RUST_LOG")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .stdin(Stdio::from(OwnedFd::from(socket)));
    let server = Server::start_with_input(command, "", "ws://127.0.0.1:0");
    assert!(server.lines_with("inherited").is_empty());
    Client::browser(&server, "/");
}

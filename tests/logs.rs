//! Logs that can't be written, or not now: the server answers as before, loses lines only where it must, counts them and
//! says so. And what clients send makes no log line of its own, in either format.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

#[path = "common/server.rs"]
mod server;

use server::{CLOSE, Client, Folder, Server, masked, plain, program, upgrade, wait_until};

/// A server whose standard error is what the test wants. It tells its address in a file.
struct Started {
    child: Child,
    folder: Folder,
    address: SocketAddr,
}

impl Started {
    fn new(ini: &str, stderr: impl Into<Stdio>) -> Self {
        let folder = Folder::new();
        let file = folder.write("websock.ini", &format!("logfile = address.log\nconsole = true\n{ini}"));
        let mut command = program();
        command.args(["--address", "ws://127.0.0.1:0", "-i"]).arg(file).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().expect("it starts");
        let mut server = Self { child, folder, address: ([127, 0, 0, 1], 0).into() };
        let said = || {
            let text = fs::read_to_string(server.folder.path().join("address.log")).ok()?;
            let (_, rest) = text.split_once("listening on ws://")?;
            rest.split(['\n', '"']).next()?.parse().ok()
        };
        wait_until("it listens", || said().is_some());
        server.address = said().expect("an address");
        server
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of a path that is long enough to fill a log soon.
const LONG: usize = 8000;

/// Makes the server log `lines` long lines, and sees that it answers at once while it does.
fn flood(address: SocketAddr, lines: usize) {
    flood_from(address, 0, lines);
}

/// The same, with numbers from `first` on.
fn flood_from(address: SocketAddr, first: usize, lines: usize) {
    let mut echo = Client::open(address, "/echo", "");
    for number in first..first + lines {
        let mut client = Client::connect(address);
        client.send(upgrade(&format!("/{}-{number}", "x".repeat(LONG)), "").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 404 "));
        echo.say("there?");
        echo.expect(&["there?"]);
    }
}

fn lines_lost(address: SocketAddr) -> usize {
    let mut client = Client::connect(address);
    client.send(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let body = String::from_utf8(client.response().1).expect("UTF-8");
    let line = body.lines().find_map(|line| line.strip_prefix("websock_log_lines_lost_total "));
    line.expect("the metric").parse().expect("a number")
}

/// Reads all that comes, from now on.
fn wake(mut reader: impl io::Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let read = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&read);
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            shared.lock().expect("no panic").extend_from_slice(&buffer[..count]);
        }
    });
    read
}

/// What a reader that slept gets: every line that was logged, or the number of those that are missing.
fn expect_all_or_told(server: &Started, reader: impl io::Read + Send + 'static, flooded: usize) {
    let lost = lines_lost(server.address);
    assert!((1..flooded).contains(&lost), "{lost} lines lost of {flooded}");
    let read = wake(reader);
    let text = || String::from_utf8_lossy(&read.lock().expect("no panic")).into_owned();
    // With no further line being logged.
    wait_until("it is said that lines are missing", || text().contains(" lines lost: "));
    flood(server.address, 3);
    let is_last = |text: &str| text.contains("x-2 refused") && text.ends_with('\n');
    wait_until("lines come again", || {
        let text = text();
        let (_, after) = text.split_once(" lines lost: nobody took them").expect("the words");
        is_last(after)
    });
    let text = text();
    let notices: Vec<&str> = text.lines().filter(|line| line.contains(" lines lost: ")).collect();
    let [notice] = notices[..] else { panic!("told once: {notices:?}") };
    let told: usize = notice.split(' ').find_map(|word| word.parse().ok()).expect("a number");
    // Besides the refusals there are the echo's lines, which may be among the missing.
    assert_eq!(lines_lost(server.address), told, "what the metric says");
    let (before, after) = text.split_once(notice).expect("the notice");
    let numbers = |text: &str| -> Vec<usize> {
        let of = |line: &str| line.trim_end().split_once("x-")?.1.split(' ').next()?.parse().ok();
        text.lines().filter_map(of).collect()
    };
    let kept = numbers(before);
    assert_eq!(kept, (0..kept.len()).collect::<Vec<_>>(), "the first ones, whole and in order");
    assert!(flooded - kept.len() <= told && told <= flooded - kept.len() + 2, "{} kept, {told} lost", kept.len());
    assert_eq!(numbers(after), [0, 1, 2]);
}

/// More than a pipe holds, and what the server keeps for it.
const FLOOD: usize = 250;

#[test]
fn a_pipe_whose_reader_sleeps_stops_nothing() {
    let (reader, writer) = io::pipe().unwrap();
    let flags = File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
    let server = Started::new("", writer);
    flood(server.address, FLOOD);
    assert!(!fcntl_getfl(&flags).unwrap().contains(OFlags::NONBLOCK), "its flags are everybody's");
    drop(flags);
    expect_all_or_told(&server, reader, FLOOD);
}

#[test]
fn a_socket_whose_reader_sleeps_stops_nothing() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let server = Started::new("", std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
    flood(server.address, FLOOD);
    assert!(!fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK), "its flags are everybody's");
    drop(writer);
    expect_all_or_told(&server, reader, FLOOD);
}

/// A terminal: what is at its screen and keyboard, and the side that programs have.
fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&screen).expect("a terminal");
    unlockpt(&screen).expect("a terminal");
    let name = ptsname(&screen, Vec::new()).expect("its name").into_string().expect("ASCII");
    let no_tty = OFlags::NOCTTY.bits().cast_signed();
    let inside = OpenOptions::new().read(true).write(true).custom_flags(no_tty).open(name).expect("its other side");
    (screen.into(), inside)
}

#[test]
fn a_stopped_terminal_stops_nothing() {
    const CTRL_S: &[u8] = b"\x13";
    const CTRL_Q: &[u8] = b"\x11";
    let (mut screen, inside) = terminal();
    let server = Started::new("", inside.try_clone().unwrap());
    screen.write_all(CTRL_S).unwrap();
    flood(server.address, FLOOD);
    assert!(!fcntl_getfl(&inside).unwrap().contains(OFlags::NONBLOCK), "its flags are everybody's");
    screen.write_all(CTRL_Q).unwrap();
    expect_all_or_told(&server, screen.try_clone().unwrap(), FLOOD);
}

#[test]
fn a_terminal_that_nobody_looks_at_stops_nothing() {
    let (screen, inside) = terminal();
    let server = Started::new("", inside);
    flood(server.address, FLOOD);
    expect_all_or_told(&server, screen, FLOOD);
}

#[test]
fn a_pipe_that_is_closed_costs_lines_and_nothing_else() {
    let (reader, writer) = io::pipe().unwrap();
    let server = Started::new("", writer);
    drop(reader);
    flood(server.address, 3);
    assert!(lines_lost(server.address) >= 3);
    let kept = fs::read_to_string(server.folder.path().join("address.log")).unwrap();
    assert_eq!(kept.lines().filter(|line| line.contains(" refused, ")).count(), 3, "the file has them all");
    server.signal(Signal::TERM);
}

#[test]
fn a_reader_that_is_only_slow_gets_the_last_line() {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut server = Started::new("", writer);
    flood(server.address, 30);
    server.signal(Signal::TERM);
    let mut text = String::new();
    // Until the process has ended: it waits a moment for its last lines to be taken.
    reader.read_to_string(&mut text).unwrap();
    assert!(server.child.wait().unwrap().success());
    assert!(text.ends_with(" connections left\n") && !text.contains("lines lost"), "{}", &text[text.len() - 200..]);
}

// --- Files ----------------------------------------------------------------------------------------------------------

#[test]
fn a_full_disk_costs_lines_and_hup_can_move_the_log() {
    let server = Server::start("logfile = /dev/full\n");
    flood(server.address(), 3);
    let lost = lines_lost(server.address());
    assert!(lost >= 5, "{lost}");
    server.folder().write("websock.ini", "logfile = good.log\nconsole = false\nlogFormat = json\n");
    server.signal(Signal::HUP);
    let good = server.folder().path().join("good.log");
    let text = || fs::read_to_string(&good).unwrap_or_default();
    wait_until("the log goes on", || text().contains("configuration read again"));
    let first: Value = serde_json::from_str(text().lines().next().unwrap()).unwrap();
    let message = first["message"].as_str().unwrap();
    let told: usize = message.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(message.ends_with(" lines lost: No space left on device") && told >= lost, "{message}");
    assert!(server.lines_with("stays as it was until a restart").is_empty());

    // The console has no lines any more; then it alone has them again.
    flood_from(server.address(), 100, 1);
    wait_until("the file has it", || text().contains("x-100"));
    server.folder().write("websock.ini", "console = true\n");
    server.signal(Signal::HUP);
    let again = server.wait_for_line("configuration read again");
    assert!(again.contains(" INFO  configuration"), "text: {again}");
    let size = text().len();
    flood_from(server.address(), 200, 1);
    server.wait_for_line("x-200 refused");
    assert!(server.lines_with("x-100").is_empty());
    assert_eq!(text().len(), size, "the file is left alone");
}

#[test]
fn a_log_file_that_is_removed_is_made_anew() {
    let server = Server::start("logfile = a.log\n");
    let file = server.folder().path().join("a.log");
    fs::remove_file(&file).unwrap();
    flood(server.address(), 1);
    let text = || fs::read_to_string(&file).unwrap_or_default();
    wait_until("there is a file again", || text().contains("x-0 refused"));
    assert_eq!(lines_lost(server.address()), 0);
}

// --- Forged lines ---------------------------------------------------------------------------------------------------

/// Each starts a line of its own where it gets through.
const FORGED: &[&str] =
    &["\r", "\n", "\r\n", "\0", "\u{1b}[2K", "\u{2028}", "\u{2029}", "\u{85}", "\u{7f}", "\"}", "\\"];

/// Sends the server everything that could forge a line, and gives the log file's bytes.
fn forge(format: &str) -> (Vec<u8>, usize) {
    let server = Server::start(&format!("logfile = a.log\nlogFormat = {format}\n"));
    let mut lines = 0;
    for forged in FORGED {
        let text = format!("before{forged}forged");
        for request in [
            upgrade("/echo", &format!("Ident: {text}\r\n")),
            upgrade("/echo", &format!("Origin: {text}\r\n")),
            upgrade(&format!("/{text}"), ""),
        ] {
            let mut client = Client::connect(server.address());
            client.send(request.as_bytes());
            let opened = client.head().starts_with("HTTP/1.1 101 ");
            // One for coming, or being refused, and one for going.
            lines += if opened { 2 } else { 1 };
        }
        let mut client = Client::open(server.address(), "/echo", "");
        let payload = [&4000_u16.to_be_bytes()[..], text.as_bytes()].concat();
        client.send(&masked(CLOSE, &payload));
        client.expect_bytes(&plain(CLOSE, &payload[..2]));
        client.expect_end();
        lines += 2;
    }
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let file = server.folder().path().join("a.log");
    // The line that says where it listens comes first.
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    wait_until("all has been logged", || count(&read(&file)) > lines);
    (read(&file), lines)
}

fn check_lines(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    assert_eq!(text.matches('\n').count(), lines + 1, "{text}");
    let odd = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!text.contains(odd), "{text:?}");
    text
}

#[test]
fn what_clients_send_makes_no_line_of_text() {
    let (bytes, lines) = forge("text");
    for line in check_lines(&bytes, lines).lines() {
        let shape: String = line.chars().take(25).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "9999-99-99T99:99:99.999Z ", "{line}");
    }
}

#[test]
fn what_clients_send_makes_no_line_of_json() {
    let (bytes, lines) = forge("json");
    let text = check_lines(&bytes, lines);
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for record in &records {
        let record = record.as_object().expect("an object");
        let names: Vec<&str> = record.keys().map(String::as_str).collect();
        let known = ["time", "level", "message", "client", "address", "path"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        assert!(record.values().all(Value::is_string));
    }
    let ends: Vec<&Value> =
        records.iter().filter(|r| r["message"].as_str().unwrap().contains("closed by peer")).collect();
    assert_eq!(ends.len(), FORGED.len());
    for (record, forged) in ends.iter().zip(FORGED) {
        let expected = format!("closed by peer, 4000 {:?}", format!("before{forged}forged"));
        assert_eq!(record["message"], Value::from(expected));
        assert_eq!((&record["level"], &record["path"]), (&Value::from("info"), &Value::from("/echo")));
        assert_eq!(record["client"].as_str().unwrap().len(), 36);
        assert!(record["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    let refused: Vec<&Value> =
        records.iter().filter(|r| r["message"].as_str().unwrap().starts_with("refused, ")).collect();
    assert!(refused.iter().all(|record| record.get("client").is_none() && record["level"] == "warn"));
    assert!(refused.iter().any(|record| record.get("path").is_none()), "of a head that can't be read");
    assert!(refused.iter().any(|record| record["path"] == "/before\\forged"), "{refused:#?}");
}

//! The program as whoever runs it sees it: what it listens on, its signals and exit codes, its files, its settings, and
//! what it does when it runs out of descriptors.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{Client, Folder, NEXT, NEXT_1, SCRIPT, SWITCHED, Server, masked, plain, program, upgrade};

/// Runs the program to its end, in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().expect("the program runs")
}

/// The exit code, standard output and standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

// --- Listening ------------------------------------------------------------------------------------------------------

#[test]
fn all_addresses_lead_to_the_same_clients() {
    let server = Server::start_as(program(), "", "ws://127.0.0.1:0, tcp://127.0.0.2:0,127.0.0.3:0");
    let [one, two, three] = server.addresses() else { panic!("three addresses") };
    assert_eq!([one, two, three].map(|address| address.ip().to_string()), ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let (mut browser, uuid) = Client::greeted(*one, "/", "");
    for address in [two, three] {
        let (mut script, _) = Client::greeted(*address, "/php", SCRIPT);
        let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{address}"}}"#);
        script.say(&message);
        script.expect(&[NEXT_1]);
        browser.expect(&[&message]);
    }
}

#[test]
fn a_port_in_use_is_exit_code_1() {
    let server = Server::start("");
    let address = format!("ws://{}", server.address());
    let (code, out, err) = told(&run(server.folder().path(), &["--address", &address]));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let expected = format!("websock: can't listen on {}: Address already in use", server.address());
    assert!(err.lines().any(|line| line.starts_with(&expected)), "{err}");
    // Whoever finds it stopped looks into the log.
    let ini = format!("address = {address}\nlogfile = a.log\nconsole = false\npidFile = a.pid\n");
    server.folder().write("taken.ini", &ini);
    let (code, _, _) = told(&run(server.folder().path(), &["-i", "taken.ini"]));
    assert_eq!(code, Some(1));
    let log = fs::read_to_string(server.folder().path().join("a.log")).unwrap();
    assert!(log.contains(" ERROR can't listen on 127.0.0.1:") && log.contains("already in use"), "{log}");
    assert!(!server.folder().path().join("a.pid").exists(), "what never ran has no pid");
    // One address in use among others is no better.
    let (code, _, _) = told(&run(server.folder().path(), &["--address", &format!("127.0.0.1:0, {address}")]));
    assert_eq!(code, Some(1));
    Client::browser(&server, "/");
}

#[test]
fn a_server_started_anew_gets_its_port_back_at_once() {
    let mut server = Server::start("");
    let address = server.address();
    // The server's end closes first, so that the kernel remembers the connection on its side.
    let (mut client, _) = Client::browser(&server, "/");
    client.say(r#"{"opcode":"quit"}"#);
    client.expect(&[NEXT]);
    client.expect_closed(1000);
    drop(client);
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let again = Server::start_as(program(), "", &format!("ws://{address}"));
    Client::browser(&again, "/");
}

// --- Signals --------------------------------------------------------------------------------------------------------

#[test]
fn term_and_int_let_the_clients_go_and_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start("");
        let address = server.address();
        let mut idle = Client::connect(address);
        idle.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
        idle.response();
        let mut halfway = Client::connect(address);
        halfway.send(b"GET / HTTP/1.1\r\n");
        let (mut browser, _) = Client::browser(&server, "/");
        let mut script = Client::script(&server);
        let mut echo = Client::open(address, "/echo", "");
        echo.send(&masked(0x01, b"unfinished"));
        halfway.send(b"Host: a\r\n");
        browser.expect_nothing_else();
        server.signal(signal);
        for client in [&mut browser, &mut script, &mut echo] {
            client.expect_close_frame(1001);
        }
        assert!(server::is_deaf(address), "nobody else comes in");
        // Whoever asks over a connection that is there already is told.
        halfway.send(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        assert!(halfway.head().starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "not let in");
        // What they still say is not acted on; that they answer the Close is waited for.
        browser.say(r#"{"opcode":"broadcast"}"#);
        for client in [&mut browser, &mut script, &mut echo] {
            client.send(&masked(server::CLOSE, &1001_u16.to_be_bytes()));
            client.expect_end();
        }
        drop([browser, script, echo, halfway]);
        // One that has asked for nothing is not waited for.
        idle.expect_end();
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert!(!server.lines_with("stopped, 0 connections left").is_empty());
    }
}

#[test]
fn with_nobody_connected_it_stops_at_once() {
    let mut server = Server::start("[limits]\ndrainTimeout = 60\n");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn a_stopping_server_waits_no_longer_than_drain_timeout() {
    let mut server = Server::start("[limits]\ndrainTimeout = 1\n");
    let (mut mute, _) = Client::browser(&server, "/");
    let began = Instant::now();
    server.signal(Signal::TERM);
    mute.expect_close_frame(1001);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(990) && took < Duration::from_millis(2500), "{took:?}");
}

#[test]
fn a_second_signal_stops_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut server = Server::start("[limits]\ndrainTimeout = 60\n");
        let (mut mute, _) = Client::browser(&server, "/");
        server.signal(first);
        mute.expect_close_frame(1001);
        let began = Instant::now();
        server.signal(second);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(!server.lines_with("stopped at once, 1 connections left").is_empty());
    }
}

#[test]
fn what_waits_for_a_client_that_reads_is_not_lost_by_stopping() {
    let mut server = Server::start("[limits]\nmaxBacklog = 100000000\n");
    let client = Client::connect_from(None, Some(4096), server.address());
    let mut reader = client.upgraded("/", "Ident: reader\r\n");
    reader.expect_greeting();
    let mut script = Client::script(&server);
    let message = |number: usize| {
        format!(r#"{{"opcode":"feedback","ident":"reader","number":{number},"message":"{}"}}"#, "x".repeat(65_536))
    };
    // More than the kernel keeps for it.
    for number in 0..160 {
        script.say(&message(number));
        script.expect(&[NEXT_1]);
    }
    server.signal(Signal::TERM);
    script.expect_closed(1001);
    for number in 0..160 {
        reader.expect(&[&message(number)]);
    }
    reader.expect_closed(1001);
    drop((reader, script));
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

#[test]
fn hup_reads_the_settings_again_and_disconnects_nobody() {
    let server = Server::start("logfile = a.log\n");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let fields = "Origin: http://elsewhere.example\r\n";
    Client::greeted(server.address(), "/", fields);

    let log = server.folder().path().join("a.log");
    fs::rename(&log, server.folder().path().join("a.log.1")).unwrap();
    server.folder().write("websock.ini", "logfile = a.log\n[access]\nallowedOrigins = http://shop.example\n");
    server.signal(Signal::HUP);
    server.wait_for_line("configuration read again");
    let status = || {
        let mut client = Client::connect(server.address());
        client.send(upgrade("/", fields).as_bytes());
        client.head().lines().next().map(str::to_owned)
    };
    assert_eq!(status().as_deref(), Some("HTTP/1.1 403 Forbidden"));
    server::wait_until("the log goes on in a new file", || fs::read_to_string(&log).is_ok_and(|text| !text.is_empty()));

    // What can't be used changes nothing.
    server.folder().write("websock.ini", "[access]\nallowedOrigin =\n");
    server.signal(Signal::HUP);
    let line = server.wait_for_line("websock.ini:2: [access] allowedOrigin: ");
    assert!(line.contains(" ERROR "), "{line}");
    assert_eq!(status().as_deref(), Some("HTTP/1.1 403 Forbidden"));
    browser.expect_nothing_else();
    let mut script = Client::script(&server);
    script.say(&format!(r#"{{"opcode":"feedback","uuid":"{uuid}"}}"#));
    script.expect(&[NEXT_1]);
}

// --- Files ----------------------------------------------------------------------------------------------------------

#[test]
fn the_pid_file_is_there_while_it_runs() {
    let folder = Folder::new();
    let file = folder.path().join("websock.pid");
    let ini = format!("pidFile = {}\n", file.display());
    let mut server = Server::start(&ini);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", server.id()));
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(!file.exists());

    // One that a server left behind which was killed is in nobody's way, and is gone in the end.
    fs::write(&file, "4194305 and more than any process id\n").unwrap();
    let mut server = Server::start(&ini);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", server.id()));
    server.signal(Signal::INT);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(!file.exists());

    // One that has become another's meanwhile stays.
    let mut server = Server::start(&ini);
    fs::write(&file, "1\n").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");

    // A directory that isn't there; one that nobody may write to, not even root; a directory in its place.
    for (place, why) in [("none/websock.pid", "No such file"), ("/proc/websock.pid", ""), ("", "directory")] {
        let ini = folder.write("bad.ini", &format!("pidFile = {}\n", folder.path().join(place).display()));
        let arguments = ["--address", "127.0.0.1:0", "-i", ini.to_str().unwrap()];
        let (code, _, err) = told(&run(folder.path(), &arguments));
        assert_eq!(code, Some(1));
        assert!(err.contains("websock: can't write the pid file") && err.contains(why), "{err}");
    }
}

#[test]
fn the_log_goes_where_the_settings_say() {
    let server = Server::start("logfile = websock.log\nconsole = true\n");
    let file = server.folder().path().join("websock.log");
    let (_, uuid) = Client::browser(&server, "/web");
    let line = server.wait_for_line(&uuid);
    assert!(line.contains(" INFO ") && line.contains("/web opened by a browser"), "{line}");
    server::wait_until("the line is in the file", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("listening on ws://") && text.contains(&line))
    });

    // What a client sends makes no line of its own.
    let mut client = Client::connect(server.address());
    client.send(upgrade("/web", "Ident: name\u{2028}forged\r\n").as_bytes());
    client.head();
    let line = server.wait_for_line("forged");
    assert!(line.contains("ident \"name\\u{2028}forged\""), "{line}");
}

// --- Settings -------------------------------------------------------------------------------------------------------

#[test]
fn every_problem_of_the_settings_is_told_with_its_line_and_is_exit_code_2() {
    let folder = Folder::new();
    let text = "address = ws://127.0.0.1:0\n[limits]\nmaxClients = 80o5\n\nmaxPerIp = 3\n[nowhere]\na = b\n\
                [resources]\n/x = rely\n";
    folder.write("websock.ini", text);
    for arguments in [&[][..], &["--check"], &["-i", "websock.ini"]] {
        let (code, out, err) = told(&run(folder.path(), arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 4, "{err}");
        for (line, start) in lines.iter().zip([
            "websock.ini:3: [limits] maxClients: found \"80o5\", expected ",
            "websock.ini:5: [limits] maxPerIp: ",
            "websock.ini:6: [nowhere]: ",
            "websock.ini:9: [resources] /x: found \"rely\", expected ",
        ]) {
            assert!(line.starts_with(start), "{line}\n{start}");
        }
        assert!(lines[1].contains("maxPerIP"), "the nearest key: {}", lines[1]);
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_says_where_to_read_on() {
    let folder = Folder::new();
    for (arguments, expected) in [
        (&["--adres", "x"][..], "--address"),
        (&["--port", "80"], "--port"),
        (&["-i"], "-i"),
        (&["-i", "none.ini"], "none.ini"),
        (&["--address", "ftp://x"], "no websock.ini"),
        (&["something"], "something"),
        (&[], "no websock.ini"),
        (&["send"], "websock send --help"),
        (&["send", "--broadcast"], "MESSAGE"),
        (&["send", "--uuid", "x", "y"], "--uuid"),
        (&["send", "--broadcast", "--ident", "x", "y"], "only one"),
    ] {
        let (code, out, err) = told(&run(folder.path(), arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.lines().count() == 1 && err.contains(expected), "{arguments:?}: {err}");
    }
    folder.write("websock.ini", "");
    let (code, _, err) = told(&run(folder.path(), &["--address", "ftp://x"]));
    assert_eq!(code, Some(2));
    assert!(err.starts_with("websock: --address: found "), "{err}");
}

#[test]
fn whoever_reads_what_is_said_may_have_had_enough() {
    for argument in ["--check", "--help", "--version"] {
        let mut command = program();
        command.args(["--address", "ws://127.0.0.1:0", argument]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{argument}: {said}");
    }
}

#[test]
fn check_says_what_a_server_would_do() {
    let folder = Folder::new();
    let text = "address = ws://127.0.0.1:8096, [::1]:9\nlogfile = a.log\n[resources]\n/a = relay\n/b = echo\n";
    folder.write("websock.ini", text);
    let (code, out, err) = told(&run(folder.path(), &["--check"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let expected = "listens on ws://127.0.0.1:8096 (127.0.0.1:8096)\nlistens on ws://[::1]:9 ([::1]:9)\n\
                    serves /a with relay\nserves /b with echo\nlogs to a.log and the console\n";
    assert_eq!(out, expected);
    assert!(!folder.path().join("a.log").exists(), "nothing is done");

    folder.write("websock.ini", "[websocketserver]\nadress = \"ssl://localhost:1\"\n");
    let (code, out, err) = told(&run(folder.path(), &["--check"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        err.starts_with("websock.ini:2: [websocketserver] adress: found wss://localhost:1 and no certificate, "),
        "{err}"
    );
}

#[test]
fn the_words_of_the_original_work() {
    let folder = Folder::new();
    folder.write("websock.ini", "[websocketserver]\nadress = \"tcp://localhost:1\"\nconsole = off\n[develop]\nx = y\n");
    let arguments = ["--check", "-adress", "127.0.0.1:7", "-logfile", "l", "-console", "true"];
    let (code, out, err) = told(&run(folder.path(), &arguments));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("notice: websock.ini:4: [develop]"), "{out}");
    assert!(out.contains("listens on ws://127.0.0.1:7 (127.0.0.1:7)\n"), "{out}");
    assert!(out.ends_with("logs to l and the console\n"), "{out}");
}

#[test]
fn help_and_version_are_told_on_standard_output() {
    let folder = Folder::new();
    for (arguments, start) in [
        (&["--help"][..], "websock - push server"),
        (&["-h"], "websock - push server"),
        (&["send", "--help"], "websock send - "),
    ] {
        let (code, out, err) = told(&run(folder.path(), arguments));
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.starts_with(start), "{out}");
    }
    let (_, out, _) = told(&run(folder.path(), &["--version"]));
    assert_eq!(out, format!("websock {}\n", env!("CARGO_PKG_VERSION")));
}

// --- Descriptors ----------------------------------------------------------------------------------------------------

#[test]
fn out_of_descriptors_it_waits_and_recovers() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 80; exec "$0" "$@""#, env!("CARGO_BIN_EXE_websock")]).env_remove("RUST_LOG");
    let server = Server::start_as(command, "[limits]\nmaxClients = 1000\n", "ws://127.0.0.1:0");
    server.wait_for_line("maxClients is lowered from 1000 to 16");
    let mut echo = Client::open(server.address(), "/echo", "");

    let mut crowd: Vec<Client> = (0..90).map(|_| Client::connect(server.address())).collect();
    let line = server.wait_for_line("pauses");
    assert!(line.contains(" WARN ") && line.contains("accepting on ws://127.0.0.1:"), "{line}");

    // Whoever comes now waits, and the others are served as before.
    let mut waiting = Client::connect(server.address());
    waiting.send(upgrade("/", "").as_bytes());
    let (lines, sleeps) = (server.lines_with("pauses").len(), server.sleeps());
    waiting.expect_silence(Duration::from_millis(450));
    let (lines, sleeps) = (server.lines_with("pauses").len() - lines, server.sleeps() - sleeps);
    assert!((2..=6).contains(&lines) && sleeps < 30, "{lines} attempts and {sleeps} turns in 450 ms");
    echo.say("x");
    echo.expect(&["x"]);

    // As some go, those that waited are served.
    let mut last = crowd.pop().expect("the last of the crowd is still waiting");
    crowd.truncate(50);
    waiting.expect_switch("");
    waiting.expect_greeting();
    last.send(upgrade("/echo", "").as_bytes());
    assert_eq!(last.head(), SWITCHED);
    drop((crowd, last));
    let (mut next, _) = Client::browser(&server, "/");
    next.say(r#"{"opcode":"broadcast"}"#);
    next.expect(&[NEXT_1]);
    waiting.expect_bytes(&plain(server::TEXT, br#"{"opcode":"broadcast"}"#));
}

//! Login by PHP session: sessions that PHP itself has written, what the server makes of files that are none, and what a
//! cookie can't do.
//!
//! It needs `php` (Debian: `php-cli`).

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use rustix::process::Signal;
use websock::login::Denial;

#[path = "common/server.rs"]
mod server;

use server::{Client, ELSEWHERE, Folder, NEXT_1, OLD_SCRIPT, PATIENCE, SCRIPT, Server, program, upgrade};

/// A session that lets its browser in.
const GOOD: &str = "ok|b:1;name|s:3:\"kim\";";

fn settings(sessions: &Path) -> String {
    format!("[jsauth]\nrequire = true\nssp = {}\nkey = ok\nuser = name\n", sessions.display())
}

/// A server that asks for sessions in `folder`.
fn start(folder: &Folder) -> Server {
    Server::start(&settings(folder.path()))
}

fn cookie(id: &str) -> String {
    format!("Cookie: theme=dark; PHPSESSID={id}\r\n")
}

/// What an upgrade with these fields is answered with: nothing where it succeeds and is greeted, else the sentence of a
/// whole `401`.
fn ask(server: &Server, fields: &str) -> Result<(), String> {
    let mut client = Client::connect(server.address());
    client.send(upgrade("/web", fields).as_bytes());
    let head = client.head();
    if head.starts_with("HTTP/1.1 101 ") {
        client.expect_greeting();
        return Ok(());
    }
    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    for field in ["WWW-Authenticate: Cookie realm=\"session\"", "Connection: close", "Content-Type: text/plain"] {
        assert!(head.contains(&format!("\r\n{field}")), "{head}");
    }
    let body = client.rest(Instant::now() + PATIENCE);
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    Err(String::from_utf8(body).expect("a sentence").trim_end().to_owned())
}

/// The cookie `id` is refused for `why`, which the log says as well, without the id.
fn refused(server: &Server, id: &str, why: &str) {
    let said = ask(server, &cookie(id)).expect_err(id);
    assert!(said.contains(why), "{id:.80}: {said:?}, expected {why:?}");
    let line = server.wait_for_line(why);
    assert!(line.contains(" WARN ") && line.contains(" /web refused, 401 Unauthorized: "), "{line}");
    assert!(id.len() < 8 || !line.contains(id), "the id of a session is as good as a password: {line}");
}

/// Runs a script with PHP's sessions in `folder` in the format of `handler`, and gives what it prints.
fn php(folder: &Path, handler: &str, script: &str) -> String {
    let output = php_command(folder, handler, script).output();
    let output = output.expect("php, which these tests need: tests/run installs it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn php_command(folder: &Path, handler: &str, script: &str) -> Command {
    let mut php = Command::new("php");
    php.args([
        "-n",
        "-d",
        "session.use_cookies=0",
        "-d",
        "error_reporting=0",
        "-d",
        "session.sid_bits_per_character=6",
    ]);
    php.arg("-d").arg(format!("session.serialize_handler={handler}"));
    // Ids of PHP's own making would have a comma in one of two.
    php.arg("-d").arg(format!("session.save_path={}", folder.display())).arg("-r").arg(script);
    php
}

// --- Sessions of PHP ------------------------------------------------------------------------------------------------

#[test]
fn a_session_that_php_has_written_lets_its_browser_in() {
    let folder = Folder::new();
    let server = start(&folder);
    for handler in ["php", "php_serialize"] {
        let session = |statements: &str| {
            php(
                folder.path(),
                handler,
                &format!(
                    "class Cart {{ public $items = [1, 'two' => 2.5]; private $open = true; public $self; }}
                     session_id(session_create_id() . ',-Z'); session_start();
                     $_SESSION['cart'] = new Cart; $_SESSION['cart']->self = $_SESSION['cart'];
                     $_SESSION['text'] = 'x|b:1;ok|b:1;\"}}'; $_SESSION['nothing'] = null;
                     {statements};
                     $_SESSION['last'] = [[[]], -1.5, INF];
                     session_write_close(); echo session_id();"
                ),
            )
        };
        let number = "$_SESSION['ok'] = true; $_SESSION['name'] = 17";
        for (statements, user) in [
            ("$_SESSION['ok'] = true; $_SESSION['name'] = 'Kim Müller'", Some("Kim Müller")),
            (number, Some("17")),
            ("$_SESSION['name'] = 'first'; $_SESSION['ok'] = 1", Some("first")),
            ("$_SESSION['ok'] = 'yes'; $_SESSION['name'] = \"a\\nb\"", Some("a\\nb")),
            ("$_SESSION['ok'] = $_SESSION['cart']", None),
            ("$_SESSION['ok'] = true; $_SESSION['name'] = true", None),
            ("$_SESSION['ok'] = true; $_SESSION['name'] = ''", None),
            ("$_SESSION['ok'] = true; $_SESSION['name'] = \"\\xff\"", None),
            ("$_SESSION['ok'] = true; $_SESSION['name'] = str_repeat('x', 257)", None),
        ] {
            let id = session(statements);
            // As PHP sets the cookie: its comma is encoded.
            let fields = format!("{}Origin: http://{handler}\r\n", cookie(&id.replace(',', "%2C")));
            let (mut browser, uuid) = Client::greeted(server.address(), "/web", &fields);
            let line = server.wait_for_line(&uuid);
            let end = format!(r#"origin "http://{handler}""#);
            match user {
                Some(user) => assert!(line.ends_with(&format!("{end}, user \"{user}\"")), "{statements}: {line}"),
                None => assert!(line.ends_with(&end), "{statements}: {line}"),
            }
            browser.say(r#"{"opcode":"echo"}"#);
            browser.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
            // A browser that encodes nothing, and other cookies in any encoding.
            assert_eq!(ask(&server, &cookie(&id)), Ok(()), "{statements}");
        }
        for statements in ["$_SESSION['ok'] = false", "$_SESSION['OK'] = true", "$_SESSION['ok'] = null", "1"] {
            refused(&server, &session(statements), "nobody is logged in by this session");
        }
        for value in ["0", "0.0", "''", "'0'", "[]"] {
            refused(&server, &session(&format!("$_SESSION['ok'] = {value}")), "nobody is logged in");
        }
        let id = session("$_SESSION['ok'] = true");
        assert_eq!(ask(&server, &cookie(&id)), Ok(()));
        php(folder.path(), handler, &format!("session_id('{id}'); session_start(); session_destroy();"));
        refused(&server, &id, "there is no such session");
    }
    let id = php(
        folder.path(),
        "php_binary",
        "session_start(); $_SESSION['ok'] = true; session_write_close(); echo session_id();",
    );
    refused(&server, &id, "not wholly, in PHP's format");
}

#[test]
fn a_session_that_php_holds_locked_is_read_and_left_as_it_is() {
    let folder = Folder::new();
    let server = start(&folder);
    let path = folder.write("sess_locked", GOOD);
    let held = File::options().read(true).write(true).open(&path).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let before = fs::metadata(&path).unwrap();
    assert_eq!(ask(&server, &cookie("locked")), Ok(()));
    // Nobody else has locked it meanwhile either, for this one still can.
    flock(&held, FlockOperation::NonBlockingUnlock).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), GOOD);
    assert_eq!((before.mtime_nsec(), before.ctime_nsec()), (after.mtime_nsec(), after.ctime_nsec()));
}

/// Kills what it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_session_that_php_is_rewriting_is_read_or_refused() {
    let folder = Folder::new();
    let server = start(&folder);
    // Each time shorter or longer than the last: PHP empties the file before it writes less, and that waits for the disk.
    let script =
        "session_id('busy'); for ($i = 0; ; $i++) { session_start(); $_SESSION['pad'] = str_repeat('x', $i % 2 * 5000);
                  $_SESSION['ok'] = true; session_write_close(); usleep(3000); }";
    let _php = Running(php_command(folder.path(), "php", script).stdout(Stdio::null()).spawn().expect("php"));
    server::wait_until("PHP has begun", || {
        fs::metadata(folder.path().join("sess_busy")).is_ok_and(|about| about.len() > 0)
    });
    let answers: Vec<_> = (0..300).map(|_| ask(&server, &cookie("busy"))).collect();
    for answer in &answers {
        // Half written, or as good as not written.
        let half = ["nobody is logged in", "not wholly, in PHP's format"];
        assert!(answer.as_ref().err().is_none_or(|why| half.iter().any(|half| why.contains(half))), "{answer:?}");
    }
    let lucky = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(lucky >= 30, "{lucky} of 300");
}

#[test]
fn sessions_in_levels_of_folders_are_found() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/sess_abc"), GOOD).unwrap();
    fs::write(folder.path().join("a/b/sess_ab"), GOOD).unwrap();
    fs::write(folder.path().join("sess_abc2"), GOOD).unwrap();
    fs::create_dir(folder.path().join("x")).unwrap();
    symlink(folder.path().join("a/b"), folder.path().join("x/y")).unwrap();
    fs::write(folder.path().join("a/b/sess_xyz"), GOOD).unwrap();
    // A `;` in the INI file begins a comment, so the value comes from the environment.
    let mut command = program();
    command.env("SSP", format!("2;0600;{}", folder.path().display()));
    let ini = settings(Path::new("${SSP}"));
    let server = Server::start_as(command, &ini, "ws://127.0.0.1:0");
    assert_eq!(ask(&server, &cookie("abc")), Ok(()));
    refused(&server, "ab", "there is no such session");
    refused(&server, "abc2", "there is no such session");
    refused(&server, "nosuchsession", "there is no such session");
    refused(&server, "xyz", "something else in place of its file");
}

// --- Files that are no sessions -------------------------------------------------------------------------------------

#[test]
fn a_cookie_leads_nowhere_but_to_a_file_of_the_folder() {
    let outside = Folder::new();
    let folder = Folder::new();
    let server = start(&folder);
    outside.write("sess_x", GOOD);
    folder.write("sess_good", GOOD);
    fs::create_dir(folder.path().join("sess_")).unwrap();
    fs::write(folder.path().join("sess_/x"), GOOD).unwrap();
    fs::write(folder.path().join("sess_a.b"), GOOD).unwrap();
    fs::write(folder.path().join("sess_a b"), GOOD).unwrap();
    let there = outside.path().join("sess_x").display().to_string();
    let up = format!("/..{there}");
    for id in [
        "",
        "/x",
        "%2Fx",
        "%2fx",
        "../sess_good",
        "..%2Fsess_good",
        "%2e%2e%2fsess_good",
        &up,
        &up.replace('/', "%2F"),
        &there,
        "a.b",
        "a%2Eb",
        "a%20b",
        "a+b",
        "good%00",
        "good%00.png",
        "good%0a",
        "good%",
        "good%2",
        "good%zz",
        "good%+1",
        "\"good\"",
        "good\\",
        "gööd",
        &"x".repeat(257),
    ] {
        refused(&server, id, "the session cookie holds no session id");
    }
    // As long as it may be, and longer than a file's name may be.
    refused(&server, &"x".repeat(250), "there is no such session");
    let said = ask(&server, &cookie(&"x".repeat(256))).unwrap_err();
    assert!(said.contains("there is no such session"), "{said}");
    assert_eq!(ask(&server, &cookie("good")), Ok(()));
    assert_eq!(ask(&server, &cookie("%67ood")), Ok(()), "PHP decodes as well");
}

#[test]
fn the_first_cookie_of_the_name_counts() {
    let folder = Folder::new();
    folder.write("sess_good", GOOD);
    let server = Server::start(&format!("{}cookie_name = SID\n", settings(folder.path())));
    for (fields, right) in [
        ("Cookie: SID=good\r\n", true),
        ("Cookie: SID=good; SID=bad\r\n", true),
        ("Cookie: SID=bad; SID=good\r\n", false),
        ("Cookie: a=b\r\nCookie: SID=good\r\n", true),
        ("Cookie: PHPSESSID=good; sid=good; XSID=good\r\n", false),
        ("Cookie: SID\r\n", false),
        ("X-Cookie: SID=good\r\n", false),
        ("", false),
    ] {
        assert_eq!(ask(&server, fields).is_ok(), right, "{fields}");
    }
    server.wait_for_line("401 Unauthorized: no session cookie came along");
}

#[test]
fn what_is_no_plain_file_of_a_session_is_refused_at_once() {
    let elsewhere = Folder::new();
    let folder = Folder::new();
    let server = start(&folder);
    let path = |name: &str| folder.path().join(name);
    symlink(elsewhere.write("sess_target", GOOD), path("sess_link")).unwrap();
    folder.write("sess_here", GOOD);
    symlink("sess_here", path("sess_near")).unwrap();
    symlink("sess_loop", path("sess_loop")).unwrap();
    fs::create_dir(path("sess_folder")).unwrap();
    mknodat(CWD, path("sess_fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let _socket = UnixListener::bind(path("sess_socket")).unwrap();
    let began = Instant::now();
    for id in ["link", "near", "loop", "folder", "fifo", "socket"] {
        refused(&server, id, "something else in place of its file");
    }
    // A FIFO that somebody has open for writing has bytes to give, and then none and no end.
    let mut fifo = File::options().read(true).write(true).open(path("sess_fifo")).unwrap();
    fifo.write_all(GOOD.as_bytes()).unwrap();
    refused(&server, "fifo", "something else in place of its file");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());

    // Each of them made a session by what it holds, at the limit and past it.
    let padded = |bytes: usize| {
        let length = bytes - GOOD.len() - r#"pad|s:1000000:"";"#.len();
        let text = format!("{GOOD}pad|s:{length}:\"{}\";", "x".repeat(length));
        assert_eq!(text.len(), bytes);
        text
    };
    folder.write("sess_most", &padded(1 << 20));
    assert_eq!(ask(&server, &cookie("most")), Ok(()));
    folder.write("sess_more", &padded((1 << 20) + 1));
    refused(&server, "more", "more than 1 MiB");
    File::create(path("sess_huge")).unwrap().set_len(1 << 40).unwrap();
    refused(&server, "huge", "more than 1 MiB");
    folder.write("sess_empty", "");
    refused(&server, "empty", "nobody is logged in by this session");
    folder.write("sess_half", &GOOD[..GOOD.len() - 3]);
    refused(&server, "half", "not wholly, in PHP's format");
    fs::write(path("sess_noise"), [0xff; 5000]).unwrap();
    refused(&server, "noise", "not wholly, in PHP's format");
    fs::write(path("sess_deep"), "a:1:{i:0;".repeat(100_000)).unwrap();
    refused(&server, "deep", "not wholly, in PHP's format");
    assert_eq!(ask(&server, &cookie("here")), Ok(()), "it still answers");
    let open = server.descriptors();
    for id in ["link", "folder", "fifo", "more", "half", "here", "none", "a/b"] {
        let _ = ask(&server, &cookie(id));
    }
    server::wait_until("nothing stays open", || server.descriptors() <= open);
}

/// Permissions hold for anyone but root, so as root this starts the server as nobody.
#[test]
fn what_the_server_may_not_read_is_said() {
    const NOBODY: u32 = 65_534;
    let folder = Folder::new();
    let sessions = folder.path().join("sessions");
    let path = |name: &str| sessions.join(name);
    fs::create_dir_all(path("s")).unwrap();
    let set_mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (name, mode) in [("sess_mine", 0o600), ("sess_none", 0o000), ("sess_all", 0o644)] {
        fs::write(path(name), GOOD).unwrap();
        set_mode(&path(name), mode);
    }
    let is_root = rustix::process::geteuid().is_root();
    let mut command = program();
    if is_root {
        // Where the build is, nobody may have no way to.
        let copy = folder.path().join("websock");
        fs::copy(env!("CARGO_BIN_EXE_websock"), &copy).unwrap();
        command = Command::new(copy);
        command.env_remove("RUST_LOG").uid(NOBODY).gid(NOBODY);
    }
    let server = Server::start_as(command, &settings(&sessions), "ws://127.0.0.1:0");
    // Names can be looked up where they can't be listed, as on Debian.
    set_mode(&sessions, 0o1733);
    assert_eq!(ask(&server, &cookie("all")), Ok(()));
    refused(&server, "none", "the server may not read its file");
    let mine = ask(&server, &cookie("mine"));
    assert_eq!(mine.is_err(), is_root, "{mine:?}");
    set_mode(&sessions, 0o700 & if is_root { 0o700 } else { 0 });
    refused(&server, "all", "the server may not read its file");
    set_mode(&sessions, 0o755);
    fs::rename(&sessions, folder.path().join("old")).unwrap();
    refused(&server, "all", "their folder (ssp) is not there");
    // It comes later than the server, or again.
    fs::rename(folder.path().join("old"), &sessions).unwrap();
    assert_eq!(ask(&server, &cookie("all")), Ok(()));
}

// --- The rest of the server -----------------------------------------------------------------------------------------

#[test]
fn every_resource_asks_browsers_and_no_resource_asks_scripts() {
    let folder = Folder::new();
    folder.write("sess_good", GOOD);
    let server = start(&folder);
    for path in ["/", "/web", "/php", "/echo"] {
        for fields in ["", &cookie("bad")] {
            let mut client = Client::connect(server.address());
            client.send(upgrade(path, fields).as_bytes());
            assert!(client.head().starts_with("HTTP/1.1 401 "), "{path} {fields}");
        }
        Client::open(server.address(), path, &cookie("good"));
    }
    for script in [SCRIPT, OLD_SCRIPT] {
        Client::open(server.address(), "/php", script).expect_greeting();
    }
    let mut script = Client::connect_from(Some(ELSEWHERE), None, server.address());
    script.send(upgrade("/php", &format!("{SCRIPT}{}", cookie("good"))).as_bytes());
    assert!(script.head().starts_with("HTTP/1.1 403 "), "a session makes nobody a script");
    let mut page = Client::connect(server.address());
    page.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.head().starts_with("HTTP/1.1 200 OK\r\n"), "pages are as open as before");
}

#[test]
fn without_a_setting_for_it_the_user_is_not_known() {
    let folder = Folder::new();
    // PHP can have a variable without a name.
    folder.write("sess_good", &format!("|s:7:\"nobody!\";{GOOD}"));
    let server = Server::start(&settings(folder.path()).replace("user = name\n", ""));
    let (_browser, uuid) = Client::greeted(server.address(), "/", &cookie("good"));
    let line = server.wait_for_line(&uuid);
    assert!(line.ends_with("origin \"\""), "{line}");
}

#[test]
fn a_session_is_asked_for_before_a_limit_is_told_of() {
    let folder = Folder::new();
    folder.write("sess_good", GOOD);
    let server = Server::start(&format!("{}[limits]\nmaxPerIP = 1\n", settings(folder.path())));
    let (_first, _) = Client::greeted(server.address(), "/", &cookie("good"));
    refused(&server, "bad", "there is no such session");
    let mut second = Client::open(server.address(), "/", &cookie("good"));
    second.expect(&[r#"{"opcode":"close","error":"too many connections from your address"}"#]);
}

#[test]
fn a_reload_asks_those_who_come_and_leaves_those_who_are_there() {
    let folder = Folder::new();
    folder.write("sess_good", GOOD);
    let server = Server::start("");
    let (mut browser, _) = Client::browser(&server, "/");
    let missing = folder.path().join("later");
    server.folder().write("websock.ini", &settings(&missing));
    server.signal(Signal::HUP);
    server.wait_for_line("configuration read again");
    // Said when it is read, before anyone is refused for it.
    let line = server.wait_for_line("no browser can connect: [jsauth] ssp");
    assert!(line.contains(" WARN ") && line.contains(&missing.display().to_string()), "{line}");
    server.wait_for_line("[jsauth] require without [access] allowedOrigins");
    refused(&server, "good", "their folder (ssp) is not there");
    fs::create_dir(&missing).unwrap();
    fs::write(missing.join("sess_good"), GOOD).unwrap();
    assert_eq!(ask(&server, &cookie("good")), Ok(()));
    browser.say(r#"{"opcode":"echo"}"#);
    browser.expect(&[NEXT_1, r#"{"opcode":"echo"}"#]);
    browser.expect_silence(Duration::from_millis(1));
}

#[test]
fn the_page_on_login_explains_every_refusal() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/login.md")).unwrap();
    for denial in [
        Denial::NoCookie,
        Denial::NoId,
        Denial::NoSession,
        Denial::NotLoggedIn,
        Denial::NoFolder,
        Denial::FolderForbidden,
        Denial::FolderFailed,
        Denial::FileForbidden,
        Denial::NoPlainFile,
        Denial::TooLarge,
        Denial::Malformed,
        Denial::FileFailed,
    ] {
        assert_eq!(page.matches(&format!("\n| {denial} | ")).count(), 1, "{denial:?}: {denial}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(rows, 1 + 12, "no row that is nobody's");
}

#[test]
fn check_says_what_is_asked_for() {
    let folder = Folder::new();
    let check = |settings: &str| {
        let ini = folder.write("websock.ini", settings);
        let output = program().arg("--check").arg("-i").arg(ini).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = check(&settings(folder.path()));
    let risk =
        "notice: [jsauth] require without [access] allowedOrigins: pages of any site can connect with the session";
    assert!(said.contains(risk), "{said}");
    let own = format!("{}[access]\nallowedOrigins = https://shop.example\n", settings(folder.path()));
    let said = check(&own);
    assert!(said.contains(&format!("whose session in {} has a true ok\n", folder.path().display())), "{said}");
    assert!(!said.contains("notice"), "{said}");
    let said = check(&settings(&folder.path().join("none")));
    assert!(said.contains("notice: no browser can connect: [jsauth] ssp"), "{said}");
}

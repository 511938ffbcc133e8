//! TLS as browsers meet it: versions, resumption, slow and broken peers, certificates that are wrong, change or end.
//!
//! Certificates are made as they are needed. What a stream that gives a byte at a time does to TLS is tested beside the
//! code, in `src/net/tls/tests.rs`; that files are read again without a signal, in `src/net/certificates/tests.rs`.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned, version};

#[path = "common/server.rs"]
mod server;

use server::{BINARY, Client, Folder, NEXT_1, PATIENCE, SCRIPT, Server, Stream, masked, plain, program, wait_until};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A certificate for localhost and its key, both PEM.
struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        Self::until(2099)
    }

    /// One that ends with the year before `year`.
    fn until(year: i32) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(year, 1, 1);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    fn write(&self, folder: &Folder) {
        folder.write("cert.pem", &self.certificate);
        folder.write("key.pem", &self.key);
    }
}

/// Settings for the files that [`Pair::write`] makes.
const FILES: &str = "certFile = cert.pem\npkFile = key.pem\n";

/// A server with a certificate, on an address without TLS and on one with.
fn start(pair: &Pair, ini: &str) -> Server {
    let files = Folder::new();
    pair.write(&files);
    let mut command = Command::new("sh");
    // The files must be where the server is started, which is known only then.
    let copy = format!(r#"cp "{}"/*.pem . && exec "$0" "$@""#, files.path().display());
    command.args(["-c", &copy, env!("CARGO_BIN_EXE_websock")]).env_remove("RUST_LOG");
    Server::start_as(command, &format!("{FILES}{ini}"), "ws://127.0.0.1:0, wss://127.0.0.1:0")
}

fn secure(server: &Server) -> SocketAddr {
    server.addresses()[1]
}

/// A client that trusts `pair`, and shows nothing else that a browser would not.
fn config(pair: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pair.der.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A connection with TLS on which nothing has been said yet, not even hello.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
    connect_on(stream, config)
}

fn connect_on(stream: TcpStream, config: &Arc<ClientConfig>) -> Client {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    Client::over(Stream::Tls(Box::new(StreamOwned::new(tls, stream))))
}

fn echo(server: &Server, pair: &Pair) -> Client {
    connect(secure(server), &Arc::new(config(pair, &BOTH))).upgraded("/echo", "")
}

/// Sends a text and has it back.
fn check(client: &mut Client, text: &str) {
    client.say(text);
    client.expect(&[text]);
}

/// Microseconds of processor time that the server has used.
fn used(server: &Server) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", server.id())).expect("the server is there");
    text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).expect("a time") / 1000
}

// --- What works -----------------------------------------------------------------------------------------------------

#[test]
fn both_versions_are_spoken_and_nothing_older() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for (version, expected) in BOTH.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3]) {
        let mut client = connect(secure(&server), &Arc::new(config(&pair, &[version]))).upgraded("/echo", "");
        check(&mut client, "over TLS");
        let tls = &client.stream.tls().conn;
        assert_eq!((tls.protocol_version(), tls.alpn_protocol()), (Some(expected), Some(&b"http/1.1"[..])));
        client.leave();
    }
    assert!(server.lines_with(" ERROR ").is_empty() && server.lines_with("failed").is_empty());
}

#[test]
fn with_and_without_tls_they_are_the_same_clients() {
    let pair = Pair::new();
    let server = start(&pair, "");
    server.wait_for_line(&format!("listening on ws://{}", server.address()));
    server.wait_for_line(&format!("listening on wss://{}", secure(&server)));
    let (mut plain, uuid) = Client::browser(&server, "/");
    let mut script = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/php", SCRIPT);
    script.expect_greeting();
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"from TLS"}}"#);
    script.say(&message);
    script.expect(&[NEXT_1]);
    plain.expect(&[&message]);
}

#[test]
fn http_is_offered_and_nothing_else() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut mute = config(&pair, &BOTH);
    mute.alpn_protocols.clear();
    let mut client = connect(secure(&server), &Arc::new(mute)).upgraded("/echo", "");
    check(&mut client, "without ALPN");
    assert_eq!(client.stream.tls().conn.alpn_protocol(), None);
    let mut h2 = config(&pair, &BOTH);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = connect(secure(&server), &Arc::new(h2));
    let tls = client.stream.tls();
    let error = tls.conn.complete_io(&mut tls.sock).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    server.wait_for_line("TLS handshake failed");
}

#[test]
fn every_byte_may_be_a_record() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    for byte in server::upgrade("/echo", "").bytes() {
        client.send(&[byte]);
    }
    client.expect_switch("");
    for byte in masked(BINARY, &[7; 300]) {
        client.send(&[byte]);
    }
    client.expect_bytes(&plain(BINARY, &[7; 300]));
    client.leave();
}

#[test]
fn pages_are_served_one_after_the_other() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    for _ in 0..3 {
        client.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, body) = client.response();
        assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with(b"<svg"), "{head}");
    }
    client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.response().0.starts_with("HTTP/1.1 404 "));
    client.expect_end();
}

#[test]
fn whoever_comes_again_resumes() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for version in BOTH {
        let config = Arc::new(config(&pair, &[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = connect(secure(&server), &config).upgraded("/echo", "");
            check(&mut client, "again");
            let kind = client.stream.tls().conn.handshake_kind();
            assert_eq!(kind, Some(expected), "{version:?}");
            client.leave();
        }
        // A certificate that is read again does not make everybody begin anew.
        server.signal(Signal::HUP);
        server.wait_for_line("was read again");
        let mut client = connect(secure(&server), &config).upgraded("/echo", "");
        check(&mut client, "once more");
        assert_eq!(client.stream.tls().conn.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
}

// --- Much, and slowly -----------------------------------------------------------------------------------------------

#[test]
fn large_messages_go_both_ways() {
    let pair = Pair::new();
    let server = start(&pair, "");
    for version in BOTH {
        let mut client = connect(secure(&server), &Arc::new(config(&pair, &[version]))).upgraded("/echo", "");
        let large: Vec<u8> = (0..=250).cycle().take(5_242_880).collect();
        client.send(&masked(BINARY, &large));
        client.expect_bytes(&plain(BINARY, &large));
        for size in [65_536, 16_384, 16_383, 16_385, 1, 100_000] {
            client.send(&masked(BINARY, &large[..size]));
            client.expect_bytes(&plain(BINARY, &large[..size]));
        }
    }
}

/// A browser with TLS whose kernel takes little on its behalf.
fn slow_browser(server: &Server, pair: &Pair) -> Client {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
    rustix::net::connect(&socket, &secure(server)).expect("the server accepts");
    let client = connect_on(TcpStream::from(socket), &Arc::new(config(pair, &BOTH)));
    let mut client = client.upgraded("/", "Ident: slow\r\n");
    client.expect_greeting();
    client
}

fn message(number: usize) -> String {
    format!(r#"{{"opcode":"feedback","ident":"slow","number":{number},"message":"{}"}}"#, "x".repeat(32 * 1024))
}

#[test]
fn a_client_that_does_not_read_is_closed_by_its_backlog() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nmaxBacklog = 262144\n");
    let mut slow = slow_browser(&server, &pair);
    let mut script = Client::script(&server);
    let mut sent = 0;
    for number in 0..1000 {
        script.say(&message(number));
        let answer = script.frame();
        if answer.text() != NEXT_1 {
            break;
        }
        sent += 1;
    }
    assert!((8..1000).contains(&sent), "{sent} of 32 KiB: at least the backlog, and not for ever");
    server.wait_for_line("closed with 1013");
    for number in 0..sent {
        slow.expect(&[&message(number)]);
    }
    slow.expect_closed(1013);
}

#[test]
fn a_client_that_reads_too_slowly_is_closed_by_the_time() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nmaxBacklogTime = 1\nmaxBacklog = 1000000000\n");
    let slow = slow_browser(&server, &pair);
    let mut script = Client::script(&server);
    // More than two kernels keep for it.
    for number in 0..400 {
        script.say(&message(number));
        script.expect(&[NEXT_1]);
    }
    server.wait_for_line("reads too slowly");
    drop(slow);
}

// --- Peers that are none --------------------------------------------------------------------------------------------

/// The first bytes that a client says.
fn hello(pair: &Pair) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config(pair, &BOTH)), name).expect("a client");
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).expect("a hello");
    bytes
}

#[test]
fn http_on_the_port_with_tls_gets_an_alert_and_the_log_says_so() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = Client::connect(secure(&server));
    client.send(server::upgrade("/echo", "").as_bytes());
    let answer = client.rest(Instant::now() + PATIENCE);
    assert_eq!(answer[..3], [21, 3, 3], "an alert: {}", answer.escape_ascii());
    let line = server.wait_for_line("looks like plain HTTP");
    let from = client.local_address().to_string();
    assert!(line.contains(" INFO ") && line.contains(&from) && line.contains("TLS handshake failed"), "{line}");
}

#[test]
fn tls_on_the_port_without_is_refused() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(server.address(), &Arc::new(config(&pair, &BOTH)));
    let began = Instant::now();
    let tls = client.stream.tls();
    tls.conn.complete_io(&mut tls.sock).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    let line = server.wait_for_line("refused, 400");
    assert!(line.contains("looks like TLS"), "{line}");
}

#[test]
fn a_handshake_has_its_time_and_no_more() {
    let pair = Pair::new();
    let server = start(&pair, "[limits]\nhandshakeTimeout = 2\n");
    let hello = hello(&pair);
    let began = Instant::now();
    let mut silent = Client::connect(secure(&server));
    let mut half = Client::connect(secure(&server));
    half.send(&hello[..hello.len() / 2]);
    let mut mute = Client::connect(secure(&server));
    mute.send(&hello);
    // Who has said hello has the rest of the time for its request, all together.
    let mut done = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    let tls = done.stream.tls();
    tls.conn.complete_io(&mut tls.sock).expect("a handshake");
    done.send(b"GET / HT");
    let before = used(&server);
    for client in [&mut half, &mut mute, &mut silent] {
        client.rest(began + Duration::from_millis(3500));
        let took = began.elapsed();
        assert!(took > Duration::from_millis(1900), "{took:?}");
    }
    assert!(done.response().0.starts_with("HTTP/1.1 408 "));
    done.expect_end();
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
    let spent = used(&server) - before;
    assert!(spent < 200_000, "{spent} microseconds for waiting");
    for client in [&half, &mute] {
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains(" INFO ") && line.ends_with("TLS handshake failed: not done in time"), "{line}");
    }
    assert!(server.lines_with(&silent.local_address().to_string()).is_empty(), "who says nothing is not spoken of");
}

#[test]
fn a_handshake_that_goes_wrong_ends_at_once() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let hello = hello(&pair);
    let before = used(&server);
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    let wrong = [22, 3, 3, 0, 4, 99, 0, 0, 0];
    for (name, bytes) in [
        ("hello, then close_notify", [&hello[..], &close_notify].concat()),
        ("hello, then garbage", [&hello[..], b"garbage, garbage, garbage"].concat()),
        ("hello twice", [&hello[..], &hello].concat()),
        ("half a hello, then garbage", [&hello[..100], &[0xff; 2000]].concat()),
        ("garbage", vec![0x80; 500]),
        ("a message of no kind", wrong.to_vec()),
        ("a record that is too long", vec![22, 3, 3, 0xff, 0xff, 1, 1]),
        ("a message that is too long", vec![22, 3, 3, 0, 5, 1, 0xff, 0xff, 0xff, 0]),
    ] {
        let began = Instant::now();
        let mut client = Client::connect(secure(&server));
        client.send(&bytes);
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains(" INFO ") && line.contains("TLS handshake failed: "), "{name}: {line}");
        client.rest(Instant::now() + PATIENCE);
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?}", began.elapsed());
    }
    for end in [1, 50, hello.len()] {
        let mut client = Client::connect(secure(&server));
        client.send(&hello[..end]);
        client.half_close();
        client.rest(Instant::now() + PATIENCE);
        let line = server.wait_for_line(&client.local_address().to_string());
        assert!(line.contains("TLS handshake failed: the peer left"), "{line}");
    }
    let spent = used(&server) - before;
    assert!(spent < 500_000, "{spent} microseconds");
    assert!(server.lines_with(" ERROR ").is_empty() && server.lines_with(" WARN ").is_empty());
    check(&mut echo(&server, &pair), "the others are served");
}

#[test]
fn whoever_is_not_trusted_is_told_of() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let mut client = connect(secure(&server), &Arc::new(config(&Pair::new(), &BOTH)));
    let tls = client.stream.tls();
    tls.conn.complete_io(&mut tls.sock).unwrap_err();
    server.wait_for_line("TLS handshake failed: received fatal alert");
}

#[test]
fn an_end_without_close_notify_is_an_end_like_any_other() {
    let pair = Pair::new();
    let server = start(&pair, "");
    let open = server.descriptors();
    let mut client = echo(&server, &pair);
    check(&mut client, "here");
    client.half_close();
    client.expect_end();
    server.wait_for_line("peer vanished");
    // A record that is none, in the middle of everything.
    let client = echo(&server, &pair);
    client
        .stream
        .tcp()
        .write_all(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .expect("bytes");
    let line = server.wait_for_line("connection failed");
    assert!(line.contains(" INFO "), "{line}");
    drop(client);
    wait_until("both are forgotten", || server.descriptors() == open);
}

#[test]
fn a_drain_says_goodbye_in_both_languages() {
    let pair = Pair::new();
    let mut server = start(&pair, "");
    let mut browser = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/", "");
    browser.expect_greeting();
    let mut idle = connect(secure(&server), &Arc::new(config(&pair, &BOTH)));
    idle.send(b"GET /icon.svg HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.response();
    server.signal(Signal::TERM);
    // Without close_notify, rustls would call the end an error.
    idle.expect_end();
    browser.expect_closed(1001);
    drop(browser);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}

// --- Certificates ---------------------------------------------------------------------------------------------------

fn shown(server: &Server, pair: &Pair) -> bool {
    let mut client = connect(secure(server), &Arc::new(config(pair, &BOTH)));
    let tls = client.stream.tls();
    tls.conn.complete_io(&mut tls.sock).is_ok()
}

#[test]
fn hup_shows_a_new_certificate_to_whoever_comes() {
    let (old, new) = (Pair::new(), Pair::until(2031));
    let server = start(&old, "");
    let mut client = echo(&server, &old);
    new.write(server.folder());
    server.signal(Signal::HUP);
    let line = server.wait_for_line("was read again");
    assert!(line.contains("is valid until 2031-01-01"), "{line}");
    assert!(shown(&server, &new) && !shown(&server, &old));
    check(&mut client, "undisturbed");
    client.leave();
}

#[test]
fn a_broken_new_certificate_leaves_the_old() {
    let (old, new) = (Pair::new(), Pair::new());
    let server = start(&old, "");
    for (certificate, key, told) in [
        (&new.certificate, &old.key, "this is not the key of the certificate in cert.pem; the old certificate stays"),
        (&String::new(), &old.key, "certFile cert.pem: no certificate in it"),
        (&new.certificate, &"-----BEGIN PRIVATE KEY-----\n".to_owned(), "pkFile key.pem: broken PEM"),
    ] {
        server.folder().write("cert.pem", certificate);
        server.folder().write("key.pem", key);
        server.signal(Signal::HUP);
        let line = server.wait_for_line(told);
        assert!(line.contains(" ERROR "), "{line}");
        assert!(shown(&server, &old));
    }
    new.write(server.folder());
    server.signal(Signal::HUP);
    server.wait_for_line("was read again");
    assert!(shown(&server, &new));
}

/// Runs the program to its end: the exit code and what it says on standard error.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = program();
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().expect("the program runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_wrong_file_at_the_start_is_exit_code_2_and_says_why() {
    let (pair, other) = (Pair::new(), Pair::new());
    let folder = Folder::new();
    folder.write("websock.ini", &format!("address = wss://127.0.0.1:0\n{FILES}"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = &pair.certificate[..200];
    for (certificate, key, told) in [
        (None, Some(&pair.key[..]), "certFile cert.pem: No such file or directory"),
        (Some(&pair.certificate[..]), None, "pkFile key.pem: No such file or directory"),
        (Some(""), Some(&pair.key), "certFile cert.pem: no certificate in it"),
        (Some(&pair.key), Some(&pair.key), "certFile cert.pem: no certificate in it"),
        (Some(nonsense), Some(&pair.key), "certFile cert.pem: its first certificate is none"),
        (Some(cut), Some(&pair.key), "certFile cert.pem: broken PEM"),
        (Some(&pair.certificate), Some(""), "pkFile key.pem: no private key in it"),
        (Some(&pair.certificate), Some(&pair.certificate), "pkFile key.pem: no private key in it"),
        (Some(&pair.certificate), Some(encrypted), "pkFile key.pem: the private key is encrypted"),
        (Some(&pair.certificate), Some(old), "pkFile key.pem: the private key is encrypted"),
        (
            Some(&pair.certificate),
            Some(&other.key),
            "pkFile key.pem: this is not the key of the certificate in cert.pem",
        ),
    ] {
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            let _ = fs::remove_file(folder.path().join(name));
            if let Some(text) = text {
                folder.write(name, text);
            }
        }
        for arguments in [&["--check"][..], &[]] {
            let (code, err) = run(folder.path(), arguments);
            assert_eq!(code, Some(2), "{told}: {err}");
            assert!(err.lines().any(|line| line.starts_with(&format!("websock: {told}"))), "{told}: {err}");
        }
    }
    // A pipe, which would never end.
    pair.write(&folder);
    fs::remove_file(folder.path().join("key.pem")).expect("a file");
    let made = Command::new("mkfifo").arg(folder.path().join("key.pem")).status();
    assert!(made.expect("mkfifo runs").success());
    let (code, err) = run(folder.path(), &[]);
    assert!(code == Some(2) && err.contains("pkFile key.pem: not a file"), "{err}");
}

#[test]
fn a_certificate_that_has_ended_is_shown_with_a_warning() {
    let pair = Pair::until(2024);
    let server = start(&pair, "");
    let line = server.wait_for_line("has expired on 2024-01-01");
    assert!(line.contains(" WARN ") && line.contains("the certificate in cert.pem"), "{line}");
    assert!(!shown(&server, &pair), "the client knows better");
    let (code, _) = run(server.folder().path(), &["--check", "--address", "wss://127.0.0.1:0"]);
    assert_eq!(code, Some(0));
}

#[test]
fn keys_come_in_every_form() {
    let folder = Folder::new();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let certify = "req -x509 -new -key made.pem -out cert.pem -days 99 -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    for (make, first) in [
        ("genrsa -traditional -out made.pem 2048", "-----BEGIN RSA PRIVATE KEY-----"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out made.pem", "-----BEGIN PRIVATE KEY-----"),
        ("ecparam -name prime256v1 -genkey -out made.pem", "-----BEGIN EC PARAMETERS-----"),
        ("ecparam -name secp384r1 -genkey -noout -out made.pem", "-----BEGIN EC PRIVATE KEY-----"),
        ("genpkey -algorithm ed25519 -out made.pem", "-----BEGIN PRIVATE KEY-----"),
    ] {
        openssl(make);
        openssl(certify);
        let key = fs::read_to_string(folder.path().join("made.pem")).expect("a key");
        assert!(key.starts_with(first), "{make}: {key}");
        let certificate = fs::read_to_string(folder.path().join("cert.pem")).expect("a certificate");
        let der = rustls::pki_types::pem::PemObject::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        // A chain: what follows the first is shown as well.
        let chain = format!("{certificate}{}", Pair::new().certificate);
        let pair = Pair { certificate: chain, key, der };
        let server = start(&pair, "");
        let mut client = connect(secure(&server), &Arc::new(config(&pair, &BOTH))).upgraded("/echo", "");
        check(&mut client, make);
        assert_eq!(client.stream.tls().conn.peer_certificates().map(<[_]>::len), Some(2));
    }
}

//! Certificates that are wrong, change, or end.
//!
//! That files are read again without a signal is tested in virtual time beside the code, in
//! `src/net/certificates/tests.rs`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;
#[path = "common/tls.rs"]
mod tls;

use server::{Folder, Server, program};
use tls::{BOTH, FILES, Pair, check, config, connect, echo, secure, start};

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

#[test]
fn its_end_can_be_watched() {
    let (old, new) = (Pair::new(), Pair::until(2031));
    let server = start(&old, "");
    let expiry = |pair: &Pair| {
        let mut client = connect(secure(&server), &Arc::new(config(pair, &BOTH)));
        client.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        let text = String::from_utf8(client.response().1).expect("UTF-8");
        let line = text.lines().find_map(|line| line.strip_prefix("websock_certificate_expiry_timestamp_seconds "));
        line.expect("a value").to_owned()
    };
    assert_eq!(expiry(&old), "4070908800");
    new.write(server.folder());
    server.signal(Signal::HUP);
    server.wait_for_line("was read again");
    assert_eq!(expiry(&new), "1924992000");
}

//! Certificates made as they are needed, a server that shows them, and clients that trust them.

#![allow(dead_code, reason = "every test file uses another part of this")]

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

use super::server::{Client, Folder, PATIENCE, Server, Stream};

pub(crate) const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// A certificate for localhost and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::until(2099)
    }

    /// One that ends with the year before `year`.
    pub(crate) fn until(year: i32) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(year, 1, 1);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Self { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    }

    pub(crate) fn write(&self, folder: &Folder) {
        folder.write("cert.pem", &self.certificate);
        folder.write("key.pem", &self.key);
    }
}

/// Settings for the files that [`Pair::write`] makes.
pub(crate) const FILES: &str = "certFile = cert.pem\npkFile = key.pem\n";

/// A server with a certificate, on an address without TLS and on one with.
pub(crate) fn start(pair: &Pair, ini: &str) -> Server {
    let files = Folder::new();
    pair.write(&files);
    let mut command = Command::new("sh");
    // The files must be where the server is started, which is known only then.
    let copy = format!(r#"cp "{}"/*.pem . && exec "$0" "$@""#, files.path().display());
    command.args(["-c", &copy, env!("CARGO_BIN_EXE_websock")]).env_remove("RUST_LOG");
    Server::start_as(command, &format!("{FILES}{ini}"), "ws://127.0.0.1:0, wss://127.0.0.1:0")
}

pub(crate) fn secure(server: &Server) -> SocketAddr {
    server.addresses()[1]
}

/// A client that trusts `pair`, and shows nothing else that a browser would not.
pub(crate) fn config(pair: &Pair, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pair.der.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A connection with TLS on which nothing has been said yet, not even hello.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the server accepts");
    connect_on(stream, config)
}

pub(crate) fn connect_on(stream: TcpStream, config: &Arc<ClientConfig>) -> Client {
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    Client::over(Stream::Tls(Box::new(StreamOwned::new(tls, stream))))
}

pub(crate) fn echo(server: &Server, pair: &Pair) -> Client {
    connect(secure(server), &Arc::new(config(pair, &BOTH))).upgraded("/echo", "")
}

/// Sends a text and has it back.
pub(crate) fn check(client: &mut Client, text: &str) {
    client.say(text);
    client.expect(&[text]);
}

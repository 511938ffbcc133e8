//! TLS on a stream that takes and gives as few bytes as one likes, against rustls's own client.

use std::cell::RefCell;
use std::collections::VecDeque;

use rustls::client::Resumption;
use rustls::crypto::cipher::OutboundPlainMessage;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, HandshakeKind, ProtocolVersion,
    RootCertStore, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::*;

/// As long as the loop's.
const BUFFER: usize = 128 * 1024;

/// All there is and all that comes: no limit.
const ALL: usize = usize::MAX;

/// The wire between the two.
#[derive(Debug, Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// Most bytes that one read gives, and that one write takes; every other write takes none.
    gives: usize,
    takes: usize,
    refuses: bool,
    client_gone: bool,
    server_shut: bool,
}

#[derive(Debug, Clone, Default)]
struct End(Rc<RefCell<Wire>>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let count = wire.to_server.len().min(wire.gives).min(buffer.len());
        if count == 0 && !wire.client_gone {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.to_server.drain(..count).zip(buffer).for_each(|(byte, place)| *place = byte);
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        assert!(!wire.server_shut, "nothing is written behind the end");
        assert!(!bytes.is_empty(), "nothing is written for nothing");
        wire.refuses = !wire.refuses && wire.takes < ALL;
        let count = if wire.refuses { 0 } else { bytes.len().min(wire.takes) };
        wire.to_client.extend(&bytes[..count]);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shut(&mut self) {
        self.0.borrow_mut().server_shut = true;
    }
}

/// A certificate, and who trusts it.
struct Ca {
    server: Arc<ServerConfig>,
    roots: RootCertStore,
}

impl Ca {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self { server: Arc::new(config.unwrap()), roots }
    }

    fn client(&self, version: &'static SupportedProtocolVersion, fragment: Option<usize>) -> ClientConnection {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.max_fragment_size = fragment;
        config.enable_secret_extraction = true;
        config.resumption = Resumption::disabled();
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
    }
}

struct Pair {
    client: ClientConnection,
    server: Tls<End>,
    wire: End,
    /// Plaintext that the server has read, and the client.
    read: Vec<u8>,
    came: Vec<u8>,
    buffer: Vec<u8>,
}

impl Pair {
    fn new(ca: &Ca, version: &'static SupportedProtocolVersion, gives: usize, takes: usize) -> Self {
        Self::of(ca, ca.client(version, None), gives, takes)
    }

    fn of(ca: &Ca, client: ClientConnection, gives: usize, takes: usize) -> Self {
        let wire = End::default();
        (wire.0.borrow_mut().gives, wire.0.borrow_mut().takes) = (gives, takes);
        let server = Tls::new(wire.clone(), Arc::clone(&ca.server), Rc::default()).unwrap();
        Self { client, server, wire, read: Vec::new(), came: Vec::new(), buffer: vec![0; BUFFER] }
    }

    /// What the client has to say goes onto the wire.
    fn client_writes(&mut self) {
        while self.client.wants_write() {
            let mut bytes = Vec::new();
            self.client.write_tls(&mut bytes).unwrap();
            self.wire.0.borrow_mut().to_server.extend(bytes);
        }
    }

    fn client_reads(&mut self) {
        let bytes: Vec<u8> = self.wire.0.borrow_mut().to_client.drain(..).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let start = self.came.len();
            self.came.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut self.came[start..]).unwrap();
        }
    }

    /// As the loop does when the poll says that there is something to read or room to write: once.
    fn server_turns(&mut self) -> bool {
        let mut moved = self.server.holds_output();
        self.server.flush().unwrap();
        match self.server.read(&mut self.buffer) {
            Ok(0) => {}
            Ok(read) => {
                self.read.extend_from_slice(&self.buffer[..read]);
                moved = true;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
        }
        moved || self.server.has_more() || !self.wire.0.borrow().to_server.is_empty()
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        loop {
            self.client_writes();
            let moved = self.server_turns();
            self.client_reads();
            if !moved && !self.client.wants_write() && !self.server.holds_output() {
                break;
            }
        }
    }

    /// The server sends these slices, as the loop does: what is not taken is tried again.
    fn server_sends(&mut self, slices: &[&[u8]]) {
        let all = slices.concat();
        let mut slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut slices = &mut slices[..];
        let mut taken = 0;
        while !slices.is_empty() {
            match self.server.write(slices) {
                Ok(count) => {
                    taken += count;
                    IoSlice::advance_slices(&mut slices, count);
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}"),
            }
            self.client_reads();
        }
        assert_eq!(taken, all.len());
        self.settle();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

#[test]
fn it_works_however_few_bytes_the_wire_gives_and_takes() {
    let ca = Ca::new();
    for version in [&version::TLS12, &version::TLS13] {
        for (gives, takes) in
            [(ALL, ALL), (1, ALL), (ALL, 1), (1, 1), (2, 3), (5, 7), (6, 5), (100, 29), (1000, 4096), (16_400, 16_406)]
        {
            let mut pair = Pair::new(&ca, version, gives, takes);
            pair.settle();
            assert!(!pair.client.is_handshaking() && !pair.server.is_shaking_hands(), "{gives} {takes}");
            let sent = pattern(20_000);
            pair.client.writer().write_all(&sent).unwrap();
            pair.settle();
            assert!(pair.read == sent, "{gives} {takes}: {} bytes came", pair.read.len());
            pair.server_sends(&[&sent[..10], &sent[10..10], &sent[10..17_000], &sent[17_000..17_001], &sent[17_001..]]);
            assert!(pair.came == sent, "{gives} {takes}: {} bytes went", pair.came.len());
            assert_eq!(pair.server.held(), 0, "idle again, it holds nothing");
            pair.server.shut();
            pair.settle();
            assert!(pair.wire.0.borrow().server_shut);
            assert!(pair.client.process_new_packets().unwrap().peer_has_closed(), "with close_notify");
        }
    }
}

#[test]
fn slices_of_every_size_come_out_in_their_order() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
    pair.settle();
    let sent = pattern(300_000);
    for sizes in [
        &[1, 1, 1][..],
        &[10, 65_536],
        &[RECORD - 1, 1, 1],
        &[RECORD, RECORD],
        &[1, RECORD, RECORD - 1],
        &[1, 3 * RECORD],
        &[PIECE, 1],
        &[PIECE - 1, 1, 1],
        &[1, PIECE, PIECE],
        &[4, 70_000, 4, 70_000, 2, 2, 2, 100_000],
        &[300_000],
    ] {
        let mut rest = &sent[..];
        let mut slices = Vec::new();
        for size in sizes {
            let (slice, tail) = rest.split_at(*size);
            slices.push(slice);
            rest = tail;
        }
        pair.came.clear();
        pair.server_sends(&slices);
        assert!(pair.came == slices.concat(), "{sizes:?}: {} bytes came", pair.came.len());
    }
}

#[test]
fn a_read_without_room_for_all_says_so() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
    pair.settle();
    let sent = pattern(1_000_000);
    pair.client.set_buffer_limit(None);
    pair.client.writer().write_all(&sent).unwrap();
    pair.client_writes();
    let mut reads = 0;
    loop {
        let before = pair.wire.0.borrow().to_server.len();
        let Ok(read) = pair.server.read(&mut pair.buffer) else { break };
        assert!(read > 0);
        pair.read.extend_from_slice(&pair.buffer[..read]);
        reads += 1;
        assert!(before > 0, "not called in vain");
        assert_eq!(pair.server.has_more(), !pair.wire.0.borrow().to_server.is_empty());
        if !pair.server.has_more() {
            break;
        }
    }
    assert!(pair.read == sent, "{} bytes came", pair.read.len());
    assert!(reads <= 1_000_000 / 64_000, "{reads} reads");
}

#[test]
fn what_the_kernel_does_not_take_is_bounded_and_counted() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
    pair.settle();
    pair.wire.0.borrow_mut().takes = 0;
    let sent = pattern(300_000);
    let taken = pair.server.write(&[IoSlice::new(&sent)]).unwrap();
    assert_eq!(taken, PIECE);
    assert!(pair.server.holds_output());
    assert!((PIECE..PIECE + 1000).contains(&pair.server.held()), "{}", pair.server.held());
    for _ in 0..3 {
        let error = pair.server.write(&[IoSlice::new(&sent[taken..])]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
    // What is to be said to the end waits behind it.
    pair.server.shut();
    assert!(!pair.wire.0.borrow().server_shut);
    pair.wire.0.borrow_mut().takes = ALL;
    pair.settle();
    assert!(pair.came == sent[..taken] && pair.wire.0.borrow().server_shut);
    assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_client_hello_in_the_smallest_records_is_understood() {
    let ca = Ca::new();
    for gives in [1, 37, ALL] {
        let mut pair = Pair::of(&ca, ca.client(&version::TLS13, Some(32)), gives, ALL);
        pair.settle();
        assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
        pair.server_sends(&[b"there"]);
        assert_eq!(pair.came, b"there");
    }
}

#[test]
fn keys_may_be_changed_at_any_time() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, 3, 5);
    pair.settle();
    for turn in 0..20_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(&[turn; 100]).unwrap();
        pair.settle();
        pair.server_sends(&[&[turn; 100]]);
    }
    assert_eq!((pair.read.len(), pair.came.len()), (2000, 2000));
}

/// What a client sends that cuts a message between the two TLS ends in the middle: each piece as a record.
fn in_records(client: ClientConnection, pieces: [&[u8]; 2]) -> [Vec<u8>; 2] {
    let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else { panic!("TLS 1.3") };
    let (mut number, secrets) = client.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("AES-256-GCM") };
    let mut encrypter = suite.aead_alg.encrypter(key, iv);
    pieces.map(|piece| {
        let (typ, version) = (ContentType::Handshake, ProtocolVersion::TLSv1_2);
        let record = encrypter.encrypt(OutboundPlainMessage { typ, version, payload: piece.into() }, number).unwrap();
        number += 1;
        record.encode()
    })
}

#[test]
fn in_the_middle_of_their_talk_we_can_still_speak_and_end() {
    let ca = Ca::new();
    for ending in ["the rest comes", "the stream ends", "we end it", "we go"] {
        let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
        pair.settle();
        let Pair { client, mut server, wire, mut buffer, .. } = pair;
        // KeyUpdate, not asking for one of ours (RFC 8446, section 4.6.3).
        let [front, back] = in_records(client, [&[24, 0], &[0, 1, 0]]);
        wire.0.borrow_mut().to_server.extend(front);
        assert_eq!(server.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(server.held() > 0);
        for _ in 0..3 {
            assert_eq!(server.write(&[IoSlice::new(b"we speak")]).unwrap(), 8);
        }
        match ending {
            "the rest comes" => {
                wire.0.borrow_mut().to_server.extend(back);
                assert_eq!(server.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
                assert_eq!(server.held(), 0);
            }
            "the stream ends" => {
                wire.0.borrow_mut().client_gone = true;
                assert_eq!(server.read(&mut buffer).unwrap(), 0);
                assert_eq!(server.read(&mut buffer).unwrap(), 0);
            }
            "we end it" => {
                server.shut();
                assert!(wire.0.borrow().server_shut);
                continue;
            }
            _ => continue,
        }
        assert_eq!(server.write(&[IoSlice::new(b"the last word")]).unwrap(), 13);
    }
}

#[test]
fn whoever_talks_and_does_not_read_fills_nothing() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
    pair.settle();
    pair.wire.0.borrow_mut().takes = 0;
    // Each asks for an answer.
    for _ in 0..1000 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"x").unwrap();
        pair.client_writes();
        pair.server_turns();
        assert!(pair.server.held() < 4096, "{}", pair.server.held());
    }
}

#[test]
fn every_end_of_the_stream_is_an_end() {
    let ca = Ca::new();
    for version in [&version::TLS12, &version::TLS13] {
        // Everything that a client says, until it has closed.
        let mut pair = Pair::new(&ca, version, ALL, ALL);
        let mut said = 0;
        pair.client_writes();
        said += pair.wire.0.borrow().to_server.len();
        for end in 0..said {
            let mut pair = Pair::new(&ca, version, ALL, ALL);
            pair.client_writes();
            pair.wire.0.borrow_mut().to_server.truncate(end);
            pair.wire.0.borrow_mut().client_gone = true;
            match (end, pair.server.read(&mut pair.buffer)) {
                (0, result) => assert_eq!(result.unwrap(), 0, "nothing was begun"),
                (_, result) => assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "after {end}"),
            }
            assert_eq!(pair.server.read(&mut pair.buffer).unwrap(), 0);
        }
        // Behind the handshake, with and without close_notify, whatever else is on its way.
        for cut in 0..60 {
            let mut pair = Pair::new(&ca, version, ALL, ALL);
            pair.settle();
            pair.client.writer().write_all(b"last").unwrap();
            pair.client.send_close_notify();
            pair.client_writes();
            let mut wire = pair.wire.0.borrow_mut();
            let left = wire.to_server.len().saturating_sub(cut);
            wire.to_server.truncate(left);
            wire.client_gone = true;
            drop(wire);
            let mut turns = 0;
            while pair.server.read(&mut pair.buffer).unwrap() > 0 {
                turns += 1;
            }
            assert!(turns <= 1);
            // We may still have something to say, and can.
            pair.server_sends(&[b"late"]);
            assert_eq!(pair.came, b"late");
            pair.server.shut();
            pair.client_reads();
            assert!(pair.wire.0.borrow().server_shut);
        }
    }
}

#[test]
fn what_comes_behind_close_notify_means_nothing() {
    let ca = Ca::new();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 40_000]] {
        let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
        pair.settle();
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        pair.client_writes();
        pair.wire.0.borrow_mut().to_server.extend(garbage);
        assert_eq!(pair.server.read(&mut pair.buffer).unwrap(), 4);
        assert!(pair.server.has_more(), "the end is told by itself");
        assert_eq!(pair.server.read(&mut pair.buffer).unwrap(), 0);
        assert_eq!(pair.server.held(), 0);
    }
}

#[test]
fn a_changed_byte_is_an_error_with_an_alert_and_never_worse() {
    let ca = Ca::new();
    for version in [&version::TLS12, &version::TLS13] {
        // The hello, and what is said behind the handshake.
        for open in [false, true] {
            for at in 0..600 {
                let mut pair = Pair::new(&ca, version, ALL, ALL);
                if open {
                    pair.settle();
                    pair.client.writer().write_all(&[7; 100]).unwrap();
                }
                pair.client_writes();
                match pair.wire.0.borrow_mut().to_server.get_mut(at) {
                    Some(byte) => *byte ^= 0x55,
                    None => break,
                }
                pair.wire.0.borrow_mut().to_client.clear();
                let result = pair.server.read(&mut pair.buffer);
                let said = pair.wire.0.borrow().to_client.len();
                match result {
                    // A version that is to be ignored (RFC 8446, section 5.1).
                    Ok(read) => assert_eq!((open, at, read), (true, 2, 100), "in spite of a wrong byte"),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        // For a few of them rustls has none.
                        let mute = ["HandshakePayloadTooLarge", "incompatible signing key"];
                        let mute = mute.iter().any(|why| error.to_string().contains(why));
                        assert!(said > 0 || mute, "{at}: an alert, for {error}");
                        assert_eq!(pair.server.read(&mut pair.buffer).unwrap(), 0);
                        let written = pair.server.write(&[IoSlice::new(b"x")]).unwrap_err();
                        assert_eq!(written.kind(), io::ErrorKind::BrokenPipe);
                    }
                    // A longer record than there is, or a hello that means something else.
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{at}"),
                }
            }
        }
    }
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let ca = Ca::new();
    let why = |bytes: &[u8]| {
        let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
        pair.wire.0.borrow_mut().to_server.extend(bytes);
        let error = pair.server.read(&mut pair.buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(pair.server.is_shaking_hands());
        let alert: Vec<u8> = pair.wire.0.borrow().to_client.iter().copied().collect();
        assert_eq!(alert[..1], [21], "an alert: {alert:?}");
        error.to_string()
    };
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /api HTTP/1.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        assert!(why(request.as_bytes()).contains("plain HTTP"), "{request}");
    }
    for garbage in [&b"\x00\x01\x02\x03\x04\x05"[..], b"SSH-2.0-OpenSSH_9.2\r\n", &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01]]
    {
        assert!(!why(garbage).contains("HTTP"), "{}", garbage.escape_ascii());
    }
}

#[test]
fn an_end_without_a_word_still_says_goodbye() {
    let ca = Ca::new();
    let mut pair = Pair::new(&ca, &version::TLS13, ALL, ALL);
    pair.settle();
    let Pair { mut client, server, wire, .. } = pair;
    drop(server);
    let bytes: Vec<u8> = wire.0.borrow_mut().to_client.drain(..).collect();
    client.read_tls(&mut &bytes[..]).unwrap();
    assert!(client.process_new_packets().unwrap().peer_has_closed());
}

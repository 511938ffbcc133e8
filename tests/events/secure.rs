//! A stream over TLS: the same events, however large, and the same end for who does not read.

use std::net::TcpStream;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::stream::{INI, Stream, broadcast, feedback, said, told};
use super::tls::{Pair, config, connect, connect_on, secure, start};

#[test]
fn events_come_over_tls_and_a_slow_reader_goes_with_a_reason() {
    let pair = Pair::new();
    let server = start(&pair, &format!("{INI}[limits]\nmaxBacklog = 262144\n[sse]\nhistoryBytes = 100000000\n"));
    let config = Arc::new(config(&pair, rustls::ALL_VERSIONS));
    let mut stream = Stream::begin(connect(secure(&server), &config), "/sse", "");
    for size in [1, 100_000, 3_000_000] {
        let text = "x".repeat(size);
        assert_eq!(broadcast(&server, &text), 1);
        stream.expect(&[&told(&text)]);
    }
    let uuid = stream.uuid.clone();
    let id = stream.lose(&server);
    assert_eq!(feedback(&server, &uuid, "missed"), 0);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
    rustix::net::connect(&socket, &secure(&server)).expect("the server accepts");
    let client = connect_on(TcpStream::from(socket), &config);
    let mut slow = Stream::begin(client, "/sse", &format!("Last-Event-ID: {id}\r\n"));
    assert_eq!(slow.uuid, uuid);
    slow.expect(&[&said(&uuid, "missed")]);
    let long = "x".repeat(32 * 1024);
    let mut sent = 0;
    while feedback(&server, &uuid, &long) == 1 {
        sent += 1;
        assert!(sent < 1000, "not for ever");
    }
    for _ in 0..sent {
        slow.expect(&[&said(&uuid, &long)]);
    }
    slow.expect_close(1013, "reads too slowly");
}

//! What breaks RFC 6455 on an open connection, the code it is closed with, and that nobody else notices; and what looks
//! odd and breaks nothing.

#[path = "common/server.rs"]
mod server;

use server::{BINARY, CLOSE, Client, PING, PONG, Server, TEXT, masked, masked_header, plain, upgrade};

/// What is sent, and the code it leads to.
fn faults() -> Vec<(&'static str, Vec<u8>, u16)> {
    let close = |code: u16| masked(CLOSE, &code.to_be_bytes());
    let mut faults = vec![
        ("RSV1", masked(0xc1, b"x"), 1002),
        ("RSV2", masked(0xa1, b"x"), 1002),
        ("RSV3", masked(0x91, b"x"), 1002),
        ("RSV1 on a ping", masked(0xc9, b"x"), 1002),
        ("text without a mask", b"\x81\x01x".to_vec(), 1002),
        ("close without a mask", b"\x88\x02\x03\xe8".to_vec(), 1002),
        ("125 bytes in a 16-bit length", [&b"\x81\xfe\x00\x7d"[..], &[0; 129]].concat(), 1002),
        ("65,535 bytes in a 64-bit length", masked_header(TEXT, 0xffff), 1002),
        ("length with its top bit set", masked_header(BINARY, 1 << 63), 1002),
        ("length of all ones", masked_header(BINARY, u64::MAX), 1002),
        ("1 GiB announced", masked_header(BINARY, 1 << 30), 1009),
        ("2^62 announced", masked_header(BINARY, 1 << 62), 1009),
        (
            "3 bytes, and 2^63 - 2 in a continuation",
            [masked(0x02, b"abc"), masked_header(0x80, (1 << 63) - 2)].concat(),
            1009,
        ),
        ("ping of 126 bytes", masked(PING, &[0; 126]), 1002),
        ("ping that announces 2^40 bytes", masked_header(PING, 1 << 40), 1002),
        ("fragmented ping", masked(0x09, b""), 1002),
        ("fragmented close", masked(0x08, b""), 1002),
        ("continuation of nothing", masked(0x80, b"x"), 1002),
        ("text inside a text", [masked(0x01, b"a"), masked(TEXT, b"b")].concat(), 1002),
        ("byte that is never UTF-8", masked(TEXT, b"a\xff"), 1007),
        ("overlong", masked(TEXT, b"\xc0\xaf"), 1007),
        ("surrogate", masked(TEXT, b"\xed\xa0\x80"), 1007),
        ("above 10FFFF", masked(TEXT, b"\xf4\x90\x80\x80"), 1007),
        ("cut character", masked(TEXT, b"\xe2\x82"), 1007),
        ("broken in a large text", masked(TEXT, &[&[b'x'; 9000][..], b"\x80"].concat()), 1007),
        ("broken across fragments", [masked(0x01, b"\xe2"), masked(0x80, b"\x28\xa1")].concat(), 1007),
        ("broken and unfinished", masked(0x01, b"\xff"), 1007),
        ("close with half a code", masked(CLOSE, b"\x03"), 1002),
        ("close with a reason that is not UTF-8", masked(CLOSE, b"\x03\xe8\xff"), 1007),
        ("close of 126 bytes", masked(CLOSE, &[&1000_u16.to_be_bytes()[..], &[b'x'; 124]].concat()), 1002),
        ("HTTP where frames were expected", upgrade("/echo", "").into_bytes(), 1002),
    ];
    faults.extend(
        [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|opcode| ("reserved opcode", masked(0x80 | opcode, b""), 1002)),
    );
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    faults.extend(codes.map(|code| ("close code that may not be sent", close(code), 1002)));
    faults
}

#[test]
fn every_fault_has_its_code_and_ends_the_connection() {
    let server = Server::start("");
    let mut honest = Client::open(server.address(), "/echo", "");
    for (name, bytes, code) in faults() {
        println!("{name}: {}", bytes[..bytes.len().min(20)].escape_ascii());
        let mut client = Client::open(server.address(), "/echo", "");
        client.send(&bytes);
        client.expect_close_frame(code);
        client.expect_end();
        // What comes behind a fault is not acted on, even in the same segment.
        let mut client = Client::open(server.address(), "/echo", "");
        client.send(&[masked(TEXT, b"before"), bytes, masked(TEXT, b"behind"), masked(PING, b"")].concat());
        client.expect(&["before"]);
        client.expect_close_frame(code);
        client.expect_end();
        honest.say(name);
        honest.expect(&[name]);
    }
    assert_eq!(server.lines_with(" ERROR "), [""; 0], "what a peer does wrong is no error of ours");
}

#[test]
fn frames_may_come_in_any_pieces() {
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    let stream =
        [masked(TEXT, "grüße".as_bytes()), masked(0x01, b"\xe2"), masked(PING, b"?"), masked(0x80, b"\x82\xac")]
            .concat();
    let answers = [plain(TEXT, "grüße".as_bytes()), plain(PONG, b"?"), plain(TEXT, "€".as_bytes())].concat();
    for byte in &stream {
        client.send(&[*byte]);
    }
    client.expect_bytes(&answers);
    for cut in 1..stream.len() {
        client.send(&stream[..cut]);
        client.send(&stream[cut..]);
        client.expect_bytes(&answers);
    }
    let long = vec![b'x'; 70_000];
    for cut in [1, 2, 9, 10, 13, 14, 15, 35_000, 70_013] {
        let frame = masked(BINARY, &long);
        client.send(&frame[..cut]);
        client.send(&frame[cut..]);
        client.expect_bytes(&plain(BINARY, &long));
    }
}

#[test]
fn a_close_between_fragments_is_answered_and_the_fragment_forgotten() {
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    client.send(&[masked(0x01, b"half"), masked(CLOSE, b"\x03\xe9"), masked(0x80, b"whole")].concat());
    client.expect_bytes(&plain(CLOSE, b"\x03\xe9"));
    client.expect_end();
}

#[test]
fn a_flood_of_pings_is_answered_in_order() {
    let server = Server::start("");
    let mut client = Client::open(server.address(), "/echo", "");
    let payloads: Vec<Vec<u8>> = (0..2000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    client.send(&payloads.iter().flat_map(|payload| masked(PING, payload)).collect::<Vec<u8>>());
    for payload in &payloads {
        client.expect_bytes(&plain(PONG, payload));
    }
}

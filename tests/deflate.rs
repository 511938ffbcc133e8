//! permessage-deflate (RFC 7692) against the real server: what is agreed on, what is packed and for whom, and what breaks
//! it. The suite of Autobahn asks for the rest.

#[path = "common/server.rs"]
mod server;

use server::{Client, NEXT, SCRIPT, Server, TEXT, masked, upgrade};
use websock::proto::deflate::{Agreement, Codec, Deflate, Packing};

const ON: &str = "[limits]\nmaxMessage = 100000\n[deflate]\nenabled = true\nthreshold = 100\n";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
/// A packed text.
const PACKED: u8 = 0xc1;

/// Opens `path` with an offer, and gives the extension field of the answer.
fn offer(server: &Server, path: &str, offer: &str) -> (Client, String) {
    let mut client = Client::connect(server.address());
    client.send(upgrade(path, offer).as_bytes());
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let agreed = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    (client, agreed.unwrap_or_default().to_owned())
}

/// The other end of what the server agrees to.
fn peer(takeover: bool) -> (Deflate, Codec) {
    let agreement = Agreement::negotiate(["permessage-deflate"].into_iter(), takeover).expect("a good offer");
    (Deflate::new(agreement.expect("agreed")), Codec::default())
}

fn unpack(deflate: &mut Deflate, codec: &mut Codec, packed: &[u8]) -> String {
    let mut out = Vec::new();
    deflate.unpack(codec, packed, 1 << 20, &mut out).expect("good data");
    String::from_utf8(out).expect("text")
}

#[test]
fn it_is_off_unless_it_is_turned_on() {
    let server = Server::start("");
    let (mut client, agreed) = offer(&server, "/echo", OFFER);
    assert_eq!(agreed, "");
    client.send(&masked(PACKED, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
    client.expect_closed(1002);
}

#[test]
fn earlier_messages_are_referred_to_only_where_the_settings_say_so() {
    let server = Server::start(ON);
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(offer(&server, "/echo", OFFER).1, none);
    let browsers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    assert_eq!(offer(&server, "/echo", browsers).1, none);
    let server = Server::start(&format!("{ON}contextTakeover = true\n"));
    assert_eq!(offer(&server, "/echo", OFFER).1, "permessage-deflate");
    let bits = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99, permessage-deflate; \
                server_max_window_bits=10\r\n";
    assert_eq!(offer(&server, "/echo", bits).1, "permessage-deflate; server_max_window_bits=10");
}

#[test]
fn an_offer_that_is_not_well_formed_is_refused() {
    for settings in ["", ON] {
        let server = Server::start(settings);
        let mut client = Client::connect(server.address());
        client.send(upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate;;=\r\n").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn messages_from_the_threshold_on_are_packed_and_come_back_as_they_were() {
    for takeover in [false, true] {
        let server = Server::start(&format!("{ON}contextTakeover = {takeover}\n"));
        let (mut client, _) = offer(&server, "/echo", OFFER);
        let (mut ours, mut codec) = peer(takeover);
        let (mut theirs, mut back) = peer(takeover);
        for length in [1, 99, 100, 5_000, 90_000] {
            let text = "{\"opcode\":\"é\"}".repeat(length).chars().take(length).collect::<String>();
            let packed = match ours.packing() {
                Packing::Own => ours.pack(&mut codec, text.as_bytes()).to_vec(),
                Packing::Shared(bits) => codec.pack(bits, text.as_bytes()).to_vec(),
            };
            // In two fragments, of which only the first says that the message is packed.
            let (front, rear) = packed.split_at(packed.len() / 2);
            client.send(&[masked(0x41, front), masked(0x80, rear)].concat());
            let frame = client.frame();
            if text.len() < 100 {
                assert_eq!((frame.first, frame.payload), (TEXT, text.into_bytes()));
            } else {
                assert_eq!(frame.first, PACKED, "{} bytes, takeover {takeover}", text.len());
                assert!(frame.payload.len() < text.len() / 2);
                assert_eq!(unpack(&mut theirs, &mut back, &frame.payload), text);
            }
        }
    }
}

#[test]
fn a_broadcast_is_packed_for_those_who_agreed_and_plain_for_the_others() {
    let server = Server::start(ON);
    let (mut plain, _) = Client::browser(&server, "/web");
    let mut packed: Vec<Client> = (0..3)
        .map(|_| {
            let (mut client, _) = offer(&server, "/web", OFFER);
            assert!(client.frame().text().contains("ready"));
            client
        })
        .collect();
    let (narrow, agreed) =
        offer(&server, "/", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n");
    assert!(agreed.ends_with("server_max_window_bits=9"));
    let mut narrow = narrow;
    assert!(narrow.frame().text().contains("ready"));
    let (mut script, _) = Client::greeted(server.address(), "/php", SCRIPT);
    let message = format!(r#"{{"opcode":"broadcast","message":"{}"}}"#, "news ".repeat(2000));
    script.say(&message);
    script.expect(&[r#"{"opcode":"next","fyi":"","delivered":5}"#]);
    plain.expect(&[&message]);
    let first = packed[0].frame();
    assert_eq!(first.first, PACKED);
    let (mut theirs, mut codec) = peer(false);
    assert_eq!(unpack(&mut theirs, &mut codec, &first.payload), message);
    for client in &mut packed[1..] {
        assert_eq!(client.frame(), first, "packed once, the same for all");
    }
    let frame = narrow.frame();
    assert_eq!(unpack(&mut theirs, &mut codec, &frame.payload), message);
    // What is short stays as it is.
    script.say(r#"{"opcode":"unknown"}"#);
    script.expect(&[NEXT]);
}

#[test]
fn what_breaks_it_is_closed_with_its_code() {
    let server = Server::start(ON);
    let mut codec = Codec::default();
    let at_limit = codec.pack(15, &[b'x'; 100_000]).to_vec();
    let bomb = codec.pack(15, &vec![0; 16 << 20]).to_vec();
    let not_text = codec.pack(15, b"\xff\xfe").to_vec();
    for (what, frames, code) in [
        ("RSV2", masked(0xa1, b"x"), 1002),
        ("RSV1 on a ping", masked(0xc9, b"x"), 1002),
        ("RSV1 on a continuation", [masked(0x41, b"x"), masked(0xc0, b"x")].concat(), 1002),
        ("garbage", masked(PACKED, b"\xff\xff\xff"), 1007),
        ("a reserved block type", masked(PACKED, b"\x06"), 1007),
        ("text that is none once it is unpacked", masked(PACKED, &not_text), 1007),
        ("a bomb", masked(PACKED, &bomb), 1009),
        ("a bomb in fragments", [masked(0x41, &bomb[..9]), masked(0x80, &bomb[9..])].concat(), 1009),
        ("one byte over the limit", masked(PACKED, codec.pack(15, &[b'x'; 100_001])), 1009),
    ] {
        let (mut client, _) = offer(&server, "/echo", OFFER);
        client.send(&frames);
        assert_eq!(client.frame().payload[..2], u16::to_be_bytes(code), "{what}");
        client.expect_end();
    }
    let (mut client, _) = offer(&server, "/echo", OFFER);
    client.send(&masked(PACKED, &at_limit));
    assert_eq!(client.frame().first, PACKED);
}

#[test]
fn a_bomb_costs_no_more_than_the_message_limit() {
    let server = Server::start(ON);
    let mut codec = Codec::default();
    let (mut honest, _) = offer(&server, "/echo", OFFER);
    honest.say("warm");
    assert_eq!(honest.frame().text(), "warm");
    for size in [16 << 20, 128 << 20] {
        let bomb = codec.pack(15, &vec![0; size]).to_vec();
        // As much of it as the limit lets through: unpacked it is some megabytes all the same.
        let front = &bomb[..bomb.len().min(100_000)];
        for frames in [masked(PACKED, front), [masked(0x41, &front[..100]), masked(0x80, &front[100..])].concat()] {
            let (mut client, _) = offer(&server, "/echo", OFFER);
            let (memory, cpu) = (server.memory(), server.cpu());
            client.send(&frames);
            assert_eq!(client.frame().payload[..2], u16::to_be_bytes(1009), "{size} bytes in {}", front.len());
            client.expect_end();
            let (memory, cpu) = (server.memory().saturating_sub(memory), server.cpu() - cpu);
            assert!(memory <= 1 << 20, "{memory} bytes of memory");
            assert!(cpu < std::time::Duration::from_millis(50), "{cpu:?}");
        }
    }
    honest.say("still here");
    assert_eq!(honest.frame().text(), "still here");
}

#[test]
fn a_cut_stream_poisons_nothing() {
    for takeover in [false, true] {
        let server = Server::start(&format!("{ON}contextTakeover = {takeover}\n"));
        let mut codec = Codec::default();
        let text: String = (0..500).map(|number: u32| number.wrapping_mul(2_654_435_761).to_string()).collect();
        let packed = codec.pack(15, text.as_bytes()).to_vec();
        let whole = masked(PACKED, &packed);
        let (mut other, _) = offer(&server, "/echo", OFFER);
        for cut in [0, 1, 2, packed.len() / 2, packed.len() - 1] {
            let (mut client, _) = offer(&server, "/echo", OFFER);
            client.send(&[&masked(PACKED, &packed[..cut])[..], &whole].concat());
            // RFC 7692 has no mark at the end of a message by which to tell: what came out of it is the message.
            let frame = client.frame();
            assert!(matches!(frame.first, TEXT | PACKED), "{cut} bytes: {frame:?}");
            if !takeover {
                let (mut theirs, mut back) = peer(false);
                let next = client.frame();
                assert_eq!(unpack(&mut theirs, &mut back, &next.payload), text, "the next one is not harmed");
            }
            // With earlier messages to refer to, its sender has spoilt its own connection, and nobody else's.
            other.say("not harmed");
            assert_eq!(other.frame().text(), "not harmed");
        }
    }
}

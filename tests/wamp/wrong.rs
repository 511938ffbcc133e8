//! What a client of version 2 can do wrong: it is told, and nobody else is the worse for it.

use serde_json::{Value, json};

use crate::peer::{INI, Peer};
use crate::server::{BINARY, Server, TEXT, masked};

/// The session ends with this reason, and the connection with it.
fn expect_abort(peer: &mut Peer, reason: &str, what: &str) -> String {
    let abort = peer.hear();
    assert_eq!((&abort[0], &abort[2]), (&json!(3), &json!(reason)), "{what}: {abort}");
    let why = abort[1]["message"].as_str().expect("a sentence").to_owned();
    peer.client.expect_closed(1002);
    why
}

const VIOLATION: &str = "wamp.error.protocol_violation";

#[test]
fn a_session_that_can_not_begin() {
    let server = Server::start(INI);
    let roles = json!({"roles": {"caller": {}}});
    for (message, reason) in [
        (json!([1, "a realm", roles]), "wamp.error.invalid_uri"),
        (json!([1, "a..b", roles]), "wamp.error.invalid_uri"),
        (json!([1, "", roles]), "wamp.error.invalid_uri"),
        (json!([1, "realm1", {}]), VIOLATION),
        (json!([1, "realm1", {"roles": {}}]), VIOLATION),
        (json!([1, "realm1", {"roles": {"broker": {}}}]), VIOLATION),
        (json!([1, "realm1", {"roles": []}]), VIOLATION),
        (json!([1, "realm1"]), VIOLATION),
        (json!([1, 5, roles]), VIOLATION),
        (json!([1, "realm1", []]), VIOLATION),
        (json!([32, 1, {}, "t"]), VIOLATION),
        (json!([6, {}, "wamp.close.close_realm"]), VIOLATION),
    ] {
        for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
            let mut peer = Peer::connect(&server, subprotocol);
            peer.say(&message);
            expect_abort(&mut peer, reason, &message.to_string());
        }
    }
}

#[test]
fn who_breaks_the_protocol_is_told_how() {
    let server = Server::start(INI);
    let mut witness = Peer::json(&server);
    let subscription = witness.subscribe("t");
    let long: Vec<Value> = vec![json!(16), json!(1), json!({}), json!("t"), json!([]), json!({}), json!(7)];
    for message in [
        json!([]),
        json!({}),
        json!("x"),
        json!([null]),
        json!(["16", 1, {}, "t"]),
        json!([1.5]),
        json!([-16]),
        // HELLO again, what only routers send, and what nobody does.
        json!([1, "realm1", {"roles": {"caller": {}}}]),
        json!([2, 1, {}]),
        json!([33, 1, 1]),
        json!([50, 1, {}]),
        json!([4, "x", {}]),
        json!([1000, 1]),
        // Lengths.
        json!([16, 1, {}]),
        Value::Array(long),
        json!([32, 1, {}, "t", []]),
        json!([34, 1]),
        json!([70, 1]),
        // Request ids.
        json!([32, 0, {}, "t"]),
        json!([32, -1, {}, "t"]),
        json!([32, 1.5, {}, "t"]),
        json!([32, "1", {}, "t"]),
        json!([32, 9_007_199_254_740_993_u64, {}, "t"]),
        // Types.
        json!([16, 1, [], "t"]),
        json!([16, 1, {}, 5]),
        json!([16, 1, {}, "t", {}]),
        json!([16, 1, {}, "t", [], []]),
        json!([16, 1, {"acknowledge": "yes"}, "t"]),
        json!([16, 1, {"exclude": 5}, "t"]),
        json!([16, 1, {"eligible": ["x"]}, "t"]),
        json!([48, 1, {"timeout": -1}, "p"]),
        json!([34, 1, "x"]),
        json!([34, 1, 0]),
        json!([66, 1, {}]),
        // What was never asked.
        json!([70, 1, {}]),
        json!([8, 68, 1, {}, "a.b"]),
        json!([8, 48, 1, {}, "a.b"]),
        json!([8, 68, 1, {}, "a b"]),
        json!([49, 0, {}]),
    ] {
        for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
            let mut peer = Peer::joined(&server, subprotocol, "realm1");
            peer.say(&message);
            let why = expect_abort(&mut peer, VIOLATION, &message.to_string());
            server.wait_for_line(&why);
        }
    }
    for (subprotocol, first, payload) in [
        ("wamp.2.json", TEXT, &b"[16,1"[..]),
        ("wamp.2.json", TEXT, b""),
        ("wamp.2.json", TEXT, b"[16,1,{},\"t\"] x"),
        ("wamp.2.json", BINARY, b"[16,1,{},\"t\"]"),
        ("wamp.2.msgpack", TEXT, b"[16,1,{},\"t\"]"),
        ("wamp.2.msgpack", BINARY, b"\x94\x10\x01"),
        ("wamp.2.msgpack", BINARY, b""),
        ("wamp.2.msgpack", BINARY, b"\x94\x10\x01\x80\xa1\xff"),
        ("wamp.2.msgpack", BINARY, b"\xdd\xff\xff\xff\xff\x10"),
        ("wamp.2.msgpack", BINARY, b"\x95\x10\x01\x80\xa1t\x91\xd4\x01\x00"),
        ("wamp.2.json", TEXT, "[".repeat(200_000).as_bytes()),
        ("wamp.2.msgpack", BINARY, &[0x91; 200_000]),
    ] {
        let mut peer = Peer::joined(&server, subprotocol, "realm1");
        peer.client.send(&masked(first, payload));
        expect_abort(&mut peer, VIOLATION, &payload[..payload.len().min(40)].escape_ascii().to_string());
    }
    let mut publisher = Peer::json(&server);
    publisher.publish(json!({}), "t", &[json!(["still here"])]);
    assert_eq!(witness.event(subscription), json!([{}, ["still here"]]));
}

#[test]
fn what_can_not_be_done_is_answered_and_the_session_goes_on() {
    let server = Server::start(INI);
    for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
        let mut peer = Peer::joined(&server, subprotocol, "realm1");
        let long = "x".repeat(1025);
        for (code, rest, uri) in [
            (16, json!([{"acknowledge": true}, "a b"]), "wamp.error.invalid_uri"),
            (16, json!([{"acknowledge": true}, "wamp.x"]), "wamp.error.invalid_uri"),
            (32, json!([{}, "a b"]), "wamp.error.invalid_uri"),
            (32, json!([{}, ""]), "wamp.error.invalid_uri"),
            (32, json!([{}, "a..b"]), "wamp.error.invalid_uri"),
            (32, json!([{}, "a#b"]), "wamp.error.invalid_uri"),
            (32, json!([{}, long]), "wamp.error.invalid_uri"),
            (32, json!([{"match": "prefix"}, "a"]), "wamp.error.option_not_allowed"),
            (34, json!([5]), "wamp.error.no_such_subscription"),
            (48, json!([{}, "a.."]), "wamp.error.invalid_uri"),
            (48, json!([{}, "a"]), "wamp.error.no_such_procedure"),
            (64, json!([{}, "a "]), "wamp.error.invalid_uri"),
            (64, json!([{}, "wamp.session.count"]), "wamp.error.invalid_uri"),
            (64, json!([{"match": "wildcard"}, "a"]), "wamp.error.option_not_allowed"),
            (64, json!([{"invoke": "roundrobin"}, "a"]), "wamp.error.option_not_allowed"),
            (66, json!([5]), "wamp.error.no_such_registration"),
        ] {
            let request = peer.ask(code, &rest);
            let error = peer.hear();
            assert_eq!(
                (&error[0], &error[1], &error[2], &error[4]),
                (&json!(8), &json!(code), &json!(request), &json!(uri)),
                "{code} {rest}: {error}"
            );
            assert!(error[5][0].is_string(), "{error}");
        }
        // Who doesn't want to hear of success hears of nothing.
        peer.ask(16, &json!([{}, "a b"]));
        peer.expect_nothing();
        peer.subscribe("a");
    }
}

#[test]
fn request_ids_are_the_clients_choice_but_those_of_waiting_calls() {
    let server = Server::start(INI);
    for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
        let (mut callee, mut peer) = (Peer::json(&server), Peer::joined(&server, subprotocol, "realm1"));
        let registration = callee.register("p");
        // As in the specification's examples, the largest there is, and one that has been.
        for request in [713_845_233_u64, 1 << 53, 713_845_233] {
            peer.say(&json!([32, request, {}, "t"]));
            let subscribed = peer.hear();
            assert_eq!((&subscribed[0], &subscribed[1]), (&json!(33), &json!(request)), "{subscribed}");
        }
        // Nothing to give up: it never was.
        peer.say(&json!([49, 5, {}]));
        for (turn, id) in [(1, 7_814_135), (2, 7_814_135)] {
            peer.say(&json!([48, id, {}, "p"]));
            callee.expect(&json!([68, turn, registration, {}]));
            callee.say(&json!([70, turn, {}, [turn]]));
            assert_eq!(peer.answer(id), json!([{}, [turn]]));
        }
        for code in [48, 32] {
            let mut peer = Peer::joined(&server, subprotocol, "realm1");
            peer.say(&json!([48, 9, {}, "p"]));
            callee.hear();
            peer.say(&json!([code, 9, {}, "p"]));
            let why = expect_abort(&mut peer, VIOLATION, "an id that waits");
            assert!(why.contains("still waits"), "{why}");
            callee.hear();
        }
    }
}

#[test]
fn unknown_options_are_not_even_read() {
    let server = Server::start(INI);
    let mut peer = Peer::json(&server);
    // Kept for later, this would have to be a number.
    peer.client.say(r#"[16,1,{"acknowledge":true,"x":1e999,"exclude":[]},"t"]"#);
    let published = peer.hear();
    assert_eq!((&published[0], &published[1]), (&json!(17), &json!(1)), "{published}");
}

#[test]
fn nobody_has_more_than_so_many_subscriptions() {
    let server = Server::start(INI);
    let mut peer = Peer::json(&server);
    for number in 0..10_000 {
        peer.ask(32, &json!([{}, format!("t.{number}")]));
    }
    for _ in 0..10_000 {
        assert_eq!(peer.hear()[0], 33);
    }
    let request = peer.ask(32, &json!([{}, "one.more"]));
    let error = peer.hear();
    assert_eq!((&error[2], &error[4]), (&json!(request), &json!("websock.error.too_many")), "{error}");
    peer.subscribe("t.7");
    peer.publish(json!({"exclude_me": true}), "t.9", &[]);
    peer.client.leave();
    assert_eq!(Peer::json(&server).subscribe("t.9"), 1, "all of it is forgotten");
}

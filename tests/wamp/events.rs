//! Version 2: sessions, topics and events.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::peer::{INI, Peer};
use crate::server::{CLOSE, Client, Server, masked, upgrade};

#[test]
fn a_session_begins_and_ends_as_both_sides_agree() {
    let server = Server::start(INI);
    for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
        let mut peer = Peer::connect(&server, subprotocol);
        let welcome = peer.join("com.example.shop");
        let details = &welcome[2];
        assert_eq!(details["realm"], "com.example.shop");
        assert_eq!(details["authrole"], "anonymous");
        assert_eq!(details["authid"], peer.session.to_string());
        let features = &details["roles"]["dealer"]["features"];
        assert_eq!(
            *features,
            json!({"call_canceling": true, "call_timeout": true, "caller_identification": true,
                   "progressive_call_results": true})
        );
        peer.say(&json!([6, {}, "wamp.close.close_realm"]));
        peer.expect(&json!([6, {}, "wamp.close.goodbye_and_out"]));
        // The connection may have another session, whose requests count from one again.
        let before = peer.session;
        peer.join("realm1");
        assert_ne!(peer.session, before);
        peer.subscribe("a");
        peer.say(&json!([3, {}, "wamp.close.normal"]));
        peer.client.expect_closed(1000);
    }
}

#[test]
fn what_hello_leaves_null_is_absent() {
    let server = Server::start(INI);
    let features = json!({"call_canceling": null, "progressive_call_results": null, "more": null});
    for callee in [json!({}), json!({"features": null}), json!({"features": {}}), json!({ "features": features })] {
        for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
            let mut peer = Peer::connect(&server, subprotocol);
            peer.say(&json!([1, "realm1", {"roles": {"callee": callee, "caller": null}}]));
            assert_eq!(peer.hear()[0], 2, "{callee}");
        }
    }
}

#[test]
fn a_stopping_server_says_good_bye() {
    let server = Server::start(INI);
    let mut peers = [Peer::json(&server), Peer::packed(&server)];
    // Who has joined no realm has nothing to leave.
    let mut outside = Peer::connect(&server, "wamp.2.json");
    server.signal(Signal::TERM);
    for peer in &mut peers {
        let said = peer.hear();
        assert_eq!((&said[0], &said[2]), (&json!(6), &json!("wamp.close.system_shutdown")), "{said}");
        peer.client.expect_closed(1001);
    }
    outside.client.expect_closed(1001);
}

#[test]
fn who_speaks_no_wamp_is_told_so() {
    let server = Server::start(INI);
    let mut none = Client::open(server.address(), "/wamp", "");
    none.expect_closed(1008);
    server.wait_for_line("no subprotocol of WAMP was offered");
    // The first that the client likes is taken.
    let mut client = Client::connect(server.address());
    client.send(upgrade("/wamp", "Sec-WebSocket-Protocol: wamp.2.cbor, wamp.2.msgpack, wamp.2.json\r\n").as_bytes());
    assert!(client.head().contains("Sec-WebSocket-Protocol: wamp.2.msgpack\r\n"));
}

#[test]
fn an_event_reaches_subscribers_as_it_was_published() {
    let server = Server::start(INI);
    let (mut one, mut two, mut packed) = (Peer::json(&server), Peer::json(&server), Peer::packed(&server));
    let topic = "com.example.news";
    let id = one.subscribe(topic);
    assert_eq!(two.subscribe(topic), id, "a topic has one subscription");
    assert_eq!(packed.subscribe(topic), id);
    assert_eq!(one.subscribe(topic), id, "twice is once");
    let args = json!([1, -2.5, "ü\"\u{1}", null, [true, {}], {"k": [1e300]}]);
    let kwargs = json!({"name": "value", "list": [1, 2]});
    let mut other = Peer::json(&server);
    for payload in [vec![], vec![json!([])], vec![args.clone()], vec![args, kwargs.clone()]] {
        let publication = other.publish(json!({}), topic, &payload);
        for peer in [&mut one, &mut two, &mut packed] {
            let expected = [json!(36), json!(id), json!(publication), json!({})].into_iter();
            peer.expect(&expected.chain(payload.iter().cloned()).collect());
        }
    }
    let publication = packed.publish(json!({}), topic, &[json!([1]), kwargs.clone()]);
    for peer in [&mut one, &mut two] {
        peer.expect(&json!([36, id, publication, {}, [1], kwargs]));
    }
    for peer in [&mut one, &mut two, &mut packed, &mut other] {
        peer.expect_nothing();
    }
    // Bytes: their own type in MessagePack, NUL and Base64 in JSON.
    packed.publish(json!({}), topic, &[json!(["\0abc"])]);
    assert_eq!(one.event(id), json!([{}, ["\0YWJj"]]));
    one.publish(json!({}), topic, &[json!(["\0YWJj"])]);
    assert_eq!(packed.event(id), json!([{}, ["\0abc"]]));
}

#[test]
fn json_is_passed_on_to_the_byte() {
    let server = Server::start(INI);
    let (mut publisher, mut subscriber) = (Peer::json(&server), Peer::json(&server));
    let id = subscriber.subscribe("a");
    publisher.client.say(r#"[16, 1, {}, "a", [ 1.0e2,  "\u00fc\/" ] , {"b":1,"a":2,"b":3} ]"#);
    let frame = subscriber.client.frame();
    let text = frame.text();
    assert!(text.starts_with(&format!("[36,{id},")), "{text}");
    assert!(text.ends_with(r#",{},[ 1.0e2,  "\u00fc\/" ],{"b":1,"a":2,"b":3}]"#), "{text}");
}

#[test]
fn a_publisher_chooses_who_gets_an_event() {
    let server = Server::start(INI);
    let mut peers = [Peer::json(&server), Peer::packed(&server), Peer::json(&server)];
    let id = peers.each_mut().map(|peer| peer.subscribe("t"))[0];
    let sessions = peers.each_ref().map(|peer| peer.session);
    let authid = |index: usize| sessions[index].to_string();
    for (options, gets) in [
        (json!({}), [false, true, true]),
        (json!({"exclude_me": true}), [false, true, true]),
        (json!({"exclude_me": false}), [true, true, true]),
        (json!({"exclude": [sessions[1]]}), [false, false, true]),
        (json!({"exclude": [sessions[1], 77]}), [false, false, true]),
        (json!({"eligible": [sessions[2]]}), [false, false, true]),
        (json!({"eligible": sessions}), [false, true, true]),
        (json!({"eligible": sessions, "exclude_me": false, "exclude": [sessions[2]]}), [true, true, false]),
        (json!({"eligible": []}), [false, false, false]),
        (json!({"exclude": []}), [false, true, true]),
        (json!({"exclude_authid": [authid(1)]}), [false, false, true]),
        (json!({"eligible_authid": [authid(1)]}), [false, true, false]),
        (json!({"eligible_authid": [authid(1), authid(2)], "eligible": [sessions[2]]}), [false, false, true]),
        (json!({"exclude_authrole": ["anonymous"]}), [false, false, false]),
        (json!({"eligible_authrole": ["anonymous", "x"]}), [false, true, true]),
        (json!({"eligible_authrole": ["user"]}), [false, false, false]),
    ] {
        // An event that the publisher gets itself comes before the acknowledgement.
        let mut with_ack = options.clone();
        with_ack["acknowledge"] = json!(true);
        let request = peers[0].ask(16, &json!([with_ack, "t", [options]]));
        if gets[0] {
            assert_eq!(peers[0].event(id), json!([{}, [options]]));
        }
        let published = peers[0].hear();
        assert_eq!((&published[0], &published[1]), (&json!(17), &json!(request)), "{published}");
        for (peer, gets) in peers.iter_mut().zip(gets).skip(1) {
            if gets {
                assert_eq!(peer.event(id), json!([{}, [options]]));
            }
            peer.expect_nothing();
        }
    }
    peers[0].publish(json!({"disclose_me": true}), "t", &[]);
    let who = json!({"publisher": sessions[0], "publisher_authid": authid(0), "publisher_authrole": "anonymous"});
    assert_eq!(peers[1].event(id), json!([who]));
}

#[test]
fn who_has_left_gets_nothing() {
    let server = Server::start(INI);
    let mut publisher = Peer::json(&server);
    let (mut unsubscribed, mut parted, mut gone) = (Peer::json(&server), Peer::json(&server), Peer::packed(&server));
    let id = unsubscribed.subscribe("t");
    parted.subscribe("t");
    gone.subscribe("t");
    let request = unsubscribed.ask(34, &json!([id]));
    unsubscribed.expect(&json!([35, request]));
    parted.say(&json!([6, {}, "wamp.close.close_realm"]));
    parted.hear();
    gone.client.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
    server.wait_for_line(" closed by peer");
    publisher.publish(json!({}), "t", &[json!([1])]);
    unsubscribed.expect_nothing();
    parted.join("realm1");
    parted.expect_nothing();
    assert_eq!(parted.subscribe("t"), id + 1, "the subscription went with its last subscriber");
}

#[test]
fn realms_are_worlds_of_their_own() {
    let server = Server::start(INI);
    let mut here = Peer::json(&server);
    let mut there = Peer::joined(&server, "wamp.2.json", "realm2");
    let id = here.subscribe("t");
    there.subscribe("t");
    there.register("p");
    assert_eq!(here.call("p", &[])[1], "wamp.error.no_such_procedure");
    here.publish(json!({"exclude_me": true}), "t", &[]);
    there.expect_nothing();
    let mut two = Peer::json(&server);
    two.publish(json!({}), "t", &[json!(["here"])]);
    assert_eq!(here.event(id), json!([{}, ["here"]]));
    there.expect_nothing();
}

#[test]
fn a_backend_publishes_over_http() {
    let server = Server::start(INI);
    let (mut json, mut packed, mut v1) = (Peer::json(&server), Peer::packed(&server), Peer::v1(&server));
    let mut elsewhere = Peer::joined(&server, "wamp.2.json", "shop");
    let id = json.subscribe("t");
    packed.subscribe("t");
    elsewhere.subscribe("t");
    v1.say(&json!([5, "t"]));
    v1.say(&json!([2, "done", "form-lock-info", {"form": "form"}]));
    v1.hear();
    let publish = |data: Value| call(&server, "wamp/publish", &data);
    assert_eq!(publish(json!({"topic": "t", "message": {"a": 1}})), json!(3));
    assert_eq!(json.event(id), json!([{}, [{"a": 1}]]));
    assert_eq!(packed.event(id), json!([{}, [{"a": 1}]]));
    v1.expect(&json!([8, "t", {"a": 1}]));
    assert_eq!(publish(json!({"topic": "t", "args": [1], "kwargs": {"b": 2}, "eligible": [packed.session]})), json!(1));
    assert_eq!(packed.event(id), json!([{}, [1], {"b": 2}]));
    assert_eq!(publish(json!({"topic": "t", "realm": "shop", "message": "x"})), json!(1));
    assert_eq!(elsewhere.event(1), json!([{}, ["x"]]));
    assert_eq!(publish(json!({"topic": "nobody.listens", "message": 1})), json!(0));
    for wrong in [
        json!({"topic": "t"}),
        json!({"message": 1}),
        json!({"topic": "a b", "message": 1}),
        json!({"topic": "wamp.x", "message": 1}),
        json!({"topic": "t", "args": {}}),
        json!({"topic": "t", "kwargs": []}),
        json!({"topic": "t", "args": [], "message": 1}),
        json!({"topic": "t", "message": 1, "eligible": "all"}),
    ] {
        assert!(publish(wrong.clone()).is_string(), "{wrong}");
    }
    json.expect_nothing();
}

/// What the control API answers: the result, or the error's sentence.
pub(crate) fn call(server: &Server, action: &str, data: &Value) -> Value {
    let data = data.to_string();
    let mut client = Client::connect(server.address());
    let head = format!("POST /api/{action} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", data.len());
    client.send(&[head.as_bytes(), data.as_bytes()].concat());
    let (head, body) = client.response();
    let mut said: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(head.starts_with("HTTP/1.1 200 "), said["status"] == "OK", "{head}{said}");
    let name = if said["status"] == "OK" { "result" } else { "error" };
    said[name].take()
}

/// Some clients write what is above 2^32 as a float, whole though it is.
#[test]
fn numbers_in_options_may_be_whole_floats() {
    let server = Server::start(INI);
    for subprotocol in ["wamp.2.json", "wamp.2.msgpack"] {
        let (mut one, mut two) = (Peer::json(&server), Peer::packed(&server));
        let id = one.subscribe("floats");
        two.subscribe("floats");
        let mut publisher = Peer::joined(&server, subprotocol, "realm1");
        #[expect(clippy::cast_precision_loss, reason = "no more than 2^53")]
        let float = |peer: &Peer| json!(peer.session as f64);
        publisher.publish(json!({"exclude": [float(&one)]}), "floats", &[json!(["first"])]);
        publisher.publish(json!({"eligible": [float(&one), 1e10]}), "floats", &[json!(["second"])]);
        assert_eq!(two.event(id), json!([{}, ["first"]]));
        assert_eq!(one.event(id), json!([{}, ["second"]]));
        two.expect_nothing();
        publisher.ask(48, &json!([{"timeout": 5e9}, "nobody.offers.this"]));
        assert_eq!(publisher.hear()[4], "wamp.error.no_such_procedure");
    }
}

#[test]
fn what_msgpack_can_not_say_leaves_the_rest_of_an_event_alone() {
    let server = Server::start(INI);
    let (mut publisher, mut packed) = (Peer::json(&server), Peer::packed(&server));
    let id = packed.subscribe("t");
    publisher.client.say(r#"[16,1,{},"t",[1e999,"two"],{"half":"\ud800","k":3}]"#);
    assert_eq!(packed.event(id), json!([{}, [null, "two"], {"half": null, "k": 3}]));
}

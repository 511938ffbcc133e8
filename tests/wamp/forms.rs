//! Form locks: two people and one form.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::events::call;
use crate::peer::{INI, Peer};
use crate::server::{CLOSE, Server, masked};

const FORM: &str = "shop.form.42";

/// Locks the form and gives its token and fencing number.
fn lock(peer: &mut Peer) -> (String, u64) {
    let result = peer.call("form-lock", &[json!([{"form": FORM}])]);
    let locked = &result[1][0];
    assert_eq!((&result[0], &locked["event"]), (&json!({}), &json!("locked")), "{result}");
    let token = locked["token"].as_str().expect("a token").to_owned();
    assert_eq!(token.len(), 32, "{token}");
    (token, locked["fence"].as_u64().expect("a number"))
}

fn status(peer: &mut Peer, subscription: u64) -> String {
    let event = peer.event(subscription);
    assert_eq!(event[1].as_array().map(Vec::len), Some(1), "{event}");
    event[1][0]["status"].as_str().expect("a status").to_owned()
}

fn subscribe(peer: &mut Peer, statuses: &[&str]) -> u64 {
    let id = peer.subscribe(FORM);
    for expected in statuses {
        assert_eq!(status(peer, id), *expected);
    }
    id
}

fn check(server: &Server, token: &str) -> Value {
    call(server, "form-lock/check", &json!({"form": FORM, "token": token}))
}

#[test]
fn one_edits_and_the_others_are_told() {
    let server = Server::start(INI);
    let (mut anna, mut ben, mut late) = (Peer::json(&server), Peer::packed(&server), Peer::json(&server));
    let id = subscribe(&mut anna, &["subscribed"]);
    subscribe(&mut ben, &["subscribed"]);
    let (token, fence) = lock(&mut anna);
    assert_eq!(status(&mut ben, id), "editing");
    let denied = ben.call("form-lock", &[json!([]), json!({"form": FORM})]);
    let locked = json!({"form": FORM, "status": "locked"});
    assert_eq!(denied, json!([{}, "websock.error.form_locked", [locked]]));
    subscribe(&mut late, &["subscribed", "locked"]);
    assert_eq!(late.call("form-release", &[json!([{"form": FORM}])]), denied, "only the holder releases it");
    let info = late.call("form-lock-info", &[json!([{"form": FORM}])]);
    let holder = json!({"session": anna.session, "gone": false});
    let since = info[1][0]["since"].as_u64().expect("a time");
    assert!(since > 1_600_000_000, "{info}");
    assert_eq!(info[1][0], json!({"form": FORM, "status": "locked", "since": since, "fence": fence, "holder": holder}));
    assert!(!info.to_string().contains(&token), "the token is the holder's alone");
    assert_eq!(check(&server, &token), json!({"held": true, "fence": fence}));
    assert_eq!(check(&server, "x"), json!({"held": false, "locked": true}));

    assert_eq!(anna.call("form-release", &[json!([{"form": FORM}])]), json!([{}, [{"event": "released"}]]));
    assert_eq!(status(&mut ben, id), "released");
    assert_eq!(status(&mut late, id), "released");
    assert_eq!(check(&server, &token), json!({"held": false, "locked": false}));
    let info = late.call("form-lock-info", &[json!([{"form": FORM}])]);
    assert_eq!(info[1][0], json!({"form": FORM, "status": "released"}));
    let (other, higher) = lock(&mut ben);
    assert!(higher > fence && other != token, "{fence} {higher}");
    assert_eq!(status(&mut anna, id), "editing");
    assert_eq!(status(&mut late, id), "editing");
    let again = anna.call("form-release", &[json!([{"form": FORM}])]);
    assert_eq!(again[1], "websock.error.form_locked");
    for peer in [&mut anna, &mut ben, &mut late] {
        peer.expect_nothing();
    }
}

#[test]
fn a_new_subscriber_is_told_that_the_form_is_locked_whoever_holds_it() {
    let server = Server::start(INI);
    for mut anna in [Peer::json(&server), Peer::packed(&server)] {
        lock(&mut anna);
        subscribe(&mut anna, &["subscribed", "locked"]);
        anna.expect_nothing();
        anna.say(&json!([6, {}, "wamp.close.close_realm"]));
        anna.expect(&json!([6, {}, "wamp.close.goodbye_and_out"]));
    }
}

#[test]
fn a_lock_goes_with_its_connection() {
    let server = Server::start(INI);
    let (mut anna, mut ben) = (Peer::json(&server), Peer::json(&server));
    let id = subscribe(&mut ben, &["subscribed"]);
    let (token, _) = lock(&mut anna);
    assert_eq!(status(&mut ben, id), "editing");
    drop(anna);
    assert_eq!(status(&mut ben, id), "released");
    assert_eq!(check(&server, &token), json!({"held": false, "locked": false}));
    let mut anna = Peer::json(&server);
    let denied = anna.call("form-release", &[json!([{"form": FORM, "token": token}])]);
    assert_eq!(denied[1], "websock.error.form_not_locked");
    // A session that ends in order is the same.
    lock(&mut anna);
    assert_eq!(status(&mut ben, id), "editing");
    anna.say(&json!([6, {}, "wamp.close.close_realm"]));
    assert_eq!(status(&mut ben, id), "released");
}

#[test]
fn a_holder_may_come_back_within_the_grace_period() {
    let server = Server::start(&format!("{INI}[wamp]\nlockGrace = 1\n"));
    let (mut anna, mut ben) = (Peer::json(&server), Peer::json(&server));
    let id = subscribe(&mut ben, &["subscribed"]);
    let (token, fence) = lock(&mut anna);
    assert_eq!(status(&mut ben, id), "editing");
    anna.client.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
    server.wait_for_line(" closed by peer");
    assert_eq!(check(&server, &token), json!({"held": true, "fence": fence}));
    let info = ben.call("form-lock-info", &[json!([{"form": FORM}])]);
    assert_eq!(info[1][0]["holder"]["gone"], true, "{info}");
    assert_eq!(ben.call("form-lock", &[json!([{"form": FORM}])])[1], "websock.error.form_locked");
    let mut anna = Peer::packed(&server);
    let back = anna.call("form-lock", &[json!([{"form": FORM, "token": token}])]);
    assert_eq!(back[1][0], json!({"event": "locked", "token": token, "fence": fence}));
    ben.expect_nothing();
    let began = Instant::now();
    drop(anna);
    assert_eq!(status(&mut ben, id), "released");
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    lock(&mut ben);
}

#[test]
fn what_can_not_be_locked_is_said() {
    let server = Server::start(INI);
    let mut anna = Peer::json(&server);
    for (payload, uri, why) in [
        (vec![], "wamp.error.invalid_argument", "no form id"),
        (vec![json!([])], "wamp.error.invalid_argument", "no form id"),
        (vec![json!([{}])], "wamp.error.invalid_argument", "no form id"),
        (vec![json!([{"form": ""}])], "wamp.error.invalid_argument", "no form id"),
        (vec![json!([{"form": 5}])], "wamp.error.invalid_argument", "expected a string"),
        (vec![json!([FORM])], "wamp.error.invalid_argument", "not an object"),
        (vec![json!([{"form": "shop.forms.1"}])], "wamp.error.invalid_argument", "none of its components"),
        (vec![json!([{"form": "a form"}])], "wamp.error.invalid_uri", "not a URI"),
    ] {
        for procedure in ["form-lock", "form-release", "form-lock-info"] {
            let error = anna.call(procedure, &payload);
            assert_eq!(error[1], uri, "{procedure} {payload:?}");
            assert!(error[2][0].as_str().is_some_and(|said| said.contains(why)), "{procedure}: {error}");
        }
    }
    for data in [json!({}), json!({"form": "a"}), json!({"form": "a form"}), json!({"form": 1, "token": "x"})] {
        assert!(call(&server, "form-lock/check", &data).is_string(), "{data}");
    }
    assert!(call(&server, "form-lock/lock", &json!({"form": FORM})).is_string());
    let info = call(&server, "form-lock/info", &json!({"form": FORM}));
    assert_eq!(info, json!({"form": FORM, "status": "released"}));
    // Version 1 is told as well.
    let mut old = Peer::v1(&server);
    old.say(&json!([2, "c", "form-lock"]));
    let error = old.hear();
    assert_eq!((&error[0], &error[1], &error[2]), (&json!(4), &json!("c"), &json!("wamp.error.invalid_argument")));
    assert!(error[3].as_str().is_some_and(|said| said.contains("no form id")), "{error}");
}

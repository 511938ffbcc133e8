//! Version 2: procedures and calls.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peer::{INI, Peer};
use crate::server::Server;

/// The next message is an invocation; gives its id and what follows the registration's.
fn invoked(callee: &mut Peer, registration: u64) -> (u64, Value) {
    let invocation = callee.hear();
    assert_eq!((&invocation[0], &invocation[2]), (&json!(68), &json!(registration)), "{invocation}");
    let rest = invocation.as_array().expect("a list")[3..].to_vec();
    (invocation[1].as_u64().expect("an id"), rest.into())
}

#[test]
fn a_call_is_answered_by_its_callee() {
    let server = Server::start(INI);
    let (mut json, mut packed) = (Peer::json(&server), Peer::packed(&server));
    let in_json = json.register("com.example.json");
    let in_packed = packed.register("com.example.packed");
    let args = json!([1, "two", {"three": [3.5]}]);
    let kwargs = json!({"k": null});
    fn one(caller: &mut Peer, callee: &mut Peer, (uri, registration): (&str, u64), payload: &[Value], count: u64) {
        let rest = [json!({}), json!(uri)].into_iter().chain(payload.iter().cloned()).collect();
        let request = caller.ask(48, &rest);
        let (id, came) = invoked(callee, registration);
        assert_eq!(id, count, "invocations count up from one");
        let expected: Value = [json!({})].into_iter().chain(payload.iter().cloned()).collect();
        assert_eq!(came, expected);
        let answer = [json!(70), json!(id), json!({})].into_iter().chain(payload.iter().cloned()).collect();
        callee.say(&answer);
        assert_eq!(caller.answer(request), expected);
    }
    for (turn, payload) in (1..).zip([vec![], vec![args.clone()], vec![args, kwargs]]) {
        one(&mut json, &mut packed, ("com.example.packed", in_packed), &payload, turn);
        one(&mut packed, &mut json, ("com.example.json", in_json), &payload, turn);
    }
    // A callee may be its own caller.
    let request = json.ask(48, &json!([{"disclose_me": true}, "com.example.json"]));
    let (id, details) = invoked(&mut json, in_json);
    assert_eq!(details[0]["caller"], json.session);
    assert_eq!(details[0]["caller_authrole"], "anonymous");
    json.say(&json!([8, 68, id, {"d": 1}, "com.example.error", ["why"], {"k": 1}]));
    assert_eq!(json.answer(request), json!([{"d": 1}, "com.example.error", ["why"], {"k": 1}]));
    let request = json.ask(66, &json!([in_json]));
    json.expect(&json!([67, request]));
    assert_eq!(json.call("com.example.json", &[])[1], "wamp.error.no_such_procedure");
}

#[test]
fn results_may_come_bit_by_bit() {
    let server = Server::start(INI);
    let (mut caller, mut callee) = (Peer::json(&server), Peer::packed(&server));
    let registration = callee.register("p");
    let request = caller.ask(48, &json!([{"receive_progress": true}, "p"]));
    let (id, details) = invoked(&mut callee, registration);
    assert_eq!(details, json!([{"receive_progress": true}]));
    for part in 0..3 {
        callee.say(&json!([70, id, {"progress": true}, [part]]));
        assert_eq!(caller.answer(request), json!([{"progress": true}, [part]]));
    }
    callee.say(&json!([70, id, {}, ["all"]]));
    assert_eq!(caller.answer(request), json!([{}, ["all"]]));
    // Who wants only the whole gets only that.
    let request = caller.ask(48, &json!([{}, "p"]));
    let (id, details) = invoked(&mut callee, registration);
    assert_eq!(details, json!([{}]));
    callee.say(&json!([70, id, {"progress": true}, [1]]));
    callee.say(&json!([70, id, {}, [2]]));
    assert_eq!(caller.answer(request), json!([{}, [2]]));
}

#[test]
fn a_call_has_its_time() {
    let server = Server::start(INI);
    let (mut caller, mut callee) = (Peer::json(&server), Peer::json(&server));
    let registration = callee.register("p");
    let began = Instant::now();
    let late = caller.ask(48, &json!([{"timeout": 100}, "p"]));
    let in_time = caller.ask(48, &json!([{"timeout": 60_000}, "p"]));
    let (first, _) = invoked(&mut callee, registration);
    let (second, _) = invoked(&mut callee, registration);
    let error = caller.answer(late);
    assert_eq!(error[1], "wamp.error.timeout");
    assert!(began.elapsed() >= Duration::from_millis(99), "{:?}", began.elapsed());
    callee.expect(&json!([69, first, {"mode": "killnowait", "reason": "wamp.error.timeout"}]));
    // An answer that crossed the interrupt is nobody's fault.
    callee.say(&json!([70, first, {}, ["late"]]));
    callee.say(&json!([70, second, {}, ["in time"]]));
    assert_eq!(caller.answer(in_time), json!([{}, ["in time"]]));
    caller.expect_nothing();
    callee.expect_nothing();
}

#[test]
fn a_call_can_be_given_up() {
    let server = Server::start(INI);
    let (mut caller, mut callee) = (Peer::json(&server), Peer::json(&server));
    let registration = callee.register("p");
    let begin = |caller: &mut Peer, callee: &mut Peer| {
        let request = caller.ask(48, &json!([{}, "p"]));
        (request, invoked(callee, registration).0)
    };
    let interrupted = |callee: &mut Peer, id: u64, mode: &str| {
        callee.expect(&json!([69, id, {"mode": mode, "reason": "wamp.error.canceled"}]));
    };
    let (request, id) = begin(&mut caller, &mut callee);
    caller.say(&json!([49, request, {"mode": "skip"}]));
    assert_eq!(caller.answer(request)[1], "wamp.error.canceled");
    callee.say(&json!([70, id, {}]));
    callee.expect_nothing();

    for mode in [json!({"mode": "killnowait"}), json!({})] {
        let (request, id) = begin(&mut caller, &mut callee);
        caller.say(&json!([49, request, mode]));
        assert_eq!(caller.answer(request)[1], "wamp.error.canceled");
        interrupted(&mut callee, id, "killnowait");
        callee.say(&json!([8, 68, id, {}, "wamp.error.canceled"]));
    }

    let (request, id) = begin(&mut caller, &mut callee);
    caller.say(&json!([49, request, {"mode": "kill"}]));
    interrupted(&mut callee, id, "kill");
    caller.expect_nothing();
    callee.say(&json!([8, 68, id, {}, "com.example.stopped", ["half way"]]));
    assert_eq!(caller.answer(request), json!([{}, "com.example.stopped", ["half way"]]));
    // What is over can't be canceled, and asking for it is no mistake.
    caller.say(&json!([49, request, {}]));
    caller.expect_nothing();
}

#[test]
fn a_callee_that_can_not_be_interrupted_is_not_waited_for() {
    let server = Server::start(INI);
    let (mut caller, mut callee) = (Peer::json(&server), Peer::connect(&server, "wamp.2.json"));
    callee.say(&json!([1, "realm1", {"roles": {"callee": {}}}]));
    callee.hear();
    let registration = callee.register("p");
    let request = caller.ask(48, &json!([{"receive_progress": true, "timeout": 60_000}, "p"]));
    let (_, details) = invoked(&mut callee, registration);
    assert_eq!(details, json!([{}]), "it has not said that it can give results bit by bit");
    caller.say(&json!([49, request, {"mode": "kill"}]));
    assert_eq!(caller.answer(request)[1], "wamp.error.canceled");
    callee.expect_nothing();
}

#[test]
fn who_vanishes_in_the_middle_of_a_call_leaves_nobody_waiting() {
    let server = Server::start(INI);
    let (mut caller, mut callee) = (Peer::json(&server), Peer::json(&server));
    callee.register("p");
    let request = caller.ask(48, &json!([{}, "p"]));
    callee.hear();
    drop(callee);
    let error = caller.answer(request);
    assert_eq!(error[1], "wamp.error.canceled");
    // The procedure is free again.
    let mut callee = Peer::packed(&server);
    let registration = callee.register("p");
    caller.ask(48, &json!([{}, "p"]));
    let (id, _) = invoked(&mut callee, registration);
    drop(caller);
    let interrupt = callee.hear();
    assert_eq!((&interrupt[0], &interrupt[1]), (&json!(69), &json!(id)), "{interrupt}");
    callee.say(&json!([70, id, {}]));
    callee.expect_nothing();
    // As does one that says goodbye.
    let mut caller = Peer::json(&server);
    let request = caller.ask(48, &json!([{}, "p"]));
    invoked(&mut callee, registration);
    callee.say(&json!([6, {}, "wamp.close.close_realm"]));
    assert_eq!(caller.answer(request)[1], "wamp.error.canceled");
}

#[test]
fn a_procedure_has_one_callee() {
    let server = Server::start(INI);
    let (mut one, mut two) = (Peer::json(&server), Peer::json(&server));
    let registration = one.register("p");
    for (peer, uri) in [(&mut one, "p"), (&mut two, "p")] {
        let request = peer.ask(64, &json!([{}, uri]));
        let error = peer.hear();
        assert_eq!((&error[1], &error[2]), (&json!(64), &json!(request)), "{error}");
        assert_eq!(error[4], "wamp.error.procedure_already_exists");
    }
    for name in ["form-lock", "form-release", "form-lock-info"] {
        two.ask(64, &json!([{}, name]));
        assert_eq!(two.hear()[4], "wamp.error.procedure_already_exists", "{name}");
    }
    two.ask(66, &json!([registration]));
    assert_eq!(two.hear()[4], "wamp.error.no_such_registration", "not its own");
    let request = two.ask(48, &json!([{}, "p"]));
    let (id, _) = invoked(&mut one, registration);
    one.say(&json!([70, id, {}]));
    assert_eq!(two.answer(request), json!([{}]));
}

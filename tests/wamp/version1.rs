//! Version 1, by what AutobahnJS 0.8 writes on the wire, and what both versions share.

use serde_json::json;

use crate::events::call;
use crate::peer::{INI, Peer};
use crate::server::{BINARY, Server, masked};

/// Nothing else has come: what is asked for now is answered next.
fn expect_nothing(peer: &mut Peer) {
    peer.client.say(r#"[2,"nothing","nobody.offers.this"]"#);
    let error = peer.hear();
    assert_eq!((&error[0], &error[1]), (&json!(4), &json!("nothing")), "{error}");
}

/// A session as AutobahnJS 0.8.2 holds it, to the byte: prefixes, calls with CURIEs, subscriptions, events.
#[test]
fn a_recorded_session() {
    let server = Server::start(INI);
    let (mut page, mut other, mut callee) = (Peer::v1(&server), Peer::v1(&server), Peer::json(&server));
    let registration = callee.register("http://example.com/simple/calc.add");
    page.client.say(r#"[1,"calc","http://example.com/simple/calc."]"#);
    page.client.say(r#"[1,"event","http://example.com/event#"]"#);
    page.client.say(r#"[2,"0.6r1a4tvbhkfn7b9w","calc:add",23,7]"#);
    callee.expect(&json!([68, 1, registration, {}, [23, 7]]));
    callee.say(&json!([70, 1, {}, [30]]));
    page.client.expect(&[r#"[3,"0.6r1a4tvbhkfn7b9w",30]"#]);
    page.client.say(r#"[2,"0.w2mp5k2u3q1vj9k9","calc:add",[],{"a":null}]"#);
    callee.expect(&json!([68, 2, registration, {}, [[], {"a": null}]]));
    callee.say(&json!([8, 68, 2, {}, "http://example.com/error.nan", ["not a number"]]));
    page.client.expect(&[r#"[4,"0.w2mp5k2u3q1vj9k9","http://example.com/error.nan","not a number"]"#]);
    page.client.say(r#"[2,"0.3","calc:sub"]"#);
    page.client.expect(&[r#"[4,"0.3","wamp.error.no_such_procedure","nobody offers this procedure"]"#]);

    page.client.say(r#"[5,"event:simple"]"#);
    other.client.say(r#"[5,"http://example.com/event#simple"]"#);
    expect_nothing(&mut other);
    // publish(topic, event): everyone but the publisher.
    page.client.say(r#"[7,"event:simple",{"name":"foo","flag":true}]"#);
    other.client.expect(&[r#"[8,"http://example.com/event#simple",{"name":"foo","flag":true}]"#]);
    // publish(topic, event, excludeMe).
    page.client.say(r#"[7,"event:simple","to all",false]"#);
    page.client.expect(&[r#"[8,"http://example.com/event#simple","to all"]"#]);
    other.client.expect(&[r#"[8,"http://example.com/event#simple","to all"]"#]);
    page.client.say(r#"[7,"event:simple","not me",true]"#);
    other.client.expect(&[r#"[8,"http://example.com/event#simple","not me"]"#]);
    // publish(topic, event, exclude) and (topic, event, exclude, eligible).
    let (mine, others) = (page.session, other.session);
    page.client.say(&format!(r#"[7,"event:simple",1,["{others}"]]"#));
    page.client.expect(&[r#"[8,"http://example.com/event#simple",1]"#]);
    page.client.say(&format!(r#"[7,"event:simple",2,["{mine}"],["{mine}","{others}","?"]]"#));
    other.client.expect(&[r#"[8,"http://example.com/event#simple",2]"#]);
    // Null excludes nobody.
    page.client.say(&format!(r#"[7,"event:simple",5,null,["{mine}"]]"#));
    page.client.expect(&[r#"[8,"http://example.com/event#simple",5]"#]);
    page.client.say(r#"[7,"event:simple",6,null]"#);
    page.client.expect(&[r#"[8,"http://example.com/event#simple",6]"#]);
    other.client.expect(&[r#"[8,"http://example.com/event#simple",6]"#]);
    page.client.say(r#"[7,"event:simple",3,[],[]]"#);
    other.client.say(r#"[6,"http://example.com/event#simple"]"#);
    other.client.say(r#"[6,"event:never"]"#);
    expect_nothing(&mut other);
    page.client.say(r#"[7,"event:simple",4,[]]"#);
    page.client.expect(&[r#"[8,"http://example.com/event#simple",4]"#]);
    expect_nothing(&mut page);
    expect_nothing(&mut other);
}

#[test]
fn both_versions_share_topics() {
    let server = Server::start(INI);
    let (mut old, mut json, mut packed) = (Peer::v1(&server), Peer::json(&server), Peer::packed(&server));
    old.say(&json!([5, "t"]));
    expect_nothing(&mut old);
    let id = json.subscribe("t");
    packed.subscribe("t");
    old.say(&json!([7, "t", {"a": [1]}]));
    assert_eq!(json.event(id), json!([{}, [{"a": [1]}]]));
    assert_eq!(packed.event(id), json!([{}, [{"a": [1]}]]));
    for (payload, single) in [
        (vec![], json!(null)),
        (vec![json!([7])], json!(7)),
        (vec![json!([7, 8])], json!([7, 8])),
        (vec![json!([]), json!({"k": 1})], json!({"k": 1})),
        (vec![json!([1]), json!({"k": 1})], json!({"args": [1], "kwargs": {"k": 1}})),
    ] {
        packed.publish(json!({}), "t", &payload);
        old.expect(&json!([8, "t", single]));
        json.event(id);
    }
    json.publish(json!({"exclude": [old.session]}), "t", &[]);
    packed.event(id);
    expect_nothing(&mut old);
}

#[test]
fn version_1_locks_forms_too() {
    let server = Server::start(INI);
    let (mut old, mut new) = (Peer::v1(&server), Peer::json(&server));
    old.client.say(r#"[5,"app.form.1"]"#);
    old.client.expect(&[r#"[8,"app.form.1",{"status":"subscribed"}]"#]);
    let id = new.subscribe("app.form.1");
    new.event(id);
    old.client.say(r#"[2,"c1","form-lock",{"form":"app.form.1"}]"#);
    let locked = old.hear();
    assert_eq!((&locked[0], &locked[1], &locked[2]["event"]), (&json!(3), &json!("c1"), &json!("locked")));
    assert_eq!(new.event(id), json!([{}, [{"status": "editing"}]]));
    let mut third = Peer::v1(&server);
    third.client.say(r#"[5,"app.form.1"]"#);
    third.client.expect(&[r#"[8,"app.form.1",{"status":"subscribed"}]"#, r#"[8,"app.form.1",{"status":"locked"}]"#]);
    third.client.say(r#"[2,"c2","form-lock",{"form":"app.form.1"}]"#);
    third.client.expect(&[
        r#"[4,"c2","websock.error.form_locked","the form is locked",{"form":"app.form.1","status":"locked"}]"#,
    ]);
    drop(old);
    third.client.expect(&[r#"[8,"app.form.1",{"status":"released"}]"#]);
    assert_eq!(new.event(id), json!([{}, [{"status": "released"}]]));
}

#[test]
fn a_call_that_can_not_be_made_is_answered() {
    let server = Server::start(INI);
    let mut peer = Peer::v1(&server);
    for uri in ["", "a b", &"x".repeat(1025)] {
        peer.say(&json!([2, "id", uri]));
        peer.expect(&json!([4, "id", "wamp.error.invalid_uri", "this is not a URI"]));
    }
    let longest = "i".repeat(1024);
    peer.say(&json!([2, longest, "p"]));
    assert_eq!(peer.hear()[1], longest);
    peer.say(&json!([2, format!("{longest}i"), "p"]));
    peer.client.expect_closed(1002);
}

#[test]
fn version_1_names_forms_as_it_names_topics() {
    const FORM: &str = "http://example.com/.form.1#edit";
    let server = Server::start(INI);
    let (mut old, mut other) = (Peer::v1(&server), Peer::v1(&server));
    old.client.say(r#"[1,"f","http://example.com/.form."]"#);
    old.client.say(r#"[2,"c1","form-lock",{"form":"f:1#edit"}]"#);
    let locked = old.hear();
    assert_eq!((&locked[0], &locked[2]["event"]), (&json!(3), &json!("locked")), "{locked}");
    let event = |status: &str| json!([8, FORM, {"status": status}]);
    old.client.say(r#"[5,"f:1#edit"]"#);
    old.expect(&event("subscribed"));
    old.expect(&event("locked"));
    other.say(&json!([5, FORM]));
    other.expect(&event("subscribed"));
    other.expect(&event("locked"));
    // To another, the same letters are not that form.
    other.client.say(r#"[2,"c2","form-lock-info",{"form":"f:1#edit"}]"#);
    assert_eq!(other.hear()[2], "wamp.error.invalid_argument");
    other.say(&json!([2, "c3", "form-lock-info", {"form": FORM}]));
    let info = other.hear();
    assert_eq!((&info[2]["form"], &info[2]["status"]), (&json!(FORM), &json!("locked")), "{info}");
    let checked = call(&server, "form-lock/check", &json!({"form": FORM, "token": locked[2]["token"]}));
    assert_eq!(checked["held"], true, "{checked}");
    old.client.say(r#"[2,"c4","form-release",{"form":"f:1#edit"}]"#);
    assert_eq!(old.hear()[2], json!({"event": "released"}));
    other.expect(&event("released"));
}

#[test]
fn what_version_1_can_not_answer_ends_the_connection() {
    let server = Server::start(INI);
    for text in [
        "",
        "{}",
        "[",
        "[]",
        r#"["5","t"]"#,
        "[5]",
        "[5,7]",
        r#"[5,""]"#,
        r#"[5,"a b"]"#,
        "[6]",
        r#"[7,"t"]"#,
        r#"[7,"t",1,2]"#,
        r#"[7,"t",1,[1]]"#,
        r#"[7,"t",1,[],false]"#,
        r#"[7,"t",1,[],[],1]"#,
        r#"[7,"wamp.x",1]"#,
        r#"[1,"","http://a"]"#,
        r#"[1,"p"]"#,
        r#"[2,5,"p"]"#,
        r#"[2,"id"]"#,
        r#"[0,"session",1,"me"]"#,
        r#"[8,"t",1]"#,
        r#"[9]"#,
        r#"[-1]"#,
        &"[".repeat(100_000),
    ] {
        let mut peer = Peer::v1(&server);
        peer.client.say(text);
        peer.client.expect_closed(1002);
    }
    let mut peer = Peer::v1(&server);
    peer.client.send(&masked(BINARY, b"[5]"));
    peer.client.expect_closed(1003);
    let mut fine = Peer::v1(&server);
    expect_nothing(&mut fine);
}

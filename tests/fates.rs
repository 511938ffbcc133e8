//! What the sender of a message is told of it: how far each copy has got, while it waits for that, and long after.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

#[path = "common/server.rs"]
mod server;

use server::{CLOSE, Client, NEXT, SCRIPT, Server, masked, wait_until};

/// Longer than any test waits for a fate that is known.
const LONG: u32 = 20_000;

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn post(path: &str, data: &Value) -> Vec<u8> {
    let body = data.to_string();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The answer to a call.
fn answer(client: &mut Client) -> Value {
    serde_json::from_slice(&client.response().1).expect("JSON")
}

fn call(server: &Server, path: &str, data: &Value) -> Value {
    let mut client = Client::connect(server.address());
    client.send(&post(path, data));
    answer(&mut client)
}

fn feedback(server: &Server, data: &Value) -> Value {
    call(server, "/api/relay/feedback", data)
}

fn why(server: &Server, data: &Value) -> Value {
    call(server, "/api/relay/why", data)
}

/// What happened, in a word each.
fn events(history: &Value) -> Vec<&str> {
    let events = history["result"]["events"].as_array().unwrap_or_else(|| panic!("events in {history}"));
    events.iter().map(|event| event["event"].as_str().expect("a word")).collect()
}

/// A page that has said that it confirms what it gets.
fn confirming(server: &Server) -> (Client, String) {
    let (mut page, uuid) = Client::browser(server, "/");
    page.say(r#"{"opcode":"acks"}"#);
    page.expect(&[NEXT]);
    (page, uuid)
}

/// A page whose kernel takes little, and that doesn't read.
fn sleeper(server: &Server) -> (Client, String) {
    let client = Client::connect_from(None, Some(4096), server.address());
    let mut client = client.upgraded("/", "Ident: sleeper\r\n");
    let uuid = client.expect_greeting();
    (client, uuid)
}

#[test]
fn what_a_client_has_received_is_told_without_its_help() {
    let server = Server::start("");
    let (mut page, uuid) = Client::browser(&server, "/");
    let said = feedback(&server, &json!({"uuid": uuid, "message": "x", "wait": LONG}));
    assert_eq!((&said["result"], &said["targets"]), (&json!(1), &json!([{"uuid": uuid, "fate": "received"}])));
    assert_eq!(said["id"].as_str().map(str::len), Some(16), "{said}");
    // Nothing is added for who did not ask for it.
    let expected = json!({"opcode": "feedback", "uuid": uuid, "message": "x", "wait": LONG});
    assert_eq!(serde_json::from_str::<Value>(page.frame().text()).unwrap(), expected);

    let mut script = Client::script(&server);
    let packet = json!({"opcode": "feedback", "uuid": uuid, "message": 1, "wait": LONG}).to_string();
    script.say(&packet);
    let next: Value = serde_json::from_str(script.frame().text()).unwrap();
    assert_eq!((&next["opcode"], &next["fyi"], &next["delivered"]), (&json!("next"), &json!(""), &json!(1)));
    assert_eq!(next["targets"], json!([{"uuid": uuid, "fate": "received"}]));
    page.expect(&[&packet]);
    script.expect_nothing_else();
}

#[test]
fn what_a_client_confirms_is_acked() {
    let server = Server::start("");
    let (mut page, uuid) = confirming(&server);
    let mut backend = Client::connect(server.address());
    backend.send(&post("/api/relay/feedback", &json!({"uuid": uuid, "message": "x", "wait": LONG})));
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    assert_eq!(got["message"], "x");
    // Received is not yet acked: no answer comes of that.
    backend.expect_silence(Duration::from_millis(50));
    page.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    page.expect(&[NEXT]);
    let said = answer(&mut backend);
    assert_eq!((&said["id"], &said["targets"]), (&got["ack"], &json!([{"uuid": uuid, "fate": "acked"}])));
    // Who doesn't wait gets no more than the message, and asks nothing of the page.
    feedback(&server, &json!({"uuid": uuid, "message": "y"}));
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    assert_eq!(got, json!({"opcode": "feedback", "message": "y", "uuid": uuid}));
    // Others can't confirm it, and nonsense confirms nothing.
    let (mut other, _) = confirming(&server);
    backend.send(&post("/api/relay/feedback", &json!({"uuid": uuid, "message": "z", "wait": 300})));
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    other.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    other.expect(&[NEXT]);
    for id in [json!("x"), json!(null), json!(7), json!("0000000000000000"), json!({"id": 1})] {
        page.say(&json!({"opcode": "ack", "id": id}).to_string());
        page.expect(&[NEXT]);
    }
    assert_eq!(answer(&mut backend)["targets"], json!([{"uuid": uuid, "fate": "received"}]));
}

#[test]
fn a_broadcast_is_told_of_client_by_client() {
    let server = Server::start("");
    let (mut page, confirmed) = confirming(&server);
    let (mut plain, received) = Client::browser(&server, "/web");
    let mut script = Client::script(&server);
    script.say(&json!({"opcode": "broadcast", "message": 1, "wait": LONG}).to_string());
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    page.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    page.expect(&[NEXT]);
    let next: Value = serde_json::from_str(script.frame().text()).unwrap();
    let mut targets = next["targets"].as_array().unwrap().clone();
    targets.sort_by_key(|target| target["fate"].to_string());
    let expected = [json!({"uuid": confirmed, "fate": "acked"}), json!({"uuid": received, "fate": "received"})];
    assert_eq!((&next["delivered"], &targets[..]), (&json!(2), &expected[..]));
    assert_eq!(serde_json::from_str::<Value>(plain.frame().text()).unwrap()["ack"], Value::Null);
}

#[test]
fn what_waits_is_queued_and_what_is_cut_off_is_dropped() {
    let server = Server::start("[limits]\nmaxBacklog = 300000\n");
    let (sleeper, uuid) = sleeper(&server);
    let large = "x".repeat(65_536);
    let send = |wait: u32| feedback(&server, &json!({"uuid": uuid, "message": large, "wait": wait}));
    let fate = |said: &Value| said["targets"][0]["fate"].as_str().expect("a fate").to_owned();
    let mut fates: Vec<String> = Vec::new();
    let last = loop {
        let said = send(0);
        let fate = fate(&said);
        if fate == "dropped" {
            break said;
        }
        fates.push(fate);
        assert!(fates.len() < 1000, "it never gets full");
    };
    assert!(fates.contains(&"queued".to_owned()), "{fates:?}");
    assert_eq!(last["result"], json!(0), "{last}");
    assert!(last["targets"][0]["why"].as_str().is_some_and(|why| why.contains("too much")), "{last}");
    drop(sleeper);

    // One that is still on its way when the connection ends.
    let (sleeper, uuid) = self::sleeper(&server);
    let mut backend = Client::connect(server.address());
    for _ in 0..4 {
        feedback(&server, &json!({"uuid": uuid, "message": large}));
    }
    let wait = json!({"uuid": uuid, "message": large, "wait": LONG});
    backend.send(&post("/api/relay/feedback", &wait));
    backend.expect_silence(Duration::from_millis(50));
    drop(sleeper);
    let said = answer(&mut backend);
    let target = &said["targets"][0];
    assert_eq!((&target["fate"], &target["why"]), (&json!("dropped"), &json!("peer vanished")), "{said}");
}

#[test]
fn who_is_not_there_is_offline_or_unknown() {
    let server = Server::start("");
    let (mut page, uuid) = Client::greeted(server.address(), "/", "Ident: me\r\n");
    page.send(&masked(CLOSE, b"\x0f\xa1gone home"));
    page.frame();
    page.expect_end();
    let said = feedback(&server, &json!({"uuid": uuid, "message": 1, "wait": LONG}));
    let target = &said["targets"][0];
    assert_eq!((&said["result"], &target["uuid"], &target["fate"]), (&json!(0), &json!(uuid), &json!("offline")));
    assert_eq!(target["why"], "closed by the client, 4001: gone home");
    let (since, now) = (target["since"].as_f64().unwrap(), said["time"].as_f64().unwrap());
    assert!((-0.01..10.0).contains(&(now - since)), "{said}");
    let said = feedback(&server, &json!({"ident": "me", "message": 1, "wait": 0}));
    assert_eq!((&said["targets"][0]["ident"], &said["targets"][0]["fate"]), (&json!("me"), &json!("offline")));
    let said = feedback(&server, &json!({"uuid": NOBODY, "message": 1, "wait": LONG}));
    assert_eq!(said["targets"], json!([{"uuid": NOBODY, "fate": "unknown"}]));
    let mut script = Client::script(&server);
    script.say(&json!({"opcode": "feedback", "ident": "nobody", "message": 1, "wait": LONG}).to_string());
    let next: Value = serde_json::from_str(script.frame().text()).unwrap();
    assert_eq!(next["targets"], json!([{"ident": "nobody", "fate": "unknown"}]));
}

#[test]
fn a_page_learns_nothing_of_those_who_are_gone() {
    let server = Server::start("");
    let (gone, uuid) = Client::greeted(server.address(), "/", "Ident: me\r\n");
    gone.leave();
    let (mut page, _) = Client::browser(&server, "/");
    for (member, name) in [("uuid", uuid.as_str()), ("ident", "me")] {
        page.say(&json!({"opcode": "feedback", member: name, "message": 1, "wait": LONG}).to_string());
        let next: Value = serde_json::from_str(page.frame().text()).unwrap();
        assert_eq!(next["targets"], json!([{member: name, "fate": "unknown"}]));
    }
}

#[test]
fn the_id_to_confirm_is_the_servers_whatever_the_sender_says() {
    let server = Server::start("");
    let (mut page, uuid) = confirming(&server);
    let mut backend = Client::connect(server.address());
    backend.send(&post(
        "/api/relay/feedback",
        &json!({"ack": "0000000000000000", "uuid": uuid, "message": 1, "wait": LONG}),
    ));
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    page.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    page.expect(&[NEXT]);
    assert_eq!(answer(&mut backend)["targets"][0]["fate"], "acked");
}

#[test]
fn a_wait_that_can_not_be_is_refused() {
    let server = Server::start("");
    let (mut page, uuid) = Client::browser(&server, "/");
    for wait in [json!(-1), json!("1"), json!(true), json!([]), json!(1e300), json!(null)] {
        let said = feedback(&server, &json!({"uuid": NOBODY, "message": 1, "wait": wait}));
        let good = matches!(wait, Value::Null) || wait == json!(1e300);
        assert_eq!(said["status"], if good { "OK" } else { "ERROR" }, "{wait}: {said}");
    }
    let batch = json!([{"action": "feedback", "data": {"uuid": uuid, "message": 1, "wait": 5}}]);
    let said = call(&server, "/api/relay/batch", &batch);
    assert_eq!(said["result"][0]["error"], "neither a batch nor the queue can wait for what becomes of messages");
    // A message to oneself can't be waited for: its acknowledgement comes before it.
    let own = json!({"opcode": "feedback", "uuid": uuid, "message": 1, "wait": LONG}).to_string();
    page.say(&own);
    page.expect(&[server::NEXT_1, &own]);
    // Each message of a batch has its id.
    let batch = json!([{"action": "feedback", "data": {"uuid": uuid, "message": 1}}, {"action": "clients"}]);
    let said = call(&server, "/api/relay/batch", &batch);
    assert_eq!(said["result"][0]["id"].as_str().map(str::len), Some(16), "{said}");
    assert!(said["result"][1]["id"].is_null() && said["id"].is_null(), "{said}");
}

#[test]
fn answers_keep_their_order_whoever_waits() {
    let server = Server::start("");
    let (mut page, uuid) = confirming(&server);
    let mut script = Client::script(&server);
    script.say(&json!({"opcode": "feedback", "uuid": uuid, "message": 1, "wait": LONG}).to_string());
    page.frame();
    script.expect_silence(Duration::from_millis(50));
    // It doesn't want to wait any more: it is told what is known, and then answered.
    script.say(r#"{"opcode":"-"}"#);
    let next: Value = serde_json::from_str(script.frame().text()).unwrap();
    assert_eq!(next["targets"], json!([{"uuid": uuid, "fate": "received"}]));
    script.expect(&[NEXT]);

    // Calls behind one that waits are answered after it, whether they came with it or later.
    let mut backend = Client::connect(server.address());
    let mut calls = post("/api/relay/feedback", &json!({"uuid": uuid, "message": 1, "wait": LONG}));
    calls.extend(post("/api/relay/feedback", &json!({"uuid": NOBODY, "message": 2})));
    let third = post("/api/relay/clients", &json!({}));
    calls.extend(&third[..20]);
    backend.send(&calls);
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    backend.send(&third[20..]);
    backend.send(&post("/api/relay/feedback", &json!({"uuid": uuid, "message": 3, "wait": 0})));
    backend.expect_silence(Duration::from_millis(50));
    page.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    page.expect(&[NEXT]);
    assert_eq!(answer(&mut backend)["targets"][0]["fate"], "acked");
    assert_eq!(answer(&mut backend)["result"], 0);
    assert_eq!(answer(&mut backend)["result"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer(&mut backend)["result"], 1);
}

#[test]
fn whoever_asks_may_go_and_the_server_too() {
    let mut server = Server::start("[limits]\nmaxClients = 100\n");
    let (mut page, uuid) = confirming(&server);
    let before = server.descriptors();
    let data = json!({"uuid": uuid, "message": 1, "wait": LONG});
    let mut askers: Vec<Client> = (0..10).map(|_| Client::connect(server.address())).collect();
    for (number, asker) in askers.iter_mut().enumerate() {
        asker.send(&post("/api/relay/feedback", &data));
        if number % 2 == 0 {
            asker.half_close();
        }
        page.frame();
    }
    let mut script = Client::script(&server);
    script.say(&json!({"opcode": "feedback", "uuid": uuid, "message": 1, "wait": LONG}).to_string());
    let got: Value = serde_json::from_str(page.frame().text()).unwrap();
    drop(script);
    page.say(&json!({"opcode": "ack", "id": got["ack"]}).to_string());
    page.expect(&[NEXT]);
    // Half-closed or not, they are answered when the server stops.
    server.signal(Signal::TERM);
    for asker in &mut askers {
        assert_eq!(answer(asker)["targets"][0]["uuid"], json!(uuid));
    }
    assert!(before > 0);
    drop(page);
    drop(askers);
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_call_that_waits_ends_in_time() {
    let server = Server::start("");
    let (mut page, uuid) = confirming(&server);
    let began = Instant::now();
    let said = feedback(&server, &json!({"uuid": uuid, "message": 1, "wait": 200}));
    let took = began.elapsed();
    assert_eq!(said["targets"], json!([{"uuid": uuid, "fate": "received"}]));
    assert!(took >= Duration::from_millis(200), "{took:?}");
    page.frame();
    page.expect_nothing_else();
}

#[test]
fn why_tells_what_happened_to_a_client() {
    let server = Server::start("");
    let fields = "Ident: tab\r\nOrigin: https://shop.example\r\n";
    let (mut page, uuid) = Client::greeted(server.address(), "/web", fields);
    let first = feedback(&server, &json!({"uuid": uuid, "message": "hello"}));
    page.frame();
    wait_until("it is received", || why(&server, &json!({"uuid": uuid}))["result"]["events"][1]["fate"] == "received");
    let known = why(&server, &json!({"uuid": uuid}));
    assert_eq!((events(&known), &known["result"]["connected"]), (vec!["opened", "handed"], &json!(true)));
    let [opened, handed] = &known["result"]["events"].as_array().unwrap()[..] else { panic!("{known}") };
    assert_eq!(opened["address"], page.local_address().to_string());
    for (member, expected) in
        [("path", "/web"), ("type", "browser"), ("ident", "tab"), ("origin", "https://shop.example")]
    {
        assert_eq!(opened[member], expected, "{known}");
    }
    assert_eq!(
        (&handed["id"], &handed["from"], &handed["what"]),
        (&first["id"], &json!("backend"), &json!("feedback"))
    );

    page.say(&json!({"opcode": "feedback", "uuid": NOBODY, "message": 1}).to_string());
    page.frame();
    page.leave();
    let missed = feedback(&server, &json!({"uuid": uuid, "message": "too late"}));
    let known = why(&server, &json!({"uuid": uuid}));
    assert_eq!(events(&known), ["opened", "handed", "pushed", "closed", "not connected"]);
    assert_eq!(known["result"]["connected"], json!(false));
    let events = known["result"]["events"].as_array().unwrap();
    assert_eq!((&events[1]["fate"], &events[3]["why"]), (&json!("received"), &json!("closed by the client, 1000")));
    assert_eq!(events[4]["id"], missed["id"]);
    assert!(events.windows(2).all(|pair| pair[0]["at"].as_f64() <= pair[1]["at"].as_f64()), "{known}");
}

#[test]
fn why_tells_what_became_of_a_message() {
    let server = Server::start("");
    let (mut page, uuid) = confirming(&server);
    let mut script = Client::greeted(server.address(), "/php", SCRIPT).0;
    script.say(&json!({"opcode": "broadcast", "message": 1}).to_string());
    let next: Value = serde_json::from_str(script.frame().text()).unwrap();
    page.frame();
    page.say(&json!({"opcode": "ack", "id": next["id"]}).to_string());
    page.expect(&[NEXT]);
    let known = why(&server, &json!({"id": next["id"]}));
    assert_eq!(events(&known), ["pushed", "handed", "acknowledged"]);
    let events = known["result"]["events"].as_array().unwrap();
    assert_eq!((&events[1]["uuid"], &events[2]["uuid"]), (&json!(uuid), &json!(uuid)));
    assert_eq!(events[0]["what"], "broadcast");
}

#[test]
fn what_was_on_its_way_to_one_who_went_is_lost() {
    let server = Server::start("[limits]\nmaxBacklog = 100000000\n");
    let (sleeper, uuid) = sleeper(&server);
    let large = "x".repeat(1 << 20);
    for _ in 0..6 {
        feedback(&server, &json!({"uuid": uuid, "message": large}));
    }
    drop(sleeper);
    server.wait_for_line("peer vanished");
    let known = why(&server, &json!({"uuid": uuid}));
    let events = known["result"]["events"].as_array().unwrap();
    let fates: Vec<_> = events.iter().filter(|event| event["event"] == "handed").map(|event| &event["fate"]).collect();
    assert_eq!(fates.last(), Some(&&json!("lost")), "{known}");
    assert!(events.last().unwrap()["outstanding"].as_u64().is_some_and(|bytes| bytes > 100_000), "{known}");
}

#[test]
fn the_command_line_asks_why() {
    let server = Server::start("[api]\nkeys = topsecret\n");
    let (page, uuid) = Client::browser(&server, "/");
    page.leave();
    let ini = server.folder().write("why.ini", "[api]\nkeys = topsecret\n");
    let ask = |ini: Option<&std::path::Path>, subject: &str| {
        let mut command = server::program();
        command.args(["why", "--address", &format!("ws://{}", server.address())]);
        if let Some(ini) = ini {
            command.arg("-i").arg(ini);
        }
        let output = command.arg(subject).output().expect("the program");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = ask(Some(&ini), &uuid);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((code, lines[0]), (Some(0), &*format!("{uuid} is not connected")), "{said}");
    assert!(lines[1].contains("opened by a browser at 127.0.0.1:") && lines[1].ends_with(" on /"), "{said}");
    assert!(lines[2].ends_with("closed by the client, 1000"), "{said}");
    let (code, _, said) = ask(Some(&ini), NOBODY);
    assert!(code == Some(1) && said.contains("nothing is known"), "{said}");
    let (code, _, said) = ask(None, &uuid);
    assert!(code == Some(1) && said.contains("key"), "{said}");
}

#[test]
fn why_says_what_it_can_not_know() {
    let server = Server::start("");
    for (data, word) in [
        (json!({"uuid": NOBODY}), "nothing is known"),
        (json!({"id": "0123456789abcdef"}), "nothing is known"),
        (json!({"uuid": "x"}), "no UUID"),
        (json!({"id": "x"}), "no message's"),
        (json!({}), "uuid or an id"),
        (json!({"uuid": NOBODY, "id": "0123456789abcdef"}), "not both"),
        (json!({"uuid": 7}), "can't be used"),
    ] {
        let said = why(&server, &data);
        assert!(said["error"].as_str().is_some_and(|error| error.contains(word)), "{data}: {said}");
    }
    // Nothing is kept where nothing is to be.
    let server = Server::start("[recorder]\nsize = 0\n");
    let (page, uuid) = Client::browser(&server, "/");
    assert_eq!(why(&server, &json!({"uuid": uuid}))["result"], json!({"uuid": uuid, "connected": true, "events": []}));
    page.leave();
    assert_eq!(why(&server, &json!({"uuid": uuid}))["status"], "ERROR");
    let said = feedback(&server, &json!({"uuid": uuid, "message": 1, "wait": 0}));
    assert_eq!(said["targets"], json!([{"uuid": uuid, "fate": "unknown"}]));
}

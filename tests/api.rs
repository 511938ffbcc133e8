//! The control API, over HTTP, against the built program: what each action does, who may ask for it, and what bad
//! calls are answered with. That everyone else is undisturbed shows in the clients that stay.

use serde_json::{Value, json};

#[path = "common/server.rs"]
mod server;

use server::{Client, Server};

/// A call as `curl` would make it.
fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The answer to a call: its status and what it says, which must be of the API's form.
fn answer(client: &mut Client) -> (u16, Value) {
    let (head, body) = client.response();
    let status: u16 = head["HTTP/1.1 ".len()..][..3].parse().expect("a status");
    assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
    let mut said: Value = serde_json::from_slice(&body).expect("JSON");
    let time = said["time"].take();
    assert!(time.as_f64().is_some_and(|time| time > 1.7e9 && time < 1e10), "the time in {said}");
    let (name, value) = if status == 200 { ("OK", "result") } else { ("ERROR", "error") };
    assert_eq!(said["status"], name, "{said}");
    (status, said[value].take())
}

/// Makes a call on a connection of its own.
fn call(server: &Server, path: &str, data: &Value) -> (u16, Value) {
    let mut client = Client::connect(server.address());
    client.send(&post(path, "", &data.to_string()));
    answer(&mut client)
}

fn feedback(server: &Server, data: &Value) -> (u16, Value) {
    call(server, "/api/relay/feedback", data)
}

#[test]
fn feedback_reaches_the_one_it_is_for_as_over_a_websocket() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (mut other, _) = Client::browser(&server, "/web");
    let (mut worker, _) = Client::greeted(server.address(), "/", "Ident: worker\r\n");
    let data = json!({"uuid": uuid, "message": {"done": 40, "of": "100 ü"}, "job": 7});
    assert_eq!(feedback(&server, &data), (200, json!(1)));
    let mut expected = data;
    expected["opcode"] = json!("feedback");
    let got: Value = serde_json::from_str(browser.frame().text()).expect("JSON");
    assert_eq!(got, expected);

    assert_eq!(feedback(&server, &json!({"ident": "worker", "message": null})), (200, json!(1)));
    worker.expect(&[r#"{"opcode":"feedback","ident":"worker","message":null}"#]);
    let with_opcode = json!({"ident": "worker", "message": 1, "opcode": "feedback"});
    assert_eq!(feedback(&server, &with_opcode), (200, json!(1)));
    worker.expect(&[&with_opcode.to_string()]);
    // Nobody is there, or no such name can be.
    for data in [
        json!({"uuid": "00000000-0000-4000-8000-000000000000", "message": 1}),
        json!({"uuid": "nobody", "message": 1}),
        json!({"uuid": 1, "message": 1}),
        json!({"ident": "nobody", "message": 1}),
        json!({"ident": "nobody", "uuid": uuid, "message": 1}),
    ] {
        assert_eq!(feedback(&server, &data), (200, json!(0)), "{data}");
    }
    browser.expect_nothing_else();
    other.expect_nothing_else();
}

#[test]
fn a_broadcast_reaches_every_browser_of_the_relay_and_no_script() {
    let server = Server::start("");
    let mut browsers: Vec<_> = ["/", "/web", "/php"].map(|path| Client::browser(&server, path).0).into();
    let mut script = Client::script(&server);
    let mut echo = Client::open(server.address(), "/echo", "");
    let answer = call(&server, "/api/relay/broadcast", &json!({"message": "to all"}));
    assert_eq!(answer, (200, json!(3)));
    for browser in &mut browsers {
        browser.expect(&[r#"{"opcode":"broadcast","message":"to all"}"#]);
    }
    script.expect_nothing_else();
    echo.say("nothing before this");
    echo.expect(&["nothing before this"]);
}

#[test]
fn clients_are_listed() {
    let server = Server::start("");
    let (browser, uuid) = Client::greeted(server.address(), "/web", "Ident: a \"b\"\r\n");
    let script = Client::script(&server);
    let _echo = Client::open(server.address(), "/echo", "");
    // Without a body, as some clients send it.
    let mut client = Client::connect(server.address());
    client.send(b"POST /api/relay/clients HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let (status, list) = answer(&mut client);
    assert_eq!(status, 200);
    let mut rows = list.as_array().expect("a list").clone();
    rows.sort_by_key(|row| row["type"].to_string());
    let [first, second] = rows.try_into().expect("two rows");
    assert_eq!(first["uuid"], uuid);
    assert_eq!(first["ident"], "a \"b\"");
    assert_eq!(first["resource"], "/web");
    assert_eq!(first["type"], "browser");
    assert_eq!(first["address"], browser.local_address().to_string());
    assert_eq!((&second["type"], &second["resource"]), (&json!("script"), &json!("/php")));
    assert_eq!(second["address"], script.local_address().to_string());
}

#[test]
fn a_batch_does_what_it_can() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let (status, results) = call(
        &server,
        "/api/relay/batch",
        &json!([
            {"action": "feedback", "data": {"uuid": uuid, "message": 1}},
            {"action": "feedback", "data": {"message": 2}},
            {"action": "nothing"},
            {"action": "batch", "data": []},
            {"action": "broadcast", "data": {"message": 3}},
        ]),
    );
    assert_eq!(status, 200);
    let outcomes: Vec<_> = results.as_array().expect("a list").iter().map(|one| one["status"].clone()).collect();
    assert_eq!(outcomes, ["OK", "ERROR", "ERROR", "ERROR", "OK"]);
    assert_eq!(results[0]["result"], 1);
    assert_eq!(results[1]["error"], "feedback needs a uuid or an ident");
    browser.expect(&[
        &format!(r#"{{"opcode":"feedback","message":1,"uuid":"{uuid}"}}"#),
        r#"{"opcode":"broadcast","message":3}"#,
    ]);
}

#[test]
fn calls_share_a_connection_and_are_answered_in_order() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut client = Client::connect(server.address());
    let calls: Vec<u8> = (0..10)
        .flat_map(|number| {
            let data = json!({"uuid": if number % 2 == 0 { &*uuid } else { "-" }, "message": number});
            post("/api/relay/feedback", "", &data.to_string())
        })
        .collect();
    client.send(&calls);
    for number in 0..10 {
        assert_eq!(answer(&mut client), (200, json!((number + 1) % 2)));
    }
    for number in [0, 2, 4, 6, 8] {
        browser.expect(&[&format!(r#"{{"opcode":"feedback","message":{number},"uuid":"{uuid}"}}"#)]);
    }
    // An error in what is asked for doesn't end the connection.
    client.send(&post("/api/relay/nothing", "", "{}"));
    assert_eq!(answer(&mut client).0, 404);
    client.send(&post("/api/relay/broadcast", "Connection: close\r\n", r#"{"message":1}"#));
    assert_eq!(answer(&mut client), (200, json!(1)));
    client.expect_end();
}

#[test]
fn a_batch_has_its_limit() {
    let server = Server::start("[limits]\nmaxMessage = 30000000\nmaxBacklog = 30000000\n");
    let (mut browser, _) = Client::browser(&server, "/");
    let item = json!({"action": "broadcast", "data": {"message": "x".repeat(1 << 20)}});
    let (status, result) = call(&server, "/api/relay/batch", &json!(vec![item; 20]));
    assert_eq!(status, 200);
    let outcomes: Vec<_> = result.as_array().unwrap().iter().map(|item| item["status"] == "OK").collect();
    assert_eq!(outcomes, (0..20).map(|number| number < 16).collect::<Vec<_>>());
    assert!(result[16]["error"].as_str().is_some_and(|why| why.contains("too much")), "{}", result[16]);
    for _ in 0..16 {
        assert!(browser.frame().text().len() > 1 << 20);
    }
    browser.expect_nothing_else();
}

#[test]
fn bodies_come_in_any_framing_and_any_pieces() {
    let server = Server::start("");
    let (mut browser, _) = Client::browser(&server, "/");
    let start = "POST /api/relay/broadcast HTTP/1.1\r\nHost: localhost\r\n";
    let chunked =
        format!("{start}Transfer-Encoding: chunked\r\n\r\n5;x\r\n{{\"mes\r\n9\r\nsage\":42}}\r\n0\r\nT: x\r\n\r\n");
    let mut client = Client::connect(server.address());
    for byte in chunked.as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(answer(&mut client), (200, json!(1)));
    browser.expect(&[r#"{"opcode":"broadcast","message":42}"#]);
    // The client waits to be told to send it.
    client.send(format!("{start}Expect: 100-continue\r\nContent-Length: 13\r\n\r\n").as_bytes());
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(br#"{"message":1}"#);
    assert_eq!(answer(&mut client), (200, json!(1)));
    browser.expect(&[r#"{"opcode":"broadcast","message":1}"#]);
}

#[test]
fn bodies_have_their_limit() {
    let server = Server::start("[limits]\nmaxMessage = 1000\n");
    let (mut browser, _) = Client::browser(&server, "/");
    let body = |size: usize| format!(r#"{{"message":"{}"}}"#, "x".repeat(size - 14));
    let mut client = Client::connect(server.address());
    client.send(&post("/api/relay/broadcast", "", &body(1000)));
    assert_eq!(answer(&mut client), (200, json!(1)));
    assert!(browser.frame().text().starts_with(r#"{"opcode":"broadcast","message":"xxx"#));
    let start = "POST /api/relay/broadcast HTTP/1.1\r\nHost: localhost\r\n";
    for rest in [
        "Content-Length: 1001\r\n\r\n",
        "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        "Content-Length: 1099511627776\r\n\r\n",
        "Content-Length: 99999999999999999999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    ] {
        let mut client = Client::connect(server.address());
        client.send(format!("{start}{rest}").as_bytes());
        assert_eq!(answer(&mut client).0, 413, "{rest:?}");
        client.expect_end();
    }
    browser.expect_nothing_else();
}

#[test]
fn a_body_has_its_time() {
    let server = Server::start("[limits]\nmessageTimeout = 1\n");
    let mut client = Client::connect(server.address());
    client.send(b"POST /api/relay/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{\"mess");
    assert_eq!(answer(&mut client), (408, json!("the request took too long")));
    client.expect_end();
    server.wait_for_line(" /api/relay/broadcast refused, 408 ");
}

const NO_MESSAGE: &str = "the data can't be used: missing field `message` at line 1 column 2";

#[test]
fn calls_that_can_not_be_made() {
    let server = Server::start("");
    let (mut browser, uuid) = Client::browser(&server, "/");
    let deep = format!(r#"{{"uuid":"{uuid}","message":{}}}"#, "[".repeat(100_000));
    let kept = [
        ("/api/nobody/feedback", "{}", 404, "there is no service \"nobody\" here"),
        ("/api/wamp/feedback", "{}", 404, "there is no service \"wamp\" here"),
        ("/api/echo/feedback", "{}", 404, "there is no action \"feedback\" here"),
        ("/api/relay", "{}", 404, ""),
        ("/api/", "{}", 404, ""),
        ("/api", "{}", 404, ""),
        ("/api/relay/", "{}", 404, "there is no action \"\" here"),
        ("/api/relay/feedback/x", "{}", 404, "there is no action \"feedback/x\" here"),
        ("/api/relay/Feedback", "{}", 404, "there is no action \"Feedback\" here"),
        ("/api/relay/feedback", "", 400, NO_MESSAGE),
        ("/api/relay/feedback", r#"{"message":1}"#, 400, "feedback needs a uuid or an ident"),
        ("/api/relay/feedback", r#"{"uuid":null,"ident":[],"message":1}"#, 400, "feedback needs a uuid or an ident"),
        ("/api/relay/feedback", r#"{"uuid":"","ident":"","message":1}"#, 400, "feedback needs a uuid or an ident"),
        ("/api/relay/feedback", r#"{"uuid":"x"}"#, 400, ""),
        ("/api/relay/feedback", r#"{"uuid":"x","uuid":"y","message":1}"#, 400, ""),
        ("/api/relay/broadcast", "{}", 400, NO_MESSAGE),
        (
            "/api/relay/broadcast",
            r#"{"opcode":"quit","message":1}"#,
            400,
            "the data have an opcode that is not the action",
        ),
        ("/api/relay/broadcast", "[1]", 400, "the data must be a JSON object"),
        ("/api/relay/broadcast", "null", 400, "the data must be a JSON object"),
        ("/api/relay/broadcast", r#"{"message":1} x"#, 400, ""),
        ("/api/relay/broadcast", r#"{"message":1"#, 400, ""),
        ("/api/relay/broadcast", "message=1", 400, "the data must be a JSON object"),
        ("/api/relay/broadcast", &deep, 400, ""),
        ("/api/relay/batch", r#"{"action":"clients"}"#, 400, ""),
        ("/api/relay/batch", r#"[{"action":1}]"#, 400, ""),
        ("/api/relay/batch", r#"[{"action":"clients","x":1}]"#, 400, ""),
    ];
    let mut client = Client::connect(server.address());
    for (path, body, status, why) in kept {
        client.send(&post(path, "", body));
        let (got, error) = answer(&mut client);
        let shown = &body[..body.len().min(80)];
        assert_eq!(got, status, "{path} {shown}: {error}");
        let error = error.as_str().expect("a sentence");
        assert!(if why.is_empty() { error.len() > 10 } else { error == why }, "{path} {shown}: {error}");
    }
    client.send(b"POST /api/relay/broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{\xff");
    assert_eq!(answer(&mut client).0, 400, "not UTF-8");
    // Those that end the connection, since nobody can tell what follows.
    for (request, status) in [
        ("GET /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("DELETE /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", 403),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nExpect: a miracle\r\n\r\n", 417),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (
            "POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
            400,
        ),
        ("POST /api/relay/clients HTTP/1.1\r\n\r\n", 400),
        ("POST http://localhost/api/relay/clients HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("POST /api/relay/clients HTTP/1.1\r\nHost: a\r\nNo Field\r\n\r\n", 400),
        ("GET /api/relay/clients HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 400),
    ] {
        let mut client = Client::connect(server.address());
        client.send(request.as_bytes());
        let (head, body) = client.response();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert_eq!(head.contains("\r\nAllow: POST\r\n"), status == 405, "{head}");
        let said: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(said["status"] == "ERROR" && said["error"].is_string(), "{request}: {said}");
        client.expect_end();
    }
    // What is no path of the API's, and what isn't read as far as its path, is answered for people.
    for request in [
        "POST /apis HTTP/1.1\r\n\r\n",
        "POST /api/relay/clients HTTP/2.0\r\n\r\n",
        "POST /api/relay/clients HTTP/1.1\nHost: a\r\n\r\n",
        "POST api HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(server.address());
        client.send(request.as_bytes());
        let (head, _) = client.response();
        assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{request}: {head}");
        client.expect_end();
    }
    browser.expect_nothing_else();
}

#[test]
fn slow_peers_keep_no_call_waiting() {
    let server = Server::start("[limits]\nmaxBacklog = 50000\n");
    let (mut honest, _) = Client::browser(&server, "/");
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let client = Client::connect_from(None, Some(4096), server.address());
            let mut client = client.upgraded("/", "");
            client.expect_greeting();
            client
        })
        .collect();
    let mut script = Client::connect(server.address());
    let message = "x".repeat(50_000);
    let data = json!({ "message": message }).to_string();
    let mut handed = 101;
    // Their kernel takes some of it; what waits then is over the limit soon.
    for _ in 0..200 {
        script.send(&post("/api/relay/broadcast", "", &data));
        let (status, count) = answer(&mut script);
        assert_eq!(status, 200);
        let count = count.as_u64().expect("a number");
        assert!(count <= handed, "{count} after {handed}");
        handed = count;
        assert!(honest.frame().text().len() > 50_000);
        if handed == 1 {
            break;
        }
    }
    assert_eq!(handed, 1, "only one reads");
    server::wait_until("each of the others is in the log", || {
        server.lines_with("reads too slowly").len() == slow.len()
    });
}

/// The fields of CORS in a response, without their common beginning.
fn cors(head: &str) -> Vec<&str> {
    let lines = head.lines().filter(|line| line.starts_with("Access-Control-") || line.starts_with("Vary"));
    lines.map(|line| line.trim_start_matches("Access-Control-")).collect()
}

#[test]
fn pages_of_listed_origins_may_call_with_a_key_and_read_every_answer() {
    const KEY: &str = "Authorization: Bearer sesame\r\n";
    let server = Server::start("[api]\nkeys = sesame\nallowedOrigins = https://shop.example, https://*.shop.example\n");
    let granted = ["Vary: Origin", "Allow-Origin: https://www.shop.example"];
    let origin = "Origin: https://www.shop.example\r\n";
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n{origin}Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization\r\n\r\n"
        )
    };
    let mut page = Client::connect(server.address());
    page.send(preflight(origin).as_bytes());
    let head = page.head();
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
    assert!(!head.contains("\nContent-"), "there is no content: {head}");
    let allowed = ["Allow-Methods: POST", "Allow-Headers: Authorization, Content-Type", "Max-Age: 600"];
    assert_eq!(cors(&head), [&allowed[..], &granted[..]].concat());
    // On the same connection, as browsers do it: the call, and calls that fail.
    for (fields, body, status) in
        [(KEY, "{}", 200), (KEY, "[", 400), ("Expect: a miracle\r\n", "", 417), ("", "{}", 401)]
    {
        let page = if status < 401 { &mut page } else { &mut Client::connect(server.address()) };
        let key = if status == 417 { KEY } else { "" };
        page.send(&post("/api/relay/clients", &format!("{origin}{fields}{key}"), body));
        let (head, _) = page.response();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert_eq!(cors(&head), granted, "{status}");
    }
    // Half of a body.
    let mut page = Client::connect(server.address());
    let start = format!("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n{origin}{KEY}");
    page.send(format!("{start}Transfer-Encoding: chunked\r\n\r\nx\r\n").as_bytes());
    assert_eq!(cors(&page.response().0), granted);
    // Whoever isn't listed is told so, or is a program that has no need to be told.
    for origin in ["", "Origin: null\r\n", "Origin: https://shop.example.evil.example\r\n"] {
        let mut other = Client::connect(server.address());
        other.send(&post("/api/relay/clients", &format!("{origin}{KEY}"), "{}"));
        let (head, _) = other.response();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(cors(&head), ["Vary: Origin"], "{origin}");
        other.send(preflight(origin).as_bytes());
        let (head, _) = other.response();
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert_eq!(cors(&head), ["Vary: Origin"], "{origin}");
    }
}

#[test]
fn unless_origins_are_listed_there_are_no_fields_for_other_pages() {
    for ini in ["", "[api]\nkeys = sesame\n"] {
        let server = Server::start(ini);
        let fields = "Origin: https://shop.example\r\nAuthorization: Bearer sesame\r\n";
        let ask = "Access-Control-Request-Method: POST\r\n";
        for (request, status) in [
            (format!("OPTIONS /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n{fields}{ask}\r\n"), 405),
            (
                format!("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
                if ini.is_empty() { 403 } else { 200 },
            ),
        ] {
            let mut client = Client::connect(server.address());
            client.send(request.as_bytes());
            let (head, _) = client.response();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(cors(&head).is_empty(), "{head}");
        }
    }
}

#[test]
fn keys_are_asked_for_where_there_are_any() {
    let server = Server::start("[api]\nkeys = first-key, second-key\n");
    for (field, expected) in [
        ("Authorization: Bearer first-key\r\n", 200),
        ("Authorization: bearer second-key\r\nOrigin: https://any.example\r\nX-Forwarded-For: 1.2.3.4\r\n", 200),
        ("", 401),
        ("Authorization: Bearer first-ke\r\n", 401),
        ("Authorization: Bearer first-key, second-key\r\n", 401),
        ("Authorization: Basic Zmlyc3Qta2V5\r\n", 401),
    ] {
        let mut client = Client::connect(server.address());
        client.send(&post("/api/relay/clients", field, "{}"));
        let (head, _) = client.response();
        assert!(head.starts_with(&format!("HTTP/1.1 {expected} ")), "{field}: {head}");
        assert_eq!(head.contains("\r\nWWW-Authenticate: Bearer\r\n"), expected == 401, "{head}");
        assert_eq!(head.contains("\r\nConnection: close\r\n"), expected == 401, "{head}");
    }
    assert!(server.lines_with("first-ke").is_empty(), "no key is logged");
}

//! The live page `/admin` and its feed, against the built program: who gets them, and that what the feed says is true.
//! Which address, name, key and origin together let somebody in is held by the tests of `src/app/gate/admin.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

#[path = "common/server.rs"]
mod server;

use server::{BINARY, Client, ELSEWHERE, Server, TEXT, masked, masked_header, plain, wait_until};

const FEED: &str = "/admin/feed";
const KEYS: &str = "[api]\nkeys = sesame\n";

/// An upgrade of the feed as the page makes it, but for the fields that let it in.
fn upgrade(host: &str, fields: &str) -> String {
    server::upgrade(FEED, fields).replace("Host: test\r\n", &format!("Host: {host}\r\n"))
}

fn basic(key: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("anna:{key}")))
}

/// A live page without a page.
struct Watcher {
    client: Client,
    hello: Value,
    asked: u64,
}

impl Watcher {
    fn new(server: &Server) -> Self {
        Self::on(Client::connect(server.address()), &upgrade("localhost", "Origin: http://localhost\r\n"))
    }

    fn on(mut client: Client, request: &str) -> Self {
        client.send(request.as_bytes());
        client.expect_switch("");
        let mut watcher = Self { client, hello: Value::Null, asked: 0 };
        watcher.hello = watcher.told();
        assert_eq!(watcher.hello["tell"], "hello", "{}", watcher.hello);
        watcher
    }

    /// What it is told next.
    fn told(&mut self) -> Value {
        let frame = self.client.frame();
        assert_eq!(frame.first, TEXT);
        serde_json::from_str(frame.text()).expect("JSON")
    }

    fn snapshot(&mut self) -> Value {
        loop {
            let told = self.told();
            if told["tell"] == "snapshot" {
                return told;
            }
        }
    }

    /// The first snapshot of which something is true.
    fn snapshot_where(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let snapshot = self.snapshot();
            if is_so(&snapshot) {
                return snapshot;
            }
        }
    }

    /// The answer to what was asked last; snapshots may come before it.
    fn answer(&mut self) -> Value {
        loop {
            let told = self.told();
            if told["tell"] != "snapshot" {
                return told;
            }
        }
    }

    fn ask(&mut self, mut ask: Value) -> Value {
        self.asked += 1;
        ask["number"] = json!(self.asked);
        self.client.say(&ask.to_string());
        let mut answer = self.answer();
        assert_eq!(answer["number"].take(), self.asked, "{answer}");
        answer
    }

    /// The UUIDs that a search finds.
    fn search(&mut self, text: &str) -> Vec<String> {
        let answer = self.ask(json!({"ask": "clients", "search": text}));
        let rows = answer["clients"].as_array().expect("a list");
        assert_eq!(answer["total"], rows.len(), "{answer}");
        rows.iter().map(|row| row["uuid"].as_str().expect("a UUID").to_owned()).collect()
    }

    fn send(&mut self, to: &Value, message: &Value) -> Value {
        self.ask(json!({"ask": "send", "to": to, "message": message}))
    }

    /// How many a test message was handed to.
    fn delivered(&mut self, to: &Value, message: &Value) -> Value {
        let mut answer = self.send(to, message);
        assert!(answer["tell"] == "send" && answer["message"].is_string(), "{answer}");
        answer["delivered"].take()
    }

    fn why(&mut self, target: &str) -> Value {
        self.ask(json!({"ask": "why", "target": target}))
    }
}

fn get(server: &Server, path: &str, fields: &str) -> (String, Vec<u8>) {
    let mut client = Client::connect_from(Some(ELSEWHERE), None, server.address());
    client.send(format!("GET {path} HTTP/1.1\r\nHost: push.example\r\n{fields}\r\n").as_bytes());
    client.response()
}

#[test]
fn a_browser_is_asked_for_the_key_and_gets_the_page_with_it() {
    let server = Server::start(KEYS);
    for path in ["/admin", "/admin.css", "/admin.js", "/admin-plots.js", FEED] {
        let (head, _) = get(&server, path, "");
        assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
        assert!(head.contains("\r\nWWW-Authenticate: Basic realm=\"websock\"\r\n"), "{head}");
    }
    for (path, kind) in [
        ("/admin", "text/html"),
        ("/admin.css", "text/css"),
        ("/admin.js", "text/javascript"),
        ("/admin-plots.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/connection.js", "text/javascript"),
    ] {
        let (head, body) = get(&server, path, &basic("sesame"));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !body.is_empty(), "{path}: {head}");
        assert!(head.contains(&format!("\r\nContent-Type: {kind}; charset=utf-8\r\n")), "{head}");
        assert!(head.contains("\r\nContent-Security-Policy: default-src 'none'; script-src 'self';"), "{head}");
    }
    let mut call = Client::connect(server.address());
    call.send(format!("POST /api/relay/clients HTTP/1.1\r\nHost: localhost\r\n{}\r\n", basic("sesame")).as_bytes());
    let (head, _) = call.response();
    assert!(head.starts_with("HTTP/1.1 401 "), "a password opens no control API: {head}");
    assert!(head.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{head}");
    server.wait_for_line("given as the password");

    let server = Server::start("");
    let (head, _) = get(&server, "/admin", &basic("sesame"));
    assert!(head.starts_with("HTTP/1.1 403 ") && !head.contains("WWW-Authenticate"), "{head}");
}

#[test]
fn the_feed_is_let_in_as_the_page_is_and_to_pages_of_this_server_alone() {
    let server = Server::start(KEYS);
    let status = |from_here: bool, host: &str, fields: &str| {
        let mut client = match from_here {
            true => Client::connect(server.address()),
            false => Client::connect_from(Some(ELSEWHERE), None, server.address()),
        };
        client.send(upgrade(host, fields).as_bytes());
        client.head().split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
    };
    let own = "Origin: https://push.example\r\n";
    for (from_here, host, fields, expected) in [
        (true, "localhost", "", 101),
        (true, "127.0.0.1:8096", "Origin: http://127.0.0.1:8096\r\n", 101),
        (true, "localhost", "Origin: http://evil.example\r\n", 403),
        (true, "push.example", own, 401),
        (false, "localhost", "", 401),
        (false, "push.example", &format!("{own}{}", basic("sesame")), 101),
        (false, "push.example", &format!("{own}Authorization: Bearer sesame\r\n"), 101),
        (false, "push.example", &format!("Origin: http://evil.example\r\n{}", basic("sesame")), 403),
        (false, "push.example", &format!("{own}{}", basic("sesam")), 401),
    ] {
        assert_eq!(status(from_here, host, fields), expected, "from here: {from_here}, {host}, {fields:?}");
    }
    let plain = get(&server, FEED, &basic("sesame")).0;
    assert!(plain.starts_with("HTTP/1.1 426 "), "what the page asks to find out why it isn't let in: {plain}");
}

#[test]
fn a_login_that_browsers_need_is_not_the_administrators() {
    let server = Server::start("[jsauth]\nrequire = true\nssp = /nonexistent/sessions\nkey = ok\n");
    Watcher::new(&server).snapshot();
    let mut browser = Client::connect(server.address());
    browser.send(server::upgrade("/", "").as_bytes());
    assert!(browser.head().starts_with("HTTP/1.1 401 "));
}

#[test]
fn snapshots_say_how_things_are() {
    let server = Server::start("[resources]\n/ = relay\n/web = relay\n/echo = echo\n");
    let mut watcher = Watcher::new(&server);
    let hello = &watcher.hello;
    assert_eq!(hello["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&hello["relay"], &hello["resources"][2]), (&json!(true), &json!({"path": "/echo", "handler": "echo"})));
    let bounds = hello["bounds"].as_array().expect("bounds").len();
    let first = watcher.snapshot();
    assert!(first["time"].as_f64() >= watcher.hello["started"].as_f64(), "{first}");
    assert_eq!(first["turns"]["counts"].as_array().expect("counts").len(), bounds + 1);
    let nobody = json!({"browsers": 0, "scripts": 0, "ever": 0});
    assert_eq!(first["clients"], json!([nobody, nobody, nobody]));
    for traffic in ["received", "sent"] {
        assert_eq!(first[traffic], json!({"messages": 0, "bytes": 0}), "what it is told itself doesn't count");
    }

    let (mut browser, _) = Client::browser(&server, "/web");
    let mut echo = Client::open(server.address(), "/echo", "");
    let mut script = Client::script_on(&server, "/");
    let mut held = Client::open(server.address(), "/echo", "");
    held.send(&[masked_header(BINARY, 1 << 20), vec![0; 100_000]].concat());
    echo.say("0123456789");
    echo.expect(&["0123456789"]);
    script.say(r#"{"opcode":"feedback","uuid":"x","message":1}"#);
    script.expect(&[server::NEXT_0]);
    get(&server, "/none", "");
    browser.say("no JSON");
    browser.expect(&[server::NEXT]);
    browser.expect_closed(1007);

    let snapshot = watcher.snapshot_where(|told| told["held"].as_u64() >= Some(100_000));
    let clients =
        |browsers: u32, scripts: u32, ever: u32| json!({"browsers": browsers, "scripts": scripts, "ever": ever});
    assert_eq!(snapshot["clients"], json!([clients(0, 1, 1), clients(0, 0, 1), clients(2, 0, 2)]));
    assert_eq!(snapshot["refusals"], json!({"404": 1}));
    assert_eq!(snapshot["closes"], json!({"client": {}, "server": {"1007": 1}}));
    assert_eq!((&snapshot["watchers"], &snapshot["deliveries"]), (&json!(1), &json!(1)));
    // The greetings of two, an echo and two acknowledgements; the echo, a feedback and what was no JSON.
    assert_eq!(snapshot["sent"]["messages"], 5);
    let bytes = 10 + r#"{"opcode":"feedback","uuid":"x","message":1}"#.len() + "no JSON".len();
    assert_eq!(snapshot["received"], json!({"messages": 3, "bytes": bytes}));
    let next = watcher.snapshot();
    let time = |told: &Value| told["time"].as_f64().expect("a time");
    assert!((0.9..4.0).contains(&(time(&next) - time(&snapshot))), "once a second: {snapshot} {next}");
    for traffic in ["received", "sent", "deliveries"] {
        assert_eq!(next[traffic], snapshot[traffic], "{traffic}");
    }
}

#[test]
fn clients_are_found_by_whatever_is_known_of_them() {
    let server = Server::start("[resources]\n/ = relay\n/web = relay\n/echo = echo\n");
    let mut watcher = Watcher::new(&server);
    let (anna, first) = Client::greeted(server.address(), "/web", "Ident: Anna Ü\r\n");
    let (bert, second) = Client::greeted(server.address(), "/", "Ident: bert\r\n");
    let worker = Client::script_on(&server, "/");
    let _echo = Client::open(server.address(), "/echo", "");

    let answer = watcher.ask(json!({"ask": "clients"}));
    assert_eq!((&answer["tell"], &answer["total"]), (&json!("clients"), &json!(4)), "itself is none: {answer}");
    let latest = |count: usize| answer["clients"].as_array().expect("a list")[..count].to_vec();
    assert_eq!(watcher.search("ANNA"), [&*first]);
    assert_eq!(watcher.search(" anna ü "), [&*first]);
    assert_eq!(watcher.search(&second.to_uppercase()), [&*second]);
    assert_eq!(watcher.search(&second[9..23]), [&*second]);
    assert_eq!(watcher.search(&bert.local_address().to_string()), [&*second]);
    assert_eq!(watcher.search("/web"), [&*first]);
    assert_eq!(watcher.search("script").len(), 1);
    assert_eq!(watcher.search("127.0.0.1").len(), 4);
    assert!(watcher.search("nobody").is_empty());
    assert_eq!(watcher.search(" \n").len(), 4, "blanks are nothing");
    assert!(watcher.search("\u{0}").is_empty());

    let limited = watcher.ask(json!({"ask": "clients", "limit": 2, "search": ""}));
    assert_eq!((&limited["total"], &limited["clients"]), (&json!(4), &json!(latest(2))));
    let none = watcher.ask(json!({"ask": "clients", "limit": 0}));
    assert_eq!((&none["total"], &none["clients"]), (&json!(4), &json!([])));
    let many = watcher.ask(json!({"ask": "clients", "limit": u64::MAX}));
    assert_eq!(many["clients"], json!(latest(4)));

    let row = &watcher.ask(json!({"ask": "clients", "search": first}))["clients"][0];
    let expected = json!({
        "uuid": first, "ident": "Anna Ü", "resource": "/web", "type": "browser",
        "address": anna.local_address().to_string(), "connected": row["connected"],
    });
    assert_eq!(*row, expected);
    bert.leave();
    wait_until_gone(&mut watcher, "bert");
    drop(worker);
}

fn wait_until_gone(watcher: &mut Watcher, ident: &str) {
    let watcher = std::cell::RefCell::new(watcher);
    wait_until("it is gone", || watcher.borrow_mut().search(ident).is_empty());
}

#[test]
fn a_test_message_goes_where_the_control_apis_would() {
    let server = Server::start("");
    let (mut watcher, mut other) = (Watcher::new(&server), Watcher::new(&server));
    let (mut anna, uuid) = Client::greeted(server.address(), "/web", "Ident: anna\r\n");
    let (mut bert, _) = Client::browser(&server, "/");
    let mut script = Client::script(&server);

    let message = json!({"a": ["<b>", 1.5, null], "ü": "\"\\"});
    assert_eq!(watcher.delivered(&json!({"uuid": uuid}), &message), 1);
    let got: Value = serde_json::from_str(anna.frame().text()).expect("JSON");
    assert_eq!(got, json!({"opcode": "feedback", "uuid": uuid, "message": message}));
    assert_eq!(watcher.delivered(&json!({"ident": "anna"}), &json!("hi")), 1);
    anna.expect(&[r#"{"opcode":"feedback","ident":"anna","message":"hi"}"#]);
    assert_eq!(watcher.delivered(&json!({"everyone": true}), &json!("to all")), 2);
    for browser in [&mut anna, &mut bert] {
        browser.expect(&[r#"{"opcode":"broadcast","message":"to all"}"#]);
        browser.expect_nothing_else();
    }
    for nobody in [json!({"ident": "nobody"}), json!({"uuid": "nobody"}), json!({"uuid": "\"},\"x\":1"})] {
        assert_eq!(watcher.delivered(&nobody, &json!(1)), 0, "{nobody}");
    }
    script.expect_nothing_else();
    // A watcher is nobody's client: whatever it is sent is a snapshot, and its UUID is nobody's.
    for _ in 0..2 {
        assert_eq!(other.told()["tell"], "snapshot");
    }
    let line = server.wait_for_line("sent a test feedback, handed to 1");
    let own = line.split_whitespace().find(|word| word.len() == 36).expect("who sent it").to_owned();
    assert_eq!(watcher.delivered(&json!({"uuid": own}), &json!(1)), 0);
    server.wait_for_line("sent a test broadcast, handed to 2");
    assert!(server.lines_with("to all").is_empty(), "what messages say is not logged");
}

/// The rows, each as what is said of it under these names.
fn told(rows: &Value, names: &[&str]) -> Vec<Value> {
    let rows = rows.as_array().expect("a list").iter();
    rows.map(|row| names.iter().map(|name| row[*name].clone()).collect()).collect()
}

#[test]
fn what_happened_to_a_client_and_to_a_message_is_told() {
    let server = Server::start("");
    let mut watcher = Watcher::new(&server);
    assert_eq!(watcher.hello["recorder"], true);
    let (mut anna, uuid) = Client::greeted(server.address(), "/web", "Ident: anna\r\nOrigin: https://shop.example\r\n");
    let sent = watcher.send(&json!({"uuid": uuid}), &json!("hi"));
    let message = sent["message"].as_str().expect("an id").to_owned();
    anna.frame();
    let history = watcher.why(&uuid);
    assert_eq!(
        (&history["tell"], &history["uuid"], &history["connected"]),
        (&json!("why"), &json!(uuid), &json!(true))
    );
    let opened = &history["events"][0];
    assert_eq!(told(&history["events"], &["event", "id"]), [json!(["opened", null]), json!(["handed", message])]);
    assert_eq!(told(&json!([opened]), &["origin", "ident", "path"]), [json!(["https://shop.example", "anna", "/web"])]);

    let own = server.wait_for_line("sent a test feedback");
    let own = own.split_whitespace().find(|word| word.len() == 36).expect("who sent it");
    let history = watcher.why(&message);
    assert_eq!(told(&history["events"], &["event", "what"]), [json!(["pushed", "feedback"]), json!(["handed", null])]);
    assert_eq!(history["events"][0]["from"], own, "a live page's own messages are told of as what they are");
    assert_eq!(history["events"][1]["uuid"], uuid);

    anna.leave();
    let history = watcher.why(&uuid.to_uppercase());
    assert_eq!(history["connected"], false);
    assert_eq!(history["events"].as_array().and_then(|events| events.last()).expect("events")["event"], "closed");
    let last = watcher.ask(json!({"ask": "why", "target": uuid, "limit": 1}));
    assert_eq!((told(&last["events"], &["event"]), &last["earlier"]), (vec![json!(["closed"])], &json!(2)));
    let none = watcher.ask(json!({"ask": "why", "target": uuid, "limit": 0}));
    assert_eq!((&none["events"], &none["earlier"], &history["earlier"]), (&json!([]), &json!(3), &Value::Null));
    // What a watcher is told is nothing that happened.
    watcher.snapshot();
    assert_eq!(told(&watcher.why(own)["events"], &["event"]), [json!(["opened"]), json!(["pushed"])]);

    let server = Server::start("[recorder]\nsize = 0\n");
    let mut watcher = Watcher::new(&server);
    assert_eq!(watcher.hello["recorder"], false);
    assert_eq!(watcher.ask(json!({"ask": "endings"}))["endings"], json!([]));
}

#[test]
fn the_last_refusals_and_closes_are_told_with_their_reasons() {
    let server = Server::start("");
    let mut watcher = Watcher::new(&server);
    get(&server, "/none", "");
    let (mut browser, uuid) = Client::browser(&server, "/");
    browser.say("no JSON");
    browser.expect(&[server::NEXT]);
    browser.expect_closed(1007);
    let endings = watcher.ask(json!({"ask": "endings"}));
    let names = ["event", "status", "path", "uuid"];
    assert_eq!(
        told(&endings["endings"], &names),
        [json!(["closed", null, null, uuid]), json!(["refused", 404, "/none", null])],
        "the latest first"
    );
    for ending in endings["endings"].as_array().expect("a list") {
        assert!(
            ending["why"].as_str().is_some_and(|why| why.len() > 5) && ending["at"].as_f64() > Some(1.7e9),
            "{ending}"
        );
    }
    let last = watcher.ask(json!({"ask": "endings", "limit": 1}));
    assert_eq!(told(&last["endings"], &names), [json!(["closed", null, null, uuid])]);
}

#[test]
fn bad_asks_are_answered_and_disturb_nobody() {
    let server = Server::start("");
    let mut watcher = Watcher::new(&server);
    let (mut browser, uuid) = Client::browser(&server, "/");
    let deep = format!(r#"{{"ask":"send","to":{{"uuid":"{uuid}"}},"message":{}}}"#, "[".repeat(100_000));
    for bad in [
        "",
        "x",
        "[]",
        "{}",
        r#""clients""#,
        r#"{"ask":1}"#,
        r#"{"ask":"nothing"}"#,
        r#"{"ask":"clients","search":7}"#,
        r#"{"ask":"clients","limit":-1}"#,
        r#"{"ask":"clients","limit":"1"}"#,
        r#"{"ask":"clients","number":"x"}"#,
        r#"{"ask":"endings","limit":[]}"#,
        r#"{"ask":"why"}"#,
        r#"{"ask":"why","target":1}"#,
        r#"{"ask":"why","target":""}"#,
        r#"{"ask":"why","target":"nobody"}"#,
        r#"{"ask":"why","target":"00000000-0000-4000-8000-000000000000"}"#,
        r#"{"ask":"send"}"#,
        r#"{"ask":"send","to":{"everyone":true}}"#,
        r#"{"ask":"send","to":"everyone","message":1}"#,
        r#"{"ask":"send","to":{},"message":1}"#,
        r#"{"ask":"send","to":{"everyone":false},"message":1}"#,
        r#"{"ask":"send","to":{"uuid":""},"message":1}"#,
        r#"{"ask":"send","to":{"uuid":"x","ident":"y"},"message":1}"#,
        r#"{"ask":"send","to":{"uuid":null},"message":1}"#,
        r#"{"ask":"send","to":{"everyone":true},"message":1}x"#,
        &deep,
    ] {
        watcher.client.say(bad);
        let answer = watcher.answer();
        assert_eq!(answer["tell"], "error", "{bad:.100}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{answer}");
    }
    watcher.client.send(&masked(BINARY, br#"{"ask":"clients"}"#));
    assert_eq!(watcher.answer()["error"], "binary, where JSON text was expected");
    let failed = watcher.ask(json!({"ask": "nothing"}));
    assert_eq!(failed["tell"], "error", "the number is repeated there as well");
    browser.expect_nothing_else();
    assert_eq!(watcher.search(&uuid), [uuid]);

    let server = Server::start("[resources]\n/echo = echo\n");
    let mut watcher = Watcher::new(&server);
    assert_eq!(watcher.hello["relay"], false);
    let answer = watcher.send(&json!({"everyone": true}), &json!(1));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("relay")), "{answer}");
}

#[test]
fn nothing_happens_while_nobody_watches() {
    let server = Server::start("[limits]\npingInterval = 0\n");
    let (first, mut second) = (Watcher::new(&server), Watcher::new(&server));
    assert_eq!(second.snapshot()["watchers"], 2);
    first.client.leave_by_any_means();
    second.snapshot_where(|told| told["watchers"] == 1);
    second.client.leave_by_any_means();
    wait_until("both are forgotten", || server.lines_with("/admin/feed").len() >= 4);
    let before = server.sleeps();
    // Three periods and a half: a server that went on would wake three times.
    std::thread::sleep(std::time::Duration::from_millis(3500));
    assert!(server.sleeps() - before <= 1, "it sleeps through");
    // And begins anew when somebody comes.
    let mut third = Watcher::new(&server);
    third.snapshot();
    assert_eq!(third.snapshot()["watchers"], 1);
}

trait Leave {
    fn leave_by_any_means(self);
}

impl Leave for Client {
    /// As a page that is closed does, whatever is still on its way to it.
    fn leave_by_any_means(mut self) {
        self.send(&masked(server::CLOSE, &1001_u16.to_be_bytes()));
        let rest = self.rest(std::time::Instant::now() + server::PATIENCE);
        assert!(rest.ends_with(&plain(server::CLOSE, &1001_u16.to_be_bytes())), "{}", rest.escape_ascii());
    }
}

#[test]
fn a_limit_of_clients_keeps_no_administrator_out_and_their_own_number_is_limited() {
    let server = Server::start("[limits]\nmaxClients = 1\nmaxPerIP = 1\n");
    let (mut browser, _) = Client::browser(&server, "/");
    let mut watchers: Vec<_> = (0..32).map(|_| Watcher::new(&server)).collect();
    assert_eq!(watchers[0].snapshot_where(|told| told["watchers"] == 32)["clients"][0]["browsers"], 1);
    let mut one_more = Client::connect(server.address());
    one_more.send(upgrade("localhost", "").as_bytes());
    one_more.expect_switch("");
    one_more.expect_closed(1013);
    browser.expect_nothing_else();
}

#[test]
fn a_watcher_that_reads_nothing_keeps_nobody_waiting() {
    let server = Server::start("[limits]\nmaxBacklogTime = 1\n");
    let mut deaf = Client::connect_from(None, Some(4096), server.address());
    deaf.send(upgrade("localhost", "").as_bytes());
    let mut watcher = Watcher::new(&server);
    // What it asks for and doesn't read fills its side.
    let crowd: Vec<_> = (0..100).map(|_| Client::browser(&server, "/").0).collect();
    for _ in 0..2000 {
        if !deaf.try_send_now(&server::masked_text(r#"{"ask":"clients","limit":500}"#)) {
            break;
        }
    }
    watcher.snapshot_where(|told| told["watchers"] == 1);
    server.wait_for_line("1013");
    let found = watcher.ask(json!({"ask": "clients", "search": "browser", "limit": 1}));
    assert_eq!(found["total"], crowd.len());
}

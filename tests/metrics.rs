//! `/healthz` and `/metrics`: who gets them, that the text is what Prometheus reads, and that the figures are true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

#[path = "common/server.rs"]
mod server;

use server::{
    BINARY, Client, ELSEWHERE, NEXT_0, NEXT_1, PING, PONG, Server, TEXT, masked, masked_header, plain, upgrade,
    without_id,
};

fn get(client: &mut Client, path: &str, fields: &str) -> (String, String) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    let (head, body) = client.response();
    (head, String::from_utf8(body).expect("UTF-8"))
}

/// What `/metrics` says now.
fn scrape(server: &Server) -> Metrics {
    let (head, body) = get(&mut Client::connect(server.address()), "/metrics", "Connection: close\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("\r\nCache-Control: no-store\r\n"), "{head}");
    Metrics::parse(&body)
}

// --- Prometheus' text format, strictly ------------------------------------------------------------------------------

type Labels = BTreeMap<String, String>;

/// A scrape: the types of its metrics, in their order, and its samples.
#[derive(Debug)]
struct Metrics {
    types: Vec<(String, String)>,
    samples: BTreeMap<(String, Labels), f64>,
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl Metrics {
    /// Every metric has HELP, then TYPE, then its samples and nothing else's, once.
    fn parse(text: &str) -> Self {
        let mut metrics = Self { types: Vec::new(), samples: BTreeMap::new() };
        let mut help: Option<String> = None;
        assert!(text.ends_with('\n') && !text.contains('\r'), "lines end in LF");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').expect("a name and words");
                assert!(help.is_none() && words.ends_with('.') && !words.contains('\\'), "{line}");
                help = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert_eq!(help.take().as_deref(), Some(name), "HELP stands before TYPE");
                assert!(is_name(name) && name.starts_with("websock_"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(!metrics.types.iter().any(|(known, _)| known == name), "{name} stands there twice");
                metrics.types.push((name.to_owned(), kind.to_owned()));
            } else {
                assert!(help.is_none(), "{line} between HELP and TYPE");
                let (name, labels, value) = sample(line);
                let (base, kind) = metrics.types.last().expect("a TYPE before the samples");
                let suffixes = if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
                assert!(suffixes.iter().any(|suffix| name == format!("{base}{suffix}")), "{line} under {base}");
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(metrics.samples.insert((name, labels), value).is_none(), "{line} stands there twice");
            }
        }
        metrics.check_histograms();
        metrics
    }

    fn check_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| kind == "histogram") {
            let bucket = format!("{name}_bucket");
            let mut buckets: Vec<(f64, f64)> = self
                .samples
                .iter()
                .filter(|((name, _), _)| *name == bucket)
                .map(|((_, labels), count)| (labels["le"].parse().expect("a bound"), *count))
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.len() > 10 && buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
            let last = buckets.last().copied();
            assert_eq!(last, Some((f64::INFINITY, self.value(&format!("{name}_count"), &[]))), "{buckets:?}");
        }
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = (name.to_owned(), labels);
        *self.samples.get(&key).unwrap_or_else(|| panic!("no {key:?} among {:#?}", self.samples))
    }

    /// The sum over all labels.
    fn sum(&self, name: &str) -> f64 {
        self.samples.iter().filter(|((known, _), _)| known == name).map(|(_, value)| value).sum()
    }
}

/// `name{label="value",…} number`, with nothing more and nothing less.
fn sample(line: &str) -> (String, Labels, f64) {
    let at = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(at);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("the end of a label") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the end of the labels");
    }
    let number = rest.strip_prefix(' ').expect("a blank and a number");
    assert!(!number.contains(' '), "no timestamp: {line}");
    (name.to_owned(), labels, number.parse().expect("a number"))
}

#[test]
#[should_panic(expected = "twice")]
fn the_parser_is_strict() {
    let text = "# HELP websock_x X.\n# TYPE websock_x gauge\nwebsock_x{a=\"\\\\\\\"\\n,}\"} 1\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.value("websock_x", &[("a", "\\\"\n,}")]), 1.0);
    Metrics::parse(&format!("{text}{text}"));
}

// --- Who gets it ----------------------------------------------------------------------------------------------------

#[test]
fn health_is_for_everyone_and_says_nothing_else() {
    let server = Server::start("");
    for (mut client, fields) in [
        (Client::connect(server.address()), ""),
        (Client::connect_from(Some(ELSEWHERE), None, server.address()), "X-Forwarded-For: 192.0.2.1\r\n"),
    ] {
        for _ in 0..2 {
            let (head, body) = get(&mut client, "/healthz", fields);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("Connection: close"), "{head}");
            assert_eq!(body, "ok\n");
        }
    }
    let mut client = Client::connect(server.address());
    client.send(b"HEAD /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
    client.expect_end();
}

#[test]
fn health_is_503_while_the_server_drains() {
    let mut server = Server::start("[limits]\ndrainTimeout = 60\n");
    let mut checker = Client::connect(server.address());
    assert_eq!(get(&mut checker, "/healthz", "").1, "ok\n");
    // It is accepted, since it has begun to ask.
    let mut accepted = Client::connect(server.address());
    accepted.send(b"\r\n");
    let (mut mute, _) = Client::browser(&server, "/");
    server.signal(Signal::TERM);
    mute.expect_close_frame(1001);
    for client in [&mut checker, &mut accepted] {
        let (head, body) = get(client, "/healthz", "");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert_eq!(body, "stopping\n");
        client.expect_end();
    }
    assert!(server::is_deaf(server.address()), "a check over a new connection finds nobody");
    drop(mute);
    drop((checker, accepted));
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(!server.lines_with("stopped, 0 connections left").is_empty());
}

#[test]
fn metrics_are_for_the_allow_list() {
    let server = Server::start("");
    scrape(&server);
    for (mut client, fields) in [
        (Client::connect_from(Some(ELSEWHERE), None, server.address()), ""),
        (Client::connect(server.address()), "X-Forwarded-For: 127.0.0.1\r\n"),
        (Client::connect(server.address()), "Via: 1.1 proxy\r\n"),
    ] {
        let (head, body) = get(&mut client, "/metrics", fields);
        assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n") && !body.contains("websock_"), "{head}");
    }
    let server = Server::start("[access]\nallowedIP = 127.0.0.2\n");
    let mut client = Client::connect_from(Some(ELSEWHERE), None, server.address());
    Metrics::parse(&get(&mut client, "/metrics", "").1);
}

// --- What it says ---------------------------------------------------------------------------------------------------

#[test]
fn figures_are_those_of_the_traffic() {
    let server = Server::start(
        "[limits]\nmaxPerIP = 3\nmaxMessage = 2000\n[resources]\n/ = relay\n/b\"\\ = relay\n/echo = echo\n",
    );
    let before = scrape(&server);
    let count = |metrics: &Metrics, direction: &str, opcode: &str| {
        let labels = [("direction", direction), ("opcode", opcode)];
        let messages = metrics.value("websock_messages_total", &labels);
        (messages, metrics.value("websock_message_bytes_total", &labels))
    };
    for direction in ["in", "out"] {
        for opcode in ["text", "binary", "ping", "pong", "close"] {
            assert_eq!(count(&before, direction, opcode), (0.0, 0.0), "{direction} {opcode}");
        }
    }

    // A greeting of 67 bytes to each of three; then two feedbacks, of which one finds nobody, and an echo.
    let (mut browser, uuid) = Client::browser(&server, "/");
    let mut script = Client::script_on(&server, "/b\"\\");
    let mut echo = Client::open(server.address(), "/echo", "");
    let feedback = format!(r#"{{"opcode":"feedback","uuid":"{uuid}"}}"#);
    let nobody = r#"{"opcode":"feedback","uuid":"x"}"#;
    script.say(&feedback);
    script.expect(&[NEXT_1]);
    browser.expect(&[&feedback]);
    script.say(nobody);
    script.expect(&[NEXT_0]);
    // In two pieces, with a ping between: one message.
    echo.send(&masked(BINARY & 0x7f, b"12"));
    echo.send(&masked(PING, b"ping!"));
    echo.expect_bytes(&plain(PONG, b"ping!"));
    echo.send(&masked(0x80, b"345"));
    echo.expect_bytes(&plain(BINARY, b"12345"));
    echo.send(&masked(PONG, b"unasked"));
    // Long ones have other headers.
    for length in [126, 2000] {
        echo.send(&masked(TEXT, &vec![b'x'; length]));
        echo.expect_bytes(&plain(TEXT, &vec![b'x'; length]));
    }
    let now = scrape(&server);
    let id = r#","id":"0123456789abcdef""#.len();
    let (texts, greeting) = (feedback.len() + nobody.len(), r#"{"opcode":"ready","uuid":"","acks":true}"#.len() + 36);
    for (direction, opcode, messages, bytes) in [
        ("in", "text", 4, texts + 2126),
        ("in", "binary", 1, 5),
        ("in", "ping", 1, 5),
        ("in", "pong", 1, 7),
        ("in", "close", 0, 0),
        ("out", "text", 7, 2 * greeting + feedback.len() + NEXT_1.len() + NEXT_0.len() + 2 * id + 2126),
        ("out", "binary", 1, 5),
        ("out", "ping", 0, 0),
        ("out", "pong", 1, 5),
        ("out", "close", 0, 0),
    ] {
        assert_eq!(count(&now, direction, opcode), (f64::from(messages), bytes as f64), "{direction} {opcode}");
    }
    assert_eq!(now.value("websock_deliveries_total", &[]), 4.0, "the feedback and three echoes");
    let clients = |metrics: &Metrics, path: &str, kind: &str| {
        let labels = [("resource", path), ("type", kind)];
        (metrics.value("websock_connections", &labels), metrics.value("websock_connections_total", &labels))
    };
    assert_eq!(clients(&now, "/", "browser"), (1.0, 1.0));
    assert_eq!(clients(&now, "/", "script"), (0.0, 0.0));
    assert_eq!(clients(&now, "/b\"\\", "script"), (1.0, 1.0));
    assert_eq!(clients(&now, "/echo", "browser"), (1.0, 1.0));
    assert_eq!(now.sum("websock_connections_total"), 3.0);

    // The ends: 1000 by the client, 4321 by the client, none, 1002 by the server, and gone without a word.
    let close = |client: &mut Client, payload: &[u8]| {
        client.send(&masked(server::CLOSE, payload));
        client.expect_bytes(&plain(server::CLOSE, payload));
        client.expect_end();
    };
    close(&mut browser, &1000_u16.to_be_bytes());
    close(&mut script, &4321_u16.to_be_bytes());
    close(&mut echo, b"");
    let mut faulty = Client::open(server.address(), "/echo", "");
    faulty.send(&masked_header(0x83, 1));
    faulty.expect_closed(1002);
    let gone = Client::open(server.address(), "/echo", "");
    drop(gone);
    server.wait_for_line("peer vanished");
    // Refusals and those turned away.
    let crowd: Vec<_> = (0..3).map(|_| Client::open(server.address(), "/echo", "")).collect();
    let mut fourth = Client::open(server.address(), "/echo", "");
    fourth.expect(&[r#"{"opcode":"close","error":"too many connections from your address"}"#]);
    fourth.expect_closed(1013);
    for (request, status) in [(upgrade("/none", ""), "404"), ("x y z\r\n\r\n".to_owned(), "400")] {
        let mut client = Client::connect(server.address());
        client.send(request.as_bytes());
        assert!(client.head().starts_with(&format!("HTTP/1.1 {status} ")));
    }
    let mut idle = Client::connect(server.address());
    idle.send(b"GET ");
    let end = scrape(&server);
    for (by, code, times) in [
        ("client", "1000", 1.0),
        ("client", "4xxx", 1.0),
        ("client", "1005", 1.0),
        ("client", "1006", 1.0),
        ("server", "1002", 1.0),
        ("server", "1013", 0.0),
    ] {
        assert_eq!(end.value("websock_closes_total", &[("by", by), ("code", code)]), times, "{by} {code}");
    }
    assert_eq!(end.sum("websock_closes_total"), 5.0, "one for each client that has left");
    assert_eq!(count(&end, "in", "close"), (4.0, 6.0), "from all that were not failed");
    assert_eq!(count(&end, "out", "close").0, 5.0, "to all but the one that has vanished");
    assert_eq!(end.sum("websock_connections_total"), 8.0);
    for (status, times) in [("404", 1.0), ("400", 1.0), ("403", 0.0)] {
        assert_eq!(end.value("websock_refusals_total", &[("status", status)]), times, "{status}");
    }
    assert_eq!(end.value("websock_turned_away_total", &[("limit", "maxPerIP")]), 1.0);
    assert_eq!(end.value("websock_turned_away_total", &[("limit", "maxClients")]), 0.0);
    assert_eq!(clients(&end, "/echo", "browser"), (3.0, 6.0));
    assert_eq!(clients(&end, "/b\"\\", "script"), (0.0, 1.0));
    let other = end.value("websock_connections", &[("resource", ""), ("type", "other")]);
    assert!(other >= 2.0, "{other}: the idle one and the one that asks");
    assert!(end.value("websock_accepted_total", &[]) >= 15.0);
    drop((crowd, idle));
}

fn dropped(server: &Server) -> [f64; 3] {
    let now = scrape(server);
    ["backlog", "backlog_time", "memory"]
        .map(|reason| now.value("websock_clients_dropped_total", &[("reason", reason)]))
}

/// A client that never reads, and a function that sends it a message; `false`: it was not handed over.
fn sleeper(server: &Server) -> (Client, impl FnMut(usize) -> bool) {
    let client = Client::connect_from(None, Some(4096), server.address());
    let mut client = client.upgraded("/", "Ident: sleeper\r\n");
    client.expect_greeting();
    let mut script = Client::script(server);
    let say = move |length| {
        script.say(&format!(r#"{{"opcode":"feedback","ident":"sleeper","message":"{}"}}"#, "x".repeat(length)));
        without_id(script.frame().text()) == NEXT_1
    };
    (client, say)
}

#[test]
fn who_lets_too_much_wait_is_counted() {
    let server = Server::start("[limits]\nmaxBacklog = 100000\n");
    let (client, mut say) = sleeper(&server);
    let mut handed = 0;
    while say(65_536) {
        handed += 1;
        assert!(handed < 1000, "it never gets full");
    }
    let now = scrape(&server);
    assert_eq!(now.value("websock_messages_dropped_total", &[("reason", "too_slow")]), 1.0);
    assert_eq!(now.value("websock_closes_total", &[("by", "server"), ("code", "1013")]), 1.0);
    assert_eq!(now.value("websock_deliveries_total", &[]), f64::from(handed));
    assert!(now.value("websock_backlog_bytes", &[]) > 100_000.0);
    assert_eq!(now.value("websock_backlog_max_bytes", &[]), 536_870_912.0);
    assert_eq!(dropped(&server), [1.0, 0.0, 0.0]);
    drop(client);
}

#[test]
fn who_lets_it_wait_too_long_is_counted() {
    let server = Server::start("[limits]\nmaxBacklogTime = 1\n");
    let (client, mut say) = sleeper(&server);
    while scrape(&server).value("websock_backlog_bytes", &[]) == 0.0 {
        assert!(say(65_536));
    }
    server::wait_until("it is dropped", || dropped(&server) == [0.0, 1.0, 0.0]);
    drop(client);
}

#[test]
fn who_is_dropped_for_memory_is_counted() {
    let server = Server::start("[limits]\nmaxMemory = 5000000\n");
    let unfinished = || {
        let mut client = Client::open(server.address(), "/echo", "");
        client.send(&masked_header(BINARY, 4_000_000));
        client.send(&vec![0; 3_000_000]);
        client
    };
    let clients = [unfinished(), unfinished()];
    server::wait_until("one of the two is dropped", || dropped(&server) == [0.0, 0.0, 1.0]);
    let now = scrape(&server);
    assert_eq!(now.value("websock_closes_total", &[("by", "server"), ("code", "1013")]), 1.0);
    assert_eq!(now.value("websock_message_bytes_total", &[("direction", "in"), ("opcode", "binary")]), 0.0);
    drop(clients);
}

#[test]
fn turns_and_the_process_are_measured() {
    let server = Server::start("");
    let before = scrape(&server);
    let mut echo = Client::open(server.address(), "/echo", "");
    for _ in 0..100 {
        echo.say("x");
        echo.expect(&["x"]);
    }
    let after = scrape(&server);
    let more = |name: &str| after.value(name, &[]) - before.value(name, &[]);
    let turns = more("websock_turn_seconds_count");
    assert!((100.0..1000.0).contains(&turns), "{turns} turns");
    let spent = more("websock_turn_seconds_sum");
    assert!(spent > turns * 1e-6 && spent < 4.0, "{spent} s");
    let quick = |metrics: &Metrics| metrics.value("websock_turn_seconds_bucket", &[("le", "0.01")]);
    assert!(quick(&after) - quick(&before) > turns / 2.0, "sleep is not counted");
    let cpu = more("websock_cpu_seconds_total");
    assert!(cpu > 0.0 && cpu < 4.0, "{cpu}");
    // The connection that asked may be gone meanwhile.
    let descriptors = server.descriptors() as f64;
    assert!([0.0, 1.0].contains(&(after.value("websock_descriptors", &[]) - descriptors)), "{descriptors}");
    assert!(after.value("websock_descriptors_max", &[]) > 64.0);
    assert!(after.value("websock_resident_memory_bytes", &[]) > 1e6);
    let age = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - after.value("websock_start_time_seconds", &[]);
    assert!((-1.0..60.0).contains(&age), "{age}");
    assert_eq!(after.value("websock_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!(after.value("websock_log_lines_lost_total", &[]), 0.0);
}

#[test]
fn what_peers_send_makes_no_labels() {
    let server = Server::start("");
    let series = |metrics: &Metrics| metrics.samples.keys().cloned().collect::<BTreeSet<_>>();
    let before = series(&scrape(&server));
    let mut client = Client::connect(server.address());
    client.send(upgrade("/made-up", "Ident: made-up\r\nOrigin: made-up\r\n").as_bytes());
    client.head();
    for code in [3000_u16, 3999, 4000, 4999, 1012] {
        let mut client = Client::open(server.address(), "/echo", "Ident: made-up\r\nOrigin: http://made-up\r\n");
        client.send(&masked(server::CLOSE, &code.to_be_bytes()));
        client.expect_bytes(&plain(server::CLOSE, &code.to_be_bytes()));
    }
    assert_eq!(series(&scrape(&server)), before);
}

/// `docs/metrics.md` has a table row for each metric, with its type and its labels, and no others.
#[test]
fn the_documentation_lists_what_there_is() {
    let page = include_str!("../docs/metrics.md");
    let listed: BTreeMap<&str, (&str, BTreeSet<&str>)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `websock_"))
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[2].split(", ").filter(|label| !label.is_empty()).map(|label| label.trim_matches('`'));
            (cells[0].trim_matches('`'), (cells[1], labels.collect()))
        })
        .collect();
    let metrics = scrape(&Server::start(""));
    for (name, kind) in &metrics.types {
        let name = name.strip_prefix("websock_").expect("the prefix");
        let (kind_there, labels_there) =
            listed.get(name).unwrap_or_else(|| panic!("{name} is missing in docs/metrics.md"));
        assert_eq!(kind_there, kind, "{name}");
        let own = |sample: &str| {
            let base = sample.strip_prefix("websock_").expect("the prefix");
            base.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
        };
        let labels: BTreeSet<&str> = metrics
            .samples
            .keys()
            .filter(|(sample, _)| own(sample))
            .flat_map(|(_, labels)| labels.keys().map(String::as_str))
            .collect();
        assert_eq!(*labels_there, labels, "labels of {name}");
    }
    assert_eq!(listed.len(), metrics.types.len(), "and nothing else");
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with("websock_")) {
        let word = word.strip_prefix("websock_").expect("the prefix");
        let known = listed
            .keys()
            .any(|name| word.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count")));
        assert!(known, "an example speaks of websock_{word}");
    }
}

/// A turn of the loop is not slow because somebody asks.
#[test]
fn asking_costs_little() {
    let server = Server::start("");
    let mut client = Client::connect(server.address());
    for _ in 0..50 {
        get(&mut client, "/metrics", "");
    }
    let metrics = scrape(&server);
    let quick = metrics.value("websock_turn_seconds_bucket", &[("le", "0.025")]);
    let all = metrics.value("websock_turn_seconds_count", &[]);
    assert!(all >= 50.0 && quick > all * 0.8, "{quick} of {all} under {:?}", Duration::from_millis(25));
}

//! Who may come in: the allow list, proxies, origins, the demo page, and what a browser may ask for.

#[path = "common/server.rs"]
mod server;

use server::{Client, ELSEWHERE, NEXT, NEXT_0, NEXT_1, OLD_SCRIPT, SCRIPT, Server, upgrade};

/// The status of an answer to an upgrade of `/web` with `fields`; a 101 is followed by a greeting.
fn status(mut client: Client, fields: &str) -> u16 {
    client.send(upgrade("/web", fields).as_bytes());
    let head = client.head();
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    if status == 101 {
        client.expect_greeting();
    } else {
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        client.half_close();
        client.rest(std::time::Instant::now() + server::PATIENCE);
    }
    status
}

fn from_here(server: &Server, fields: &str) -> u16 {
    status(Client::connect(server.address()), fields)
}

fn from_elsewhere(server: &Server, fields: &str) -> u16 {
    status(Client::connect_from(Some(ELSEWHERE), None, server.address()), fields)
}

#[test]
fn scripts_come_from_the_allow_list() {
    let server = Server::start("");
    for script in [SCRIPT, OLD_SCRIPT] {
        assert_eq!((from_here(&server, script), from_elsewhere(&server, script)), (101, 403));
    }
    assert_eq!(from_elsewhere(&server, ""), 101, "a browser may come from anywhere");
    server.wait_for_line("403 Forbidden");

    let server = Server::start("[access]\nallowedIP = 127.0.0.2/31\n");
    assert_eq!((from_here(&server, SCRIPT), from_elsewhere(&server, SCRIPT)), (101, 101));
    let server = Server::start("[access]\nallowedIP =\n");
    assert_eq!(from_here(&server, SCRIPT), 101, "the address listened on");
    assert_eq!(from_elsewhere(&server, SCRIPT), 403);
    let server = Server::start_as(server::program(), "[access]\nallowedIP =\n", "ws://0.0.0.0:0");
    let port = server.address().port();
    assert_eq!(status(Client::connect(([127, 0, 0, 1], port).into()), SCRIPT), 403, "a wildcard is no address");
}

#[test]
fn behind_a_proxy_that_nobody_trusts_nobody_is_on_the_allow_list() {
    let server = Server::start("");
    for field in ["X-Forwarded-For: 127.0.0.1", "forwarded: for=127.0.0.1", "Via: 1.1 proxy", "X-Forwarded-For:"] {
        assert_eq!(from_here(&server, &format!("{SCRIPT}{field}\r\n")), 403, "{field}");
        assert_eq!(from_here(&server, &format!("{field}\r\n")), 101, "{field}");
        let mut page = Client::connect(server.address());
        page.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n").as_bytes());
        assert!(page.head().starts_with("HTTP/1.1 403 Forbidden\r\n"), "{field}");
    }
    server.wait_for_line("trustedProxies");
    assert_eq!(server.lines_with("trustedProxies").len(), 1, "said once");
}

#[test]
fn behind_a_trusted_proxy_the_client_is_who_it_saw() {
    let server = Server::start("[access]\ntrustedProxies = 127.0.0.1\nallowedIP = 192.0.2.7\n[limits]\nmaxPerIP = 1\n");
    let script = |chain: &str| from_here(&server, &format!("{SCRIPT}X-Forwarded-For: {chain}\r\n"));
    assert_eq!(script("192.0.2.7"), 101);
    assert_eq!(script("203.0.113.1, 192.0.2.7"), 101);
    assert_eq!(script("192.0.2.7, 203.0.113.1"), 403, "what the client forged doesn't help it");
    assert_eq!(script("unknown"), 403);
    assert_eq!(from_here(&server, &format!("{SCRIPT}Via: 1.1 proxy\r\n")), 403, "it doesn't say who");
    // Who isn't a trusted proxy can say what it likes.
    assert_eq!(from_elsewhere(&server, &format!("{SCRIPT}X-Forwarded-For: 192.0.2.7\r\n")), 403);

    // The limit per address counts the addresses behind the proxy.
    let browser = |ip: &str| Client::open(server.address(), "/", &format!("X-Forwarded-For: {ip}\r\n"));
    let (mut one, mut other, mut again) = (browser("198.51.100.1"), browser("198.51.100.2"), browser("198.51.100.1"));
    one.expect_greeting();
    other.expect_greeting();
    again.expect(&[r#"{"opcode":"close","error":"too many connections from your address"}"#]);
    server.wait_for_line("198.51.100.2");
}

#[test]
fn a_chain_of_proxies_is_read_from_its_end_in_every_form_it_may_have() {
    let server = Server::start(
        "[access]\ntrustedProxies = 127.0.0.1, 10.0.0.0/8, 2001:db8:f::/48\nallowedIP = 192.0.2.7, 2001:db8::7\n",
    );
    let script = |fields: &str| from_here(&server, &format!("{SCRIPT}{fields}\r\n"));
    for fields in [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-For: 203.0.113.1,192.0.2.7 ,\t10.1.2.3",
        "X-Forwarded-For: 192.0.2.7:5000, 10.1.2.3:443",
        "X-Forwarded-For: 2001:db8::7",
        "X-Forwarded-For: [2001:db8::7]",
        "X-Forwarded-For: [2001:DB8::7]:5000, [2001:db8:f::1]:80",
        "X-Forwarded-For: ::ffff:192.0.2.7",
        // Several lines are one list, in their order.
        "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 192.0.2.7\r\nx-forwarded-for: 10.1.2.3, 10.1.2.4",
        "X-Forwarded-For: 192.0.2.7\r\nVia: 1.1 proxy\r\nForwarded: for=203.0.113.1",
        // What stands before the client's own address is what the client said, and is not read.
        "X-Forwarded-For: what is this, 192.0.2.7",
        "X-Forwarded-For: , , 192.0.2.7, ,",
    ] {
        assert_eq!(script(fields), 101, "{fields}");
    }
    for fields in [
        "X-Forwarded-For: 192.0.2.7, 203.0.113.1",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.1",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.1, 10.1.2.3",
        "X-Forwarded-For: 127.0.0.1, 203.0.113.1",
        // All of them trusted: the farthest is the client, and it is on no list.
        "X-Forwarded-For: 10.1.2.3",
        "X-Forwarded-For: 192.0.2.70",
        "X-Forwarded-For: 2001:db8::8",
        "X-Forwarded-For: unknown",
        "X-Forwarded-For: 192.0.2.7, _hidden",
        "X-Forwarded-For: 192.0.2.7, 192.0.2.7.example",
        "X-Forwarded-For: \"192.0.2.7\"",
        "X-Forwarded-For: 192.0.2.7;203.0.113.1",
        "X-Forwarded-For: 192.0.2.007",
        "X-Forwarded-For: 3221225991",
        "X-Forwarded-For:",
        // Only X-Forwarded-For is read: another field tells that there is a proxy, and not whose request it passes on.
        "Forwarded: for=192.0.2.7",
        "X-Real-IP: 192.0.2.7\r\nVia: 1.1 proxy",
    ] {
        assert_eq!(script(fields), 403, "{fields}");
    }
}

#[test]
fn allowed_ranges_are_held_to_the_bit() {
    for (range, here, elsewhere) in [
        ("127.0.0.0/8", 101, 101),
        ("127.0.0.2/32", 403, 101),
        ("127.0.0.2", 403, 101),
        ("127.0.0.0/31", 101, 403),
        ("127.0.0.0/30", 101, 101),
        ("0.0.0.0/0", 101, 101),
        ("::/0", 403, 403),
        ("::ffff:127.0.0.2", 403, 101),
        ("128.0.0.0/1", 403, 403),
        ("192.0.2.0/24, 127.0.0.2", 403, 101),
    ] {
        // On a wildcard no address of its own is on the list.
        let ini = format!("[access]\nallowedIP = {range}\n");
        let server = Server::start_as(server::program(), &ini, "ws://0.0.0.0:0");
        let address = ([127, 0, 0, 1], server.address().port()).into();
        assert_eq!(status(Client::connect(address), SCRIPT), here, "{range}");
        assert_eq!(status(Client::connect_from(Some(ELSEWHERE), None, address), SCRIPT), elsewhere, "{range}");
    }
}

#[test]
fn browsers_come_from_the_allowed_origins() {
    let server = Server::start("[access]\nallowedOrigins = https://shop.example, http://*.dev.example:8080\n");
    for origin in ["https://shop.example", "HTTPS://Shop.Example:443", "http://a.dev.example:8080"] {
        assert_eq!(from_here(&server, &format!("Origin: {origin}\r\n")), 101, "{origin}");
    }
    for origin in [
        "null",
        "",
        "http://shop.example",
        "https://shop.example:444",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://user@shop.example",
        "https://shop.example/",
        "http://dev.example:8080",
        "http://evil-dev.example:8080",
        "https://a.dev.example:8080",
        "https://shop.example, https://shop.example",
        "https://shop.example\r\nOrigin: https://shop.example",
        "https://evil.example\r\nOrigin: https://shop.example",
    ] {
        assert_eq!(from_here(&server, &format!("Origin: {origin}\r\n")), 403, "{origin}");
    }
    assert_eq!(from_here(&server, ""), 403, "no Origin where one is asked for");
    // The old client sends one with a trailing blank.
    assert_eq!(from_here(&server, SCRIPT), 101);
    assert_eq!(from_here(&server, &format!("{SCRIPT}Origin: http://elsewhere \r\n")), 101);
    assert_eq!(from_elsewhere(&server, &format!("{SCRIPT}Origin: https://shop.example\r\n")), 403);

    let anyone = Server::start("");
    for fields in ["", "Origin: null\r\n", "Origin: http://anything\r\n"] {
        assert_eq!(from_here(&anyone, fields), 101, "{fields:?}");
    }
}

#[test]
fn a_browser_may_do_what_browsers_may() {
    for (may, feedback, broadcast, echo) in [
        ("none", false, false, false),
        ("feedback", true, false, false),
        ("broadcast", false, true, false),
        ("echo", false, false, true),
        ("feedback, broadcast, echo", true, true, true),
    ] {
        let server = Server::start(&format!("[access]\nbrowsersMay = {may}\n"));
        let (mut browser, _) = Client::browser(&server, "/");
        let (mut other, uuid) = Client::browser(&server, "/");
        let mut script = Client::script(&server);
        for (opcode, allowed) in [("feedback", feedback), ("broadcast", broadcast), ("echo", echo)] {
            let message = format!(r#"{{"opcode":"{opcode}","uuid":"{uuid}"}}"#);
            browser.say(&message);
            if allowed {
                browser.expect(&[NEXT_1]);
                let receiver = if opcode == "echo" { &mut browser } else { &mut other };
                receiver.expect(&[&message]);
            } else {
                let answer = browser.frame();
                let error = answer.text().strip_prefix(&NEXT_0[..NEXT_0.len() - 1]).expect("delivered to nobody");
                assert!(error.starts_with(r#","error":""#) && error.contains(opcode), "{error}");
            }
            browser.expect_nothing_else();
            script.say(&message);
            let receiver = if opcode == "echo" { None } else { Some(&mut other) };
            match receiver {
                Some(other) => {
                    let delivered = if opcode == "broadcast" { 2 } else { 1 };
                    script.expect(&[&format!(r#"{{"opcode":"next","fyi":"","delivered":{delivered}}}"#)]);
                    other.expect(&[&message]);
                    if opcode == "broadcast" {
                        browser.expect(&[&message]);
                    }
                }
                None => script.expect(&[NEXT_1, &message]),
            }
            for client in [&mut browser, &mut other, &mut script] {
                client.expect_nothing_else();
            }
        }
        // Leaving is not asked for.
        browser.say(r#"{"opcode":"quit"}"#);
        browser.expect(&[NEXT]);
        browser.expect_closed(1000);
    }
}

#[test]
fn the_demo_pages_and_what_they_load_are_served() {
    let server = Server::start("");
    let mut client = Client::connect(server.address());
    let (html, css) = ("text/html; charset=utf-8", "text/css; charset=utf-8");
    let javascript = "text/javascript; charset=utf-8";
    for (path, content_type, body) in [
        ("/", html, &include_bytes!("../clients/web/index.html")[..]),
        ("/?a=b", html, include_bytes!("../clients/web/index.html")),
        ("/demo.css", css, include_bytes!("../clients/web/demo.css")),
        ("/demo.js", javascript, include_bytes!("../clients/web/demo.js")),
        ("/notifications.html", html, include_bytes!("../clients/web/notifications.html")),
        ("/notifications.css", css, include_bytes!("../clients/web/notifications.css")),
        ("/notifications.js", javascript, include_bytes!("../clients/web/notifications.js")),
        ("/page.css", css, include_bytes!("../clients/web/page.css")),
        ("/page.js", javascript, include_bytes!("../clients/web/page.js")),
        ("/websock.js", javascript, include_bytes!("../clients/js/websock.js")),
        ("/webntf.js", javascript, include_bytes!("../clients/js/webntf.js")),
        ("/connection.js", javascript, include_bytes!("../clients/js/connection.js")),
        ("/events.js", javascript, include_bytes!("../clients/js/events.js")),
        ("/icon.svg", "image/svg+xml", include_bytes!("../clients/web/icon.svg")),
    ] {
        // All on one connection, HEAD and GET in turn: their heads are the same, and HEAD has no body.
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let only_head = client.head();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        let (head, served) = client.response();
        assert_eq!(only_head, head);
        assert!(served == body, "{path} is served as it is in the source");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!head.contains("Connection:"), "{head}");
        for line in [
            format!("Content-Type: {content_type}"),
            "X-Content-Type-Options: nosniff".to_owned(),
            "Referrer-Policy: no-referrer".to_owned(),
            "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                .to_owned(),
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
    }
}

#[test]
fn a_connection_is_kept_for_further_requests_as_http_says() {
    let server = Server::start("");
    for (version, connection, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let mut client = Client::connect(server.address());
        client.send(format!("GET /icon.svg HTTP/{version}\r\nHost: a\r\n{connection}\r\n").as_bytes());
        let (head, _) = client.response();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(head.contains("\r\nConnection: close\r\n"), !kept, "{version} {connection:?}: {head}");
        if kept {
            client.upgraded("/web", "").expect_greeting();
        } else {
            client.expect_end();
        }
    }
}

#[test]
fn the_demo_pages_are_for_the_allow_list() {
    let server = Server::start("");
    for path in ["/", "/demo.js", "/websock.js", "/notifications.html", "/webntf.js"] {
        let mut client = Client::connect_from(Some(ELSEWHERE), None, server.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 403 Forbidden\r\n"), "{path}");
    }
    let mut client = Client::connect(server.address());
    client.send(b"POST /demo.js HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
}

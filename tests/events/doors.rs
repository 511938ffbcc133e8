//! Who is let in to a stream, and what those are told who are not.

use super::server::{Client, Server, upgrade};
use super::stream::{INI, Stream, ask, broadcast, head, told};

#[test]
fn head_is_answered_with_the_head_and_is_no_client() {
    let server = Server::start(INI);
    let mut client = Client::connect(server.address());
    ask(&mut client, "HEAD", "/sse?token=x", "");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/event-stream\r\n"), "{head}");
    client.expect_end();
    assert!(server.lines_with("opened").is_empty());
}

#[test]
fn what_can_not_be_a_stream_gets_a_status_with_a_sentence() {
    let server = Server::start(INI);
    let long = format!("/sse?token={}", "x".repeat(257));
    for (status, method, target, fields, why) in [
        (405, "POST", "/sse", "Content-Length: 0\r\n", "only GET"),
        (400, "GET", "/sse?token=%f", "", "%"),
        (400, "GET", &long, "", "256 bytes"),
        (400, "GET", "/sse?channel=", "", "without a name"),
        (400, "GET", "/sse?domain=a&domain=b", "", "more than one"),
        (404, "GET", "/sse/x", "", "no such resource"),
    ] {
        let mut client = Client::connect(server.address());
        ask(&mut client, method, target, fields);
        let (head, body) = client.response();
        let body = String::from_utf8(body).expect("UTF-8");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && body.contains(why), "{target:.40}: {head}{body}");
    }
    let mut client = Client::connect(server.address());
    client.send(upgrade("/sse", "").as_bytes());
    let (head, body) = client.response();
    assert!(head.starts_with("HTTP/1.1 400 ") && body.starts_with(b"this is a stream of events"), "{head}");
    server.wait_for_line("refused, 400 Bad Request: this is a stream of events");
    let alone = Server::start("[resources]\n/ = relay\n/sse = sse\n");
    let mut client = Client::connect(alone.address());
    ask(&mut client, "GET", "/sse?token=x", "");
    assert!(client.response().1.starts_with(b"no resource is webntf"));
    Stream::open_as(&alone, "/sse?x=1&y", "");
}

#[test]
fn pages_of_other_origins_get_what_lets_them_read_it() {
    let allowed = |head: &str| -> Vec<String> {
        let fields = head.lines().filter(|line| line.starts_with("Access-Control-") || line.starts_with("Vary"));
        fields.map(str::to_owned).collect()
    };
    let any = Server::start(INI);
    assert!(allowed(&head(&any, "GET", "/sse", "")).is_empty());
    let from = "Origin: https://shop.example\r\n";
    assert_eq!(allowed(&head(&any, "GET", "/sse", from)), ["Access-Control-Allow-Origin: *"], "and without cookies");
    let some =
        Server::start(&format!("{INI}[access]\nallowedOrigins = https://shop.example, https://*.shop.example\n"));
    let listed = ["https://shop.example", "https://a.shop.example"];
    for origin in listed {
        let head = head(&some, "GET", "/sse", &format!("Origin: {origin}\r\n"));
        let origin = format!("Access-Control-Allow-Origin: {origin}");
        assert_eq!(allowed(&head), [&*origin, "Access-Control-Allow-Credentials: true", "Vary: Origin"]);
    }
    // Browsers name no origin where it is the server's own.
    for (fields, status) in [
        ("", 200),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: https://shop.example\r\nOrigin: https://shop.example\r\n", 403),
    ] {
        let head = head(&some, "GET", "/sse", fields);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && allowed(&head).is_empty(), "{fields}: {head}");
    }
}

#[test]
fn a_limit_that_is_hit_is_said_in_an_event_and_the_browser_comes_again() {
    for (limit, why) in [("maxPerIP = 1", "from your address"), ("maxClients = 1", "try again later")] {
        let server = Server::start(&format!("{INI}[limits]\n{limit}\n"));
        let mut first = Stream::open(&server);
        let mut client = Client::connect(server.address());
        ask(&mut client, "GET", "/sse", "");
        assert!(client.head().starts_with("HTTP/1.1 200 "));
        let rest = String::from_utf8(client.rest(std::time::Instant::now() + super::server::PATIENCE)).expect("UTF-8");
        assert!(rest.starts_with("retry: 15000\n\nevent: close\ndata: {\"opcode\":\"close\",\"code\":1013,"), "{rest}");
        assert!(rest.ends_with(&format!("{why}\"}}\n\n")), "{rest}");
        server.wait_for_line("turned away");
        assert_eq!(broadcast(&server, "x"), 1, "it counts for nothing");
        first.expect(&[&told("x")]);
    }
}

#[test]
fn a_stopping_server_tells_a_browser_to_come_again() {
    let server = Server::start(INI);
    // Somebody it waits for.
    let _silent = Client::browser(&server, "/");
    let mut client = Client::connect(server.address());
    ask(&mut client, "GET", "/healthz", "");
    client.response();
    server.signal(rustix::process::Signal::TERM);
    server.wait_for_line("stopping: ");
    ask(&mut client, "GET", "/sse", "");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    let rest = String::from_utf8(client.rest(std::time::Instant::now() + super::server::PATIENCE)).expect("UTF-8");
    assert!(rest.starts_with("retry: 1000\n\nevent: close\ndata: {\"opcode\":\"close\",\"code\":1001,"), "{rest}");
}

#[test]
fn where_a_session_is_required_a_stream_needs_one_too() {
    let server = Server::start(&format!("{INI}[jsauth]\nrequire = true\nssp = sessions\nkey = ok\nuser = name\n"));
    let folder = server.folder().path().join("sessions");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("sess_in"), "ok|b:1;name|s:3:\"kim\";").expect("a session");
    std::fs::write(folder.join("sess_out"), "ok|b:0;").expect("a session");
    for (fields, status) in [("", 401), ("Cookie: PHPSESSID=out\r\n", 401), ("Cookie: PHPSESSID=in\r\n", 200)] {
        let head = head(&server, "GET", "/sse", fields);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {head}");
    }
    server.wait_for_line("user \"kim\"");
}

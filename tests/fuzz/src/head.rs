//! Target `head`: the bytes of a request, from the scanner to the gate.
//!
//! The input is what a client sends before anything else. Permitted, and nothing besides:
//!
//! - The scanner finds a head of at most 16 KiB that ends in an empty line, asks for more, or refuses with 400, 414,
//!   431 or 505.
//! - Cut into any pieces the input comes to the same.
//! - The request is read, or refused with 400, 431 or 501. One that was read has one Host, no body where it is a GET,
//!   and a path that is fit for a log.
//! - The gate lets in what it may by this server's rules (a WebSocket by GET over HTTP/1.1; a script from the allow
//!   list; a browser from an allowed origin; a `101` under 1,024 bytes), serves a page to the allow list, or refuses
//!   with 400, 403, 404, 405 or 426.
//! - A refusal is one response that says how long it is and that the connection ends.

use std::net::IpAddr;
use std::path::Path;

use websock::app::gate::{Answer, Gate, Source, Upgrade};
use websock::app::registry::{ClientKind, Registry};
use websock::app::{Routes, handler_names};
use websock::config::{Access, Config};
use websock::proto::handshake;
use websock::proto::http::{self, HeadScanner, MAX_HEAD, Refusal, Request};

use crate::pieces;

/// The rules that a request is held against: what the shipped file says, and a site behind a proxy, with streams of events.
const SITES: [&str; 2] = [
    "",
    "[access]\nallowedIP = 192.0.2.0/24\nallowedOrigins = https://shop.example, http://*.shop.example:8080\n\
     trustedProxies = 127.0.0.1, 10.0.0.0/8\n\
     [resources]\n/web = relay\n/php = relay\n/webntf = webntf\n/sse = sse\n",
];

/// One peer on this machine, one elsewhere.
const PEERS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7))];

struct Site {
    config: Config,
    routes: Routes,
    clients: Registry,
}

thread_local! {
    static MADE: Vec<Site> = SITES
        .iter()
        .map(|ini| {
            let made = Config::parse(ini, Path::new("fuzz.ini"), &handler_names(), &|_| None);
            let (config, _) = made.expect("a good file");
            Site {
                routes: Routes::new(&config),
                config,
                clients: Registry::new(false, 0),
            }
        })
        .collect();
}

/// See the top.
pub fn run(data: &[u8]) {
    let whole = HeadScanner::default().scan(data);
    match whole {
        Ok(None) => {}
        Ok(Some(end)) => assert!(end <= MAX_HEAD && data[..end].ends_with(b"\r\n\r\n"), "a head of {end} bytes"),
        Err(refusal) => check_refusal(refusal, &[400, 414, 431, 505]),
    }
    for most in [1, 7, data.len()] {
        let cut = scan_in_pieces(data, most);
        assert_eq!(cut, whole, "in pieces of at most {most}, and in one");
    }
    // What is no whole head never gets this far in the server; it must not matter if it did.
    let head = if let Ok(Some(end)) = whole { &data[..end] } else { data };
    let mut room = http::fields();
    match Request::parse(head, &mut room) {
        Err(refusal) => check_refusal(refusal, &[400, 431, 501]),
        Ok(request) => MADE.with(|sites| sites.iter().for_each(|site| ask(site, &request))),
    }
}

fn scan_in_pieces(data: &[u8], most: usize) -> Result<Option<usize>, Refusal> {
    let mut scanner = HeadScanner::default();
    for end in pieces::ends(data, most) {
        let scanned = scanner.scan(&data[..end]);
        if scanned != Ok(None) {
            return scanned;
        }
    }
    Ok(None)
}

fn ask(site: &Site, request: &Request<'_>) {
    let Site { config, routes, clients } = site;
    let access = &config.access;
    assert!(request.path.starts_with('/') && !request.path.contains(['?', '#']), "path {:?}", request.path);
    assert!(!request.path.chars().any(char::is_control), "control character in the path {:?}", request.path);
    request.keeps_alive();
    let hosts = request.all("host").count();
    assert!(hosts == 1 || (hosts == 0 && request.http_1_0), "{hosts} Host fields");
    if matches!(request.method, "GET" | "HEAD") {
        assert!(request.first("transfer-encoding").is_none(), "a body of some length");
        assert!(request.list("content-length").all(|length| length.bytes().all(|b| b == b'0')), "a body");
    }
    let listening = [PEERS[0]];
    let gate = Gate { config, listening: &listening, routes, clients, stopping: false };
    for peer in PEERS {
        let source = gate.source(request, peer);
        let allowed = source.known
            && (listening.contains(&source.ip) || access.allowed_ip.iter().any(|range| range.contains(source.ip)));
        check_source(access, request, peer, source);
        match gate.answer(request, peer) {
            Err(refusal) => check_refusal(refusal, &[400, 403, 404, 405, 426]),
            Ok(Answer::Page(page)) => {
                assert!(
                    (allowed || page.is_public()) && matches!(request.method, "GET" | "HEAD"),
                    "a page to {source:?}"
                );
            }
            Ok(Answer::Call) => assert!(allowed && request.method == "POST", "a call from {source:?}"),
            Ok(Answer::Preflight) => panic!("no origins are listed"),
            Ok(Answer::Stream(stream)) => {
                assert!(matches!(request.method, "GET" | "HEAD") && stream.ip == source.ip);
                // A page of the server's own origin names none.
                let meant = |origin| access.allowed_origins.iter().any(|pattern| pattern.matches(origin));
                assert!(!stream.listed || stream.origin.is_none_or(meant), "a stream to {:?}", stream.origin);
            }
            Ok(Answer::Upgrade(upgrade)) => {
                assert_eq!((request.method, request.http_1_0, upgrade.ip), ("GET", false, source.ip));
                match upgrade.kind {
                    ClientKind::Script => assert!(allowed, "a script from {source:?}"),
                    ClientKind::Browser => {
                        let origin = request.only("origin").ok().flatten();
                        let open = access.allowed_origins.is_empty();
                        let meant = |origin| access.allowed_origins.iter().any(|pattern| pattern.matches(origin));
                        assert!(open || origin.is_some_and(meant), "a browser with the origin {origin:?}");
                    }
                }
                check_upgrade(&upgrade);
            }
        }
    }
}

/// Only a proxy that is trusted can make anybody somebody else, or local.
fn check_source(access: &Access, request: &Request<'_>, peer: IpAddr, source: Source) {
    let forwarded = ["x-forwarded-for", "forwarded", "via"].iter().any(|name| request.first(name).is_some());
    let trusted = access.trusted_proxies.iter().any(|range| range.contains(peer));
    if !forwarded || !trusted {
        assert_eq!(source, Source { ip: peer, known: !forwarded, untrusted_proxy: forwarded });
    }
}

fn check_upgrade(upgrade: &Upgrade<'_>) {
    assert!(upgrade.ident.len() <= 256 && !upgrade.ident.contains(['\r', '\n']), "ident {:?}", upgrade.ident);
    assert!(matches!(upgrade.subprotocol, None | Some("websock.v1")));
    assert_eq!(upgrade.paced, upgrade.kind == ClientKind::Script && upgrade.subprotocol.is_none());
    assert_eq!(upgrade.turned_away, None, "nobody is connected");
    let mut out = Vec::new();
    handshake::write_101(&mut out, upgrade.key, upgrade.subprotocol, upgrade.deflate);
    let text = String::from_utf8(out).expect("ASCII");
    assert!(text.len() < 1024 && text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\n"), "{text:?}");
    assert!(text.contains("\r\nConnection: Upgrade\r\n"), "{text:?}");
}

fn check_refusal(refusal: Refusal, permitted: &[u16]) {
    assert!(permitted.contains(&refusal.status), "{refusal}");
    let mut out = Vec::new();
    http::write_refusal(&mut out, refusal);
    let text = String::from_utf8(out).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with(&format!("HTTP/1.1 {} {}\r\n", refusal.status, http::reason_phrase(refusal.status))));
    assert!(head.contains("\r\nConnection: close"), "{head:?}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head:?}");
    assert_eq!(refusal.to_string().lines().count(), 1, "a line of the log");
}

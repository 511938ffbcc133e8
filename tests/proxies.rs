//! The server behind nginx, Apache, Caddy and HAProxy, each as its page in `docs/` configures it: the configuration and
//! the settings are taken out of that page, only ports and times are replaced.
//!
//! It needs those four, so a bare `cargo test` leaves it out (`test = false` in Cargo.toml): `tests/run proxies` installs
//! them and runs it, against the release build (`WEBSOCK_BIN`).

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "common/server.rs"]
mod server;

#[path = "proxies/proxy.rs"]
mod proxy;

use proxy::{Proxy, Recipe, Upstream};
use server::{
    CLOSE, Client, ELSEWHERE, Folder, NEXT, NEXT_1, PATIENCE, PING, PONG, SCRIPT, Server, masked, masked_text, plain,
    upgrade,
};

const NGINX: Recipe = Recipe {
    page: "docs/nginx.md",
    language: "nginx",
    listen: ("listen 80;", "listen ADDRESS;"),
    upstream: "server 127.0.0.1:8096;",
    unix: "server unix:/run/websock/websock.sock;",
    idle: &["60s;"],
    start: |folder, site| {
        // What Debian's nginx.conf has around a site, with every path in the folder.
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {}/{kind}; ", folder.display()))
            .collect();
        let text = format!(
            "daemon off; pid {0}/pid; error_log stderr; events {{}} http {{ access_log off; {temp}\n{site}\n}}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(file).args(["-e", "stderr"]);
        command
    },
    reload: proxy::hang_up,
    reload_keeps: true,
};

const APACHE: Recipe = Recipe {
    page: "docs/apache.md",
    language: "apache",
    listen: ("<VirtualHost *:80>", "Listen ADDRESS\n<VirtualHost ADDRESS>"),
    upstream: "http://127.0.0.1:8096/",
    unix: "unix:/run/websock/websock.sock|http://localhost/",
    idle: &["timeout=60"],
    start: |folder, site| {
        // What Debian's apache2.conf and the modules of the page's a2enmod line come down to. The Timeout is short, since
        // the longer one holds, its own or the page's.
        let modules: String = ["mpm_event", "authz_core", "proxy", "proxy_http", "headers"]
            .iter()
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .collect();
        let text = format!(
            "{modules}ServerRoot {0}\nServerName localhost\nDefaultRuntimeDir {0}\nPidFile {0}/pid\nErrorLog {0}/log\n\
             Timeout 2\nUser www-data\nGroup www-data\n{site}\n",
            folder.display()
        );
        let file = folder.join("apache2.conf");
        fs::write(&file, text).expect("a file");
        let mut command = Command::new("apache2");
        command.args(["-D", "FOREGROUND", "-f"]).arg(file);
        command
    },
    reload: proxy::graceful,
    reload_keeps: true,
};

const CADDY: Recipe = Recipe {
    page: "docs/caddy.md",
    language: "caddyfile",
    listen: ("push.example.com {", ":PORT {\n\tbind 127.0.0.1"),
    upstream: "127.0.0.1:8096",
    unix: "unix//run/websock/websock.sock",
    idle: &[],
    start: |folder, site| {
        // A port for the administration would have to be a fixed one.
        let text = format!("{{\n\tadmin unix/{0}/admin\n\tauto_https off\n}}\n{site}", folder.display());
        fs::write(folder.join("Caddyfile"), text).expect("a file");
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]).current_dir(folder);
        command.env("HOME", folder).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command
    },
    reload: proxy::caddy_reload,
    reload_keeps: false,
};

const HAPROXY: Recipe = Recipe {
    page: "docs/haproxy.md",
    language: "haproxy",
    listen: ("bind :80\n", "bind ADDRESS\n"),
    upstream: "server websock 127.0.0.1:8096",
    unix: "server websock unix@/run/websock/websock.sock",
    idle: &["60s\n"],
    start: |folder, site| {
        let file = folder.join("haproxy.cfg");
        // As many clients as the page says need more descriptors than a test may have.
        fs::write(&file, site.replace("maxconn 100000", "maxconn 100")).expect("a file");
        let mut command = Command::new("haproxy");
        command.arg("-W").arg("-f").arg(file);
        command
    },
    reload: proxy::second_user_signal,
    reload_keeps: true,
};

/// The program under test: the release build, where it is named.
fn websock() -> Command {
    let Some(path) = std::env::var_os("WEBSOCK_BIN") else { return server::program() };
    let mut command = Command::new(path);
    command.env_remove("RUST_LOG");
    command
}

/// A server with these settings, and the proxy in front of it.
fn behind(recipe: &Recipe, ini: &str) -> (Server, Proxy) {
    let server = Server::start_as(websock(), ini, "ws://127.0.0.1:0");
    let proxy = Proxy::start(recipe, &Upstream::Tcp(server.address()));
    (server, proxy)
}

/// The settings of the page, and some more.
fn settings(recipe: &Recipe, limits: &str) -> String {
    format!("{limits}{RESOURCES}{}", recipe.block("ini"))
}

const RESOURCES: &str = "[resources]\n/web = relay\n/php = relay\n/sse = sse\n";

/// What a request is answered with through the proxy, from an address that is not on the allow list.
fn asked(proxy: &Proxy, path: &str, fields: &str) -> (Client, String) {
    asked_from(ELSEWHERE, proxy, path, fields)
}

fn asked_from(from: Ipv4Addr, proxy: &Proxy, path: &str, fields: &str) -> (Client, String) {
    let mut client = Client::connect_from(Some(from), None, proxy.address());
    client.send(upgrade(path, fields).as_bytes());
    let head = client.head();
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    (client, status)
}

/// A browser on `/web`, greeted, and its UUID.
fn browser(proxy: &Proxy, fields: &str) -> (Client, String) {
    let (mut client, status) = asked(proxy, "/web", fields);
    assert_eq!(status, "101");
    let uuid = client.expect_greeting();
    (client, uuid)
}

/// Everything that holds behind any of them.
fn holds(recipe: &Recipe) {
    let (server, proxy) = behind(recipe, &settings(recipe, ""));
    messages_go_both_ways(&server, &proxy);
    events_come_at_once(&server, &proxy);
    the_address_is_the_clients_own(&server, &proxy);
    nobody_outside_is_a_script(&server, &proxy);
    a_reload_of_the_proxy_is_its_own_business(recipe, &server, &proxy);
    assert!(server.lines_with(" ERROR ").is_empty());
    drop((server, proxy));
    a_unix_socket_does_as_well(recipe);
    what_the_client_claims_stays_outside(recipe);
    pings_keep_a_silent_client(recipe);
    without_trusted_proxies_nobody_is_local(recipe);
}

fn messages_go_both_ways(server: &Server, proxy: &Proxy) {
    let (mut page, uuid) = browser(proxy, "");
    let mut script = Client::script(server);
    for size in [10, 1_000_000] {
        let text = "x".repeat(size);
        let echo = format!(r#"{{"opcode":"echo","message":"{text}"}}"#);
        page.say(&echo);
        page.expect(&[NEXT_1, &echo]);
        let feedback = format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"{text}"}}"#);
        script.say(&feedback);
        script.expect(&[NEXT_1]);
        page.expect(&[&feedback]);
    }
    // Nothing is waited for to be sent along.
    for number in 0..20 {
        let began = Instant::now();
        page.say(r#"{"opcode":"-"}"#);
        page.expect(&[NEXT]);
        assert!(began.elapsed() < Duration::from_millis(500), "message {number} was held back");
    }
    page.send(&masked(CLOSE, &1000_u16.to_be_bytes()));
    page.expect_bytes(&plain(CLOSE, &1000_u16.to_be_bytes()));
    page.expect_end();
}

/// A stream of events, greeted, and its UUID. The proxy may cut the body into chunks of its own.
fn stream(proxy: &Proxy) -> (Client, String) {
    let mut client = Client::connect_from(Some(ELSEWHERE), None, proxy.address());
    client.send(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("text/event-stream"), "{head}");
    client.through(br#""uuid":""#);
    let uuid = String::from_utf8(client.bytes(36)).expect("ASCII");
    client.through(b"\n\n");
    (client, uuid)
}

fn events_come_at_once(server: &Server, proxy: &Proxy) {
    let (mut page, uuid) = stream(proxy);
    server.wait_for_line(&format!("{uuid} {ELSEWHERE}:"));
    let mut script = Client::script(server);
    for number in 0..20 {
        let began = Instant::now();
        script.say(&format!(r#"{{"opcode":"feedback","uuid":"{uuid}","message":"number {number}"}}"#));
        script.expect(&[NEXT_1]);
        page.through(format!("\"number {number}\"").as_bytes());
        assert!(began.elapsed() < Duration::from_millis(500), "message {number} was held back");
    }
    // The proxy tells of its end, in time for nothing to be said to have been delivered.
    drop(page);
    server.wait_for_line(&format!("{uuid} {ELSEWHERE}:"));
    server::wait_until("the server knows that the page has gone", || {
        server.lines_with(&uuid).iter().any(|line| line.contains("peer vanished"))
    });
}

fn the_address_is_the_clients_own(server: &Server, proxy: &Proxy) {
    for forged in [
        "",
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n",
        "x-forwarded-for: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
    ] {
        let (_client, uuid) = browser(proxy, forged);
        let line = server.wait_for_line(&uuid);
        assert!(line.contains(&format!("{uuid} {ELSEWHERE}:")), "{forged:?}: {line}");
    }
}

fn nobody_outside_is_a_script(server: &Server, proxy: &Proxy) {
    for forged in ["", "X-Forwarded-For: 127.0.0.1\r\n", "Forwarded: for=127.0.0.1\r\nVia: 1.1 localhost\r\n"] {
        let (_, status) = asked(proxy, "/web", &format!("{SCRIPT}{forged}"));
        assert_eq!(status, "403", "{forged:?}");
    }
    server.wait_for_line("/web refused, 403");

    // The path of the scripts is kept from outside altogether, however it is written.
    for path in
        ["/php", "/php?a=b", "/web/../php", "//php", "/./php", "/%70hp", "/web/..%2fphp", "/web;/../php", "/php/"]
    {
        for fields in ["", SCRIPT] {
            let (_, status) = asked(proxy, path, fields);
            assert!(matches!(status.as_str(), "400" | "403" | "404"), "{path}: {status}");
        }
    }
    let opened = server.lines_with("/php opened by");
    assert!(opened.iter().all(|line| line.contains(" 127.0.0.1:")), "only the script of this test: {opened:?}");
}

fn a_reload_of_the_proxy_is_its_own_business(recipe: &Recipe, server: &Server, proxy: &Proxy) {
    let (mut old, _) = browser(proxy, "");
    let mut script = Client::script(server);
    proxy.reload();
    let (mut new, uuid) = browser(proxy, "");
    let message = format!(r#"{{"opcode":"feedback","uuid":"{uuid}"}}"#);
    script.say(&message);
    script.expect(&[NEXT_1]);
    new.expect(&[&message]);
    if recipe.reload_keeps {
        old.expect_nothing_else();
    } else {
        // With a Close frame of its own, or the server's answer to one, or neither: who is first differs.
        old.rest(Instant::now() + PATIENCE);
    }
}

fn a_unix_socket_does_as_well(recipe: &Recipe) {
    let folder = Folder::new();
    let path = folder.path().join("web.sock");
    // Who the proxy runs as depends on who runs the test.
    let ini = settings(recipe, "socketMode = 0666\n");
    let server = Server::start_as(websock(), &ini, &format!("ws://127.0.0.1:0,unix:{}", path.display()));
    let proxy = Proxy::start(recipe, &Upstream::Unix(path));
    messages_go_both_ways(&server, &proxy);
    the_address_is_the_clients_own(&server, &proxy);
    nobody_outside_is_a_script(&server, &proxy);
}

/// The server would see through a forged address by itself; the page promises that it needn't.
fn what_the_client_claims_stays_outside(recipe: &Recipe) {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Proxy::start(recipe, &Upstream::Tcp(upstream.local_addr().expect("a bound socket")));
    let mut client = Client::connect_from(Some(ELSEWHERE), None, proxy.address());
    let forged = "X-Forwarded-For: 192.0.2.1\r\nX-FORWARDED-FOR: 192.0.2.2, 127.0.0.1\r\n";
    client.send(upgrade("/web", forged).as_bytes());
    upstream.set_nonblocking(true).expect("a socket");
    let connected = RefCell::new(None);
    server::wait_until("the proxy connects", || {
        connected.replace(upstream.accept().ok());
        connected.borrow().is_some()
    });
    let (stream, _) = connected.into_inner().expect("a connection");
    stream.set_nonblocking(false).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let values = |name: &str| -> Vec<&str> {
        let fields = head.iter().filter_map(|line| line.split_once(": "));
        fields.filter(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1).collect()
    };
    assert_eq!(values("X-Forwarded-For"), [ELSEWHERE.to_string()], "{head:?}");
    assert_eq!(head[0], "GET /web HTTP/1.1");
    assert_eq!(values("Host"), ["test"], "the name that the page asked for");
}

/// The times of the page are shortened to two seconds; the server pings every second, or never.
fn pings_keep_a_silent_client(recipe: &Recipe) {
    const IDLE: Duration = Duration::from_secs(2);
    if recipe.idle.is_empty() {
        return;
    }
    let (_server, proxy) = behind(recipe, &settings(recipe, "[limits]\npingInterval = 1\n"));
    let (mut page, _) = browser(&proxy, "");
    let (mut events, _) = stream(&proxy);
    let began = Instant::now();
    while began.elapsed() < 2 * IDLE {
        page.expect_bytes(&plain(PING, b""));
        page.send(&masked(PONG, b""));
    }
    page.send(&masked_text(r#"{"opcode":"-"}"#));
    page.expect(&[NEXT]);
    for _ in 0..3 {
        events.through(b":\nid: ");
    }

    let (_server, proxy) = behind(recipe, &settings(recipe, "[limits]\npingInterval = 0\n"));
    let (mut page, _) = browser(&proxy, "");
    let began = Instant::now();
    page.expect_end();
    assert!(began.elapsed() >= IDLE - Duration::from_millis(100), "{:?}", began.elapsed());
}

/// Behind a proxy on the same host every visitor looks local. Where the proxy is not named, none of them is.
fn without_trusted_proxies_nobody_is_local(recipe: &Recipe) {
    let (server, proxy) = behind(recipe, "");
    for from in [ELSEWHERE, Ipv4Addr::LOCALHOST] {
        let (_, status) = asked_from(from, &proxy, "/web", SCRIPT);
        assert_eq!(status, "403");
    }
    let (_page, uuid) = browser(&proxy, "");
    assert!(server.wait_for_line(&uuid).contains(" 127.0.0.1:"), "the proxy's address is all that is known");
    assert_eq!(server.lines_with("was forwarded by a proxy that trustedProxies does not name").len(), 1);
}

#[test]
fn behind_nginx() {
    holds(&NGINX);
}

#[test]
fn behind_apache() {
    holds(&APACHE);
}

#[test]
fn behind_caddy() {
    holds(&CADDY);
}

#[test]
fn behind_haproxy() {
    holds(&HAPROXY);
}

#[test]
fn the_pages_have_what_is_run() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    for recipe in [&NGINX, &APACHE, &CADDY, &HAPROXY] {
        let site = recipe.site(address, &Upstream::Unix("/web.sock".into()));
        assert!(site.contains("/web") && !site.contains("8096\n"), "{site}");
        assert!(recipe.block("ini").contains("trustedProxies = 127.0.0.1"));
    }
}

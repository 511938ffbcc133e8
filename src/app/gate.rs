//! Who may come in, and as what: the answer to a request.
//!
//! The checks of RFC 6455 itself are [`proto::handshake`](crate::proto::handshake)'s. Here it is about this server's
//! resources, origins, addresses and limits. A page cannot see the HTTP status of a failed upgrade, so a limit that is
//! hit is told over the upgraded connection; a mistake of the site's own, and what is forbidden, gets a status before.

mod admin;
mod keys;

use std::borrow::Cow;
use std::net::IpAddr;

use super::pages::{self, Served};
use super::registry::{ApplicationId, ClientKind, Registry, ResourceId};
use super::wanted::{self, Wanted};
use super::{Routes, api};
use crate::config::{AddressRange, Config};
use crate::login;
use crate::proto::deflate::Agreement;
use crate::proto::handshake::{self, Key};
use crate::proto::http::{Refusal, Request};

/// Longest ident in bytes.
const MAX_IDENT: usize = 256;

/// What the answer depends on, besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// What is allowed.
    pub config: &'a Config,
    /// The addresses listened on, wildcards left out: they are on the allow list as well.
    pub listening: &'a [IpAddr],
    /// Which paths there are.
    pub routes: &'a Routes,
    /// Who is connected.
    pub clients: &'a Registry,
    /// The server is stopping: nobody is let in, and nothing is served but its health.
    pub stopping: bool,
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer<'r> {
    /// Let it in.
    Upgrade(Upgrade<'r>),
    /// Serve what is to be had by a plain GET.
    Page(Served),
    /// Send it events.
    Stream(Stream<'r>),
    /// A call of the control API: take its body.
    Call,
    /// A browser asks whether a page may make a call.
    Preflight,
}

/// A limit for whose sake a connection can't stay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// `maxClients`.
    Clients,
    /// `maxPerIP`.
    PerAddress,
}

impl Limit {
    /// The limit as a sentence, for the page and the log.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Clients => "too many connections: try again later",
            Self::PerAddress => "too many connections from your address",
        }
    }
}

/// How a connection is let in.
#[derive(Debug)]
pub struct Upgrade<'r> {
    /// Its key, to be answered.
    pub key: Key<'r>,
    /// The path, and what serves it.
    pub resource: (ResourceId, ApplicationId),
    /// Browser or script.
    pub kind: ClientKind,
    /// The name it gave itself; empty for none.
    pub ident: &'r str,
    /// Who is logged in by the session of its cookie, as far as that is asked for.
    pub user: Option<Box<str>>,
    /// Where it comes from.
    pub ip: IpAddr,
    /// The query of the request's target; empty for none.
    pub query: &'r str,
    /// The subprotocol agreed on.
    pub subprotocol: Option<&'static str>,
    /// The compression agreed on.
    pub deflate: Option<Agreement>,
    /// It is a script, and has not said that it parses streams properly.
    pub paced: bool,
    /// The limit that it hits: it is to be told, and closed.
    pub turned_away: Option<Limit>,
}

/// How a stream of events is let in.
#[derive(Debug)]
pub struct Stream<'r> {
    /// The path, and what serves it.
    pub resource: (ResourceId, ApplicationId),
    /// Who is logged in by the session of its cookie, as far as that is asked for.
    pub user: Option<Box<str>>,
    /// Where it comes from.
    pub ip: IpAddr,
    /// The query of the request's target; empty for none.
    pub query: &'r str,
    /// The event that it got last when it was here before, by its id.
    pub last_event: Option<Cow<'r, [u8]>>,
    /// The page's origin, where it said so.
    pub origin: Option<&'r str>,
    /// The origin is one of `allowedOrigins`, so that the page may send its cookies along.
    pub listed: bool,
    /// Only the head is asked for.
    pub head_only: bool,
}

/// Where a request comes from, as far as that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Source {
    /// The client's address: the peer's own, or what trusted proxies say.
    pub ip: IpAddr,
    /// Whether the address on the allow list would mean anything: not where a proxy that nobody trusts is in between.
    pub known: bool,
    /// A proxy that `trustedProxies` does not name has passed the request on.
    pub untrusted_proxy: bool,
}

impl Gate<'_> {
    /// Answers a request that came from `peer`.
    pub fn answer<'r>(&self, request: &Request<'r>, peer: IpAddr) -> Result<Answer<'r>, Refusal> {
        let source = self.source(request, peer);
        let resource = self.routes.find(request.path);
        let page = pages::find(request.path);
        let stream = resource.filter(|(_, application)| self.routes.is_stream(*application));
        // A browser that gets any other answer than 200 to its stream never asks again.
        if self.stopping && !page.is_some_and(Served::is_public) && stream.is_none() {
            return Err(Refusal::new(503, "the server is stopping"));
        }
        if api::is_call(request.path) {
            if request.method == "OPTIONS" && request.first("access-control-request-method").is_some() {
                return self.check_preflight(request).map(|()| Answer::Preflight);
            }
            return self.check_call(request, source).map(|()| Answer::Call);
        }
        if resource.is_none() && page.is_none() {
            return Err(Refusal::new(404, "there is no such resource here"));
        }
        if !matches!(request.method, "GET" | "HEAD") {
            return Err(Refusal::new(405, "only GET is served here"));
        }
        if let Some(resource) = stream {
            return self.stream(request, resource, source).map(Answer::Stream);
        }
        match (resource, page) {
            (Some(resource), _) if self.routes.is_feed(resource) => {
                self.watcher(request, resource, source).map(Answer::Upgrade)
            }
            (Some(resource), _) if handshake::is_upgrade(request) && request.method == "GET" => {
                self.upgrade(request, resource, source).map(Answer::Upgrade)
            }
            (_, Some(page)) => {
                self.check_page(request, page, source)?;
                Ok(Answer::Page(page))
            }
            _ => Err(Refusal::new(426, "this is a WebSocket: open it with new WebSocket(…), say")),
        }
    }

    fn check_page(&self, request: &Request<'_>, page: Served, source: Source) -> Result<(), Refusal> {
        if page.is_admin() {
            return self.check_admin(request, source);
        }
        if page.is_public() || self.allows(source) || self.has_key_or_password(request) {
            return Ok(());
        }
        Err(Refusal::new(403, "this page is for addresses on the allow list (allowedIP), or a key"))
    }

    fn upgrade<'r>(
        &self,
        request: &Request<'r>,
        resource: (ResourceId, ApplicationId),
        source: Source,
    ) -> Result<Upgrade<'r>, Refusal> {
        let key = handshake::check(request)?;
        let script = request.first("client-type").is_some_and(|kind| kind.eq_ignore_ascii_case("php"));
        let kind = if script { ClientKind::Script } else { ClientKind::Browser };
        match kind {
            ClientKind::Script if !self.allows(source) => {
                return Err(Refusal::new(403, "scripts may not connect from this address (allowedIP)"));
            }
            ClientKind::Script => {}
            ClientKind::Browser => self.check_origin(request)?,
        }
        // Looked at in any case: an offer that is not well formed is refused by a server without compression as well.
        let deflate = handshake::agree(request, self.config.deflate.context_takeover)?;
        let ident = request.first("ident").unwrap_or_default();
        if ident.len() > MAX_IDENT {
            return Err(Refusal::new(400, "the Ident is longer than 256 bytes"));
        }
        let spoken = self.routes.application(resource.1).subprotocols();
        let subprotocol =
            request.list("sec-websocket-protocol").find_map(|offer| spoken.iter().find(|s| **s == offer)).copied();
        // Last, since it reads a file, and before a limit is told of: that takes an upgrade.
        let user = match kind {
            ClientKind::Browser => {
                login::check(&self.config.session_login, request).map_err(|denial| Refusal::new(401, denial.why()))?
            }
            ClientKind::Script => None,
        };
        Ok(Upgrade {
            key,
            resource,
            kind,
            ident,
            user,
            ip: source.ip,
            query: request.query,
            subprotocol,
            deflate: if self.config.deflate.enabled { deflate } else { None },
            paced: script && subprotocol.is_none(),
            turned_away: self.turned_away(kind, source.ip),
        })
    }

    /// Lets in a stream of events. Limits are not for here: who comes again counts for what it was.
    fn stream<'r>(
        &self,
        request: &Request<'r>,
        resource: (ResourceId, ApplicationId),
        source: Source,
    ) -> Result<Stream<'r>, Refusal> {
        if handshake::is_upgrade(request) {
            return Err(Refusal::new(400, "this is a stream of events: open it with new EventSource(…), say"));
        }
        // A page of the server's own origin has none here: browsers leave it out of such a GET (Fetch, section 3.2).
        match request.only("origin") {
            Ok(None) if matches!(request.first("sec-fetch-site"), None | Some("same-origin" | "none")) => {}
            _ => self.check_origin(request)?,
        }
        let wanted = Wanted::from_query(request.query).map_err(|why| Refusal::new(400, why))?;
        if wanted.is_some() && self.routes.service("webntf").is_none() {
            return Err(Refusal::new(400, "no resource is webntf, so there are no channels and tokens"));
        }
        let user =
            login::check(&self.config.session_login, request).map_err(|denial| Refusal::new(401, denial.why()))?;
        let mut ids = request.bytes("last-event-id").filter(|id| !id.is_empty());
        let last_event = match (ids.next(), ids.next()) {
            // A page that must make a stream anew has no other way to say it.
            (None, _) => {
                wanted::member(request.query, "lastEventId").map(|id| Cow::Owned(id.into_string().into_bytes()))
            }
            (Some(id), None) => Some(Cow::Borrowed(id)),
            // Two are none that was given out.
            (Some(_), Some(_)) => Some(Cow::Borrowed(&b""[..])),
        };
        Ok(Stream {
            resource,
            user,
            ip: source.ip,
            query: request.query,
            last_event,
            origin: request.first("origin"),
            listed: !self.config.access.allowed_origins.is_empty(),
            head_only: request.method == "HEAD",
        })
    }

    /// Pages of other sites must not use a visitor's browser against this server (RFC 6455, section 10.2).
    fn check_origin(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let allowed = &self.config.access.allowed_origins;
        if allowed.is_empty() {
            return Ok(());
        }
        match request.only("origin") {
            Ok(Some(origin)) if allowed.iter().any(|pattern| pattern.matches(origin)) => Ok(()),
            Ok(Some(_)) => Err(Refusal::new(403, "pages of this origin may not connect (allowedOrigins)")),
            Ok(None) => Err(Refusal::new(403, "no Origin, where allowedOrigins asks for one")),
            Err(_) => Err(Refusal::new(403, "more than one Origin")),
        }
    }

    /// The limit that one more client hits.
    pub fn turned_away(&self, kind: ClientKind, ip: IpAddr) -> Option<Limit> {
        if self.config.limits.max_clients > 0 && self.clients.len() >= self.config.limits.max_clients {
            return Some(Limit::Clients);
        }
        let counted = kind == ClientKind::Browser && self.config.limits.max_per_ip > 0;
        (counted && self.clients.count_from(ip) >= self.config.limits.max_per_ip).then_some(Limit::PerAddress)
    }

    /// Whether a request from there may do what is for the allow list only.
    fn allows(&self, source: Source) -> bool {
        source.known && is_listed(self.config, self.listening, source.ip)
    }

    /// Where a request comes from: behind trusted proxies, the address next to the last of them in `X-Forwarded-For`.
    ///
    /// A request that a proxy has passed on which `trustedProxies` does not name is never on the allow list, whatever
    /// its address: behind a proxy on the same host every visitor looks local.
    pub fn source(&self, request: &Request<'_>, peer: IpAddr) -> Source {
        let forwarded = ["x-forwarded-for", "forwarded", "via"].iter().any(|name| request.all(name).next().is_some());
        let trusted = |ip| contains(&self.config.access.trusted_proxies, ip);
        if !forwarded || !trusted(peer) {
            return Source { ip: peer, known: !forwarded, untrusted_proxy: forwarded };
        }
        let mut ip = peer;
        let mut said = false;
        let hops: Vec<&str> = request.list("x-forwarded-for").collect();
        for hop in hops.into_iter().rev() {
            let Some(address) = address_of(hop) else {
                return Source { ip, known: false, untrusted_proxy: false };
            };
            ip = address;
            said = true;
            if !trusted(ip) {
                break;
            }
        }
        Source { ip, known: said, untrusted_proxy: false }
    }
}

/// Whether an address is on the allow list. `listening`: the addresses listened on, wildcards left out.
pub fn is_listed(config: &Config, listening: &[IpAddr], ip: IpAddr) -> bool {
    listening.contains(&ip) || contains(&config.access.allowed_ip, ip)
}

fn contains(ranges: &[AddressRange], ip: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(ip))
}

/// An entry of `X-Forwarded-For`: an address, which some proxies write with its port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::proto::http::fields;

    pub(super) const UPGRADE: &str = "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    pub(super) const LOCAL: &str = "127.0.0.1";
    pub(super) const FAR: &str = "192.0.2.7";

    /// What a request with these further fields, from `peer`, is answered with: the status and what it comes in as.
    pub(super) fn ask(ini: &str, start: &str, further: &str, peer: &str) -> (u16, String) {
        ask_while(false, ini, start, further, peer)
    }

    fn ask_while(stopping: bool, ini: &str, start: &str, further: &str, peer: &str) -> (u16, String) {
        let file = std::path::Path::new("test.ini");
        let (config, _) = Config::parse(ini, file, &super::super::handler_names(), &|_| None).expect("a good file");
        let (routes, clients) = (Routes::new(&config), Registry::new(false, 0));
        let listening = &["127.0.0.1".parse().unwrap()];
        let gate = Gate { config: &config, listening, routes: &routes, clients: &clients, stopping };
        let text = format!("{start} HTTP/1.1\r\n{further}\r\n");
        let mut room = fields();
        let request = Request::parse(text.as_bytes(), &mut room).expect("a good head");
        match gate.answer(&request, peer.parse().unwrap()) {
            Err(refusal) => (refusal.status, refusal.why.to_owned()),
            Ok(Answer::Page(page)) => (200, page.path().to_owned()),
            Ok(Answer::Call) => (200, "call".to_owned()),
            Ok(Answer::Preflight) => (204, "preflight".to_owned()),
            Ok(Answer::Stream(stream)) => {
                let last = stream.last_event.map(|id| String::from_utf8_lossy(&id).into_owned());
                (200, format!("stream {:?}, {:?}, listed {}", last, stream.origin, stream.listed))
            }
            Ok(Answer::Upgrade(upgrade)) => {
                let paced = if upgrade.paced { ", paced" } else { "" };
                (101, format!("{} {:?} from {}{paced}", upgrade.kind, upgrade.ident, upgrade.ip))
            }
        }
    }

    fn open(ini: &str, further: &str, peer: &str) -> (u16, String) {
        ask(ini, "GET /web", &format!("{UPGRADE}{further}"), peer)
    }

    fn expect(status: u16, what: &str) -> (u16, String) {
        (status, what.to_owned())
    }

    #[test]
    fn paths_and_methods() {
        assert_eq!(ask("", "GET /web", "Host: a\r\n", LOCAL).0, 426);
        assert_eq!(ask("", "GET /none", UPGRADE, LOCAL).0, 404);
        assert_eq!(ask("", "POST /web", UPGRADE, LOCAL).0, 405);
        assert_eq!(ask("", "BREW /web", UPGRADE, LOCAL).0, 405);
        assert_eq!(ask("", "GET /../etc/passwd", "Host: a\r\n", LOCAL).0, 404);
        assert_eq!(ask("", "GET /", "Host: a\r\n", LOCAL), expect(200, "/"));
        assert_eq!(ask("", "GET /?x=1", UPGRADE, FAR).0, 101);
        assert_eq!(ask("", "GET /", "Host: a\r\n", FAR).0, 403);
        assert_eq!(ask("", "GET /demo.js", "Host: a\r\nX-Forwarded-For: 127.0.0.1\r\n", LOCAL).0, 403);
    }

    #[test]
    fn health_is_for_everyone_and_metrics_are_for_the_allow_list() {
        let host = "Host: a\r\n";
        let forwarded = "Host: a\r\nX-Forwarded-For: 127.0.0.1\r\n";
        for (method, further, peer) in [("GET", host, FAR), ("HEAD", forwarded, LOCAL), ("GET", UPGRADE, FAR)] {
            assert_eq!(ask("", &format!("{method} /healthz"), further, peer), expect(200, "/healthz"));
        }
        assert_eq!(ask("", "POST /healthz", host, FAR).0, 405);
        assert_eq!(ask("", "GET /metrics?x", host, LOCAL), expect(200, "/metrics"));
        assert_eq!(ask("", "GET /metrics", host, FAR).0, 403);
        assert_eq!(ask("", "GET /metrics", forwarded, LOCAL).0, 403);
        assert_eq!(ask("[access]\nallowedIP = 192.0.2.0/24", "GET /metrics", host, FAR).0, 200);
        let key = |key: &str| format!("{host}Authorization: Bearer {key}\r\n");
        assert_eq!(ask("[api]\nkeys = sesame", "GET /metrics", &key("sesame"), FAR).0, 200);
        assert_eq!(ask("[api]\nkeys = sesame", "GET /metrics", &key("sesam"), FAR).0, 403);
        assert_eq!(ask("", "GET /metrics", &key(""), FAR).0, 403);
        let ini = "[resources]\n/metrics = echo\n";
        assert_eq!((ask(ini, "GET /metrics", UPGRADE, FAR).0, ask(ini, "GET /metrics", host, LOCAL).0), (101, 200));
    }

    #[test]
    fn a_stopping_server_says_how_it_is_and_lets_nobody_in() {
        let ask = |start, further| ask_while(true, "", start, further, LOCAL);
        for start in ["GET /web", "GET /", "GET /metrics", "GET /none"] {
            assert_eq!(ask(start, UPGRADE), expect(503, "the server is stopping"), "{start}");
        }
        assert_eq!(ask("GET /healthz", "Host: a\r\n"), expect(200, "/healthz"));
    }

    #[test]
    fn scripts_come_from_the_allow_list() {
        let script = "Client-Type: PHP\r\nIdent: worker 1\r\n";
        assert_eq!(open("", script, LOCAL), expect(101, "script \"worker 1\" from 127.0.0.1, paced"));
        assert_eq!(open("", script, FAR).0, 403);
        assert_eq!(open("[access]\nallowedIP = 192.0.2.0/24", script, FAR).0, 101);
        assert_eq!(open("[access]\nallowedIP =", script, LOCAL).0, 101, "the address listened on");
        assert_eq!(open("", &format!("{script}Origin: http://a \r\n"), LOCAL).0, 101);
        let ours = format!("{script}Sec-WebSocket-Protocol: x, websock.v1\r\n");
        assert_eq!(open("", &ours, LOCAL), expect(101, "script \"worker 1\" from 127.0.0.1"));
        let long = format!("Ident: {}\r\n", "x".repeat(MAX_IDENT + 1));
        assert_eq!(open("", &long, LOCAL).0, 400);
    }

    #[test]
    fn where_a_session_is_required_browsers_need_one_and_scripts_do_not() {
        let ini = "[jsauth]\nrequire = true\nssp = /nonexistent/sessions\nkey = ok\n";
        let no = |why: login::Denial| expect(401, why.why());
        assert_eq!(open(ini, "", LOCAL), no(login::Denial::NoCookie));
        assert_eq!(open(ini, "Cookie: PHPSESSID=../x\r\n", LOCAL), no(login::Denial::NoId));
        assert_eq!(open(ini, "Cookie: PHPSESSID=x\r\n", FAR), no(login::Denial::NoFolder));
        assert_eq!(open(ini, "Client-Type: php\r\n", LOCAL).0, 101);
        assert_eq!(open(ini, "Client-Type: php\r\n", FAR).0, 403, "a session makes nobody a script");
        assert_eq!(ask(ini, "GET /", "Host: a\r\n", LOCAL).0, 200, "pages are no resource");
        assert_eq!(ask(ini, "GET /none", UPGRADE, LOCAL).0, 404);
        assert_eq!(open(&ini.replace("true", "false"), "", FAR).0, 101);
    }

    #[test]
    fn a_proxy_that_nobody_trusts_makes_nobody_local() {
        for field in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 proxy"] {
            let script = format!("Client-Type: php\r\n{field}\r\n");
            assert_eq!(open("", &script, LOCAL).0, 403, "{field}");
        }
        assert_eq!(open("", "X-Forwarded-For: 1.2.3.4\r\n", LOCAL), expect(101, "browser \"\" from 127.0.0.1"));
    }

    #[test]
    fn behind_trusted_proxies_the_client_is_who_they_saw() {
        let ini = "[access]\ntrustedProxies = 127.0.0.1, 10.0.0.0/8\nallowedIP = 192.0.2.7";
        let from = |chain: &str| open(ini, &format!("X-Forwarded-For: {chain}\r\n"), LOCAL).1;
        assert_eq!(from("192.0.2.7"), "browser \"\" from 192.0.2.7");
        assert_eq!(from("1.1.1.1, 192.0.2.7"), "browser \"\" from 192.0.2.7", "what the client forged doesn't help");
        assert_eq!(from("192.0.2.7:5000, 10.1.1.1"), "browser \"\" from 192.0.2.7");
        assert_eq!(from("[2001:db8::1]"), "browser \"\" from 2001:db8::1");
        let script = |fields: &str| open(ini, &format!("Client-Type: php\r\n{fields}\r\n"), LOCAL).0;
        assert_eq!(script("X-Forwarded-For: 192.0.2.7"), 101);
        assert_eq!(script("X-Forwarded-For: 192.0.2.8"), 403);
        assert_eq!(script("X-Forwarded-For: 192.0.2.7, unknown"), 403);
        assert_eq!(script("Via: 1.1 proxy"), 403, "it doesn't say who");
        assert_eq!(script("X-Forwarded-For: 127.0.0.1, 192.0.2.8"), 403);
    }

    #[test]
    fn origins_are_checked_for_browsers_where_a_list_is_set() {
        let ini = "[access]\nallowedOrigins = https://shop.example";
        assert_eq!(open("", "Origin: null\r\n", FAR).0, 101);
        assert_eq!(open(ini, "Origin: https://shop.example\r\n", FAR).0, 101);
        for fields in [
            "",
            "Origin: null\r\n",
            "Origin: http://shop.example\r\n",
            "Origin: https://shop.example.evil.example\r\n",
            "Origin: https://shop.example\r\nOrigin: https://shop.example\r\n",
        ] {
            assert_eq!(open(ini, fields, FAR).0, 403, "{fields:?}");
        }
        assert_eq!(open(ini, "Client-Type: php\r\n", LOCAL).0, 101, "scripts have none");
    }
}

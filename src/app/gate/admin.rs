//! Who may see the live page, and its feed.
//!
//! The page can push to everyone, and a browser shows a password, as it does its address, for whatever page asks it to. So
//! the feed is for pages of this server alone, and where it is the address that lets somebody in, the server must have
//! been asked by an address as well: a name may be one that a stranger has made lead here.

use super::keys::{is_own_origin, is_without_name};
use super::{Gate, Source, Upgrade};
use crate::app::registry::{ApplicationId, ClientKind, ResourceId};
use crate::proto::handshake;
use crate::proto::http::{Refusal, Request};

impl Gate<'_> {
    /// Who may see the live page: those with a key, and those on the allow list.
    pub(super) fn check_admin(&self, request: &Request<'_>, source: Source) -> Result<(), Refusal> {
        let allowed = self.allows(source);
        if allowed && is_without_name(request) || self.has_key_or_password(request) {
            return Ok(());
        }
        if !self.config.api.keys.is_empty() {
            return Err(Refusal::asking_for_password("this page is for a key of [api] keys, given as the password"));
        }
        Err(Refusal::new(
            403,
            if allowed {
                "where there are no keys ([api] keys), this page is at an address or at localhost, not at a name"
            } else {
                "this page is for addresses on the allow list (allowedIP), or a key"
            },
        ))
    }

    /// Lets a live page in to its feed. Neither a session nor a limit of clients keeps it out: it is what an administrator
    /// looks at when there are too many.
    pub(super) fn watcher<'r>(
        &self,
        request: &Request<'r>,
        resource: (ResourceId, ApplicationId),
        source: Source,
    ) -> Result<Upgrade<'r>, Refusal> {
        self.check_admin(request, source)?;
        if !handshake::is_upgrade(request) || request.method != "GET" {
            return Err(Refusal::new(426, "this is the WebSocket of the page /admin"));
        }
        let key = handshake::check(request)?;
        let deflate = handshake::agree(request, self.config.deflate.context_takeover)?;
        if !is_own_origin(request) {
            return Err(Refusal::new(403, "only the page /admin of this very server may watch it"));
        }
        Ok(Upgrade {
            key,
            resource,
            kind: ClientKind::Browser,
            ident: "",
            user: None,
            ip: source.ip,
            query: request.query,
            subprotocol: None,
            deflate: if self.config.deflate.enabled { deflate } else { None },
            paced: false,
            turned_away: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use crate::app::gate::tests::{FAR, LOCAL, UPGRADE, ask};

    const KEYS: &str = "[api]\nkeys = sesame, p:w\n";
    const PAGES: [&str; 4] = ["/admin", "/admin.css", "/admin.js", "/admin-plots.js"];

    fn password(user: &str, key: &str) -> String {
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{key}")))
    }

    fn page(ini: &str, fields: &str, peer: &str) -> u16 {
        let statuses = PAGES.map(|path| ask(ini, &format!("GET {path}"), fields, peer).0);
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{statuses:?} for {fields:?}");
        statuses[0]
    }

    /// The status of an upgrade of the feed; what a plain request for it gets is that of the page, or 426.
    fn feed(ini: &str, fields: &str, peer: &str) -> u16 {
        let upgrade = UPGRADE.split_once("\r\n").expect("a Host, and the rest").1;
        let plain = ask(ini, "GET /admin/feed", fields, peer).0;
        assert_eq!(plain, if page(ini, fields, peer) == 200 { 426 } else { page(ini, fields, peer) }, "{fields:?}");
        ask(ini, "GET /admin/feed", &format!("{fields}{upgrade}"), peer).0
    }

    fn both(ini: &str, fields: &str, peer: &str) -> (u16, u16) {
        (page(ini, fields, peer), feed(ini, fields, peer))
    }

    #[test]
    fn the_allow_list_lets_in_by_an_address() {
        for host in ["localhost", "LOCALHOST:8096", "127.0.0.1:8096", "[::1]:8096"] {
            for ini in ["", KEYS] {
                assert_eq!(both(ini, &format!("Host: {host}\r\n"), LOCAL), (200, 101), "{host}");
            }
        }
        for host in ["rebound.example", "localhost.example", "127.0.0.1.example:8096"] {
            assert_eq!(both("", &format!("Host: {host}\r\n"), LOCAL), (403, 403), "{host}");
            assert_eq!(both(KEYS, &format!("Host: {host}\r\n"), LOCAL), (401, 401), "{host}");
        }
        let range = "[access]\nallowedIP = 192.0.2.0/24\n";
        assert_eq!(both(range, "Host: 192.0.2.1\r\n", FAR), (200, 101));
        assert_eq!(both("", "Host: 192.0.2.1\r\n", FAR), (403, 403));
        assert_eq!(both(KEYS, "Host: 192.0.2.1\r\n", FAR), (401, 401));
        for field in ["X-Forwarded-For: 127.0.0.1", "Via: 1.1 proxy", "Forwarded: for=127.0.0.1"] {
            assert_eq!(both("", &format!("Host: localhost\r\n{field}\r\n"), LOCAL), (403, 403), "{field}");
        }
    }

    #[test]
    fn a_key_lets_in_from_anywhere_and_by_any_name() {
        let bearer = "Authorization: Bearer sesame\r\n".to_owned();
        for shown in [password("", "sesame"), password("anna", "sesame"), password("anna", "p:w"), bearer] {
            assert_eq!(both(KEYS, &format!("Host: push.example\r\n{shown}"), FAR), (200, 101), "{shown}");
            assert_eq!(both("", &format!("Host: push.example\r\n{shown}"), FAR), (403, 403), "there are no keys");
        }
        let twice = password("", "sesame").repeat(2);
        let plain = STANDARD.encode("sesame");
        for shown in [
            password("sesame", ""),
            password("", "sesam"),
            password("", "sesamee"),
            password("", ":sesame"),
            password("", "w"),
            twice,
            format!("Authorization: Basic {plain}\r\n"),
            "Authorization: Basic sesame\r\n".to_owned(),
            "Authorization: Basic\r\n".to_owned(),
            "Authorization: Basic \r\n".to_owned(),
            "Authorization: Basic ====\r\n".to_owned(),
            "Authorization: Bearer sesam\r\n".to_owned(),
        ] {
            assert_eq!(both(KEYS, &format!("Host: push.example\r\n{shown}"), FAR), (401, 401), "{shown}");
        }
    }

    #[test]
    fn a_password_opens_what_the_page_is_made_of_and_never_the_api() {
        let shown = format!("Host: localhost\r\n{}", password("", "sesame"));
        for path in ["/page.css", "/page.js", "/icon.svg", "/connection.js"] {
            assert_eq!(ask(KEYS, &format!("GET {path}"), &shown, FAR).0, 200, "{path}");
            assert_eq!(ask(KEYS, &format!("GET {path}"), "Host: localhost\r\n", FAR).0, 403, "{path}");
        }
        for (path, peer) in [("/api/relay/broadcast", FAR), ("/api/relay/broadcast", LOCAL), ("/api/admin/x", LOCAL)] {
            assert_eq!(ask(KEYS, &format!("POST {path}"), &shown, peer).0, 401, "{path} from {peer}");
        }
        let script = format!("{UPGRADE}Client-Type: php\r\n{}", password("", "sesame"));
        assert_eq!(ask(KEYS, "GET /php", &script, FAR).0, 403, "nor does it make a script");
    }

    #[test]
    fn the_feed_is_for_pages_of_this_server() {
        let password = password("", "sesame");
        for (ini, host, shown, peer) in
            [("", "localhost:8096", "", LOCAL), (KEYS, "push.example", &*password, FAR), (KEYS, "127.0.0.1", "", LOCAL)]
        {
            let with = |origin: &str| feed(ini, &format!("Host: {host}\r\n{shown}{origin}"), peer);
            assert_eq!(with(""), 101, "a tool");
            for scheme in ["http", "https"] {
                assert_eq!(with(&format!("Origin: {scheme}://{host}\r\n")), 101, "behind a proxy it may be either");
            }
            for origin in ["http://evil.example", "null", &format!("http://{host}:81"), host, ""] {
                assert_eq!(with(&format!("Origin: {origin}\r\n")), 403, "{origin} at {host}");
            }
            assert_eq!(with(&format!("Origin: http://{host}\r\n").repeat(2)), 403);
        }
    }

    #[test]
    fn neither_sessions_nor_lists_of_origins_nor_limits_concern_it() {
        let ini = "[jsauth]\nrequire = true\nssp = /nonexistent/sessions\nkey = ok\n\
                   [access]\nallowedOrigins = https://shop.example\n";
        assert_eq!(both(ini, "Host: localhost\r\nOrigin: http://localhost\r\n", LOCAL), (200, 101));
        let fields = format!("{}Client-Type: php\r\nIdent: x\r\n", UPGRADE.replace("Host: a", "Host: localhost"));
        let (status, who) = ask("", "GET /admin/feed", &fields, LOCAL);
        assert_eq!((status, &*who), (101, "browser \"\" from 127.0.0.1"), "it is no script, whatever it says");
    }

    #[test]
    fn a_row_of_the_file_comes_before_the_feed() {
        let ini = "[resources]\n/admin/feed = echo\n/admin = echo\n";
        assert_eq!(ask(ini, "GET /admin/feed", UPGRADE, FAR).0, 101);
        assert_eq!((ask(ini, "GET /admin", UPGRADE, FAR).0, ask(ini, "GET /admin", "Host: a\r\n", FAR).0), (101, 403));
    }
}

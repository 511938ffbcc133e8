//! Keys of `[api] keys`: who has to show one, and how. Which pages and calls there are is for others to know.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::{Gate, Source};
use crate::app::api::Readers;
use crate::proto::http::{Refusal, Request};

/// What is said to calls of the control API by any other method.
const NOT_POST: Refusal = Refusal::new(405, "calls are made with POST");

impl Gate<'_> {
    /// A browser asks before it makes a call with a key, and can't show the key as yet.
    pub(super) fn check_preflight(&self, request: &Request<'_>) -> Result<(), Refusal> {
        match Readers::new(&self.config.api.allowed_origins, request) {
            Readers::This(_) => Ok(()),
            Readers::Own => Err(NOT_POST),
            Readers::Others => Err(Refusal::new(403, "pages of this origin may make no calls ([api] allowedOrigins)")),
        }
    }

    /// Who may call the control API: those with a key where there are keys, those on the allow list else. Any page in a
    /// developer's browser could make calls from there, by the address of this machine or by a name of its own that leads
    /// to it: so never for another origin, and never by a name.
    pub(super) fn check_call(&self, request: &Request<'_>, source: Source) -> Result<(), Refusal> {
        if request.method != "POST" {
            return Err(NOT_POST);
        }
        if !self.config.api.keys.is_empty() {
            return self.check_key(request);
        }
        if !self.allows(source) {
            return Err(Refusal::new(403, "calls without a key are for addresses on the allow list (allowedIP)"));
        }
        if !is_own_origin(request) {
            return Err(Refusal::new(403, "calls without a key are not for pages of other origins"));
        }
        if !is_without_name(request) {
            return Err(Refusal::new(403, "calls without a key go to an address or to localhost, not to a name"));
        }
        Ok(())
    }

    /// RFC 6750, section 2.1: never the password that a browser sends along with whatever a page makes it ask for.
    fn check_key(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let given = match request.only("authorization") {
            Ok(Some(given)) => given,
            Ok(None) => return Err(Refusal::new(401, "a key is needed: Authorization: Bearer KEY")),
            Err(_) => return Err(Refusal::new(401, "more than one Authorization")),
        };
        let Some(key) = credentials(given, "bearer") else {
            return Err(Refusal::new(401, "the Authorization is no Bearer KEY"));
        };
        if self.knows(key.as_bytes()) { Ok(()) } else { Err(Refusal::new(401, "this key is not known here")) }
    }

    /// Whether a request that changes nothing shows a key, be it as the password of whatever user (RFC 7617, section 2).
    pub(super) fn has_key_or_password(&self, request: &Request<'_>) -> bool {
        let password = || {
            let given = credentials(request.only("authorization").ok()??, "basic")?;
            let pair = STANDARD.decode(given).ok()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            Some(self.knows(&pair[colon + 1..]))
        };
        self.check_key(request).is_ok() || password() == Some(true)
    }

    /// Whether this is one of the keys. They are compared in a time that says nothing about them.
    fn knows(&self, key: &[u8]) -> bool {
        let keys = &self.config.api.keys;
        keys.iter().fold(0, |known, ours| known | ours.as_bytes().ct_eq(key).unwrap_u8()) == 1
    }
}

/// What follows the name of the scheme, where it is this one (RFC 9110, section 11.4).
fn credentials<'a>(given: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = given.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches(' '))
}

/// Whether a request comes from a page of this server, or from no page at all. The scheme is not looked at: behind a proxy
/// that speaks TLS it is another one than here.
pub(super) fn is_own_origin(request: &Request<'_>) -> bool {
    let host = request.first("host").unwrap_or_default();
    match request.only("origin") {
        Ok(None) => true,
        Ok(Some(origin)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        Err(_) => false,
    }
}

/// Whether the Host is such that no foreign name can stand for it.
pub(super) fn is_without_name(request: &Request<'_>) -> bool {
    let host = request.first("host").unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use crate::app::gate::tests::{FAR, LOCAL, ask};

    #[test]
    fn calls_without_keys_are_for_the_allow_list_and_its_own_pages() {
        let call = |ini: &str, fields: &str, peer: &str| ask(ini, "POST /api/relay/clients", fields, peer).0;
        for host in ["localhost", "localhost:8096", "127.0.0.1:8096", "[::1]:8096", "192.0.2.1"] {
            assert_eq!(call("", &format!("Host: {host}\r\n"), LOCAL), 200, "{host}");
            assert_eq!(call("", &format!("Host: {host}\r\nOrigin: http://{host}\r\n"), LOCAL), 200, "{host}");
        }
        for fields in [
            "Host: rebound.example\r\n",
            "Host: localhost.example\r\n",
            "Host: 127.0.0.1.example\r\n",
            "Host: localhost\r\nOrigin: http://evil.example\r\n",
            "Host: localhost\r\nOrigin: http://localhost:81\r\n",
            "Host: localhost\r\nOrigin: null\r\n",
            "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n",
            "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n",
            "Host: localhost\r\nVia: 1.1 proxy\r\n",
        ] {
            assert_eq!(call("", fields, LOCAL), 403, "{fields:?}");
        }
        assert_eq!(call("", "Host: localhost\r\n", FAR), 403);
        assert_eq!(call("[access]\nallowedIP = 192.0.2.7", "Host: 192.0.2.1\r\n", FAR), 200);
        assert_eq!(ask("", "GET /api/relay/clients", "Host: localhost\r\n", LOCAL).0, 405);
    }

    #[test]
    fn where_there_are_keys_a_key_it_must_be() {
        let call =
            |field: &str| ask("[api]\nkeys = sesame, other", "POST /api/x/y", &format!("Host: a\r\n{field}"), FAR).0;
        for good in ["Bearer sesame", "bearer other", "BEARER  sesame"] {
            assert_eq!(call(&format!("Authorization: {good}\r\n")), 200, "{good}");
        }
        for bad in
            ["", "Bearer", "Bearer ", "Bearer sesam", "Bearer sesame,", "Bearer sesamee", "Basic sesame", "sesame"]
        {
            assert_eq!(call(&format!("Authorization: {bad}\r\n")), 401, "{bad}");
        }
        assert_eq!(call(""), 401);
        assert_eq!(call("Authorization: Bearer sesame\r\nAuthorization: Bearer sesame\r\n"), 401);
        let local = ask("[api]\nkeys = sesame", "POST /api/x/y", "Host: localhost\r\n", LOCAL).0;
        assert_eq!(local, 401, "the allow list is for where there are none");
    }

    #[test]
    fn a_preflight_is_answered_for_the_origins_that_are_listed() {
        let asked = "Host: a\r\nAccess-Control-Request-Method: POST\r\n";
        let ini = "[api]\nkeys = sesame\nallowedOrigins = https://shop.example, https://*.shop.example";
        let ask = |ini: &str, fields: &str| ask(ini, "OPTIONS /api/relay/feedback", fields, FAR).0;
        for origin in ["https://shop.example", "https://www.shop.example"] {
            let fields = format!("{asked}Origin: {origin}\r\n");
            assert_eq!(ask(ini, &fields), 204, "{origin}");
            assert_eq!(ask("[api]\nkeys = sesame", &fields), 405, "off unless configured");
        }
        for fields in ["", "Origin: null\r\n", "Origin: https://evil.example\r\n"] {
            assert_eq!(ask(ini, &format!("{asked}{fields}")), 403, "{fields}");
        }
        assert_eq!(ask(ini, "Host: a\r\nOrigin: https://shop.example\r\n"), 405, "this is no preflight");
    }
}

//! Which pages a browser may connect from: patterns for the `Origin` header (RFC 6454 section 7).
//!
//! An origin is compared part by part, never as text: a prefix or suffix of the text is what look-alikes are made of.
//! One splitter reads the pattern and the header, so that both sides mean the same by scheme, host and port.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::report::Mismatch;
use super::values::port;

/// `scheme://host[:port]`, or `scheme://*.host[:port]` for what is below a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginPattern {
    scheme: String,
    /// Whether one or more labels must stand in front of `host`.
    subdomains: bool,
    host: String,
    /// None for a scheme without a default port and a pattern that names none.
    port: Option<u16>,
}

/// The three parts of an origin, the default port filled in.
struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl OriginPattern {
    /// Whether a page of this origin is meant. `origin` is the value of the header without blanks around it;
    /// anything that isn't exactly one origin (`null`, a list, a path) is never meant.
    pub fn matches(&self, origin: &str) -> bool {
        let Some(parts) = split(origin).filter(|parts| is_host(parts.host)) else {
            return false;
        };
        parts.scheme.eq_ignore_ascii_case(&self.scheme) && parts.port == self.port && self.matches_host(parts.host)
    }

    fn matches_host(&self, host: &str) -> bool {
        if !self.subdomains {
            return host.eq_ignore_ascii_case(&self.host);
        }
        // The label in front can't be empty: `is_host` has refused that.
        host.len()
            .checked_sub(self.host.len())
            .and_then(|at| host.split_at_checked(at))
            .is_some_and(|(front, back)| front.ends_with('.') && back.eq_ignore_ascii_case(&self.host))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.subdomains { "*." } else { "" };
        write!(f, "{}://{below}{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if self.port != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for OriginPattern {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let bad = |expected: &str| Mismatch::value(text, expected);
        if text == "*" {
            return Err(bad("origins, or an empty list to allow any"));
        }
        if let Some((_, rest)) = text.split_once("://") {
            if rest.contains(['/', '?', '@', '#']) {
                return Err(bad("scheme://host or scheme://host:port, without a slash, path or user after it"));
            }
            if !rest.is_ascii() {
                return Err(bad("the host the way browsers send it, beginning with xn--"));
            }
        }
        let parts =
            split(text).ok_or_else(|| bad("an origin like https://example.com or https://*.example.com:8443"))?;
        let (subdomains, host) = match parts.host.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, parts.host),
        };
        let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        if !is_host(host) || (subdomains && is_address) {
            return Err(bad("a host name, *. and a host name, or an IP address"));
        }
        let host = match bracketed(host) {
            // Browsers send the shortest form.
            Some(address) => format!("[{address}]"),
            None => host.to_ascii_lowercase(),
        };
        Ok(Self { scheme: parts.scheme.to_ascii_lowercase(), subdomains, host, port: parts.port })
    }
}

fn split(origin: &str) -> Option<Parts<'_>> {
    let (scheme, authority) = origin.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme {
        return None;
    }
    // The colons of an IPv6 address stand before its bracket, the port's after it.
    let host_end = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[host_end..].find(':') {
        None => (authority, default_port(scheme)),
        Some(at) => {
            let (host, rest) = authority.split_at(host_end + at);
            (host, Some(port(&rest[1..]).filter(|port| *port != 0)?))
        }
    };
    Some(Parts { scheme, host, port })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Some(80),
        _ if scheme.eq_ignore_ascii_case("https") => Some(443),
        _ => None,
    }
}

fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A name without empty labels, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    bracketed(host).is_some() || host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> OriginPattern {
        text.parse().unwrap()
    }

    #[test]
    fn an_origin_matches_in_every_part() {
        for (allowed, origin) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com", "https://EXAMPLE.com"),
            ("https://Example.com", "https://example.com:443"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://*.example.com", "https://www.example.com"),
            ("https://*.example.com", "https://a.b.Example.com"),
            ("https://*.example.com:8443", "https://a.example.com:8443"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]:80"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert!(pattern(allowed).matches(origin), "{allowed} {origin}");
        }
    }

    #[test]
    fn a_look_alike_does_not_match() {
        for (allowed, origin) in [
            ("https://example.com", "null"),
            ("https://example.com", ""),
            ("https://example.com", "http://example.com"),
            ("https://example.com", "https://example.com:8443"),
            ("https://example.com:8443", "https://example.com"),
            ("https://example.com", "https://example.com.evil.org"),
            ("https://example.com", "https://evilexample.com"),
            ("https://example.com", "https://www.example.com"),
            ("https://example.com", "https://example.com."),
            ("https://example.com", "https://example.com/"),
            ("https://example.com", "https://example.com/path"),
            ("https://example.com", "https://example.com#"),
            ("https://example.com", "https://user@example.com"),
            ("https://example.com", "https://example.com@evil.org"),
            ("https://example.com", "https://example.com:443@evil.org"),
            ("https://example.com", "https://example.com:0443"),
            ("https://example.com", "https://example.com:"),
            ("https://example.com", "https://example.com:+443"),
            ("https://example.com", "https://example.com https://evil.org"),
            ("https://example.com", "https://example.com\0"),
            ("https://example.com", "https:/example.com"),
            ("https://example.com", "example.com"),
            ("https://example.com", "https://exämple.com"),
            ("https://*.example.com", "https://example.com"),
            ("https://*.example.com", "https://.example.com"),
            ("https://*.example.com", "https://a..example.com"),
            ("https://*.example.com", "https://evilexample.com"),
            ("https://*.example.com", "https://a.example.com.evil.org"),
            ("https://*.example.com", "https://evil.org/.example.com"),
            ("https://*.example.com", "https://evil.org#.example.com"),
            ("https://*.example.com", "https://*.example.com"),
            ("https://*.example.com", "https://[::1].example.com"),
            ("https://*.example.com", "https://ü.example.com"),
            ("https://*.example.com", "https://m"),
            ("http://[::1]", "http://[::1]:81"),
            ("http://[::1]", "http://[::1"),
            ("capacitor://localhost", "capacitor://localhost:80"),
        ] {
            assert!(!pattern(allowed).matches(origin), "{allowed} {origin}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for (text, expected) in [
            ("*", "empty list"),
            ("null", "an origin like"),
            ("example.com", "an origin like"),
            ("://example.com", "an origin like"),
            ("https://", "a host name"),
            ("https://example.com/", "without a slash"),
            ("https://example.com/app", "without a slash"),
            ("https://me@example.com", "without a slash, path or user"),
            ("https://example.com:0", "an origin like"),
            ("https://example.com:x", "an origin like"),
            ("https://*", "a host name"),
            ("https://*.", "a host name"),
            ("https://a.*.com", "a host name"),
            ("https://*example.com", "a host name"),
            ("https://*.10.0.0.1", "a host name"),
            ("https://*.[::1]", "a host name"),
            ("https://bücher.example", "xn--"),
        ] {
            let error = text.parse::<OriginPattern>().unwrap_err();
            assert!(error.expected.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_prints_in_its_shortest_form() {
        assert_eq!(pattern("HTTPS://*.Example.com:443").to_string(), "https://*.example.com");
        assert_eq!(pattern("http://localhost:3000").to_string(), "http://localhost:3000");
    }
}

//! Addresses to listen on: `ws://HOST[:PORT]`, what else the original took, and `unix:/PATH`.
//!
//! A name stays a name here; what it resolves to is asked for when the server binds, not when the file is read.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use super::report::Mismatch;
use super::values::{Value, port};

const FORM: &str = "an address like ws://localhost:8096";

/// Bytes that the name of a Unix socket may have (unix(7), `sun_path` without its NUL).
const UNIX_PATH: usize = 107;

/// One address to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ListenAddress {
    /// A host and a port.
    Tcp(TcpAddress),
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether it speaks TLS.
    pub const fn is_secure(&self) -> bool {
        matches!(self, Self::Tcp(TcpAddress { secure: true, .. }))
    }

    /// Whether no two listeners can have both.
    fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                one.port != 0 && one.port == other.port && one.host.eq_ignore_ascii_case(&other.host)
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        // "unix:8096" may as well be a host of that name.
        let Some(path) = text.strip_prefix("unix:").filter(|rest| rest.parse::<u16>().is_err()) else {
            return text.parse().map(Self::Tcp);
        };
        let bad = |expected: &str| Err(Mismatch::value(text, expected));
        if !path.starts_with('/') || path.ends_with('/') {
            return bad("unix: and the absolute path of a socket, like unix:/run/websock/websock.sock");
        }
        if path.len() > UNIX_PATH {
            return bad("a path of at most 107 bytes, which is all that a Unix socket can have");
        }
        if path.chars().any(char::is_control) {
            return bad("a path without control characters");
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }
}

/// A host and a port to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TcpAddress {
    /// Whether it speaks TLS (`wss://`, `ssl://`).
    pub secure: bool,
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The port; 0 is any free one.
    pub port: u16,
}

impl TcpAddress {
    /// Every socket address that the host stands for, each once, in the resolver's order.
    ///
    /// A name is looked up by the system's resolver, which blocks for as long as the system lets it.
    ///
    /// # Errors
    ///
    /// The resolver's error with the host named in it. A name without an address is an error as well.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|e| io::Error::new(e.kind(), format!("can't resolve {}: {e}", self.host)))?;
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host)));
        }
        Ok(addresses)
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for TcpAddress {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let bad = |expected: &str| Mismatch::value(text, expected);
        let (secure, authority) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "ws" | "tcp" => (false, rest),
                "wss" | "ssl" => (true, rest),
                _ => return Err(bad("ws://, wss://, tcp://, ssl:// or nothing in front of the host")),
            },
        };
        if authority.contains(['/', '?', '@']) {
            return Err(bad("HOST or HOST:PORT, without a path or a user"));
        }
        let (host, port_text) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(|| bad("a ] after the IPv6 address"))?;
            // What a zone (`%eth0`) means is the resolver's business.
            let (address, zone) = host.split_once('%').unwrap_or((host, "-"));
            if address.parse::<Ipv6Addr>().is_err() || !is_zone(zone) {
                return Err(bad("an IPv6 address in the brackets"));
            }
            let port_text = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                None => return Err(bad("nothing or :PORT after the ]")),
                some => some,
            };
            (host, port_text)
        } else {
            match authority.split_once(':') {
                None => (authority, None),
                Some((_, rest)) if rest.contains(':') => {
                    return Err(bad("an IPv6 address in brackets, like [::1]:8096"));
                }
                Some((host, rest)) => (host, Some(rest)),
            }
        };
        if host.is_empty() {
            return Err(bad(FORM));
        }
        if !host.contains(':') && !is_host(host) {
            return Err(bad("a host name or an address (0.0.0.0 or [::] to listen on all)"));
        }
        let port = match port_text {
            None if secure => 443,
            None => 80,
            Some(digits) => port(digits).ok_or_else(|| bad("a port from 0 to 65535"))?,
        };
        Ok(Self { secure, host: host.to_owned(), port })
    }
}

/// Reads a list of addresses; there must be one, and none twice.
pub(super) fn list(value: &Value<'_>) -> Result<Vec<ListenAddress>, Vec<Mismatch>> {
    let addresses: Vec<ListenAddress> = value.each(FORM, str::parse)?;
    if addresses.is_empty() {
        return Err(Mismatch::value("", FORM).into());
    }
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].iter().any(|other| other.collides(address)) {
            let found = format!("{address} twice");
            return Err(Mismatch::new(found, "each address once").into());
        }
    }
    Ok(addresses)
}

/// A host name or an IPv4 address. Digits and dots that are no address (`127.1`, `10.0.0.300`) are neither, although
/// some resolvers make something of them.
fn is_host(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// Whether this could name an interface (RFC 6874, section 2): a zone stands in messages, which are lines.
fn is_zone(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            ("ws://localhost:8096", "ws://localhost:8096"),
            ("tcp://localhost:8096", "ws://localhost:8096"),
            ("WS://localhost", "ws://localhost:80"),
            ("localhost", "ws://localhost:80"),
            ("0.0.0.0:1", "ws://0.0.0.0:1"),
            ("127.0.0.1:0", "ws://127.0.0.1:0"),
            ("wss://push.example.com", "wss://push.example.com:443"),
            ("ssl://push.example.com.:9", "wss://push.example.com.:9"),
            ("[::1]:65535", "ws://[::1]:65535"),
            ("wss://[::]", "wss://[::]:443"),
            ("[fe80::1%eth0]:80", "ws://[fe80::1%eth0]:80"),
            ("my_host-1", "ws://my_host-1:80"),
            ("unix:8096", "ws://unix:8096"),
            ("unix:/run/websock/a b.sock", "unix:/run/websock/a b.sock"),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<ListenAddress>().unwrap(), address, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, expected) in [
            ("", "an address like"),
            ("ws://", "an address like"),
            ("ws://:80", "an address like"),
            ("http://localhost", "ws://, wss://, tcp://, ssl://"),
            ("ws://localhost:8096/", "without a path"),
            ("ws://user@localhost", "without a path or a user"),
            ("localhost:", "a port"),
            ("localhost:65536", "a port"),
            ("localhost:+80", "a port"),
            ("localhost:8o", "a port"),
            ("::1:80", "in brackets"),
            ("[::1", "a ] after"),
            ("[::1]80", "nothing or :PORT"),
            ("[localhost]:80", "an IPv6 address"),
            ("[fe80::1%]:80", "an IPv6 address"),
            ("*:80", "a host name"),
            ("127.1:80", "a host name"),
            ("10.0.0.300", "a host name"),
            ("a..b", "a host name"),
            ("two words", "a host name"),
            ("bücher.example", "a host name"),
            ("unix:", "unix: and the absolute path"),
            ("unix:run/x", "unix: and the absolute path"),
            ("unix:/run/", "unix: and the absolute path"),
            ("unix:///run/x\ty", "without control characters"),
            ("wss://unix:/run/x", "without a path"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.expected.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_list_has_addresses_and_none_twice() {
        let list = |text: &str| list(&Value::new(text));
        assert_eq!(list("ws://a:1 ,[::1]:1").unwrap().len(), 2);
        assert_eq!(list("a:0, a:0").unwrap().len(), 2);
        assert_eq!(list("ws://a:1, wss://A:1").unwrap_err()[0].found, "wss://A:1 twice");
        assert_eq!(list(" ").unwrap_err()[0].found, "nothing");
        assert_eq!(list("a:x, b, c:y,").unwrap_err().len(), 3);
        assert_eq!(list("unix:/a, ws://a, unix:/b").unwrap().len(), 3);
        assert_eq!(list("unix:/a, unix:/a").unwrap_err()[0].found, "unix:/a twice");
        let long = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
        assert_eq!(list(&long(107)).unwrap().len(), 1);
        assert!(list(&long(108)).is_err());
    }

    #[test]
    fn addresses_resolve() {
        let one: TcpAddress = "127.0.0.1:7".parse().unwrap();
        assert_eq!(one.resolve().unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        let six: TcpAddress = "[::1]:7".parse().unwrap();
        assert_eq!(six.resolve().unwrap(), ["[::1]:7".parse().unwrap()]);
        let all = "localhost:7".parse::<TcpAddress>().unwrap().resolve().unwrap();
        assert!(!all.is_empty() && all.iter().all(|a| a.ip().is_loopback() && a.port() == 7));
    }
}

//! Who an allow list means: an address, or a range of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::report::Mismatch;
use super::values::digits;

/// A single address or a CIDR range. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is the IPv4 address, in the range as in
/// what is looked for; so `::/0` is all of IPv6 and nothing of IPv4.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AddressRange {
    network: IpAddr,
    prefix: u8,
}

impl AddressRange {
    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = v4_mask(self.prefix);
                network.to_bits() == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = v6_mask(self.prefix);
                network.to_bits() == address.to_bits() & mask
            }
            _ => false,
        }
    }

    /// The two addresses of this machine.
    pub(crate) fn loopback() -> [Self; 2] {
        [Self::single(Ipv4Addr::LOCALHOST.into()), Self::single(Ipv6Addr::LOCALHOST.into())]
    }

    fn single(address: IpAddr) -> Self {
        let network = address.to_canonical();
        let prefix = width(network);
        Self { network, prefix }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.network) {
            write!(f, "{}", self.network)
        } else {
            write!(f, "{}/{}", self.network, self.prefix)
        }
    }
}

impl FromStr for AddressRange {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let bad = |expected: &str| Mismatch::value(text, expected);
        let (address_text, prefix_text) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let written: IpAddr = address_text.parse().map_err(|_| bad("an IP address or a range like 10.0.0.0/8"))?;
        let Some(prefix_text) = prefix_text else {
            return Ok(Self::single(written));
        };
        let prefix = digits(prefix_text)
            .and_then(|bits| u8::try_from(bits).ok())
            .filter(|bits| *bits <= width(written))
            .ok_or_else(|| bad(&format!("a number from 0 to {} after the /", width(written))))?;
        let network = match written {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & v4_mask(prefix)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & v6_mask(prefix)).into(),
        };
        if network != written {
            return Err(bad(&format!("the range {network}/{prefix} or the address {written}")));
        }
        // The mapped IPv4 addresses are the last 32 bits of ::ffff:0:0/96.
        match (written.to_canonical(), prefix.checked_sub(96)) {
            (v4 @ IpAddr::V4(_), Some(v4_prefix)) if written.is_ipv6() => Ok(Self { network: v4, prefix: v4_prefix }),
            _ => Ok(Self { network, prefix }),
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Shifting a number by its whole width is an overflow, hence `checked_shl`.
fn v4_mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn v6_mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_it_should() {
        for (range, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("::ffff:127.0.0.1", "127.0.0.1", "::1"),
            ("::1", "::1", "127.0.0.1"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.168.1.128/25", "192.168.1.128", "192.168.1.127"),
            ("192.168.1.4/32", "192.168.1.4", "192.168.1.5"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::/0", "::", "::ffff:10.0.0.1"),
            ("fe80::/10", "febf::1", "fec0::1"),
            ("2001:db8::/127", "2001:db8::1", "2001:db8::2"),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{range} {outside}");
            assert_eq!(parsed.to_string().parse::<AddressRange>().unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_no_range_is_told() {
        for (text, expected) in [
            ("", "an IP address or a range like 10.0.0.0/8"),
            ("localhost", "an IP address or a range like 10.0.0.0/8"),
            ("10.0.0", "an IP address or a range like 10.0.0.0/8"),
            ("10.0.0.*", "an IP address or a range like 10.0.0.0/8"),
            ("010.0.0.1", "an IP address or a range like 10.0.0.0/8"),
            ("[::1]", "an IP address or a range like 10.0.0.0/8"),
            ("10.0.0.0/33", "a number from 0 to 32 after the /"),
            ("10.0.0.0/", "a number from 0 to 32 after the /"),
            ("10.0.0.0/+8", "a number from 0 to 32 after the /"),
            ("10.0.0.0/8/8", "a number from 0 to 32 after the /"),
            ("10.0.0.0/255.0.0.0", "a number from 0 to 32 after the /"),
            ("::/129", "a number from 0 to 128 after the /"),
            ("10.1.2.3/8", "the range 10.0.0.0/8 or the address 10.1.2.3"),
            ("1.2.3.4/0", "the range 0.0.0.0/0 or the address 1.2.3.4"),
            ("fe80::1/64", "the range fe80::/64 or the address fe80::1"),
        ] {
            let error = text.parse::<AddressRange>().unwrap_err();
            assert_eq!(error.expected, expected, "{text}");
        }
    }
}

//! Networks of IP addresses, such as `192.168.1.0/24`.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its first bits count. An IPv4 address inside an IPv6 one is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u32,
}

/// Why a text is no network.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address or a network such as 192.168.1.0/24, with no bits after the prefix")]
pub(crate) struct NoNetwork;

impl Network {
    /// What counts as one client: an IPv6 subscriber has a whole /64.
    pub(crate) fn of_client(address: IpAddr) -> Self {
        Self::around(address, 32, 64)
    }

    /// What counts as one neighbourhood, in which addresses are cheap to change.
    pub(crate) fn of_neighbours(address: IpAddr) -> Self {
        Self::around(address, 24, 48)
    }

    fn around(address: IpAddr, v4_bits: u32, v6_bits: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self {
                first: Ipv4Addr::from(u32::from(address) & mask_v4(v4_bits)).into(),
                bits: v4_bits,
            },
            IpAddr::V6(address) => Self {
                first: Ipv6Addr::from(u128::from(address) & mask_v6(v6_bits)).into(),
                bits: v6_bits,
            },
        }
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let other = Self::around(address, self.bits, self.bits);
        other.first == self.first
    }

    /// The lowest address.
    pub(crate) const fn first(self) -> IpAddr {
        self.first
    }
}

impl FromStr for Network {
    type Err = NoNetwork;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let first = first.to_canonical();
        let widest = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(widest), str::parse).map_err(|_| NoNetwork)?;
        let network = Self { first, bits };
        let whole = bits <= widest && Self::around(first, bits, bits) == network;
        whole.then_some(network).ok_or(NoNetwork)
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

fn mask_v4(bits: u32) -> u32 {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(bits))
        .unwrap_or(0)
}

fn mask_v6(bits: u32) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(bits))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Network;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("192.168.1.0/24", "192.168.1.255", "192.168.2.0"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
        ] {
            assert!(network(text).contains(address(inside)), "{text} {inside}");
            assert!(
                !network(text).contains(address(outside)),
                "{text} {outside}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "x",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "2001:db8::/129",
            "10.0.0.0/-1",
            "10/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let client = |text| Network::of_client(address(text)).to_string();
        assert_eq!(client("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(client("::ffff:192.0.2.7"), "192.0.2.7/32");
        let neighbours = Network::of_neighbours(address("192.0.2.7"));
        assert_eq!(neighbours.to_string(), "192.0.2.0/24");
    }
}

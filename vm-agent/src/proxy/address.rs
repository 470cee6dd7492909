//! Which addresses a key may be sent to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The internet.
    Public,
    /// This machine, or a network of its own: only where the agent's policy says so.
    Private,
    /// The metadata service of a cloud, this link alone, or nobody: never.
    Never,
}

pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => reach_v4(address),
            None => reach_v6(address),
        },
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    let never = address.is_unspecified()
        || address.is_link_local()
        || address.is_multicast()
        || METADATA.contains(&address)
        || matches!((a, b, c), (0, ..) | (192, 0, 0) | (240.., ..));
    let private = address.is_loopback()
        || address.is_private()
        || address.is_documentation()
        || matches!((a, b), (100, 64..=127) | (198, 18 | 19));
    match (never, private) {
        (true, _) => Reach::Never,
        (false, true) => Reach::Private,
        (false, false) => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let [first, ..] = address.segments();
    let never = address.is_unspecified()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address == EC2_METADATA;
    if never {
        Reach::Never
    } else if address.is_loopback() || address.is_unique_local() || first & 0xffc0 == 0xfec0 {
        Reach::Private
    } else if first & 0xe000 == 0x2000 {
        Reach::Public
    } else {
        Reach::Never
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (RFC 6052), 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(of(high, low))
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Outside the link-local range: Alibaba, Azure.
const METADATA: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];
const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_all(expected: Reach, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        assert_all(
            Reach::Public,
            &["1.1.1.1", "162.159.140.245", "100.63.0.1", "2606:4700::1"],
        );
    }

    #[test]
    fn this_machine_and_its_networks_are_private() {
        assert_all(
            Reach::Private,
            &[
                "127.0.0.1",
                "127.8.9.1",
                "10.0.0.1",
                "172.16.0.1",
                "192.168.1.1",
                "100.64.0.1",
                "198.18.0.1",
                "::1",
                "fd12::1",
            ],
        );
    }

    #[test]
    fn metadata_services_and_the_link_are_never_reached() {
        assert_all(
            Reach::Never,
            &[
                "169.254.169.254",
                "169.254.0.1",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "0.0.0.0",
                "0.1.2.3",
                "224.0.0.1",
                "255.255.255.255",
                "240.0.0.1",
                "fd00:ec2::254",
                "fe80::1",
                "ff02::1",
                "::",
                "100::1",
            ],
        );
    }

    #[test]
    fn an_address_inside_another_counts_as_itself() {
        assert_all(
            Reach::Private,
            &[
                "::ffff:127.0.0.1",
                "64:ff9b::10.0.0.1",
                "2002:7f00:1::",
                "::10.0.0.1",
            ],
        );
        assert_all(
            Reach::Never,
            &["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"],
        );
        assert_all(Reach::Public, &["::ffff:1.1.1.1"]);
    }
}

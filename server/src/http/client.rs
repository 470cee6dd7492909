//! Where a request comes from: the socket's other end, or what a trusted proxy says about it.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName, USER_AGENT};

use crate::network::Network;

/// The client's address. A field of the request counts only when the socket's other end is a
/// trusted proxy, and then only its part that trusted proxies wrote: the last hop that is not one
/// of them is the client. Two fields that disagree are both disbelieved.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_proxy(peer, proxies) {
        return peer;
    }
    let said = [
        hops(headers, &FORWARDED, forwarded_for),
        hops(headers, &X_FORWARDED_FOR, address_of),
    ];
    let mut clients = said
        .iter()
        .flatten()
        .map(|hops| client(peer, hops, proxies));
    match (clients.next(), clients.next()) {
        (Some(client), None) => client,
        (Some(one), Some(other)) if one == other => one,
        _ => peer,
    }
}

/// What the client calls itself, short enough to keep.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<Arc<str>> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?.trim();
    let end = text.len().min(LONGEST_AGENT);
    text.get(..end)
        .filter(|text| !text.is_empty())
        .map(Arc::from)
}

/// From the nearest hop outward, until one is no proxy, or nobody knows.
fn client(peer: IpAddr, hops: &[Option<IpAddr>], proxies: &[Network]) -> IpAddr {
    let mut nearest = peer;
    for hop in hops.iter().rev() {
        let Some(hop) = *hop else { break };
        nearest = hop;
        if !is_proxy(hop, proxies) {
            break;
        }
    }
    nearest
}

pub(super) fn is_proxy(address: IpAddr, proxies: &[Network]) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(address))
}

/// All hops of a field in order, unknown ones as none; none at all without the field.
fn hops(
    headers: &HeaderMap,
    field: &HeaderName,
    read: fn(&str) -> Option<IpAddr>,
) -> Option<Vec<Option<IpAddr>>> {
    headers.contains_key(field).then(|| {
        let lines = headers.get_all(field).iter();
        lines
            .flat_map(|line| line.to_str().unwrap_or("?").split(','))
            .map(|hop| read(hop.trim()))
            .collect()
    })
}

/// The `for` of one element of `Forwarded` (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut named = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    });
    let value = named.next()?;
    let twice = named.next().is_some();
    address_of(value.trim_matches('"')).filter(|_| !twice)
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address_of(text: &str) -> Option<IpAddr> {
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let ends = port.is_empty() || port.starts_with(':');
        return address.parse().ok().filter(|_| ends).map(canonical);
    }
    let bare = match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => address,
        _ => text,
    };
    bare.parse().ok().map(canonical)
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const LONGEST_AGENT: usize = 200;

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::{address, user_agent};

    fn client(peer: &str, fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let proxies = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/64".parse().unwrap(),
        ];
        address(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn a_stranger_says_nothing_about_addresses() {
        for field in [
            ("x-forwarded-for", "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
        ] {
            assert_eq!(client("192.0.2.1", &[field]), "192.0.2.1");
        }
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        for (said, meant) in [
            ("198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
            ("198.51.100.1:4711", "198.51.100.1"),
            ("2001:db8:1::1", "2001:db8:1::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, unknown", "10.0.0.1"),
            ("203.0.113.9, unknown, 10.2.2.2", "10.2.2.2"),
            ("", "10.0.0.1"),
        ] {
            let field = ("x-forwarded-for", said);
            assert_eq!(client("10.0.0.1", &[field]), meant, "{said}");
        }
        let lines = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(client("::ffff:10.0.0.1", &lines), "198.51.100.1");
    }

    #[test]
    fn the_standard_field_is_read_too() {
        for (said, meant) in [
            ("for=198.51.100.1;proto=https;by=10.0.0.1", "198.51.100.1"),
            (
                "for=203.0.113.9, For=\"[2001:db8:1::1]:4711\"",
                "2001:db8:1::1",
            ),
            ("for=_hidden", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=203.0.113.9;for=198.51.100.1", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", said)]), meant, "{said}");
        }
    }

    #[test]
    fn two_fields_that_disagree_are_disbelieved() {
        let real = ("x-forwarded-for", "198.51.100.1");
        let spoofed = ("forwarded", "for=203.0.113.9");
        assert_eq!(client("10.0.0.1", &[real, spoofed]), "10.0.0.1");
        let same = ("forwarded", "for=198.51.100.1");
        assert_eq!(client("10.0.0.1", &[real, same]), "198.51.100.1");
    }

    #[test]
    fn a_user_agent_is_cut_to_what_we_keep() {
        let mut headers = HeaderMap::new();
        assert!(user_agent(&headers).is_none());
        headers.insert("user-agent", "a".repeat(999).parse().unwrap());
        assert_eq!(user_agent(&headers).unwrap().len(), 200);
    }
}

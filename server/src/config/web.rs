//! Whom the server believes about addresses, and which names and pages it serves.

use super::names::{ALLOWED_HOSTS, ALLOWED_ORIGINS, PUBLIC_URL, SESSION_BINDING, TRUSTED_PROXIES};
use super::parse::wrong;
use super::{ConfigError, Sources};
use crate::network::Network;

/// What HTTP itself needs to know.
#[derive(Clone)]
pub(crate) struct WebSettings {
    /// Who may say from which address a request comes.
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) allowed_hosts: AllowedHosts,
    /// Whose pages may read answers.
    pub(crate) allowed_origins: Vec<AllowedOrigin>,
    pub(crate) binding: SessionBinding,
}

/// What happens to a session that comes from another program or network than it began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionBinding {
    /// Nothing.
    Off,
    /// It is written down.
    Warn,
    /// It is refused.
    Enforce,
}

/// Under which names the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// Nothing was set.
    Unset,
    /// These, in lower case.
    Listed(Vec<String>),
}

/// Where a page that may read answers comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedOrigin {
    /// Exactly this.
    Exact(String),
    /// An address in this network, with this scheme; at any port when none is given.
    Network {
        scheme: &'static str,
        network: Network,
        port: Option<u16>,
    },
}

impl WebSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let proxies = list(sources, TRUSTED_PROXIES).map(|text| {
            text.parse()
                .map_err(|cause| wrong(TRUSTED_PROXIES, format!("`{text}` {cause}")))
        });
        let origins = list(sources, ALLOWED_ORIGINS).map(|text| {
            AllowedOrigin::parse(text).ok_or_else(|| {
                let problem = format!("`{text}` is no origin such as https://app.example.org");
                wrong(ALLOWED_ORIGINS, problem)
            })
        });
        Ok(Self {
            trusted_proxies: proxies.collect::<Result<_, _>>()?,
            allowed_hosts: hosts(sources),
            allowed_origins: origins.collect::<Result<_, _>>()?,
            binding: match sources.text(SESSION_BINDING) {
                None | Some("off") => SessionBinding::Off,
                Some("warn") => SessionBinding::Warn,
                Some("enforce") => SessionBinding::Enforce,
                Some(_) => return Err(wrong(SESSION_BINDING, "must be off, warn or enforce")),
            },
        })
    }
}

impl AllowedOrigin {
    /// `*` is none: answers to signed-in callers are for pages that the operator knows.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = split_scheme(text)?;
        let rest = rest.trim_end_matches('/');
        let Some((address, end)) = rest.split_once('/') else {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
            let whole = !rest.is_empty() && rest.bytes().all(plain);
            return whole.then(|| Self::Exact(format!("{scheme}://{}", rest.to_ascii_lowercase())));
        };
        let (bits, port) = match end.split_once(':') {
            Some((bits, port)) => (bits, Some(port.parse().ok()?)),
            None => (end, None),
        };
        let address = address.trim_matches(['[', ']']);
        let network = format!("{address}/{bits}").parse().ok()?;
        Some(Self::Network {
            scheme,
            network,
            port,
        })
    }

    /// Whether a page of this origin, as its browser names it, is meant.
    pub(crate) fn admits(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Network {
                scheme,
                network,
                port,
            } => {
                let at = split_scheme(origin).and_then(|(named, rest)| {
                    let (host, at_port) = split_port(named, rest)?;
                    let address = host.trim_matches(['[', ']']).parse().ok()?;
                    Some((named, address, at_port))
                });
                at.is_some_and(|(named, address, at_port)| {
                    named == *scheme
                        && network.contains(address)
                        && port.is_none_or(|port| port == at_port)
                })
            }
        }
    }
}

fn hosts(sources: &Sources) -> AllowedHosts {
    let urls = list(sources, PUBLIC_URL).filter_map(|url| {
        let (scheme, rest) = split_scheme(url)?;
        let authority = rest.split('/').next()?;
        split_port(scheme, authority).map(|(host, _)| host)
    });
    let mut names: Vec<String> = list(sources, ALLOWED_HOSTS)
        .chain(urls)
        .map(str::to_ascii_lowercase)
        .collect();
    if names.is_empty() {
        return AllowedHosts::Unset;
    }
    names.push("localhost".to_owned());
    AllowedHosts::Listed(names)
}

fn split_scheme(text: &str) -> Option<(&'static str, &str)> {
    ["https", "http"].into_iter().find_map(|scheme| {
        let rest = text.strip_prefix(scheme)?.strip_prefix("://")?;
        Some((scheme, rest))
    })
}

/// The host, and the port or the one that the scheme implies.
fn split_port<'a>(scheme: &str, authority: &'a str) -> Option<(&'a str, u16)> {
    let implied = if scheme == "https" { 443 } else { 80 };
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, implied)),
    }
}

fn list<'a>(sources: &'a Sources, setting: &str) -> impl Iterator<Item = &'a str> {
    let text = sources.text(setting).unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{AllowedHosts, AllowedOrigin, Sources, WebSettings};

    fn origin(text: &str) -> AllowedOrigin {
        AllowedOrigin::parse(text).unwrap()
    }

    #[test]
    fn an_origin_is_exact_or_in_a_network() {
        for (rule, admitted, refused) in [
            (
                "https://app.example.org",
                "https://app.example.org",
                "http://app.example.org",
            ),
            (
                "https://app.example.org",
                "https://APP.example.org",
                "https://app.example.org:8443",
            ),
            (
                "https://app.example.org",
                "https://app.example.org",
                "https://app.example.org.evil.net",
            ),
            (
                "http://192.168.1.0/24",
                "http://192.168.1.77:3000",
                "http://192.168.2.77",
            ),
            (
                "http://192.168.1.0/24",
                "http://192.168.1.77",
                "https://192.168.1.77",
            ),
            (
                "http://192.168.1.0/24:3000",
                "http://192.168.1.7:3000",
                "http://192.168.1.7:3001",
            ),
            (
                "http://192.168.1.0/24",
                "http://192.168.1.7",
                "http://192.168.1.7.evil.net",
            ),
            (
                "https://[2001:db8::]/32:443",
                "https://[2001:db8::1]",
                "https://[2001:db9::1]",
            ),
        ] {
            assert!(origin(rule).admits(admitted), "{rule} {admitted}");
            assert!(!origin(rule).admits(refused), "{rule} {refused}");
        }
        assert!(!origin("http://10.0.0.0/8").admits("null"));
    }

    #[test]
    fn everyone_is_no_origin() {
        for wrong in [
            "*",
            "http://*",
            "app.example.org",
            "https://",
            "http://10.0.0.1/8",
            "null",
        ] {
            assert!(AllowedOrigin::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_public_url_names_a_host() {
        let parse = |pairs: &[(&'static str, &str)]| {
            WebSettings::parse(&Sources::from_pairs(pairs.iter().copied())).unwrap()
        };
        assert_eq!(parse(&[]).allowed_hosts, AllowedHosts::Unset);
        let web = parse(&[
            ("KEYFERRY_PUBLIC_URL", "https://Keys.example.org:8443/x"),
            ("KEYFERRY_ALLOWED_HOSTS", "other, third"),
        ]);
        let names = ["other", "third", "keys.example.org", "localhost"];
        assert_eq!(
            web.allowed_hosts,
            AllowedHosts::Listed(names.map(str::to_owned).to_vec())
        );
    }
}

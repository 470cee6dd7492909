//! The host that a request goes to: one of the key's own, and no other.

use std::net::SocketAddr;

use tokio::net::lookup_host;

use super::address::{Reach, reach};
use super::refusal::Refused;
use crate::keyring::Route;

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) host: String,
    port: u16,
}

/// Where a request is to go, and what it said of that itself.
pub(crate) struct Aim {
    wanted: Option<String>,
    pub(super) destination: Destination,
}

impl Aim {
    /// What the key's owner lets it be.
    pub(crate) fn of(wanted: Option<String>, route: &Route) -> Result<Self, Refused> {
        let destination = Destination::choose(wanted.as_deref(), &route.provider, &route.hosts)?;
        Ok(Self {
            wanted,
            destination,
        })
    }

    /// Whether it would be the same by what the owner says now.
    pub(crate) fn is_allowed(&self, route: &Route) -> Result<(), Refused> {
        let wanted = self.wanted.as_deref();
        let now = Destination::choose(wanted, &route.provider, &route.hosts)?;
        let same = now == self.destination;
        same.then_some(()).ok_or(Refused::HostNotAllowed)
    }
}

impl Destination {
    /// The key's first host, or the one that the request names if it is the key's.
    pub(super) fn choose(
        wanted: Option<&str>,
        provider: &str,
        allowed: &[String],
    ) -> Result<Self, Refused> {
        let preset: Vec<_> = preset(provider).map(str::to_owned).into_iter().collect();
        let hosts = if allowed.is_empty() { &preset } else { allowed };
        let mut hosts = hosts.iter().filter_map(|host| Self::parse(host));
        match wanted {
            None => hosts.next().ok_or(Refused::NoHost),
            Some(wanted) => {
                let wanted = Self::parse(wanted).ok_or(Refused::HostNotAllowed)?;
                hosts
                    .find(|host| *host == wanted)
                    .ok_or(Refused::HostNotAllowed)
            }
        }
    }

    /// As it stands in a URL.
    pub(super) fn authority(&self) -> String {
        let Self { host, port } = self;
        if *port == HTTPS {
            host.clone()
        } else {
            format!("{host}:{port}")
        }
    }

    /// The addresses of this host that a key may be sent to. What is connected to is what was
    /// checked: the name is not resolved again.
    pub(super) async fn resolve(&self, private: &[String]) -> Result<Vec<SocketAddr>, Refused> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|_unknown| Refused::NotResolved)?.collect();
        let private_allowed = private
            .iter()
            .any(|host| host.eq_ignore_ascii_case(&self.host));
        let good = |address: &SocketAddr| match reach(address.ip()) {
            Reach::Public => true,
            Reach::Private => private_allowed,
            Reach::Never => false,
        };
        let addresses: Vec<_> = found.into_iter().filter(good).collect();
        if addresses.is_empty() {
            Err(Refused::AddressNotAllowed)
        } else {
            Ok(addresses)
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, HTTPS),
        };
        let host = host.to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { host, port })
    }
}

/// Where the providers answer.
fn preset(provider: &str) -> Option<&'static str> {
    match provider {
        "openai" => Some("api.openai.com"),
        "anthropic" => Some("api.anthropic.com"),
        "groq" => Some("api.groq.com"),
        "google" => Some("generativelanguage.googleapis.com"),
        _ => None,
    }
}

const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: Option<&str>, provider: &str, allowed: &[&str]) -> Result<String, Refused> {
        let allowed: Vec<_> = allowed.iter().map(|host| (*host).to_owned()).collect();
        Destination::choose(wanted, provider, &allowed).map(|chosen| chosen.authority())
    }

    #[test]
    fn a_key_goes_to_its_providers_host_unless_its_owner_says_otherwise() {
        assert_eq!(chosen(None, "openai", &[]).unwrap(), "api.openai.com");
        let own = ["Eu.Example.org:8443", "us.example.org"];
        assert_eq!(chosen(None, "openai", &own).unwrap(), "eu.example.org:8443");
        assert_eq!(chosen(None, "custom", &[]), Err(Refused::NoHost));
    }

    #[test]
    fn a_request_may_name_a_host_of_the_key_and_no_other() {
        let own = ["eu.example.org:8443", "us.example.org"];
        let us = chosen(Some("us.example.org:443"), "custom", &own);
        assert_eq!(us.unwrap(), "us.example.org");
        for other in [
            "eu.example.org",
            "us.example.org:8443",
            "example.org",
            "evil.us.example.org",
            "api.openai.com",
            "us.example.org.",
            "x@us.example.org",
            "",
            ":443",
        ] {
            let refused = chosen(Some(other), "openai", &own);
            assert_eq!(refused, Err(Refused::HostNotAllowed), "{other}");
        }
    }

    #[tokio::test]
    async fn private_addresses_need_the_agents_policy() {
        let here = Destination::parse("127.0.0.1:9").unwrap();
        let refused = here.resolve(&["localhost".to_owned()]).await;
        assert_eq!(refused, Err(Refused::AddressNotAllowed));
        assert!(here.resolve(&["127.0.0.1".to_owned()]).await.is_ok());
    }

    #[tokio::test]
    async fn metadata_services_are_refused_whatever_the_policy_says() {
        let metadata = Destination::parse("169.254.169.254:80").unwrap();
        let refused = metadata.resolve(&["169.254.169.254".to_owned()]).await;
        assert_eq!(refused, Err(Refused::AddressNotAllowed));
    }
}

//! Addresses of services: `https`, and `http` on this machine alone unless somebody wants it.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

use super::OutboundError;

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url(Uri);

impl Url {
    /// For what may be read by anybody underway: `http` to other machines too.
    pub(crate) fn anywhere(text: &str) -> Result<Self, OutboundError> {
        let wrong = || OutboundError::Url(text.to_owned());
        let url = Self(text.parse().map_err(|_| wrong())?);
        let known = matches!(url.0.scheme_str(), Some("http" | "https"));
        let named = !url.host().is_empty() && !url.authority().contains('@');
        (known && named).then_some(url).ok_or_else(wrong)
    }

    /// Whether it leaves this machine in the clear.
    pub(crate) fn is_readable_underway(&self) -> bool {
        let address = self.host().parse();
        let is_here = self.host() == "localhost"
            || address.is_ok_and(|address: IpAddr| address.is_loopback());
        !self.is_tls() && !is_here
    }

    pub(crate) fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.trim_matches(['[', ']'])
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(super) fn port(&self) -> u16 {
        let usual = if self.is_tls() { 443 } else { 80 };
        self.0.port_u16().unwrap_or(usual)
    }

    /// What `Host` says.
    pub(super) fn authority(&self) -> &str {
        self.0
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        self.0
            .path_and_query()
            .map_or("/", |target| target.as_str())
    }

    /// The whole address.
    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }
}

impl FromStr for Url {
    type Err = OutboundError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Self::anywhere(text)?;
        if url.is_readable_underway() {
            return Err(OutboundError::Url(text.to_owned()));
        }
        Ok(url)
    }
}

/// Text as a part of a URL or of a form: all but what RFC 3986 §2.3 leaves as it is.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn in_the_clear_only_this_machine_is_asked() {
        for good in [
            "https://id.example.org/a?b",
            "http://127.0.0.1:80",
            "http://[::1]/",
        ] {
            assert!(good.parse::<Url>().is_ok(), "{good}");
        }
        for wrong in [
            "http://id.example.org",
            "ftp://x",
            "/x",
            "https://a@b/",
            "https://",
        ] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}

//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::Uri;

/// A server's base URL: `https://` anywhere, `http://` on this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no URL of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not `https://HOST[:PORT][/PATH]`.
    #[error("a server's URL is https://HOST[:PORT]")]
    Malformed,
    /// `http://` to another machine.
    #[error("http:// is only allowed to this machine (127.0.0.1, ::1, localhost)")]
    PlainToElsewhere,
}

impl ServerUrl {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The URI of the agents' WebSocket.
    pub(crate) fn agents(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}/agent", self.authority(), self.path)
    }

    /// What stands before the path of every route.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.trim().parse().map_err(|_| UrlError::Malformed)?;
        let (tls, default_port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(UrlError::Malformed),
        };
        let host = uri.host().ok_or(UrlError::Malformed)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        if host.is_empty() || user || uri.query().is_some() {
            return Err(UrlError::Malformed);
        }
        if !tls && !is_this_machine(&host) {
            return Err(UrlError::PlainToElsewhere);
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            tls,
            host,
            port: uri.port_u16().unwrap_or(default_port),
            path,
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_are_read() {
        let cases = [
            (
                "https://keys.example",
                "https://keys.example:443",
                "wss://keys.example:443/agent",
            ),
            (
                "https://[2001:db8::1]:8443/",
                "https://[2001:db8::1]:8443",
                "wss://[2001:db8::1]:8443/agent",
            ),
            (
                "https://a.example/keyferry",
                "https://a.example:443/keyferry",
                "wss://a.example:443/keyferry/agent",
            ),
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080",
                "ws://127.0.0.1:8080/agent",
            ),
            (
                "http://localhost",
                "http://localhost:80",
                "ws://localhost:80/agent",
            ),
        ];
        for (text, printed, agents) in cases {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(
                (url.to_string().as_str(), url.agents().as_str()),
                (printed, agents)
            );
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_refused() {
        for text in [
            "http://10.0.2.2:8080",
            "http://localhost.example",
            "http://[::2]",
        ] {
            assert_eq!(
                text.parse::<ServerUrl>(),
                Err(UrlError::PlainToElsewhere),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "keys.example",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "https://a/?q=1",
        ] {
            assert_eq!(
                text.parse::<ServerUrl>(),
                Err(UrlError::Malformed),
                "{text}"
            );
        }
    }
}

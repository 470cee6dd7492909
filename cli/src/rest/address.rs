//! The address of a server.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// `https://HOST[:PORT]`, or `http://` for a server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    encrypted: Encrypted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encrypted {
    Yes,
    No,
}

/// Why a text is no address of a server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no URL of this kind.
    #[error("an address looks like https://keys.example.org:8443")]
    Form,
    /// Passwords would travel in clear.
    #[error("http:// is only for a server on this machine (127.0.0.1, [::1], localhost)")]
    PlainOutside,
}

impl Address {
    /// The host to connect to, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted == Encrypted::Yes
    }

    /// For the `Host` field.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url: Uri = text.parse().map_err(|_| AddressError::Form)?;
        let (encrypted, usual) = match url.scheme_str() {
            Some("https") => (Encrypted::Yes, 443),
            Some("http") => (Encrypted::No, 80),
            _ => return Err(AddressError::Form),
        };
        let authority = url.authority().ok_or(AddressError::Form)?;
        let names_user = authority.as_str().contains('@');
        if names_user || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(AddressError::Form);
        }
        let port = authority.port_u16().unwrap_or(usual);
        let address = Self {
            host: authority.host().to_owned(),
            port,
            encrypted,
        };
        if encrypted == Encrypted::No && !LOOPBACK.contains(&address.host()) {
            return Err(AddressError::PlainOutside);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

const LOOPBACK: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// What a person typed, as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+".contains(&byte);
    let letter = |byte: u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_being_printed() {
        for text in [
            "https://keys.example.org:8443",
            "https://[::1]:8443",
            "http://127.0.0.1:80",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_usual_port_is_filled_in() {
        assert_eq!("https://a.example/".parse::<Address>().unwrap().port(), 443);
    }

    #[test]
    fn plain_http_to_another_machine_is_refused() {
        let error = "http://keys.example.org".parse::<Address>();
        assert_eq!(error, Err(AddressError::PlainOutside));
    }

    #[test]
    fn what_is_more_or_less_than_an_address_is_refused() {
        for wrong in [
            "",
            "keys.example.org",
            "ftp://a",
            "https://u:p@a",
            "https://a/x",
            "https://a/?q",
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(AddressError::Form), "{wrong}");
        }
    }

    #[test]
    fn a_segment_never_leads_elsewhere() {
        assert_eq!(segment("ada@example.org"), "ada@example.org");
        assert_eq!(segment("../a b?c#d"), "..%2Fa%20b%3Fc%23d");
    }
}

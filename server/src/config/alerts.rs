//! Where security events are told.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::names::{ALERT_CA_FILE, ALERT_PRIVATE, ALERT_SECRET, ALERT_URL};
use super::parse::{choice, wrong};
use super::{ConfigError, Sources};

/// The webhook, and how it is reached.
pub(crate) struct AlertSettings {
    pub(crate) webhook: Option<AlertTarget>,
    pub(crate) reach: Reach,
    /// Certificates of further authorities, beside the system's.
    pub(crate) authority: Option<PathBuf>,
}

/// Who is told, and the secret that alerts are signed with.
pub(crate) struct AlertTarget {
    pub(crate) url: WebhookUrl,
    pub(crate) secret: SecretString,
}

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebhookUrl {
    pub(crate) encrypted: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they stand in the URL.
    pub(crate) authority: String,
    /// With its query.
    pub(crate) path: String,
}

/// Which addresses may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those out in the world.
    Public,
    /// This machine and private networks too.
    Anywhere,
}

impl AlertSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let reach = if choice(sources, ALERT_PRIVATE)? {
            Reach::Anywhere
        } else {
            Reach::Public
        };
        let authority = sources.text(ALERT_CA_FILE).map(PathBuf::from);
        let webhook = match sources.text(ALERT_URL) {
            None => None,
            Some(text) => {
                let url = WebhookUrl::parse(text, reach).ok_or_else(|| {
                    wrong(ALERT_URL, "must be https://HOST/..., or http:// where KEYFERRY_ALERT_ALLOW_PRIVATE is true")
                })?;
                let secret = SecretString::from(sources.text(ALERT_SECRET).unwrap_or_default());
                if secret.expose_secret().len() < 16 {
                    return Err(wrong(ALERT_SECRET, "needs at least 16 characters"));
                }
                Some(AlertTarget { url, secret })
            }
        };
        Ok(Self {
            webhook,
            reach,
            authority,
        })
    }
}

impl WebhookUrl {
    fn parse(text: &str, reach: Reach) -> Option<Self> {
        let (encrypted, rest) = match (text.strip_prefix("https://"), reach) {
            (Some(rest), _) => (true, rest),
            (None, Reach::Anywhere) => (false, text.strip_prefix("http://")?),
            (None, Reach::Public) => return None,
        };
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let usual = if encrypted { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, usual),
        };
        let host = host.trim_matches(['[', ']']);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
        let visible = |b: u8| b.is_ascii_graphic() && b != b'#';
        let sound = !host.is_empty() && host.bytes().all(plain) && path.bytes().all(visible);
        sound.then(|| Self {
            encrypted,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Reach, WebhookUrl};

    #[test]
    fn a_url_is_taken_apart_or_refused() {
        let parse = |text| WebhookUrl::parse(text, Reach::Public);
        let url = parse("https://hooks.example.org/a/b?c=d").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("hooks.example.org", 443));
        assert_eq!(url.path, "/a/b?c=d");
        let six = parse("https://[2606:4700::1]:8443").unwrap();
        assert_eq!(
            (six.host.as_str(), six.port, six.path.as_str()),
            ("2606:4700::1", 8443, "/")
        );
        for wrong in [
            "http://hooks.example.org/",
            "https://",
            "https://a b/",
            "https://user@host/",
            "https://host:x/",
            "https://host/#part",
            "ftp://host/",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert!(WebhookUrl::parse("http://127.0.0.1:8080/x", Reach::Anywhere).is_some());
    }
}

//! Who may read what the server counts.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};

use super::names::{METRICS_LISTEN, METRICS_TOKEN};
use super::parse::wrong;
use super::{ConfigError, Sources};

/// Where the metrics are told, and to whom. Nowhere unless the operator says so.
pub(crate) struct MetricsSettings {
    /// A listener of their own, in plain HTTP.
    pub(crate) listen: Option<SocketAddr>,
    /// Opens them on the server's own address too; beyond loopback nobody gets them without.
    pub(crate) token: Option<SecretString>,
}

impl MetricsSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let listen = sources.text(METRICS_LISTEN).map(|text| {
            let address = text.parse::<SocketAddr>();
            address.map_err(|_| wrong(METRICS_LISTEN, "must be ADDRESS:PORT"))
        });
        let listen = listen.transpose()?;
        let token = sources.text(METRICS_TOKEN).map(SecretString::from);
        let short = |token: &SecretString| token.expose_secret().len() < 16;
        if token.as_ref().is_some_and(short) {
            return Err(wrong(METRICS_TOKEN, "needs at least 16 characters"));
        }
        if listen.is_some_and(|address| !address.ip().is_loopback()) && token.is_none() {
            let problem = "beyond a loopback address metrics need KEYFERRY_METRICS_TOKEN";
            return Err(wrong(METRICS_LISTEN, problem));
        }
        Ok(Self { listen, token })
    }
}

#[cfg(test)]
mod tests {
    use super::{MetricsSettings, Sources};

    #[test]
    fn beyond_loopback_metrics_need_a_token() {
        let parse = |pairs: &[(&'static str, &str)]| {
            MetricsSettings::parse(&Sources::from_pairs(pairs.iter().copied())).is_ok()
        };
        let open = ("KEYFERRY_METRICS_LISTEN", "0.0.0.0:9464");
        let token = ("KEYFERRY_METRICS_TOKEN", "0123456789abcdef");
        assert!(parse(&[]) && parse(&[("KEYFERRY_METRICS_LISTEN", "127.0.0.1:9464")]));
        assert!(!parse(&[open]) && parse(&[open, token]));
        assert!(!parse(&[("KEYFERRY_METRICS_TOKEN", "short")]));
    }
}

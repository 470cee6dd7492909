//! Which certificate the server shows, and who shows it one.

use std::path::PathBuf;

use super::names::{TLS_CERT_FILE, TLS_CLIENT_CA_FILE, TLS_CLIENTS, TLS_KEY_FILE, TLS_PIN};
use super::parse::wrong;
use super::{ConfigError, Sources};

/// How TLS is set up.
#[derive(Clone)]
pub(crate) struct TlsSettings {
    /// The operator's certificate and its key; else the first start makes one.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Who has issued the certificates of clients.
    pub(crate) client_authority: Option<PathBuf>,
    /// Who must show one.
    pub(crate) clients: Certified,
    pub(crate) pinning: Pinning,
}

/// Who must show a certificate of the clients' authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certified {
    Nobody,
    Agents,
    Everybody,
}

/// What tickets tell agents to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// The key of the server's certificate, whoever issued it.
    Key,
    /// The authorities of their system.
    System,
}

impl TlsSettings {
    pub(super) fn parse(sources: &Sources) -> Result<Self, ConfigError> {
        let path = |setting| sources.text(setting).map(PathBuf::from);
        let certificate = match (path(TLS_CERT_FILE), path(TLS_KEY_FILE)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(wrong(TLS_KEY_FILE, "is missing")),
            (None, Some(_)) => return Err(wrong(TLS_CERT_FILE, "is missing")),
        };
        let client_authority = path(TLS_CLIENT_CA_FILE);
        let clients = match (sources.text(TLS_CLIENTS), &client_authority) {
            (None | Some("nobody"), _) => Certified::Nobody,
            (Some("agents" | "everybody"), None) => {
                return Err(wrong(
                    TLS_CLIENT_CA_FILE,
                    "say who issues the certificates of clients",
                ));
            }
            (Some("agents"), _) => Certified::Agents,
            (Some("everybody"), _) => Certified::Everybody,
            (Some(_), _) => return Err(wrong(TLS_CLIENTS, "must be nobody, agents or everybody")),
        };
        let pinning = match sources.text(TLS_PIN) {
            None | Some("key") => Pinning::Key,
            Some("system") => Pinning::System,
            Some(_) => return Err(wrong(TLS_PIN, "must be key or system")),
        };
        Ok(Self {
            certificate,
            client_authority,
            clients,
            pinning,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Certified, Pinning, Sources, TlsSettings};

    fn parse(pairs: &[(&'static str, &str)]) -> Option<TlsSettings> {
        TlsSettings::parse(&Sources::from_pairs(pairs.iter().copied())).ok()
    }

    #[test]
    fn half_a_certificate_and_demands_without_an_authority_are_refused() {
        let usual = parse(&[]).unwrap();
        assert_eq!(
            (usual.clients, usual.pinning),
            (Certified::Nobody, Pinning::Key)
        );
        assert!(usual.certificate.is_none());
        for wrong in [
            ("KEYFERRY_TLS_CERT_FILE", "/cert.pem"),
            ("KEYFERRY_TLS_KEY_FILE", "/key.pem"),
            ("KEYFERRY_TLS_CLIENT_CERTIFICATES", "agents"),
            ("KEYFERRY_TLS_CLIENT_CERTIFICATES", "some"),
            ("KEYFERRY_TLS_PIN", "none"),
        ] {
            assert!(parse(&[wrong]).is_none(), "{wrong:?}");
        }
        let authority = ("KEYFERRY_TLS_CLIENT_CA_FILE", "/ca.pem");
        let agents = ("KEYFERRY_TLS_CLIENT_CERTIFICATES", "agents");
        assert_eq!(
            parse(&[authority, agents]).unwrap().clients,
            Certified::Agents
        );
    }
}

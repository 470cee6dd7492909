//! TLS 1.3 with the operator's certificate, or one that the first start makes.

use std::net::IpAddr;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::data_dir::DataDir;

/// The server's certificate and what agents pin of it.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) pin: [u8; 32],
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read or write the TLS certificate in the data folder")]
    File(#[from] std::io::Error),
    #[error("cannot make a TLS certificate")]
    Making(#[from] rcgen::Error),
    #[error("tls-certificate.pem or tls-key.pem is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the TLS certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
    #[error("the TLS key does not tell its public half")]
    NoPublicKey,
}

impl Identity {
    /// Reads the certificate; the first start makes one for these addresses.
    pub(crate) fn load_or_make(data_dir: &DataDir, names: &[String]) -> Result<Self, TlsError> {
        if !data_dir.has(KEY) {
            make(data_dir, names)?;
        }
        let chain = data_dir.read(CERTIFICATE)?;
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&data_dir.read(KEY)?)?;

        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let signing = provider.key_provider.load_private_key(key.clone_key())?;
        let public_key = signing.public_key().ok_or(TlsError::NoPublicKey)?;
        let pin = Sha256::digest(public_key.as_ref()).into();

        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Agents keep their connections, so there is nothing to win by resuming.
        config.send_tls13_tickets = 0;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pin,
        })
    }

    /// The pin as people compare it.
    pub(crate) fn fingerprint(&self) -> String {
        format!("sha256:{}", Base64UrlUnpadded::encode_string(&self.pin))
    }
}

/// The names that a first certificate is made for.
pub(crate) fn names(listen: IpAddr, public_urls: &[String]) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.extend(
        rustix::system::uname()
            .nodename()
            .to_str()
            .ok()
            .map(str::to_owned),
    );
    names.extend(
        public_urls
            .iter()
            .filter_map(|url| host(url))
            .map(str::to_owned),
    );
    names.sort();
    names.dedup();
    names
}

fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(six) => six.split(']').next(),
        None => authority.split(':').next(),
    }
}

fn make(data_dir: &DataDir, names: &[String]) -> Result<(), TlsError> {
    let key = KeyPair::generate()?;
    let mut wanted = CertificateParams::new(names)?;
    wanted
        .distinguished_name
        .push(DnType::CommonName, "Keyferry server");
    let certificate = wanted.self_signed(&key)?;
    data_dir.write(CERTIFICATE, certificate.pem().as_bytes())?;
    // The key last: its presence says that both are there.
    data_dir.write(KEY, Zeroizing::new(key.serialize_pem()).as_bytes())?;
    Ok(())
}

const CERTIFICATE: &str = "tls-certificate.pem";
const KEY: &str = "tls-key.pem";

#[cfg(test)]
mod tests {
    use super::{Identity, host, names};
    use crate::data_dir::DataDir;

    #[test]
    fn the_certificate_of_the_first_start_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::prepare(folder.path()).unwrap();
        let names = names(
            "127.0.0.1".parse().unwrap(),
            &["https://vault.example:8443".to_owned()],
        );
        assert!(names.contains(&"vault.example".to_owned()));
        let first = Identity::load_or_make(&data_dir, &names).unwrap();
        let again = Identity::load_or_make(&data_dir, &names).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), "sha256:".len() + 43);
    }

    #[test]
    fn a_url_names_its_host() {
        assert_eq!(host("https://[::1]:8443/x"), Some("::1"));
        assert_eq!(host("https://vault.example/x"), Some("vault.example"));
    }
}

//! TLS 1.3 with the operator's certificate, or one that the first start makes. Both are read again
//! while the server runs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64ct::{Base64UrlUnpadded, Encoding};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::config::{Pinning, TlsSettings};
use crate::data_dir::DataDir;

/// The server's certificate, as it is now. Clones share it.
#[derive(Clone)]
pub(crate) struct Identity {
    files: Arc<Files>,
    loaded: Arc<RwLock<Loaded>>,
}

/// Where certificate and key come from, and who must show one of their own.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    settings: TlsSettings,
}

/// A certificate in use.
struct Loaded {
    config: Arc<ServerConfig>,
    /// The chain, its own certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pin: [u8; 32],
}

/// What came of reading the certificate again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// It is the same.
    Unchanged,
    /// It is another one for the same key.
    Renewed,
    /// It has another key: who pins the old one does not connect any more.
    AnotherKey,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read or write the TLS certificate, its key or the clients' authority")]
    File(#[from] std::io::Error),
    #[error("cannot make a TLS certificate")]
    Making(#[from] rcgen::Error),
    #[error("the TLS certificate, its key or the clients' authority is not PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("the TLS certificate and its key cannot be used")]
    Unusable(#[from] rustls::Error),
    #[error("the clients' authority cannot be used")]
    Authority(#[from] VerifierBuilderError),
    #[error("the TLS key does not tell its public half")]
    NoPublicKey,
}

impl Identity {
    /// Reads the operator's certificate, or that of the first start, which is made for these names.
    pub(crate) fn load_or_make(
        data_dir: &DataDir,
        names: &[String],
        settings: &TlsSettings,
    ) -> Result<Self, TlsError> {
        if Self::will_be_made(data_dir, settings) {
            make(data_dir, names)?;
        }
        Self::load(data_dir, settings)
    }

    /// Whether there is none yet, and the operator names none.
    pub(crate) fn will_be_made(data_dir: &DataDir, settings: &TlsSettings) -> bool {
        settings.certificate.is_none() && !data_dir.has(KEY)
    }

    /// Reads the same, and makes nothing.
    pub(crate) fn load(data_dir: &DataDir, settings: &TlsSettings) -> Result<Self, TlsError> {
        let given = settings.certificate.clone();
        let (certificate, key) =
            given.unwrap_or_else(|| (data_dir.path().join(CERTIFICATE), data_dir.path().join(KEY)));
        let files = Files {
            certificate,
            key,
            settings: settings.clone(),
        };
        let loaded = Arc::new(RwLock::new(files.load()?));
        Ok(Self {
            files: Arc::new(files),
            loaded,
        })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.look(|loaded| TlsAcceptor::from(Arc::clone(&loaded.config)))
    }

    /// What tickets tell agents to pin; nothing when they shall trust the system's authorities.
    pub(crate) fn pin(&self) -> Option<[u8; 32]> {
        let pins = self.files.settings.pinning == Pinning::Key;
        pins.then(|| self.look(|loaded| loaded.pin))
    }

    /// The pin as people compare it.
    pub(crate) fn fingerprint(&self) -> String {
        let pin = self.look(|loaded| loaded.pin);
        format!("sha256:{}", Base64UrlUnpadded::encode_string(&pin))
    }

    /// Reads the files again. Connections that are open keep what they have; when something is
    /// wrong with the files, so does everybody.
    pub(crate) fn reload(&self) -> Result<Reloaded, TlsError> {
        let fresh = self.files.load()?;
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        let came = if fresh.pin != loaded.pin {
            Reloaded::AnotherKey
        } else if fresh.chain != loaded.chain {
            Reloaded::Renewed
        } else {
            Reloaded::Unchanged
        };
        *loaded = fresh;
        Ok(came)
    }

    /// The files that a reload reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let authority = self.files.settings.client_authority.as_ref();
        [&self.files.certificate, &self.files.key]
            .into_iter()
            .chain(authority)
    }

    fn look<T>(&self, read: impl FnOnce(&Loaded) -> T) -> T {
        read(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Files {
    fn load(&self) -> Result<Loaded, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?;
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = Zeroizing::new(std::fs::read(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let signing = provider.key_provider.load_private_key(key.clone_key())?;
        let public_key = signing.public_key().ok_or(TlsError::NoPublicKey)?;
        let pin = Sha256::digest(public_key.as_ref()).into();

        let clients = match &self.settings.client_authority {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in CertificateDer::pem_file_iter(path)? {
                    roots.add(authority?)?;
                }
                // Which routes demand one is told by the routes; here it only must be good.
                let provider = Arc::clone(&provider);
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build()?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Agents keep their connections, so there is nothing to win by resuming.
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            config: Arc::new(config),
            chain,
            pin,
        })
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
    use super::{Identity, Reloaded, host, names};
    use crate::config::Config;
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
        let settings = Config::for_tests().tls;
        let first = Identity::load_or_make(&data_dir, &names, &settings).unwrap();
        let again = Identity::load_or_make(&data_dir, &names, &settings).unwrap();
        assert_eq!(again.reload().unwrap(), Reloaded::Unchanged);
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), "sha256:".len() + 43);
    }

    #[test]
    fn a_url_names_its_host() {
        assert_eq!(host("https://[::1]:8443/x"), Some("::1"));
        assert_eq!(host("https://vault.example/x"), Some("vault.example"));
    }
}

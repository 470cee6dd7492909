//! The certificate that a server may demand of its clients, read again when its files change.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, pki_types};
use zeroize::Zeroizing;

/// A certificate with its chain, and its key, in two files. Clones share it.
///
/// The files are looked at before each connection, so that a renewed certificate needs no restart.
/// What cannot be read then leaves the one before in use.
#[derive(Clone)]
pub struct ClientCertificate(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    loaded: RwLock<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    pair: Arc<CertifiedKey>,
    written: Written,
}

/// When the certificate and the key were last written.
type Written = [Option<SystemTime>; 2];

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientCertificateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Others could take the key.
    #[error("others can read {}; run `chmod go= {}`", path.display(), path.display())]
    KeyIsOpen {
        /// The key's file.
        path: PathBuf,
    },
    /// The file is not PEM.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: pki_types::pem::Error,
    },
    /// Key and certificate are not a pair, or of a kind that is not known.
    #[error("{} and {} cannot be used together", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

impl ClientCertificate {
    /// Reads both files, in PEM. The key's must be its owner's alone.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ClientCertificateError> {
        Ok(Self(Arc::new(Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            loaded: RwLock::new(load(certificate, key)?),
        })))
    }

    /// Where the certificate is.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    /// Where its key is.
    #[must_use]
    pub fn key(&self) -> &Path {
        &self.0.key
    }
}

/// Says where the files are, and nothing of what is in them.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("certificate", &self.0.certificate)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let Files {
            certificate,
            key,
            loaded,
        } = &*self.0;
        let known = loaded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if known.written == written(certificate, key) {
            return Some(known.pair);
        }
        // Half renewed, the two do not fit: then the next connection looks again.
        let Ok(fresh) = load(certificate, key) else {
            return Some(known.pair);
        };
        let pair = Arc::clone(&fresh.pair);
        *loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Some(pair)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Loaded, ClientCertificateError> {
    let written = written(certificate, key);
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ClientCertificateError::Unreadable { path, source }
    };
    let pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| ClientCertificateError::Pem { path, what, source }
    };
    let mode = fs::metadata(key).map_err(unreadable(key))?.mode();
    if mode & 0o077 != 0 {
        let path = key.to_owned();
        return Err(ClientCertificateError::KeyIsOpen { path });
    }
    let chain = fs::read(certificate).map_err(unreadable(certificate))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(pem(certificate, "certificate"))?;
    let text = Zeroizing::new(fs::read(key).map_err(unreadable(key))?);
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(pem(key, "private key"))?;
    let pair = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider());
    let pair = pair.map_err(|source| ClientCertificateError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    let pair = Arc::new(pair);
    Ok(Loaded { pair, written })
}

fn written(certificate: &Path, key: &Path) -> Written {
    let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    [written(certificate), written(key)]
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["client".to_owned()]).unwrap();
        fs::write(&certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        (certificate, key)
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = write(&folder);
        for mode in [0o640, 0o604, 0o666] {
            set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            let refused = ClientCertificate::read(&certificate, &key).unwrap_err();
            assert!(refused.to_string().contains("chmod go="), "{refused}");
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = write(&folder);
        ClientCertificate::read(&certificate, &key).unwrap();
        let other = TempDir::new().unwrap();
        let (_, other) = write(&other);
        let refused = ClientCertificate::read(&certificate, &other).unwrap_err();
        assert!(
            matches!(refused, ClientCertificateError::Unusable { .. }),
            "{refused:?}"
        );
        let refused = ClientCertificate::read(&key, &key).unwrap_err();
        assert!(
            matches!(refused, ClientCertificateError::Unusable { .. }),
            "{refused:?}"
        );
        assert!(ClientCertificate::read(&folder.path().join("none"), &key).is_err());
    }

    #[test]
    fn a_renewed_pair_is_shown_and_a_broken_one_is_not() {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = write(&folder);
        let shown = ClientCertificate::read(&certificate, &key).unwrap();
        let first = shown.resolve(&[], &[]).unwrap();
        let touch = |seconds| {
            let file = File::options().write(true).open(&certificate).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                .unwrap();
        };
        write(&folder);
        touch(1);
        let second = shown.resolve(&[], &[]).unwrap();
        assert_ne!(first.cert, second.cert);
        fs::write(&certificate, "half of it").unwrap();
        touch(2);
        assert_eq!(shown.resolve(&[], &[]).unwrap().cert, second.cert);
    }
}

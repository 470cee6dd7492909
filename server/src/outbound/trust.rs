//! Whom a client trusts: authorities that are read again when their file changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::OutboundError;
use crate::reread::Reread;

/// The authorities of the system, or of a file.
pub(crate) struct Trust(Reread<TlsConnector>);

impl Trust {
    /// The system's authorities, or instead of them the ones in a file.
    pub(crate) fn instead(file: Option<&Path>) -> Result<Self, OutboundError> {
        Self::made(file, |file| match file {
            Some(path) => add(RootCertStore::empty(), path),
            None => Ok(of_system()),
        })
    }

    /// The system's authorities, and those in a file.
    pub(crate) fn beside(file: Option<&Path>) -> Result<Self, OutboundError> {
        Self::made(file, |file| match file {
            Some(path) => add(of_system(), path),
            None => Ok(of_system()),
        })
    }

    /// For the next connection.
    pub(crate) fn connector(&self) -> TlsConnector {
        self.0.latest()
    }

    fn made(
        file: Option<&Path>,
        roots: impl Fn(Option<&Path>) -> Result<RootCertStore, OutboundError> + Send + Sync + 'static,
    ) -> Result<Self, OutboundError> {
        let files: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
        let read = files.clone();
        let make = move || Ok(connector(roots(read.first().map(PathBuf::as_path))?));
        Reread::new(files, make).map(Self)
    }
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A system without any fails when it first meets a certificate.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn add(mut roots: RootCertStore, path: &Path) -> Result<RootCertStore, OutboundError> {
    let before = roots.len();
    let unusable = |cause: &dyn std::fmt::Display| {
        OutboundError::Authorities(format!("{}: {cause}", path.display()))
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|cause| unusable(&cause))?;
    for certificate in found {
        let certificate = certificate.map_err(|cause| unusable(&cause))?;
        roots.add(certificate).map_err(|cause| unusable(&cause))?;
    }
    if roots.len() == before {
        return Err(unusable(&"it holds no certificate"));
    }
    Ok(roots)
}

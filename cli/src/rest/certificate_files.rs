//! Where the certificate is that a server wants to be shown.

use std::io;
use std::path::{Path, PathBuf, absolute};

use keyferry_sdk::ClientCertificate;
use serde::{Deserialize, Serialize};

use super::RestError;

/// Two files in PEM. Read for each connection, so that it may be renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl CertificateFiles {
    /// Found again from every folder.
    pub fn new(certificate: &Path, key: &Path) -> io::Result<Self> {
        Ok(Self {
            certificate: absolute(certificate)?,
            key: absolute(key)?,
        })
    }

    pub(crate) fn read(&self) -> Result<ClientCertificate, RestError> {
        let read = ClientCertificate::read(&self.certificate, &self.key);
        read.map_err(|cause| RestError::Certificate(cause.into()))
    }
}

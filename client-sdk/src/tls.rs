//! TLS to a Keyferry server: 1.3 only, and trust by a pinned public key or by the system's roots.
//!
//! A server that runs at home has a self-signed certificate. What vouches for it is the hash of its
//! public key, which the server prints at its first start and writes into every ticket.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use base64ct::{Base64UrlUnpadded, Encoding};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, PeerIncompatible,
    RootCertStore, SignatureScheme, WantsVerifier,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ClientCertificate;

/// What makes a server's certificate good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTrust {
    /// Its public key has this hash. Names, dates and issuers do not count.
    Pinned(SpkiPin),
    /// It chains to a root of this system, and names the server.
    System,
}

/// `SHA-256(SubjectPublicKeyInfo)` of a server's certificate (RFC 7469 §2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpkiPin(pub [u8; 32]);

impl SpkiPin {
    /// The pin of a certificate in DER.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from(certificate);
        let parsed = ParsedCertificate::try_from(&certificate).map_err(TlsError::Certificate)?;
        Ok(Self::of(&parsed))
    }

    fn of(certificate: &ParsedCertificate<'_>) -> Self {
        Self(Sha256::digest(certificate.subject_public_key_info()).into())
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 43];
        let text = Base64UrlUnpadded::encode(&self.0, &mut text).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{text}")
    }
}

impl FromStr for SpkiPin {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TlsError::Pin)?;
        let mut pin = [0; 32];
        match Base64UrlUnpadded::decode(encoded, &mut pin) {
            Ok(bytes) if bytes.len() == 32 => Ok(Self(pin)),
            _ => Err(TlsError::Pin),
        }
    }
}

/// Why there can be no TLS to a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text is not a pin.
    #[error("a pin is `sha256:` and 43 characters of base64url")]
    Pin,
    /// The certificate does not parse.
    #[error("the certificate cannot be read")]
    Certificate(#[source] Error),
    /// This system has no usable root certificate.
    #[error("this system has no root certificates; install ca-certificates or pin the server")]
    NoRoots,
    /// The TLS library refuses the configuration.
    #[error("TLS cannot be set up")]
    Setup(#[source] Error),
}

/// A configuration of rustls for one server, which is shown the certificate if it asks for one. It
/// needs no process-wide provider.
pub fn client_config(
    trust: &ServerTrust,
    shown: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let builder = match trust {
        ServerTrust::Pinned(pin) => verified_by(Arc::new(PinVerifier::new(Some(*pin))))?,
        ServerTrust::System => builder()?.with_root_certificates(system_roots()?),
    };
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => builder.with_client_cert_resolver(Arc::new(shown.clone())),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What a server showed to somebody who trusted none.
pub struct Observed(Arc<PinVerifier>);

impl Observed {
    /// Its pin, if it answered at all.
    #[must_use]
    pub fn pin(&self) -> Option<SpkiPin> {
        self.0.seen.get().copied()
    }
}

/// A configuration that refuses every server, once it has shown its certificate.
pub fn observing_config() -> Result<(ClientConfig, Observed), TlsError> {
    let verifier = Arc::new(PinVerifier::new(None));
    let config = verified_by(Arc::clone(&verifier))?.with_no_client_auth();
    Ok((config, Observed(verifier)))
}

fn verified_by(
    verifier: Arc<PinVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = builder()?.dangerous();
    Ok(builder.with_custom_certificate_verifier(verifier))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        Err(TlsError::NoRoots)
    } else {
        Ok(roots)
    }
}

/// Accepts one public key, or none, and demands proof that the peer holds it.
#[derive(Debug)]
struct PinVerifier {
    pin: Option<SpkiPin>,
    seen: OnceLock<SpkiPin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    fn new(pin: Option<SpkiPin>) -> Self {
        Self {
            pin,
            seen: OnceLock::new(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = SpkiPin::of(&ParsedCertificate::try_from(end_entity)?);
        let _the_first_one_counts = self.seen.set(seen);
        match self.pin {
            Some(pin) if bool::from(seen.0.ct_eq(&pin.0)) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

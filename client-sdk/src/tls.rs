//! TLS to a Keyferry server: 1.3 only, and trust by a pinned public key or by the system's roots.
//!
//! A server that runs at home has a self-signed certificate. What vouches for it is the hash of its
//! public key, which the server prints at its first start and writes into every ticket.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

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
        Ok(Self(
            Sha256::digest(parsed.subject_public_key_info()).into(),
        ))
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

/// A configuration of rustls for one server. It needs no process-wide provider.
pub fn client_config(trust: &ServerTrust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?;
    let mut config = match trust {
        ServerTrust::Pinned(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier {
                pin: *pin,
                provider,
            }))
            .with_no_client_auth(),
        ServerTrust::System => builder
            .with_root_certificates(system_roots()?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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

/// Accepts one public key, and demands proof that the peer holds it.
#[derive(Debug)]
struct PinVerifier {
    pin: SpkiPin,
    provider: Arc<CryptoProvider>,
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
        let spki = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        let seen: [u8; 32] = Sha256::digest(spki).into();
        if bool::from(seen.ct_eq(&self.pin.0)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
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
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const PREFIX: &str = "sha256:";

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

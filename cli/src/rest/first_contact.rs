//! Learns the fingerprint of an unknown server, without trusting it with anything.

use std::sync::{Arc, Mutex, PoisonError};

use keyferry_sdk::tls::SpkiPin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::connection::tls;
use super::{Address, RestError};

/// What the server shows. No connection comes of it: every certificate is refused once it was seen.
pub async fn observed_pin(address: &Address) -> Result<SpkiPin, RestError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let observer = Arc::new(Observer {
        seen: Mutex::new(None),
        provider: Arc::clone(&provider),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(keyferry_sdk::tls::TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&observer) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let refused = tls(address, config).await;
    let seen = observer
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match (seen, refused) {
        (Some(pin), _) => Ok(pin),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(RestError::Answer),
    }
}

/// Notes the certificate and refuses it.
#[derive(Debug)]
struct Observer {
    seen: Mutex<Option<SpkiPin>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = SpkiPin::of_certificate(end_entity).ok();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = pin;
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

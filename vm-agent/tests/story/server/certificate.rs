//! What the server shows in TLS: a certificate of its own, for another name.

use std::sync::Arc;

use keyferry_sdk::tls::SpkiPin;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

pub(super) struct Certificate {
    pub(super) pin: [u8; 32],
    pub(super) acceptor: TlsAcceptor,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["another.example".to_owned()]).unwrap();
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der.clone()], key)
            .unwrap();
        let SpkiPin(pin) = SpkiPin::of_certificate(&der).unwrap();
        Self {
            pin,
            acceptor: Arc::new(config).into(),
        }
    }
}

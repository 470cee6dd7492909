use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

#[test]
fn the_pinned_server_is_accepted() {
    let server = Server::new();
    let trust = ServerTrust::Pinned(server.pin());
    assert_eq!(server.shake_hands(&trust), Ok(()));
}

#[test]
fn a_renewed_certificate_of_the_same_key_is_accepted() {
    let key = KeyPair::generate().unwrap();
    let first = Server::of_key(KeyPair::from_pem(&key.serialize_pem()).unwrap());
    let renewed = Server::of_key(key);
    assert_ne!(first.certificate, renewed.certificate);
    assert_eq!(
        renewed.shake_hands(&ServerTrust::Pinned(first.pin())),
        Ok(())
    );
}

#[test]
fn another_server_is_refused() {
    let trust = ServerTrust::Pinned(Server::new().pin());
    let refusal = CertificateError::ApplicationVerificationFailure;
    assert_eq!(Server::new().shake_hands(&trust), Err(refusal.into()));
}

#[test]
fn a_copied_certificate_without_its_key_is_refused() {
    let genuine = Server::new();
    let thief = Server {
        certificate: genuine.certificate.clone(),
        ..Server::new()
    };
    let trust = ServerTrust::Pinned(genuine.pin());
    let error = thief
        .shake_hands(&trust)
        .expect_err("the signature is of another key");
    assert_eq!(error, CertificateError::BadSignature.into());
}

#[test]
fn a_server_without_tls_1_3_is_refused() {
    let server = Server::new();
    let trust = ServerTrust::Pinned(server.pin());
    let old = server.config(&[&rustls::version::TLS12]);
    assert!(matches!(connect(&trust, old), Err(Error::AlertReceived(_))));
}

#[test]
fn a_certificate_that_is_cut_short_has_no_pin() {
    let certificate = Server::new().certificate;
    let cut = &certificate[..certificate.len() - 1];
    assert!(matches!(
        SpkiPin::of_certificate(cut),
        Err(TlsError::Certificate(_))
    ));
}

#[test]
fn a_pin_survives_being_printed() {
    let pin = SpkiPin([0xfb; 32]);
    let text = pin.to_string();
    assert!(text.starts_with("sha256:-_v7"), "{text}");
    assert_eq!(text.parse::<SpkiPin>().unwrap(), pin);
}

#[test]
fn what_is_not_a_pin_is_refused() {
    let good = SpkiPin([7; 32]).to_string();
    let wrong = [
        "",
        "sha256:",
        &good[7..],
        &good[..49],
        &format!("{good}A"),
        &format!("{good}="),
    ];
    for text in wrong {
        assert!(
            matches!(text.parse::<SpkiPin>(), Err(TlsError::Pin)),
            "{text}"
        );
    }
}

struct Server {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        Self::of_key(KeyPair::generate().unwrap())
    }

    fn of_key(signing_key: KeyPair) -> Self {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from(rand_serial()));
        let cert = params.self_signed(&signing_key).unwrap();
        let CertifiedKey { cert, signing_key } = CertifiedKey { cert, signing_key };
        Self {
            certificate: cert.der().to_vec(),
            key: signing_key.serialize_der(),
        }
    }

    fn pin(&self) -> SpkiPin {
        SpkiPin::of_certificate(&self.certificate).unwrap()
    }

    fn config(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConfig {
        let provider = aws_lc_rs::default_provider();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let signer = provider.key_provider.load_private_key(key).unwrap();
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        // Not `with_single_cert`, which would notice a certificate of another key.
        let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, signer));
        ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
    }

    fn shake_hands(&self, trust: &ServerTrust) -> Result<(), Error> {
        connect(trust, self.config(&[&rustls::version::TLS13]))
    }
}

fn rand_serial() -> Vec<u8> {
    let mut serial = [0; 8];
    getrandom::fill(&mut serial).unwrap();
    serial.to_vec()
}

/// Carries the records of a handshake to and fro in memory.
fn connect(trust: &ServerTrust, server: ServerConfig) -> Result<(), Error> {
    let name = ServerName::try_from("another.example").unwrap();
    let config = Arc::new(client_config(trust, None).unwrap());
    let mut client = ClientConnection::new(config, name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        server.read_tls(&mut flight.as_slice()).unwrap();
        let refused = server.process_new_packets().err();
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        assert!(refused.is_none(), "the client has not heard of {refused:?}");
    }
    Ok(())
}

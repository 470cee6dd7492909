//! TLS as it is spoken and refused.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::{Line, SOON, hear_out};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::http::{Identity, Listener, serve};
use crate::testing;

/// A TLS listener, and a client that trusts its certificate.
async fn open_tls(versions: &[&'static rustls::SupportedProtocolVersion]) -> (Line, TlsConnector) {
    open_tls_with(Config::for_tests(), versions).await
}

async fn open_tls_with(
    config: Config,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (Line, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::prepare(folder.path()).unwrap();
    let names = ["localhost".to_owned()];
    let identity = Identity::load_or_make(&data_dir, &names, &config.tls).unwrap();
    let pem = data_dir.read("tls-certificate.pem").unwrap();
    let server = testing::server_with(config).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener {
        socket,
        tls: Some(identity),
    };
    tokio::spawn(serve(server.app.clone(), listener));

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        Line { server, address },
        TlsConnector::from(Arc::new(client)),
    )
}

#[tokio::test]
async fn tls_1_3_is_spoken_with_a_post_quantum_exchange() {
    let (line, connector) = open_tls(&[&rustls::version::TLS13]).await;
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, line.connect().await).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let (line, connector) = open_tls(&[&rustls::version::TLS12]).await;
    let name = "localhost".try_into().unwrap();
    assert!(connector.connect(name, line.connect().await).await.is_err());
}

#[tokio::test]
async fn an_unfinished_tls_handshake_is_cut_off() {
    let mut config = Config::for_tests();
    config.connections.tls_handshake = SOON;
    let (line, _) = open_tls_with(config, &[&rustls::version::TLS13]).await;
    for start in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = line.connect().await;
        stream.write_all(start).await.unwrap();
        assert_eq!(hear_out(&mut stream).await, "");
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_no_answer() {
    let (line, _) = open_tls(&[&rustls::version::TLS13]).await;
    let mut stream = line.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"));
}

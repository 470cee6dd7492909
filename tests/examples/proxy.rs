//! Measures what the agent's proxy adds to a request and to the first byte of a stream: the same
//! requests, in turn, straight to a provider over TLS and through the proxy, in one run. The proxy
//! speaks HTTP/1.1 to the provider first, then HTTP/2; straight it is HTTP/1.1 both times.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_tests::{Agent, Engine, Person, Provider, Secret, Server, Speaks, Stage};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    for speaks in [Speaks::Http1, Speaks::Both] {
        println!("{speaks:?}");
        measure(speaks).await;
    }
}

async fn measure(speaks: Speaks) {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start_speaking(speaks, &stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let client = keyferry_sdk::Client::connect_to(agent.socket())
        .await
        .unwrap();
    let lent = client.proxied("openai").await.unwrap();

    let mut direct = (straight(&provider).await, key.text().to_owned());
    let address = lent.base_url.strip_prefix("http://").unwrap();
    let mut proxied = (TcpStream::connect(address).await.unwrap(), lent.token);
    proxied.0.set_nodelay(true).unwrap();

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + REQUESTS {
        let times = (answer(&mut direct).await, answer(&mut proxied).await);
        if number >= WARM_UP {
            without.push(times.0);
            with.push(times.1);
        }
    }
    report("whole answer", without, with);

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        without.push(first_byte(&provider, &mut direct).await);
        with.push(first_byte(&provider, &mut proxied).await);
    }
    report("first byte of a stream", without, with);
}

async fn straight(provider: &Provider) -> impl AsyncRead + AsyncWrite + Unpin {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(provider.authority()).unwrap();
    roots.add(authority).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = provider.host().rsplit_once(':').unwrap().1.parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    tls.connect(name, stream).await.unwrap()
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>((stream, token): &mut (S, String)) -> Duration {
    let begin = Instant::now();
    ask(stream, token, "{\"model\": \"m\"}").await;
    read_until(stream, "\"total_tokens\":2}}").await;
    begin.elapsed()
}

async fn first_byte<S: AsyncRead + AsyncWrite + Unpin>(
    provider: &Provider,
    (stream, token): &mut (S, String),
) -> Duration {
    let begin = Instant::now();
    ask(stream, token, "{\"stream\": true}").await;
    let first = read_until(stream, "chat.completion.chunk").await;
    let elapsed = begin.elapsed();
    provider.go_on();
    if !first.ends_with("0\r\n\r\n") {
        read_until(stream, "0\r\n\r\n").await;
    }
    elapsed
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), token: &str, body: &str) {
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(end) {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    text
}

fn report(what: &str, mut without: Vec<Duration>, mut with: Vec<Duration>) {
    without.sort();
    with.sort();
    for percent in [50, 99] {
        let at = |times: &[Duration]| times[(times.len() - 1) * percent / 100];
        let (direct, proxied) = (at(&without), at(&with));
        println!(
            "{what}, p{percent}: {direct:?} direct, {proxied:?} through the proxy, {:?} added",
            proxied.saturating_sub(direct)
        );
    }
}

const WARM_UP: usize = 200;
const REQUESTS: usize = 5_000;
const STREAMS: usize = 1_000;

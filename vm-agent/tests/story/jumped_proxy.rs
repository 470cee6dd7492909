//! The proxy of an agent in the test's own process, on a machine that becomes another one: a
//! connection from before says nothing any more, not even goodbye.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use keyferry_agent::agent::Agent;
use keyferry_agent::config::ProxyConfig;
use keyferry_agent::proxy::{self, Holder, Outward};
use keyferry_agent::socket::Peer;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::wire::{Delivery, KeyPolicy, Outcome, Put};
use keyferry_sdk::lease::Verdict;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::moved_clock::{Suspended, agent};
use super::world::PATIENCE;

#[tokio::test]
async fn a_host_is_connected_to_anew_once_the_machine_is_another() {
    let scene = Scene::set(false).await;
    let mut tool = scene.tool().await;
    let mut before = None;
    // Who notices first is up to chance: the idle connection, or the next request.
    for _ in 0..8 {
        tool.write_all(scene.request("GET", 0).as_bytes())
            .await
            .unwrap();
        let mut host = scene.host.accept().await;
        hear(&mut host, "\r\n\r\n").await;
        host.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        assert!(hear(&mut tool, "\r\n\r\n").await.contains(" 204 "));
        if let Some(before) = before.replace(host) {
            ended_without_a_word(before).await;
        }
        scene.become_another();
    }
}

#[tokio::test]
async fn a_request_under_way_ends_with_its_connection_once_the_machine_is_another() {
    // What may outlive its key does not outlive its machine.
    let scene = Scene::set(true).await;
    let mut tool = scene.tool().await;
    let request = scene.request("POST", 10) + "hello";
    tool.write_all(request.as_bytes()).await.unwrap();
    let mut host = scene.host.accept().await;
    hear(&mut host, "hello").await;
    scene.become_another();
    ended_without_a_word(host).await;
    let told = hear(&mut tool, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 502 "), "{told}");
}

/// An agent that holds a key, and the key's host.
struct Scene {
    agent: Arc<Agent>,
    suspended: Suspended,
    host: Host,
    token: String,
    port: u16,
}

impl Scene {
    async fn set(finish_streams: bool) -> Self {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let suspended = Suspended::default();
        let host = Host::listen().await;
        let agent = Arc::new(agent(&arena, &suspended));
        hold(&agent, &host);
        let config = ProxyConfig {
            allow_private: vec!["localhost".to_owned()],
            finish_streams,
            ca_file: Some(host.folder.path().join("ca.pem")),
            ..ProxyConfig::default()
        };
        let outward = Outward::new(&config, arena).unwrap();
        let bound = proxy::bind(0).unwrap();
        let port = bound.port;
        tokio::spawn(proxy::listen(Arc::clone(&agent), outward, bound));
        Self {
            token: borrow(&agent),
            agent,
            suspended,
            host,
            port,
        }
    }

    async fn tool(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    fn request(&self, method: &str, length: usize) -> String {
        let token = &self.token;
        format!(
            "{method} / HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    /// The agent notices, and has its key again at once.
    fn become_another(&self) {
        self.suspended.pass(Duration::from_secs(30));
        assert_eq!(self.agent.enforce_lease(), Verdict::Jumped);
        hold(&self.agent, &self.host);
    }
}

fn hold(agent: &Agent, host: &Host) {
    agent.begin_lease(Duration::from_secs(600));
    let allowed = format!("localhost:{}", host.port);
    let put = Put {
        key: key(),
        version: 1,
        not_after: 0,
        provider: "custom",
        delivery: Delivery::Inject,
        allowed_hosts: vec![&allowed],
        policy: KeyPolicy::default(),
        value: b"sk-first",
    };
    assert_eq!(agent.hold(&put), Some(Outcome::Held));
}

/// The token for the key, for this process.
fn borrow(agent: &Agent) -> String {
    let (socket, _other_end) = UnixStream::pair().unwrap();
    let peer = Peer::of_socket(&socket).unwrap();
    let holder = Holder {
        peer: peer.clone(),
        process: pidfd_open(getpid(), PidfdFlags::empty()).unwrap(),
    };
    agent.lend(&peer, holder, &key()).unwrap().token
}

fn key() -> KeyName {
    "custom".parse().unwrap()
}

/// A host with TLS, whose certificate is an authority in its folder.
struct Host {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    port: u16,
    folder: tempfile::TempDir,
}

impl Host {
    async fn listen() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        // Nothing that nobody reads: the end would be a reset.
        config.send_tls13_tickets = 0;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            listener,
            acceptor: Arc::new(config).into(),
            folder,
        }
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let accepting = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            self.acceptor.accept(stream).await.unwrap()
        };
        let accepted = timeout(PATIENCE, accepting).await;
        accepted.expect("the host is connected to")
    }
}

/// What is said, up to these words.
async fn hear(stream: &mut (impl AsyncRead + Unpin), words: &str) -> String {
    let mut heard = Vec::new();
    let hearing = async {
        while !String::from_utf8_lossy(&heard).contains(words) {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0);
        }
    };
    timeout(PATIENCE, hearing).await.expect("it is said");
    String::from_utf8(heard).unwrap()
}

/// TLS would say goodbye, in one more message under the keys of the connection.
async fn ended_without_a_word(mut host: TlsStream<TcpStream>) {
    let mut byte = [0];
    let read = timeout(PATIENCE, host.read(&mut byte)).await;
    let error = read.expect("the connection ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

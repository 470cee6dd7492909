//! A server of one VM, with nothing but the protocol: no accounts, no database.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::channel::{Receiver, Sender};
use keyferry_protocol::handshake::{CredentialKind, Suite, server};
use keyferry_protocol::ids::{CredentialId, SessionId, VmId};
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{Accept, Delivery, Put, ToAgent, ToServer};
use keyferry_sdk::tls::SpkiPin;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// The server and what it has heard.
pub(crate) struct Server {
    shared: Arc<Shared>,
    heard: mpsc::UnboundedReceiver<ToServer>,
    ticket: String,
    task: JoinHandle<()>,
}

struct Shared {
    arena: Arena,
    key: KeyPair,
    credentials: Mutex<Secrets>,
    keys: Mutex<BTreeMap<String, Stored>>,
    sessions: AtomicUsize,
    refusing: AtomicBool,
    commands: broadcast::Sender<Command>,
    hear: mpsc::UnboundedSender<ToServer>,
    told: Notify,
}

type Secrets = HashMap<(CredentialKind, CredentialId), [u8; 32]>;

#[derive(Clone)]
struct Stored {
    version: u32,
    delivery: Delivery,
    value: Vec<u8>,
}

#[derive(Clone)]
enum Command {
    Put(String),
    Revoke(String),
    Lease(u32),
    Wipe,
    Hang,
}

impl Server {
    /// Without TLS.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS, a certificate of its own, and a host that has to be looked up.
    pub(crate) async fn start_with_tls() -> Self {
        Self::start_with(Some(Certificate::new())).await
    }

    async fn start_with(certificate: Option<Certificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match &certificate {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let key = KeyPair::generate(&arena, &mut rng).unwrap();
        let (id, secret) = ([1; 16], [2; 32]);
        let ticket = Ticket {
            id: CredentialId(id),
            secret: arena.hold(&secret).unwrap(),
            server_key: key.public(),
            min_suite: Suite::Hybrid,
            spki_pin: certificate.as_ref().map(|certificate| certificate.pin),
            urls: vec![url],
        };
        let printed = ticket.print(&arena).unwrap();
        let ticket = String::from_utf8(printed.expose().to_vec()).unwrap();
        let (hear, heard) = mpsc::unbounded_channel();
        let credentials = HashMap::from([((CredentialKind::Ticket, CredentialId(id)), secret)]);
        let shared = Arc::new(Shared {
            arena,
            key,
            credentials: Mutex::new(credentials),
            keys: Mutex::default(),
            sessions: AtomicUsize::new(0),
            refusing: AtomicBool::new(false),
            commands: broadcast::Sender::new(16),
            hear,
            told: Notify::new(),
        });
        let task = tokio::spawn(listen(Arc::clone(&shared), listener, certificate));
        Self {
            shared,
            heard,
            ticket,
            task,
        }
    }

    pub(crate) fn ticket(&self) -> &str {
        &self.ticket
    }

    /// How many handshakes have succeeded.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::SeqCst)
    }

    pub(crate) async fn put(&mut self, name: &str, version: u32, value: &[u8]) {
        self.store(
            name,
            Stored {
                version,
                delivery: Delivery::Raw,
                value: value.to_vec(),
            },
        )
        .await;
    }

    pub(crate) async fn put_inject_only(&mut self, name: &str, version: u32, value: &[u8]) {
        let delivery = Delivery::Inject;
        self.store(
            name,
            Stored {
                version,
                delivery,
                value: value.to_vec(),
            },
        )
        .await;
    }

    async fn store(&mut self, name: &str, stored: Stored) {
        self.shared
            .keys
            .lock()
            .unwrap()
            .insert(name.to_owned(), stored);
        self.tell(Command::Put(name.to_owned())).await;
    }

    pub(crate) async fn revoke(&mut self, name: &str) {
        self.forget(name);
        self.tell(Command::Revoke(name.to_owned())).await;
    }

    /// A change that no agent is told of.
    pub(crate) fn forget(&self, name: &str) {
        self.shared.keys.lock().unwrap().remove(name);
    }

    pub(crate) async fn lease(&self, seconds: u32) {
        self.tell(Command::Lease(seconds)).await;
    }

    pub(crate) async fn wipe(&self) {
        self.tell(Command::Wipe).await;
    }

    pub(crate) async fn drop_connection(&self) {
        self.tell(Command::Hang).await;
    }

    pub(crate) fn refuse_everyone(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
    }

    /// Nobody answers any more.
    pub(crate) fn stop(&self) {
        self.task.abort();
        let _nobody = self.shared.commands.send(Command::Hang);
    }

    /// Waits for a message like this.
    pub(crate) async fn hears(&mut self, wanted: impl Fn(&ToServer) -> bool) -> ToServer {
        let waiting = async {
            loop {
                let said = self.heard.recv().await.unwrap();
                if wanted(&said) {
                    return said;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("it is said in time")
    }

    /// Until the session, if there is one, has sent it.
    async fn tell(&self, command: Command) {
        let told = self.shared.told.notified();
        if self.shared.commands.send(command).is_ok() {
            told.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(shared: Arc<Shared>, listener: TcpListener, certificate: Option<Certificate>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        let acceptor = certificate
            .as_ref()
            .map(|certificate| certificate.acceptor.clone());
        tokio::spawn(async move {
            match acceptor {
                None => session(shared, Box::new(stream)).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        session(shared, Box::new(stream)).await;
                    }
                }
            }
        });
    }
}

struct Certificate {
    pin: [u8; 32],
    acceptor: TlsAcceptor,
}

impl Certificate {
    fn new() -> Self {
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

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

type Stream = Box<dyn Transport>;

struct Session {
    socket: WebSocketStream<Stream>,
    sender: Sender,
    receiver: Receiver,
}

async fn session(shared: Arc<Shared>, stream: Stream) {
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/agent");
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        assert_eq!(protocol, "keyferry.v1");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose)
        .await
        .unwrap();
    let Some((sender, receiver)) = shake_hands(&shared, &mut socket).await else {
        let _gone = socket.close(None).await;
        return;
    };
    let mut session = Session {
        socket,
        sender,
        receiver,
    };
    let mut commands = shared.commands.subscribe();
    session.welcome(&shared).await;
    shared.sessions.fetch_add(1, Ordering::SeqCst);
    loop {
        tokio::select! {
            said = session.hear() => match said {
                Some(said) => shared.hear.send(said).unwrap_or_default(),
                None => return,
            },
            command = commands.recv() => {
                let hang = matches!(command, Ok(Command::Hang) | Err(_));
                if let (false, Ok(command)) = (hang, command) {
                    session.carry_out(&shared, command).await;
                }
                shared.told.notify_waiters();
                if hang {
                    return;
                }
            }
        }
    }
}

async fn shake_hands(
    shared: &Shared,
    socket: &mut WebSocketStream<Stream>,
) -> Option<(Sender, Receiver)> {
    let first = binary(socket).await?;
    let offered =
        server::receive(&shared.arena, &shared.key, Suite::Hybrid, &first).expect("a fair offer");
    let credential = offered.credential();
    let known = shared
        .credentials
        .lock()
        .unwrap()
        .get(&(credential.kind, credential.id))
        .copied();
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let (awaiting, second) = offered.reply(&mut rng).unwrap();
    socket.send(Message::Binary(second.into())).await.ok()?;
    let third = binary(socket).await?;
    if shared.refusing.load(Ordering::SeqCst) {
        return None;
    }
    let secret = shared.arena.hold(&known?).unwrap();
    let proven = awaiting.verify(&third, &secret).ok()?;
    Some(proven.channel.split())
}

async fn binary(socket: &mut WebSocketStream<Stream>) -> Option<Vec<u8>> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(message) => return Some(message.to_vec()),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

impl Session {
    async fn welcome(&mut self, shared: &Shared) {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).unwrap();
        getrandom::fill(&mut secret).unwrap();
        let accept = Accept {
            session: SessionId([3; 16]),
            vm: VmId([4; 16]),
            lease_seconds: 900,
            next_id: CredentialId(id),
            next_secret: &secret,
        };
        self.say(shared, &ToAgent::Accept(accept)).await;
        let ready = self.hear().await;
        if ready
            != Some(ToServer::Ready {
                credential: CredentialId(id),
            })
        {
            return;
        }
        // From here on only the newest is good: a retired one would show a clone.
        let newest = HashMap::from([((CredentialKind::Reattach, CredentialId(id)), secret)]);
        *shared.credentials.lock().unwrap() = newest;
        let names: Vec<_> = shared.keys.lock().unwrap().keys().cloned().collect();
        for name in names {
            self.carry_out(shared, Command::Put(name)).await;
        }
        self.carry_out(shared, Command::Lease(900)).await;
    }

    async fn carry_out(&mut self, shared: &Shared, command: Command) {
        match command {
            Command::Put(name) => {
                let Some(stored) = shared.keys.lock().unwrap().get(&name).cloned() else {
                    return;
                };
                let put = Put {
                    key: name.parse().unwrap(),
                    version: stored.version,
                    not_after: 0,
                    provider: "custom",
                    delivery: stored.delivery,
                    allowed_hosts: Vec::new(),
                    value: &stored.value,
                };
                self.say(shared, &ToAgent::Put(put)).await;
            }
            Command::Revoke(name) => {
                self.say(
                    shared,
                    &ToAgent::Revoke {
                        key: name.parse().unwrap(),
                    },
                )
                .await;
            }
            Command::Lease(seconds) => self.say(shared, &ToAgent::Lease { seconds }).await,
            Command::Wipe => self.say(shared, &ToAgent::Wipe).await,
            Command::Hang => {}
        }
    }

    async fn say(&mut self, shared: &Shared, message: &ToAgent<'_>) {
        let sealed = self
            .sender
            .seal(message.encode(&shared.arena).unwrap())
            .unwrap();
        let _the_agent_may_be_gone = self.socket.send(Message::Binary(sealed.into())).await;
    }

    async fn hear(&mut self) -> Option<ToServer> {
        let sealed = binary(&mut self.socket).await?;
        let plain = self.receiver.open(&sealed).unwrap();
        Some(ToServer::decode(plain.expose()).unwrap())
    }
}

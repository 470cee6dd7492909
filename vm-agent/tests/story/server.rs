//! A server of one VM, with nothing but the protocol: no accounts, no database.

mod certificate;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::handshake::{CredentialKind, Suite};
use keyferry_protocol::ids::CredentialId;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{Delivery, ToServer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use certificate::Certificate;
use session::session;

use super::world::PATIENCE;

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
    ended: AtomicUsize,
    refusing: Mutex<Option<CloseCode>>,
    tongue_tied: AtomicBool,
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
            ended: AtomicUsize::new(0),
            refusing: Mutex::default(),
            tongue_tied: AtomicBool::new(false),
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

    /// How many connections have ended.
    pub(crate) fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// What was said and nobody has waited for.
    pub(crate) fn heard_since(&mut self) -> Vec<ToServer> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
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
        self.close_everyone_with(CloseCode::Policy);
    }

    /// In the middle of the handshake.
    pub(crate) fn close_everyone_with(&self, code: CloseCode) {
        *self.shared.refusing.lock().unwrap() = Some(code);
    }

    pub(crate) fn refuse_nobody(&self) {
        *self.shared.refusing.lock().unwrap() = None;
    }

    /// From the next session on it welcomes, and then tells no key and no lease.
    pub(crate) fn fall_silent(&self) {
        self.shared.tongue_tied.store(true, Ordering::SeqCst);
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
        tokio::time::timeout(PATIENCE, waiting)
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
                None => session(Arc::clone(&shared), Box::new(stream)).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        session(Arc::clone(&shared), Box::new(stream)).await;
                    }
                }
            }
            shared.ended.fetch_add(1, Ordering::SeqCst);
        });
    }
}

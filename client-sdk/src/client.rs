//! The conversation with the agent: one task owns the socket, everybody else asks it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{Delivery, Reply, Request, VERSION};
use keyferry_protocol::memory::{Arena, MappedPage, MemoryError, self_test};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::agent_socket::{AgentSocket, Arrival};
use crate::key::{Change, Held};
use crate::status::Status;
use crate::{Error, KeyHandle};

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/keyferry/agent.sock";

/// A connection to the agent of this machine. Clones share it; it ends with the last of them and
/// of the keys that it opened.
#[derive(Clone)]
pub struct Client {
    connection: Arc<Connection>,
}

/// What the clones and the key handles share.
pub(crate) struct Connection {
    requests: mpsc::Sender<Asked>,
    arena: Mutex<Option<Arena>>,
    opened: Arc<Mutex<Opened>>,
}

/// A request, and where its answer is waited for.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<Arrival, Error>>,
}

/// What has to hear of the agent's end and of changes.
#[derive(Default)]
pub(crate) struct Opened {
    agent_gone: bool,
    held: Vec<Weak<Held>>,
    changes: HashMap<KeyName, watch::Sender<Change>>,
}

/// A key that is used through the agent's proxy.
#[derive(Clone)]
pub struct Proxied {
    /// The key's name.
    pub name: String,
    /// The provider preset: `openai`, `anthropic`, `groq`, `google` or `custom`.
    pub provider: String,
    /// Takes the place of `https://HOST`. `/@HOST/...` behind it names one of the key's other hosts.
    pub base_url: String,
    /// Goes where the key would go.
    pub token: String,
}

impl Client {
    /// Connects to the agent at [`DEFAULT_SOCKET`].
    pub async fn connect() -> Result<Self, Error> {
        Self::connect_to(DEFAULT_SOCKET).await
    }

    /// Connects to the agent at another socket.
    pub async fn connect_to(path: impl AsRef<Path>) -> Result<Self, Error> {
        let socket = in_time(greeted(path.as_ref())).await?;
        Ok(Self::spawn(|asked, opened| converse(socket, asked, opened)))
    }

    /// A client whose requests are answered by this task.
    pub(crate) fn spawn<F>(
        task: impl FnOnce(mpsc::Receiver<Asked>, Arc<Mutex<Opened>>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (requests, asked) = mpsc::channel(16);
        let opened = Arc::default();
        let arena = Mutex::default();
        tokio::spawn(task(asked, Arc::clone(&opened)));
        let connection = Arc::new(Connection {
            requests,
            arena,
            opened,
        });
        Self { connection }
    }

    /// Opens a key: the agent makes a page for this process, in which the key stays current.
    pub async fn key(&self, name: &str) -> Result<KeyHandle, Error> {
        let name: KeyName = name.parse().map_err(|_| Error::BadKeyName)?;
        let open = Request::Open {
            name: name.clone(),
            delivery: Delivery::Page,
        };
        let arrival = self.connection.ask(open).await?;
        let (Reply::Page { .. }, Some(descriptor)) = (arrival.reply, arrival.descriptor) else {
            return Err(Error::Protocol(None));
        };
        let arena = self.connection.arena()?;
        let held = Arc::new(Held::new(MappedPage::map(descriptor)?, &arena)?);
        let changes = self.connection.register(&name, &held)?;
        Ok(KeyHandle::new(
            name,
            held,
            changes,
            Arc::clone(&self.connection),
        ))
    }

    /// Lets this process use a key without having it: requests to the agent's proxy that carry the
    /// token get the key in its place. Good for this user, while this process lives.
    pub async fn proxied(&self, name: &str) -> Result<Proxied, Error> {
        let name: KeyName = name.parse().map_err(|_| Error::BadKeyName)?;
        let open = Request::Open {
            name,
            delivery: Delivery::Inject,
        };
        match self.connection.ask(open).await?.reply {
            Reply::Proxied {
                port,
                name,
                provider,
                token,
            } => Ok(Proxied {
                name: name.to_string(),
                provider,
                base_url: format!("http://127.0.0.1:{port}"),
                token,
            }),
            _ => Err(Error::Protocol(None)),
        }
    }

    /// How the agent is.
    pub async fn status(&self) -> Result<Status, Error> {
        let Reply::Status(json) = self.connection.ask(Request::Status).await?.reply else {
            return Err(Error::Protocol(None));
        };
        serde_json::from_slice(&json).map_err(|_| Error::Protocol(None))
    }
}

impl Connection {
    async fn ask(&self, request: Request) -> Result<Arrival, Error> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { request, answer };
        let arrival = in_time(async {
            let sent = self.requests.send(asked).await;
            sent.map_err(|_| Error::AgentGone)?;
            answered.await.map_err(|_| Error::AgentGone)?
        });
        let arrival = arrival.await?;
        match arrival.reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Ok(arrival),
        }
    }

    /// Locked memory is only needed by who opens a key.
    fn arena(&self) -> Result<Arena, MemoryError> {
        let mut made = self.arena.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arena) = &*made {
            return Ok(arena.clone());
        }
        Ok(made.insert(Arena::new(self_test()?)?).clone())
    }

    fn register(&self, name: &KeyName, held: &Arc<Held>) -> Result<watch::Receiver<Change>, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.agent_gone {
            return Err(Error::AgentGone);
        }
        opened.held.retain(|known| known.strong_count() > 0);
        opened.held.push(Arc::downgrade(held));
        let changes = opened
            .changes
            .entry(name.clone())
            .or_insert_with(|| watch::Sender::new(held.now()));
        Ok(changes.subscribe())
    }
}

/// A connection whose agent has welcomed us.
async fn greeted(path: &Path) -> Result<AgentSocket, Error> {
    let mut socket = AgentSocket::connect(path).await?;
    let sent = socket.send(&Request::Hello { version: VERSION }).await;
    // An agent that has no place left says so before it listens, and hangs up.
    let arrival = match socket.next().await {
        Ok(arrival) => arrival,
        Err(gone) => return Err(sent.err().unwrap_or(gone)),
    };
    match arrival.reply {
        Reply::Welcome {
            version: VERSION, ..
        } => Ok(socket),
        Reply::Welcome { version, .. } => Err(Error::Version(version)),
        Reply::Refused(refusal) => Err(refusal.into()),
        _ => Err(Error::Protocol(None)),
    }
}

/// An agent that is stopped or stuck must not hang who asks it, a health check least of all.
async fn in_time<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(TO_ANSWER, asking)
        .await
        .map_err(|_elapsed| Error::AgentSilent)?
}

/// Runs until the agent or the last holder ends, then lets go of every page.
async fn converse(
    mut socket: AgentSocket,
    mut asked: mpsc::Receiver<Asked>,
    opened: Arc<Mutex<Opened>>,
) {
    let mut waiting = VecDeque::new();
    let ended = loop {
        tokio::select! {
            arrival = socket.next() => match arrival {
                Ok(arrival) => deliver(arrival, &mut waiting, &opened),
                Err(error) => break error,
            },
            next = asked.recv() => {
                let Some(Asked { request, answer }) = next else { break Error::AgentGone };
                waiting.push_back(answer);
                if let Err(error) = socket.send(&request).await {
                    break error;
                }
            }
        }
    };
    opened.lock().unwrap_or_else(PoisonError::into_inner).end();
    if let Some(first) = waiting.pop_front() {
        let _nobody_waits = first.send(Err(ended));
    }
}

fn deliver(
    arrival: Arrival,
    waiting: &mut VecDeque<oneshot::Sender<Result<Arrival, Error>>>,
    opened: &Mutex<Opened>,
) {
    if let Reply::Changed {
        name,
        version,
        state,
    } = arrival.reply
    {
        let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.tell(&name, Change { version, state });
    } else if let Some(answer) = waiting.pop_front() {
        let _nobody_waits = answer.send(Ok(arrival));
    }
}

impl Opened {
    pub(crate) fn tell(&self, name: &KeyName, change: Change) {
        if let Some(changes) = self.changes.get(name) {
            changes.send_replace(change);
        }
    }

    /// With the agent gone nobody enforces the lease: no page may stay readable.
    pub(crate) fn end(&mut self) {
        self.agent_gone = true;
        for held in self.held.drain(..).filter_map(|held| held.upgrade()) {
            held.let_go();
        }
        self.changes.clear();
    }
}

const TO_ANSWER: Duration = Duration::from_secs(10);

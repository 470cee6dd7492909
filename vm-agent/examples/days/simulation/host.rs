//! The server of one machine, and the network to it, which fails in every way.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::handshake::{CredentialKind, Suite};
use keyferry_protocol::ids::{CredentialId, KeyName};
use keyferry_protocol::memory::Arena;
use keyferry_protocol::ticket::Ticket;
use keyferry_sdk::link::{Dial, Endpoint, Target, Transport};
use tokio::sync::{mpsc, watch};

use super::clock::Machine;
use super::session;

/// A server that forgets nothing, like one with a database.
pub(crate) struct Host {
    pub(crate) arena: Arena,
    pub(crate) key: KeyPair,
    pub(crate) machine: Machine,
    pub(crate) reach: watch::Sender<Reach>,
    /// Counts changes of keys.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) orders: watch::Sender<(u64, Order)>,
    records: Mutex<Records>,
    calls: mpsc::UnboundedSender<tokio::io::DuplexStream>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Served,
    /// The server is not there.
    Down,
    /// It is there, its database is not.
    Busy,
    /// It shakes hands, and then has nothing to say.
    Mute,
    /// Nothing gets through, and nobody is told.
    Hung,
}

/// To all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    HangUp,
    Drain,
    /// The connection is dead, and nobody tells the agent.
    Forget,
}

/// What the server knows, and what the watcher compares the agent with.
pub(crate) struct Records {
    pub(crate) keys: BTreeMap<KeyName, Vec<Version>>,
    pub(crate) credentials: Credentials,
    pub(crate) lease: u32,
    /// The longest that a lease told by now lasts, by the host's clock.
    pub(crate) leased_until: Duration,
    pub(crate) longest_lease: u32,
    pub(crate) put_at: BTreeMap<KeyName, Duration>,
    pub(crate) banned_at: Option<Duration>,
    /// Since when the agent hears of every change at once.
    pub(crate) in_touch_since: Option<Duration>,
    pub(crate) sessions: u64,
}

/// The secrets, and what they are worth.
type Credentials = HashMap<(CredentialKind, CredentialId), ([u8; 32], Worth)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Ticket,
    Pending,
    Current,
    Retired,
}

pub(crate) struct Version {
    pub(crate) value: Vec<u8>,
    pub(crate) since: Duration,
    pub(crate) ended_at: Option<Duration>,
    /// By the clock on the wall; forever if none.
    pub(crate) not_after: Option<Duration>,
}

impl Host {
    pub(crate) fn new(arena: Arena, machine: Machine) -> Arc<Self> {
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let (calls, mut called) = mpsc::unbounded_channel();
        let host = Arc::new(Self {
            key: KeyPair::generate(&arena, &mut rng).expect("an arena has room for a key"),
            arena,
            machine,
            reach: watch::Sender::new(Reach::Served),
            changes: watch::Sender::new(0),
            orders: watch::Sender::new((0, Order::HangUp)),
            records: Mutex::new(Records::empty()),
            calls,
        });
        let serving = Arc::clone(&host);
        tokio::task::spawn_local(async move {
            while let Some(stream) = called.recv().await {
                tokio::task::spawn_local(session::serve(Arc::clone(&serving), stream));
            }
        });
        host
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("nobody panics with it")
    }

    pub(crate) fn now(&self) -> Duration {
        self.machine.host_time()
    }

    /// A ticket, and how to get here with it.
    pub(crate) fn invite(self: &Arc<Self>) -> (Ticket, Vec<Target>) {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).expect("the kernel has random numbers");
        getrandom::fill(&mut secret).expect("the kernel has random numbers");
        let reference = (CredentialKind::Ticket, CredentialId(id));
        let mut records = self.records();
        records.credentials = HashMap::from([(reference, (secret, Worth::Ticket))]);
        records.banned_at = None;
        // Whoever enrols anew has wiped before.
        records.leased_until = Duration::ZERO;
        let url = "http://127.0.0.1:1";
        let ticket = Ticket {
            id: CredentialId(id),
            secret: self
                .arena
                .hold(&secret)
                .expect("an arena has room for a ticket"),
            server_key: self.key.public(),
            min_suite: Suite::Hybrid,
            spki_pin: None,
            urls: vec![url.to_owned()],
        };
        let target = Target {
            server: Endpoint::dialled(url.parse().expect("a URL"), self.dial()),
            server_key: self.key.public(),
            suite: Suite::Hybrid,
        };
        (ticket, vec![target])
    }

    fn dial(self: &Arc<Self>) -> Dial {
        let host = Arc::clone(self);
        Arc::new(move || {
            let host = Arc::clone(&host);
            Box::pin(async move {
                if *host.reach.borrow() == Reach::Down {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                let (near, far) = tokio::io::duplex(64 * 1024);
                host.calls.send(far).expect("the host listens");
                Ok(Box::new(near) as Box<dyn Transport>)
            })
        })
    }

    /// From now on connections fare like this.
    pub(crate) fn set_reach(&self, reach: Reach) {
        if reach != Reach::Served {
            self.records().in_touch_since = None;
        }
        self.reach.send_replace(reach);
        if reach == Reach::Down {
            self.order(Order::HangUp);
        }
    }

    pub(crate) fn order(&self, order: Order) {
        self.records().in_touch_since = None;
        self.orders.send_modify(|(count, last)| {
            *count += 1;
            *last = order;
        });
    }

    /// A new version of a key; the one before ends.
    pub(crate) fn put(&self, name: &str, not_after: Option<Duration>) {
        let mut value = vec![0; 40];
        getrandom::fill(&mut value).expect("the kernel has random numbers");
        let since = self.now();
        {
            let mut records = self.records();
            let name = name.parse().expect("a key's name");
            let versions = records.keys.entry(name).or_default();
            end(versions, since);
            versions.push(Version {
                value,
                since,
                ended_at: None,
                not_after,
            });
        }
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn revoke(&self, name: &str) {
        let now = self.now();
        if let Some(versions) = self
            .records()
            .keys
            .get_mut(&name.parse().expect("a key's name"))
        {
            end(versions, now);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn lease(&self, seconds: u32) {
        let mut records = self.records();
        records.lease = seconds;
    }

    pub(crate) fn ban(&self) {
        {
            let mut records = self.records();
            records.banned_at = Some(self.now());
            records.credentials.clear();
        }
        self.changes.send_modify(|count| *count += 1);
    }
}

fn end(versions: &mut [Version], now: Duration) {
    if let Some(last) = versions.last_mut() {
        last.ended_at.get_or_insert(now);
    }
}

impl Records {
    fn empty() -> Self {
        Self {
            keys: BTreeMap::new(),
            credentials: HashMap::new(),
            lease: 900,
            leased_until: Duration::ZERO,
            longest_lease: 900,
            put_at: BTreeMap::new(),
            banned_at: None,
            in_touch_since: None,
            sessions: 0,
        }
    }

    /// What the machine may hold now: the number of the newest version of each key.
    pub(crate) fn deliverable(&self, wall: Duration) -> BTreeMap<KeyName, u32> {
        let newest = |(name, versions): (&KeyName, &Vec<Version>)| {
            let last = versions.last()?;
            let lives = last.ended_at.is_none() && last.not_after.is_none_or(|end| end > wall);
            let number = u32::try_from(versions.len()).ok()?;
            lives.then(|| (name.clone(), number))
        };
        self.keys.iter().filter_map(newest).collect()
    }
}

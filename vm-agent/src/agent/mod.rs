//! What the two sides of the agent share: the session with the server changes it, the socket
//! reads it.

mod accesses;
mod advice;
mod lend;
mod permit;
mod refuse;
mod report;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{Refusal, RefusalCode};
use keyferry_protocol::memory::{PageState, ProtectionLevel};
use keyferry_protocol::wire::{Access, Outcome, Put, Used};
use tokio::sync::watch;
use tracing::{info, warn};

use accesses::{Accesses, opened};
pub use permit::Identified;
pub use refuse::refusal;
pub use report::Uplink;

use crate::config::Limits;
use crate::harden::Step;
use crate::keyring::{Keyring, Opened, ReceiverId, Share};
use crate::programs::Programs;
use crate::proxy::Tokens;
use crate::socket::{Peer, Policy};
use keyferry_sdk::lease::{Clock, Lease, Moment, Verdict};

/// An agent, whole.
pub struct Agent {
    keys: Mutex<Keyring>,
    lease: Mutex<Lease>,
    uplink: Mutex<Uplink>,
    accesses: Mutex<Accesses>,
    tokens: Mutex<Tokens>,
    changes: watch::Sender<()>,
    endings: watch::Sender<Verdict>,
    /// How often this machine has become another one.
    jumps: AtomicU64,
    protection: ProtectionLevel,
    parts: Parts,
}

/// What an agent is made of, beside its keys.
pub struct Parts {
    /// Who may have what.
    pub policy: Policy,
    /// The bounds.
    pub limits: Limits,
    /// What was given up at the start.
    pub steps: Vec<Step>,
    /// The proxy's port on 127.0.0.1.
    pub proxy_port: u16,
    /// Who tells programs apart, where the settings want that.
    pub programs: Option<Programs>,
    /// The time.
    pub clock: Box<dyn Clock>,
}

/// A connected tool; its pages are zeroed when this is dropped.
pub struct Guest<'a> {
    agent: &'a Agent,
    id: ReceiverId,
}

impl Agent {
    /// An agent with these keys, which are usually none yet.
    pub fn new(keys: Keyring, parts: Parts) -> Self {
        Self {
            protection: keys.level(),
            keys: Mutex::new(keys),
            lease: Mutex::new(Lease::new(parts.clock.look())),
            uplink: Mutex::default(),
            accesses: Mutex::default(),
            tokens: Mutex::default(),
            changes: watch::Sender::new(()),
            endings: watch::Sender::new(Verdict::None),
            jumps: AtomicU64::new(0),
            parts,
        }
    }

    /// Looks at the keys.
    pub fn look<T>(&self, at: impl FnOnce(&Keyring) -> T) -> T {
        at(&lock(&self.keys))
    }

    /// Changes the keys, then tells the tools.
    pub fn change<T>(&self, by: impl FnOnce(&mut Keyring) -> T) -> T {
        let outcome = by(&mut lock(&self.keys));
        self.changes.send_replace(());
        outcome
    }

    /// Zeroes everything. Nothing may be held until there is a lease again.
    pub fn wipe(&self, reason: PageState) {
        self.change(|keys| {
            keys.wipe(reason);
            lock(&self.lease).end();
        });
    }

    /// Holds a key, while a lease is running: without one it would stay for ever.
    pub fn hold(&self, put: &Put<'_>) -> Option<Outcome> {
        let is_leased = || lock(&self.lease).is_running();
        self.change(|keys| is_leased().then(|| keys.put(put)))
    }

    /// The server grants a lease from now on.
    pub fn renew_lease(&self, length: Duration) {
        lock(&self.lease).renew(length, self.parts.clock.look());
    }

    /// A session is open that has confirmed nothing yet: what is held stays on its own lease.
    pub fn begin_lease(&self, length: Duration) {
        lock(&self.lease).begin(length, self.parts.clock.look());
    }

    /// Looks at the clocks and the host, and wipes what they have ended.
    pub fn enforce_lease(&self) -> Verdict {
        self.enforce(self.parts.clock.look())
    }

    /// The same before a key is used: this process may have been stopped until just now.
    fn enforce_before_use(&self) {
        self.enforce(self.now());
    }

    fn enforce(&self, now: Moment) -> Verdict {
        let verdict = lock(&self.lease).judge(now);
        match verdict {
            Verdict::Over => {
                warn!("the lease is over without a word from the server: all keys are wiped");
                self.wipe(PageState::LeaseOver);
                self.endings.send_replace(verdict);
            }
            Verdict::Jumped => {
                warn!("this machine was suspended, restored or cloned: all keys are wiped");
                self.jumps.fetch_add(1, Ordering::SeqCst);
                self.wipe(PageState::LeaseOver);
                self.endings.send_replace(verdict);
            }
            Verdict::None | Verdict::Left(_) => {
                if lock(&self.keys).expire(now.wall) {
                    info!("a key has reached its end and is wiped");
                    self.changes.send_replace(());
                }
            }
        }
        verdict
    }

    /// How often this machine was suspended, restored or cloned. What was encrypted for a connection
    /// from before may be encrypted once more elsewhere, under the same nonce: nothing is sent there.
    pub fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::SeqCst)
    }

    /// Changes what is known of the session with the server.
    pub fn uplink<T>(&self, change: impl FnOnce(&mut Uplink) -> T) -> T {
        change(&mut lock(&self.uplink))
    }

    /// Who may have what.
    pub fn policy(&self) -> &Policy {
        &self.parts.policy
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// How the keys are protected.
    pub fn protection(&self) -> ProtectionLevel {
        self.protection
    }

    /// The time.
    pub fn now(&self) -> Moment {
        self.parts.clock.now()
    }

    /// Wakes whenever keys have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Wakes whenever all keys were wiped, because the lease is over or this machine was suspended,
    /// restored or cloned: a session from before is not to be used any more.
    pub fn endings(&self) -> watch::Receiver<Verdict> {
        self.endings.subscribe()
    }

    /// A tool has connected.
    pub fn join(&self) -> Guest<'_> {
        Guest {
            agent: self,
            id: lock(&self.keys).join(),
        }
    }

    /// Hands a key to a tool, if the policy lets it have it.
    pub fn open(&self, guest: &Guest<'_>, peer: &Peer, key: &KeyName) -> Result<Opened, Refusal> {
        self.enforce_before_use();
        let outcome = self.permits(peer, key).and_then(|()| {
            let opened = lock(&self.keys).open(guest.id, peer, key);
            opened.map_err(|code| refusal(self.why(code), ""))
        });
        let version = outcome.as_ref().map_or(0, |opened| opened.version);
        self.note(key, version, (peer.uid, opened(&outcome)));
        outcome
    }

    /// What this tool's pages hold.
    pub fn shares(&self, guest: &Guest<'_>) -> Vec<Share> {
        lock(&self.keys).shares(guest.id)
    }

    /// The accesses since the last time this was asked.
    pub fn take_accesses(&self) -> Vec<Access> {
        lock(&self.accesses).take()
    }

    /// What earlier runs of this agent have used today.
    pub fn take_usage(&self, told: &[Used]) {
        let now = self.now();
        lock(&self.keys).take_usage(told, now.wall);
    }

    /// The server could not be told of these.
    pub fn put_back_accesses(&self, untold: Vec<Access>) {
        let mut accesses = lock(&self.accesses);
        untold.into_iter().for_each(|access| accesses.note(access));
    }

    /// Before the first session there are no keys to find.
    fn why(&self, code: RefusalCode) -> RefusalCode {
        let never_connected = !lock(&self.uplink).ever_connected;
        if code == RefusalCode::NotFound && never_connected {
            RefusalCode::NotConnected
        } else {
            code
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        lock(&self.agent.keys).leave(self.id);
    }
}

/// No holder of these locks leaves anything half done, so one that panicked spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

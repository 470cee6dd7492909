//! What a use case may touch: the store, the clock, the dice, locked memory, and nothing ambient.

use std::ops::Deref;
use std::sync::Arc;

use getrandom::SysRng;
use keyferry_protocol::memory::Arena;
use rand_core::UnwrapErr;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::accounts::{PasswordHasher, Providers};
use crate::audit::{Books, ChainKey};
use crate::background::Background;
use crate::bus::Bus;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{Attached, Watchers};
use crate::http::Identity;
use crate::limits::Counters;
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::sessions::{KeyRing, SeenSessions, VerifiedTokens};
use crate::stop::Stop;
use crate::store::Store;
use crate::vault::master_key::MasterKey;
use crate::vault::server_keys::ServerKeys;

/// The running server. Clones share it.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// What the running server is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    /// Where plaintext keys are while they are sealed or opened.
    pub(crate) arena: Arena,
    pub(crate) master_key: MasterKey,
    /// The server's own key pairs.
    pub(crate) server_keys: ServerKeys,
    /// The agents that are connected here.
    pub(crate) attached: Attached,
    /// The people who watch what happens.
    pub(crate) watchers: Watchers,
    pub(crate) bus: Bus,
    /// What several servers share; none when this one does without.
    pub(crate) cache: Option<Cache>,
    /// How often anyone has tried.
    pub(crate) counters: Counters,
    /// What goes on after the answers.
    pub(crate) background: Background,
    pub(crate) mailer: Mailer,
    pub(crate) hasher: PasswordHasher,
    pub(crate) audit_key: ChainKey,
    /// The right to verify a whole chain for a caller.
    pub(crate) verifying: Semaphore,
    /// Where people can sign in beside here.
    pub(crate) providers: Providers,
    pub(crate) signing_keys: KeyRing,
    pub(crate) verified_tokens: VerifiedTokens,
    pub(crate) seen_sessions: SeenSessions,
    /// Names this installation in the agent protocol and in tokens.
    pub(crate) instance: Uuid,
    /// Under which URLs agents reach this server.
    pub(crate) public_urls: Vec<String>,
    /// What the server shows of itself; none with plain HTTP.
    pub(crate) identity: Option<Identity>,
    pub(crate) metrics: Metrics,
    /// Hears when the server stops.
    pub(crate) stop: Stop,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The audit as it is verified.
    pub(crate) fn books(&self) -> Books<'_> {
        Books {
            store: &self.store,
            key: &self.audit_key,
        }
    }

    /// The kernel's random numbers.
    #[expect(
        clippy::unused_self,
        reason = "whoever may roll the dice holds the app"
    )]
    pub(crate) fn rng(&self) -> UnwrapErr<SysRng> {
        UnwrapErr(SysRng)
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

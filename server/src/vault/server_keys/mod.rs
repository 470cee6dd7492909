//! The server's own key pairs: `S` for the agents' handshake, and the HPKE key that values are
//! sealed to. Sealed under the master key in the database; the first start makes them.
//!
//! After a rotation both of a purpose count for a while: the current one is published, and
//! announced to agents in their sessions; the previous one is for those who have not heard of it.

mod follow;
mod rotate;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError};
use rand_core::CryptoRng;
use tokio::sync::watch;
use uuid::Uuid;

use super::master_key::MasterKey;
use super::seal::{self, Unsealable};
use crate::app::App;
use crate::store::{NewServerKey, Store, StoreError, UnixTime, uuid_v7};

pub(crate) use follow::{follow, look, reload};
pub(crate) use rotate::rotate;

/// The pairs as they were last read. Another server, or a command, may have changed them since.
pub(crate) struct ServerKeys {
    pairs: RwLock<Arc<ServerPairs>>,
    /// When somebody last looked for others.
    looked_at: AtomicI64,
    /// Tells sessions that there are others.
    changed: watch::Sender<()>,
}

/// The pairs that count, in locked memory.
pub(crate) struct ServerPairs {
    /// `S` of the agent protocol.
    pub(crate) noise: Pairs,
    /// The recipient of sealed values.
    pub(crate) hpke: Pairs,
}

/// The pairs of one purpose.
pub(crate) struct Pairs {
    pub(crate) current: KeyPair,
    pub(crate) previous: Vec<KeyPair>,
    ids: Vec<Uuid>,
}

/// Why the server has no key pairs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerKeysError {
    #[error("the server's own keys cannot be read or stored")]
    Store(#[from] StoreError),
    #[error("one of the server's own keys cannot be unsealed: is this the right master key?")]
    Unsealable(#[from] Unsealable),
    #[error("there is no locked memory for the server's own keys")]
    Memory(#[from] MemoryError),
}

/// Where the server's own keys are kept, and what they are sealed with.
pub(crate) struct Keeper<'a> {
    pub(crate) store: &'a Store,
    pub(crate) master_key: &'a MasterKey,
    pub(crate) arena: &'a Arena,
    pub(crate) now: UnixTime,
}

impl ServerKeys {
    /// Takes all pairs out of the database, or makes the first ones.
    pub(crate) async fn load(
        keeper: &Keeper<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ServerKeysError> {
        let pairs = ServerPairs {
            noise: keeper.pairs(NOISE, rng).await?,
            hpke: keeper.pairs(HPKE, rng).await?,
        };
        Ok(Self {
            pairs: RwLock::new(Arc::new(pairs)),
            looked_at: AtomicI64::new(0),
            changed: watch::Sender::new(()),
        })
    }

    /// The pairs that count now.
    pub(crate) fn pairs(&self) -> Arc<ServerPairs> {
        Arc::clone(&self.pairs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the pairs again when the database has others; whether it had.
    pub(crate) async fn reload(
        &self,
        keeper: &Keeper<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<bool, ServerKeysError> {
        let known = self.pairs();
        let ids = keeper.store.server_key_ids(keeper.now).await?;
        let knows = |id: &Uuid| known.noise.ids.contains(id) || known.hpke.ids.contains(id);
        if ids.iter().all(knows) && ids.len() == known.noise.ids.len() + known.hpke.ids.len() {
            return Ok(false);
        }
        let fresh = Self::load(keeper, rng).await?.pairs();
        *self.pairs.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.changed.send_replace(());
        Ok(true)
    }

    /// Hears of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether nobody has looked within the pause; then the caller does.
    fn may_look(&self, now: UnixTime, pause: Duration) -> bool {
        let before = self.looked_at.load(Ordering::Relaxed);
        now.since(UnixTime::from_microseconds(before)) >= pause
            && self
                .looked_at
                .compare_exchange(
                    before,
                    now.microseconds(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}

impl Pairs {
    /// Every pair, the current one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl<'a> Keeper<'a> {
    /// The running server's.
    pub(crate) fn of(app: &'a App) -> Self {
        Self {
            store: &app.store,
            master_key: &app.master_key,
            arena: &app.arena,
            now: app.clock.now(),
        }
    }
}

impl Keeper<'_> {
    /// A pair that nobody has stored.
    pub(crate) fn make(
        &self,
        purpose: &'static str,
        rng: &mut impl CryptoRng,
    ) -> Result<NewServerKey, ServerKeysError> {
        let pair = KeyPair::generate(self.arena, rng)?;
        let private: LockedBox = self.arena.hold(pair.expose())?;
        Ok(NewServerKey {
            id: uuid_v7(self.now, rng),
            purpose,
            public_key: pair.public().0.to_vec(),
            sealed: seal::seal(self.master_key, rng, &context(purpose), &private)?,
            created_at: self.now,
        })
    }

    async fn pairs(
        &self,
        purpose: &'static str,
        rng: &mut impl CryptoRng,
    ) -> Result<Pairs, ServerKeysError> {
        if let Some(pairs) = self.stored(purpose).await? {
            return Ok(pairs);
        }
        let new = self.make(purpose, rng)?;
        let mut change = self.store.begin().await?;
        match change.insert_server_key(&new).await {
            Ok(()) => change.commit().await?,
            // Another replica was faster: its pair is the current one.
            Err(StoreError::Exists(_)) => drop(change),
            Err(other) => return Err(other.into()),
        }
        let pairs = self.stored(purpose).await?;
        Ok(pairs.expect("a current pair was there or has just been made"))
    }

    async fn stored(&self, purpose: &'static str) -> Result<Option<Pairs>, ServerKeysError> {
        let stored = self.store.server_keys(purpose, self.now).await?;
        let mut ids = Vec::new();
        let (mut current, mut previous) = (None, Vec::new());
        for key in stored {
            let private = seal::open(self.master_key, &context(purpose), &key.sealed)?;
            let pair = KeyPair::from_private(private);
            ids.push(key.id);
            if key.status == "current" {
                current = Some(pair);
            } else {
                previous.push(pair);
            }
        }
        Ok(current.map(|current| Pairs {
            current,
            previous,
            ids,
        }))
    }
}

/// What a pair's private half is bound to.
pub(crate) fn context(purpose: &str) -> Vec<u8> {
    [b"keyferry server key\0", purpose.as_bytes()].concat()
}

pub(crate) const NOISE: &str = "noise";
pub(crate) const HPKE: &str = "hpke";

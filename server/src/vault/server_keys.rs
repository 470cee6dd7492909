//! The server's own key pairs: `S` for the agents' handshake, and the HPKE key that values are
//! sealed to. Sealed under the master key in the database; the first start makes them.

use keyferry_protocol::agreement::KeyPair;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError};
use rand_core::CryptoRng;

use super::master_key::MasterKey;
use super::seal::{self, Unsealable};
use crate::store::{NewServerKey, Store, StoreError, UnixTime, uuid_v7};

/// The current pairs, in locked memory.
pub(crate) struct ServerKeys {
    /// `S` of the agent protocol.
    pub(crate) noise: KeyPair,
    /// The recipient of sealed values.
    pub(crate) hpke: KeyPair,
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

/// Where the pairs are kept, and what they are sealed with.
pub(crate) struct Keeper<'a> {
    pub(crate) store: &'a Store,
    pub(crate) master_key: &'a MasterKey,
    pub(crate) arena: &'a Arena,
    pub(crate) now: UnixTime,
}

impl ServerKeys {
    /// Takes both pairs out of the database, or makes them.
    pub(crate) async fn load(
        keeper: &Keeper<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ServerKeysError> {
        Ok(Self {
            noise: keeper.current("noise", rng).await?,
            hpke: keeper.current("hpke", rng).await?,
        })
    }
}

impl Keeper<'_> {
    async fn current(
        &self,
        purpose: &'static str,
        rng: &mut impl CryptoRng,
    ) -> Result<KeyPair, ServerKeysError> {
        if let Some(pair) = self.stored(purpose).await? {
            return Ok(pair);
        }
        let pair = KeyPair::generate(self.arena, rng)?;
        let private: LockedBox = self.arena.hold(pair.expose())?;
        let new = NewServerKey {
            id: uuid_v7(self.now, rng),
            purpose,
            public_key: pair.public().0.to_vec(),
            sealed: seal::seal(self.master_key, rng, &context(purpose), &private)?,
            created_at: self.now,
        };
        match self.store.insert_server_key(&new).await {
            Ok(()) => Ok(pair),
            // Another replica was faster: its pair is the current one.
            Err(StoreError::Exists(cause)) => {
                let theirs = self.stored(purpose).await?;
                theirs.ok_or(ServerKeysError::Store(StoreError::Exists(cause)))
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn stored(&self, purpose: &'static str) -> Result<Option<KeyPair>, ServerKeysError> {
        let Some(sealed) = self.store.current_server_key(purpose).await? else {
            return Ok(None);
        };
        let private = seal::open(self.master_key, &context(purpose), &sealed)?;
        Ok(Some(KeyPair::from_private(private)))
    }
}

fn context(purpose: &str) -> Vec<u8> {
    [b"keyferry server key\0", purpose.as_bytes()].concat()
}

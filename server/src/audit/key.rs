//! The key of the chain: not in the database but sealed, so that who writes there cannot forge.

use std::sync::Arc;

use aws_lc_rs::hmac;
use keyferry_protocol::memory::{LockedBox, MemoryError};
use rand_core::CryptoRng;

use super::Unlinked;
use super::adopt::adopt;
use crate::store::{Store, StoreError};
use crate::vault::master_key::MasterKey;
use crate::vault::seal::{self, Unsealable};
use crate::vault::server_keys::Keeper;

/// Computes the MACs of the chain. Clones share the key.
#[derive(Clone)]
pub(crate) struct ChainKey(Arc<LockedBox>);

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainKeyError {
    #[error("the key of the audit chain cannot be read or stored")]
    Store(#[from] StoreError),
    #[error("the key of the audit chain cannot be unsealed: is this the right master key?")]
    Unsealable(#[from] Unsealable),
    #[error("there is no locked memory for the key of the audit chain")]
    Memory(#[from] MemoryError),
}

impl ChainKey {
    /// Takes the key out of the database; the first start makes it, and the chains begin.
    pub(crate) async fn load(
        keeper: &Keeper<'_>,
        unlinked: Unlinked,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ChainKeyError> {
        loop {
            if let Some(kept) = Self::read(keeper.store, keeper.master_key).await? {
                return Ok(kept);
            }
            let fresh = keeper.arena.random(KEY, rng)?;
            let sealed = seal::seal(keeper.master_key, rng, CONTEXT, &fresh)?;
            let fresh = Self(Arc::new(fresh));
            let mut change = keeper.store.begin().await?;
            // Of several servers that start at once, the first one's key is everybody's.
            if !change.insert_audit_key(&sealed, keeper.now).await? {
                continue;
            }
            if unlinked == Unlinked::Adopt {
                adopt(&mut change, &fresh).await?;
            }
            change.commit().await?;
            return Ok(fresh);
        }
    }

    /// The key of a database that has one; nothing is made.
    pub(crate) async fn read(
        store: &Store,
        master_key: &MasterKey,
    ) -> Result<Option<Self>, ChainKeyError> {
        let Some(sealed) = store.audit_key().await? else {
            return Ok(None);
        };
        let key = seal::open(master_key, CONTEXT, &sealed)?;
        Ok(Some(Self(Arc::new(key))))
    }

    /// Begins a MAC for one purpose.
    pub(super) fn mac(&self, purpose: &[u8]) -> hmac::Context {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut mac = hmac::Context::with_key(&key);
        mac.update(purpose);
        mac
    }
}

const KEY: usize = 32;
/// What the sealed key is bound to.
pub(crate) const CONTEXT: &[u8] = b"keyferry audit key";

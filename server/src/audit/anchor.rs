//! What is kept outside the database, so that events that vanish from the end of a chain are missed.

use std::io;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use super::{HASH, Link};
use crate::app::App;
use crate::data_dir::DataDir;
use crate::store::{ChainId, StoreError, UnixTime};

/// A place that a chain had reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// The tenant, or zeros for the server's own chain.
    chain: ChainId,
    seq: i64,
    hash: String,
}

/// Where all chains were at one time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchors {
    pub(crate) at: UnixTime,
    pub(crate) chains: Vec<Anchor>,
}

/// Why there are no anchors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnchorError {
    #[error("the audit cannot be read")]
    Store(#[from] StoreError),
    #[error("the audit's anchor cannot be read or written")]
    File(#[from] io::Error),
    #[error("the audit's anchor is not one that Keyferry wrote")]
    Malformed(#[from] serde_json::Error),
}

impl Anchor {
    fn of(end: &Link) -> Self {
        Self {
            chain: end.chain,
            seq: end.seq,
            hash: Base64UrlUnpadded::encode_string(&end.hash),
        }
    }

    pub(super) fn link(&self) -> Link {
        let mut hash = [0; HASH];
        let whole = Base64UrlUnpadded::decode(&self.hash, &mut hash);
        let whole = whole.is_ok_and(|bytes| bytes.len() == HASH);
        Link {
            chain: self.chain,
            seq: self.seq,
            hash: if whole { hash } else { [0xff; HASH] },
        }
    }
}

impl Anchors {
    /// Where the chains are now.
    pub(crate) async fn take(app: &App) -> Result<Self, StoreError> {
        let heads = app.store.audit_heads().await?;
        Ok(Self {
            at: app.clock.now(),
            chains: heads.iter().map(|head| Anchor::of(&head.end)).collect(),
        })
    }

    /// What this server last wrote beside its keys.
    pub(crate) fn read(data_dir: &DataDir) -> Result<Option<Self>, AnchorError> {
        if !data_dir.has(FILE) {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&data_dir.read(FILE)?)?))
    }

    /// Where the chains were is nothing to hold a restored database against.
    pub(crate) fn forget(data_dir: &DataDir) -> io::Result<()> {
        match std::fs::remove_file(data_dir.path().join(FILE)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }

    /// Writes it beside the server's keys.
    pub(crate) fn write(&self, data_dir: &DataDir) -> Result<(), AnchorError> {
        let text = serde_json::to_vec(self)?;
        Ok(data_dir.write(FILE, &text)?)
    }
}

/// In the data folder.
pub(crate) const FILE: &str = "audit-anchor.json";

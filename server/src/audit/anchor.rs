//! What is kept outside the database, so that events that vanish from the end of a chain are missed.

use std::io;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{HASH, Link, Unlinked};
use crate::data_dir::DataDir;
use crate::store::{ChainId, Head, StoreError, UnixTime};

/// A place that a chain had reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// The tenant, or zeros for the server's own chain.
    chain: ChainId,
    seq: i64,
    hash: String,
    /// Since when the chain is known not to have this place any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) missed_since: Option<UnixTime>,
}

/// Where all chains were at one time.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchors {
    pub(crate) at: UnixTime,
    /// Whose chains they are; none in what earlier versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<Uuid>,
    pub(crate) chains: Vec<Anchor>,
}

/// Why there are no anchors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnchorError {
    #[error("the audit cannot be read or written")]
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
            missed_since: None,
        }
    }

    /// The same, told of at this time at the latest.
    pub(super) fn missed(self, now: UnixTime) -> Self {
        Self {
            missed_since: self.missed_since.or(Some(now)),
            ..self
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
    /// Where the chains of this installation end.
    pub(crate) fn of(heads: &[Head], instance: Uuid, now: UnixTime) -> Self {
        Self {
            at: now,
            instance: Some(instance),
            chains: heads.iter().map(|head| Anchor::of(&head.end)).collect(),
        }
    }

    /// Whether they can be those of this installation.
    pub(super) fn may_be_of(&self, instance: Uuid) -> bool {
        self.instance.is_none_or(|whose| whose == instance)
    }

    /// Keeps these places, whatever the chains say now.
    pub(super) fn hold_on_to(&mut self, places: Vec<Anchor>) {
        let held = |now: &Anchor| places.iter().any(|place| place.chain == now.chain);
        self.chains.retain(|now| !held(now));
        self.chains.extend(places);
    }

    /// What this server last wrote beside its keys.
    pub(crate) fn read(data_dir: &DataDir) -> Result<Option<Self>, AnchorError> {
        if !data_dir.has(FILE) {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&data_dir.read(FILE)?)?))
    }

    /// What becomes of events without a chain: where chains were kept in mind, there are no events
    /// from before there were any.
    pub(crate) fn unlinked(data_dir: &DataDir) -> Unlinked {
        match data_dir.has(FILE) {
            true => Unlinked::Leave,
            false => Unlinked::Adopt,
        }
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
        self.write_as(FILE, data_dir)
    }

    /// Puts it by for an operator who wants to look at what the database was before.
    pub(super) fn put_by(&self, data_dir: &DataDir) -> Result<(), AnchorError> {
        self.write_as(BEFORE_RESTORE, data_dir)
    }

    fn write_as(&self, name: &str, data_dir: &DataDir) -> Result<(), AnchorError> {
        let text = serde_json::to_vec(self)?;
        Ok(data_dir.write(name, &text)?)
    }
}

/// In the data folder.
pub(crate) const FILE: &str = "audit-anchor.json";
const BEFORE_RESTORE: &str = "audit-anchor.before-restore.json";

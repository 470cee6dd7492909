//! The key that every other key is sealed under. While it is replaced there are two.
//!
//! ```text
//!  begin ── both keys, each sealed under the other, in the database ──▶ every server has both
//!        ── record by record: opened with the old one, sealed with the new one
//!  finish ─ nothing is under the old one, and nothing can be any more; it is forgotten
//! ```

mod follow;
mod home;
mod root;
mod rotate;
mod source;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

#[cfg(test)]
use keyferry_protocol::memory::Arena;
use keyferry_protocol::memory::{LockedBox, MemoryError};
use rand_core::CryptoRng;

use self::home::Home;
use super::seal::{self, Unsealable};
use crate::config::MasterKeySource;
use crate::store::{Schema, Store, StoreError, StoredRotation, UnixTime};

pub(crate) use follow::{follow, open};
pub(crate) use root::RootKey;
pub(crate) use rotate::{NewKey, TO_NOTICE, begin, finish, reseal_some, to_reseal};
use source::FILE;
pub(crate) use source::{Place, SHORTEST, keys as candidates, read_existing, stretch};

/// The master keys that count now.
pub(crate) struct MasterKey {
    ring: RwLock<Ring>,
    /// Where the server itself keeps the key, if it does.
    home: Option<Home>,
    kept_in: Option<&'static str>,
    /// Whether the key was just made and has still to be written.
    fresh: bool,
}

#[derive(Clone)]
struct Ring {
    /// New records are sealed under this one.
    current: Arc<RootKey>,
    /// The one that is being replaced.
    before: Option<Arc<RootKey>>,
}

/// Why the server has no usable master key. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MasterKeyError {
    #[error("{0} must be 32 bytes in base64: make one with `head -c 32 /dev/urandom | base64`")]
    Malformed(String),
    #[error("{0} must be a passphrase of at least 16 bytes")]
    ShortPassphrase(&'static str),
    #[error(
        "this is not the master key that the database was sealed with: bring back the right {0}"
    )]
    Wrong(String),
    #[error(
        "there is no master key: no setting gives it, no systemd credential, and there is no file {0}. \
         Give it as the server gets it (docs/OPERATIONS.md)"
    )]
    Missing(String),
    #[error("the master key file {} cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the database cannot tell which master key is the right one")]
    Store(#[from] StoreError),
    #[error("a master key of the change that is under way does not open")]
    Unsealable(#[from] Unsealable),
    #[error("there is no locked memory for the master key")]
    Memory(#[from] MemoryError),
    #[error("the master key was replaced while this server did not look: start it again")]
    Superseded,
    #[error(
        "the master key is kept in {0}, which this command cannot change: \
         give the new one with --new-key-file or --new-passphrase-stdin"
    )]
    KeptElsewhere(&'static str),
    #[error("another master key than this one is being put in place already")]
    UnderWay,
    #[error("the new master key is the present one")]
    Same,
    #[error(
        "this master key was replaced by another one before, and the database takes nothing under \
         it any more: give one that was never used here"
    )]
    Retired,
    #[error("{left} records were sealed under the old master key meanwhile")]
    Left { left: u64 },
    #[error("a record of {table} does not open: {id}. Delete it, then go on")]
    Damaged {
        table: &'static str,
        id: uuid::Uuid,
        #[source]
        cause: Unsealable,
    },
}

impl MasterKey {
    /// Takes the key that the database was sealed with from where the operator keeps it; before the
    /// first start the data folder's is made, and written once [`Self::confirm`] has found that
    /// the database knows no other.
    pub(crate) async fn load(
        source: &MasterKeySource,
        place: &Place<'_>,
        (store, schema): (&Store, &Schema),
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MasterKeyError> {
        let known = match schema.has(SETTINGS_SINCE) {
            true => store.setting(SETTING).await?,
            false => None,
        };
        let rotation = match schema.has(ROTATIONS_SINCE) {
            true => store.master_key_rotation().await?,
            false => None,
        };
        let mut keys = source::keys(source, place)?;
        let fresh = known.is_none() && keys.is_empty();
        if fresh {
            keys.push(RootKey::random(place.arena, rng)?);
        }
        let home = source.kept_in().is_none();
        let home = home.then(|| Home::new(place.data_dir));
        let what = || match source.kept_in() {
            Some(name) => name.to_owned(),
            None => place.data_dir.path().join(FILE).display().to_string(),
        };
        if keys.is_empty() {
            return Err(MasterKeyError::Missing(what()));
        }
        let ring = choose(keys, known.as_deref(), rotation.as_ref())?;
        Ok(Self {
            ring: RwLock::new(ring.ok_or_else(|| MasterKeyError::Wrong(what()))?),
            home,
            kept_in: source.kept_in(),
            fresh,
        })
    }

    /// Refuses a key that the database was not sealed with; at the first start makes this one the
    /// key of the database.
    pub(crate) async fn confirm(
        &mut self,
        store: &Store,
        now: UnixTime,
    ) -> Result<(), MasterKeyError> {
        // Written before the database names it: a crash between the two loses nothing.
        if self.fresh && store.setting(SETTING).await?.is_none() {
            self.at_home(|home| home.make(&self.current()))?;
        }
        let ring = self.ring();
        let own = ring.before.as_ref().unwrap_or(&ring.current).printed_id();
        if store.decide_setting(SETTING, &own, now).await? != own {
            return Err(MasterKeyError::Wrong(FILE.to_owned()));
        }
        self.write_down()
    }

    /// `HKDF-SHA256(salt, master key, info)`.
    pub(super) fn derive(&self, salt: &[u8], info: &[u8]) -> Result<LockedBox, MemoryError> {
        self.current().derive(salt, info)
    }

    /// The key that new records are sealed under.
    pub(super) fn current(&self) -> Arc<RootKey> {
        self.ring().current
    }

    /// The key of this id, if it counts.
    pub(super) fn of(&self, id: &[u8]) -> Option<Arc<RootKey>> {
        let ring = self.ring();
        [Some(ring.current), ring.before]
            .into_iter()
            .flatten()
            .find(|key| key.id() == id)
    }

    fn ring(&self) -> Ring {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.clone()
    }

    fn replace(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// Has a file hold the current key, where the server itself keeps it: the next file while there
    /// are two.
    fn write_down(&self) -> Result<(), MasterKeyError> {
        let ring = self.ring();
        self.at_home(|home| match &ring.before {
            Some(before) => home.keep(&ring.current, Some(before)),
            None => home.settle(&ring.current),
        })
    }

    fn at_home(
        &self,
        write: impl FnOnce(&Home) -> Result<(), MasterKeyError>,
    ) -> Result<(), MasterKeyError> {
        self.home.as_ref().map_or(Ok(()), write)
    }
}

/// The keys that count, of those that the operator has.
fn choose(
    keys: Vec<RootKey>,
    known: Option<&str>,
    rotation: Option<&StoredRotation>,
) -> Result<Option<Ring>, MasterKeyError> {
    let Some(rotation) = rotation else {
        let fits = |key: &RootKey| known.is_none_or(|known| known == key.printed_id());
        let current = keys.into_iter().find(fits);
        return Ok(current.map(|key| Ring {
            current: Arc::new(key),
            before: None,
        }));
    };
    let ours = keys
        .into_iter()
        .find(|key| [&rotation.old_id, &rotation.new_id].contains(&&key.id().to_vec()));
    ours.map(|key| both(Arc::new(key), rotation)).transpose()
}

/// Both keys of a change, of which one opens the other.
fn both(ours: Arc<RootKey>, rotation: &StoredRotation) -> Result<Ring, MasterKeyError> {
    let is_old = ours.id() == *rotation.old_id;
    let sealed = if is_old {
        rotation.sealed_new()
    } else {
        rotation.sealed_old()
    };
    let context = rotate::context(if is_old {
        &rotation.new_id
    } else {
        &rotation.old_id
    });
    let other = seal::open_under(&ours, &context, &sealed)?;
    let other = Arc::new(RootKey::new(other, ours.arena()));
    Ok(if is_old {
        Ring {
            current: other,
            before: Some(ours),
        }
    } else {
        Ring {
            current: ours,
            before: Some(other),
        }
    })
}

/// A master key for tests beside the code, which no file has.
#[cfg(test)]
pub(crate) fn for_tests(arena: &Arena) -> MasterKey {
    let key = RootKey::random(arena, &mut rand_core::UnwrapErr(getrandom::SysRng));
    let current = Arc::new(key.expect("tests may lock memory"));
    MasterKey {
        ring: RwLock::new(Ring {
            current,
            before: None,
        }),
        home: None,
        kept_in: None,
        fresh: false,
    }
}

const SETTING: &str = "master_key_id";
/// The schema versions that brought these tables.
const SETTINGS_SINCE: i64 = 1;
const ROTATIONS_SINCE: i64 = 10;

#[cfg(test)]
mod tests;

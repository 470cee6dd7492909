//! The key that every other key is sealed under.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::hkdf;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError, scrub};
use rand_core::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::store::{Store, StoreError, UnixTime};

/// The master key, in locked memory.
pub(crate) struct MasterKey {
    key: LockedBox,
    arena: Arena,
    id: [u8; 16],
    /// Where a key that was just made has still to be written.
    unwritten: Option<PathBuf>,
}

/// Why the server has no usable master key. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MasterKeyError {
    #[error("{0} must be 32 bytes in base64: make one with `head -c 32 /dev/urandom | base64`")]
    Malformed(String),
    #[error(
        "this is not the master key that the database was sealed with: bring back {}, \
         or set ENCRYPTION_KEY to the right one", .0.display()
    )]
    Wrong(PathBuf),
    #[error("the master key file {} cannot be read or written", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the database cannot tell which master key is the right one")]
    Store(#[from] StoreError),
    #[error("there is no locked memory for the master key")]
    Memory(#[from] MemoryError),
}

impl MasterKey {
    /// Takes the configured key, else the one in the data folder, else a fresh one, which is
    /// written only once [`Self::confirm`] has found that the database knows no other.
    pub(crate) fn load_or_create(
        data_dir: &Path,
        configured: Option<SecretString>,
        arena: &Arena,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, MasterKeyError> {
        let path = data_dir.join(FILE);
        if let Some(text) = configured {
            let key = decode(text.expose_secret().as_bytes(), arena)?;
            let key = key.ok_or_else(|| MasterKeyError::Malformed("ENCRYPTION_KEY".to_owned()))?;
            return Ok(Self::new(key, arena, None));
        }
        match fs::read(&path) {
            Ok(text) => {
                let key = decode(&Zeroizing::new(text), arena)?;
                let malformed = || MasterKeyError::Malformed(path.display().to_string());
                Ok(Self::new(key.ok_or_else(malformed)?, arena, None))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Ok(Self::new(arena.random(32, rng)?, arena, Some(path)))
            }
            Err(cause) => Err(MasterKeyError::File { path, cause }),
        }
    }

    /// Refuses a key that the database was not sealed with; at the first start makes this one the
    /// key of the database.
    pub(crate) async fn confirm(
        &mut self,
        store: &Store,
        data_dir: &Path,
        now: UnixTime,
    ) -> Result<(), MasterKeyError> {
        let own = self.printed_id();
        let known = store.setting(SETTING).await?;
        if known.is_some_and(|known| known != own) {
            return Err(MasterKeyError::Wrong(data_dir.join(FILE)));
        }
        // Written before the database names it: a crash between the two loses nothing.
        if let Some(path) = self.unwritten.take() {
            self.write(&path)
                .map_err(|cause| MasterKeyError::File { path, cause })?;
        }
        if store.decide_setting(SETTING, &own, now).await? != own {
            return Err(MasterKeyError::Wrong(data_dir.join(FILE)));
        }
        Ok(())
    }

    /// Which master key this is; tells nothing about it.
    pub(crate) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// `HKDF-SHA256(salt, master key, info)`.
    pub(super) fn derive(&self, salt: &[u8], info: &[u8]) -> Result<LockedBox, MemoryError> {
        let mut derived = self.arena.take(32)?;
        hkdf(salt, self.key.expose(), info, derived.expose_mut());
        Ok(derived)
    }

    pub(super) const fn arena(&self) -> &Arena {
        &self.arena
    }

    fn new(key: LockedBox, arena: &Arena, unwritten: Option<PathBuf>) -> Self {
        let mut id = [0; 16];
        hkdf(b"", key.expose(), b"keyferry master key id/1", &mut id);
        scrub();
        Self {
            key,
            arena: arena.clone(),
            id,
            unwritten,
        }
    }

    fn printed_id(&self) -> String {
        Base64UrlUnpadded::encode_string(&self.id)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = Zeroizing::new([0; 44]);
        Base64::encode(self.key.expose(), &mut *text).expect("44 characters hold 32 bytes");
        // A file that is there already belongs to another server that is starting now.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&*text)?;
        file.sync_all()?;
        scrub();
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// 32 bytes in either base64 alphabet, padded or not; `None` when the text is none.
fn decode(text: &[u8], arena: &Arena) -> Result<Option<LockedBox>, MemoryError> {
    let mut key = arena.take(32)?;
    let text = text.trim_ascii();
    let decoders: [Decoder; 4] = [
        |text, key| Base64::decode(text, key).is_ok_and(|key| key.len() == 32),
        |text, key| Base64Unpadded::decode(text, key).is_ok_and(|key| key.len() == 32),
        |text, key| Base64Url::decode(text, key).is_ok_and(|key| key.len() == 32),
        |text, key| Base64UrlUnpadded::decode(text, key).is_ok_and(|key| key.len() == 32),
    ];
    let decoded = decoders.iter().any(|decode| decode(text, key.expose_mut()));
    scrub();
    Ok(decoded.then_some(key))
}

type Decoder = fn(&[u8], &mut [u8]) -> bool;

const FILE: &str = "master.key";
const SETTING: &str = "master_key_id";

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use keyferry_protocol::memory::ProtectionLevel;
    use rand_core::UnwrapErr;

    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1);

    fn load(folder: &Path, configured: Option<&str>) -> Result<MasterKey, MasterKeyError> {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let configured = configured.map(SecretString::from);
        MasterKey::load_or_create(folder, configured, &arena, &mut UnwrapErr(SysRng))
    }

    #[tokio::test]
    async fn the_key_of_the_first_start_is_the_key_of_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in_memory().await;
        let mut first = load(folder.path(), None).unwrap();
        assert!(
            !folder.path().join(FILE).exists(),
            "unconfirmed, it is not written"
        );
        first.confirm(&store, folder.path(), NOW).await.unwrap();
        let mut next = load(folder.path(), None).unwrap();
        assert_eq!(next.id(), first.id());
        next.confirm(&store, folder.path(), NOW).await.unwrap();
    }

    #[tokio::test]
    async fn another_master_key_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_in_memory().await;
        let mut first = load(folder.path(), None).unwrap();
        first.confirm(&store, folder.path(), NOW).await.unwrap();
        fs::remove_file(folder.path().join(FILE)).unwrap();
        let mut other = load(folder.path(), None).unwrap();
        let refused = other.confirm(&store, folder.path(), NOW).await;
        assert!(matches!(refused, Err(MasterKeyError::Wrong(_))));
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn either_base64_alphabet_is_read_padded_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = [0xfb; 32];
        let texts = [
            Base64::encode_string(&bytes),
            Base64Unpadded::encode_string(&bytes),
            Base64Url::encode_string(&bytes),
            format!("{}\n", Base64UrlUnpadded::encode_string(&bytes)),
        ];
        let ids = texts.map(|text| load(folder.path(), Some(&text)).unwrap().id());
        assert!(ids.iter().all(|id| *id == ids[0]));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "",
            "c2hvcnQ=",
            "not base64!",
            &Base64::encode_string(&[1; 33]),
        ] {
            assert!(matches!(
                load(folder.path(), Some(text)),
                Err(MasterKeyError::Malformed(_))
            ));
        }
    }
}

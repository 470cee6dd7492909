//! Reads the master key from where the operator keeps it.

use std::fs;
use std::io;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use keyferry_protocol::memory::{Arena, scrub};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::MasterKeyError;
use super::root::RootKey;
use crate::config::MasterKeySource;
use crate::data_dir::DataDir;

/// Every key that the source has: none before the first start, two while one is replaced.
pub(crate) fn keys(
    source: &MasterKeySource,
    place: &Place<'_>,
) -> Result<Vec<RootKey>, MasterKeyError> {
    match source {
        MasterKeySource::Folder => [FILE, NEXT]
            .into_iter()
            .filter_map(|name| read(&place.data_dir.path().join(name), place.arena).transpose())
            .collect(),
        MasterKeySource::Setting(name, text) => {
            let key = RootKey::decode(text.expose_secret().as_bytes(), place.arena)?;
            let malformed = || MasterKeyError::Malformed((*name).to_owned());
            Ok(vec![key.ok_or_else(malformed)?])
        }
        MasterKeySource::File(_, path) => Ok(vec![read_existing(path, place.arena)?]),
        MasterKeySource::Passphrase(name, text) => {
            let key = stretch(text.expose_secret().as_bytes(), place)?;
            Ok(vec![key.ok_or(MasterKeyError::ShortPassphrase(name))?])
        }
        MasterKeySource::PassphraseFile(name, path) => {
            let text = Zeroizing::new(fs::read(path).map_err(file(path))?);
            let key = stretch(text.trim_ascii_end(), place)?;
            Ok(vec![key.ok_or(MasterKeyError::ShortPassphrase(name))?])
        }
    }
}

/// What a key is read or derived with.
pub(crate) struct Place<'a> {
    pub(crate) data_dir: &'a DataDir,
    pub(crate) arena: &'a Arena,
    /// Salts passphrases, so that one of two installations is no help against the other.
    pub(crate) instance: Uuid,
}

/// A key file that has to be there.
pub(crate) fn read_existing(path: &Path, arena: &Arena) -> Result<RootKey, MasterKeyError> {
    let missing = || file(path)(io::ErrorKind::NotFound.into());
    read(path, arena)?.ok_or_else(missing)
}

fn read(path: &Path, arena: &Arena) -> Result<Option<RootKey>, MasterKeyError> {
    let text = match fs::read(path) {
        Ok(text) => Zeroizing::new(text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(file(path)(cause)),
    };
    let malformed = || MasterKeyError::Malformed(path.display().to_string());
    let key = RootKey::decode(&text, arena)?;
    Ok(Some(key.ok_or_else(malformed)?))
}

fn file(path: &Path) -> impl Fn(io::Error) -> MasterKeyError + use<> {
    let path = path.to_owned();
    move |cause| MasterKeyError::File {
        path: path.clone(),
        cause,
    }
}

/// `Argon2id(passphrase, salt = SHA-256("keyferry passphrase/1" || instance id))` with 64 MiB, three
/// passes and one lane (RFC 9106 §4). `None` when the passphrase is too short.
pub(crate) fn stretch(
    passphrase: &[u8],
    place: &Place<'_>,
) -> Result<Option<RootKey>, MasterKeyError> {
    if passphrase.len() < SHORTEST {
        return Ok(None);
    }
    let mut salt = Sha256::new();
    salt.update(b"keyferry passphrase/1");
    salt.update(place.instance.as_bytes());
    let params = Params::new(65_536, 3, 1, Some(32)).expect("RFC 9106 allows these parameters");
    let mut key = place.arena.take(32)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, &salt.finalize(), key.expose_mut())
        .expect("the lengths of passphrase, salt and key are in bounds");
    scrub();
    Ok(Some(RootKey::new(key, place.arena)))
}

/// Bytes of a passphrase at least: it alone stands between a stolen database and the keys.
pub(crate) const SHORTEST: usize = 16;
pub(super) const FILE: &str = "master.key";
pub(super) const NEXT: &str = "master.key.next";

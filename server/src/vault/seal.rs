//! Envelope encryption: each record under a key of its own, bound to where it belongs.
//!
//! ```text
//!  record key = HKDF-SHA256(salt[32] random, master key, "keyferry record/1")
//!  ciphertext = AES-256-GCM(record key, nonce 0, plain, associated = context || master_key_id[16])
//! ```
//!
//! The salt makes the record key unique, so the nonce may be constant. The context names the
//! record, so that a ciphertext that is moved to another row does not open.

use keyferry_protocol::aead::{self, NONCE, TAG};
use keyferry_protocol::memory::{LockedBox, MemoryError, scrub};
use rand_core::CryptoRng;

use super::master_key::{MasterKey, RootKey};

/// A sealed record, as the database keeps it.
#[derive(sqlx::FromRow)]
pub(crate) struct Sealed {
    pub(crate) salt: Vec<u8>,
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) master_key_id: Vec<u8>,
}

/// Why a record does not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsealable {
    #[error("a sealed record belongs to another master key")]
    OtherMasterKey,
    #[error("a sealed record was changed or moved")]
    DoesNotOpen,
    #[error("there is no locked memory to open a record")]
    Memory(#[from] MemoryError),
}

/// Seals a record for the place that `context` names.
pub(crate) fn seal(
    master: &MasterKey,
    rng: &mut impl CryptoRng,
    context: &[u8],
    plain: &LockedBox,
) -> Result<Sealed, MemoryError> {
    seal_under(&master.current(), rng, context, plain)
}

/// Opens a record into locked memory.
pub(crate) fn open(
    master: &MasterKey,
    context: &[u8],
    sealed: &Sealed,
) -> Result<LockedBox, Unsealable> {
    let key = master.of(&sealed.master_key_id);
    open_under(&*key.ok_or(Unsealable::OtherMasterKey)?, context, sealed)
}

/// Seals under one master key.
pub(super) fn seal_under(
    master: &RootKey,
    rng: &mut impl CryptoRng,
    context: &[u8],
    plain: &LockedBox,
) -> Result<Sealed, MemoryError> {
    let mut salt = vec![0; SALT];
    rng.fill_bytes(&mut salt);
    let key = master.derive(&salt, INFO)?;
    let mut body = master.arena().hold(plain.expose())?;
    let tag = aead::seal(
        &key,
        [0; NONCE],
        &associated(context, &master.id()),
        body.expose_mut(),
    );
    let ciphertext = [body.expose(), &tag].concat();
    drop((key, body));
    scrub();
    Ok(Sealed {
        salt,
        ciphertext,
        master_key_id: master.id().to_vec(),
    })
}

/// Opens with one master key.
pub(super) fn open_under(
    master: &RootKey,
    context: &[u8],
    sealed: &Sealed,
) -> Result<LockedBox, Unsealable> {
    if sealed.master_key_id != master.id() {
        return Err(Unsealable::OtherMasterKey);
    }
    let length = sealed
        .ciphertext
        .len()
        .checked_sub(TAG)
        .ok_or(Unsealable::DoesNotOpen)?;
    let key = master.derive(&sealed.salt, INFO)?;
    let mut plain = master.arena().take(length)?;
    let associated = associated(context, &master.id());
    let opened = aead::open(
        &key,
        [0; NONCE],
        &associated,
        &sealed.ciphertext,
        plain.expose_mut(),
    );
    drop(key);
    scrub();
    opened.map_err(|_changed| Unsealable::DoesNotOpen)?;
    Ok(plain)
}

fn associated(context: &[u8], master_key_id: &[u8; 16]) -> Vec<u8> {
    [context, master_key_id].concat()
}

const SALT: usize = 32;
const INFO: &[u8] = b"keyferry record/1";

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use keyferry_protocol::memory::{Arena, ProtectionLevel};
    use rand_core::UnwrapErr;

    use super::*;
    use crate::vault::master_key;

    fn master(arena: &Arena) -> MasterKey {
        master_key::for_tests(arena)
    }

    #[test]
    fn a_record_opens_only_in_its_own_place_and_unchanged() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let master = master(&arena);
        let plain = arena.hold(b"sk-value").unwrap();
        let mut sealed = seal(&master, &mut UnwrapErr(SysRng), b"here", &plain).unwrap();
        assert_eq!(
            open(&master, b"here", &sealed).unwrap().expose(),
            b"sk-value"
        );
        assert!(matches!(
            open(&master, b"there", &sealed),
            Err(Unsealable::DoesNotOpen)
        ));
        for part in [0, 7, 8, 23] {
            sealed.ciphertext[part] ^= 1;
            assert!(matches!(
                open(&master, b"here", &sealed),
                Err(Unsealable::DoesNotOpen)
            ));
            sealed.ciphertext[part] ^= 1;
        }
        sealed.salt[0] ^= 1;
        assert!(matches!(
            open(&master, b"here", &sealed),
            Err(Unsealable::DoesNotOpen)
        ));
    }

    #[test]
    fn equal_records_are_sealed_differently() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let master = master(&arena);
        let plain = arena.hold(b"sk-value").unwrap();
        let seal = || seal(&master, &mut UnwrapErr(SysRng), b"", &plain).unwrap();
        let (one, other) = (seal(), seal());
        assert_ne!(one.salt, other.salt);
        assert_ne!(one.ciphertext, other.ciphertext);
    }

    #[test]
    fn another_master_key_does_not_open_a_record() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let plain = arena.hold(b"sk-value").unwrap();
        let sealed = seal(&master(&arena), &mut UnwrapErr(SysRng), b"", &plain).unwrap();
        let opened = open(&master(&arena), b"", &sealed);
        assert!(matches!(opened, Err(Unsealable::OtherMasterKey)));
    }
}

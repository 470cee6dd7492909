//! A backup file.
//!
//! ```text
//!  "KEYFERRY-BACKUP\n" || version[1] = 1 || sealed[1] || header_length[4] || header (JSON)
//!  || salt[32] if sealed || frames || SHA-256 of everything before [32]
//!  frame = last[1] || length[4] || body
//!  body  = rows, or AES-256-GCM(backup key, nonce = number, rows, associated = SHA-256(header) || last)
//!  row   = table[2] || cells;  cell = 0 | 1 integer[8] | 2 length[4] text | 3 length[4] bytes
//! ```
//!
//! Integers are big-endian. The backup key is `HKDF-SHA256(salt, master key, "keyferry backup/1")`.

mod read;
mod write;

use keyferry_protocol::aead::NONCE;
use keyferry_protocol::memory::{LockedBox, MemoryError};
use serde::{Deserialize, Serialize};

use crate::store::UnixTime;
use crate::vault::master_key::RootKey;

pub(super) use read::{Frame, Reader, check_sum};
pub(super) use write::Writer;

/// What a backup says of itself.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) created_at: UnixTime,
    pub(crate) program: String,
    pub(crate) engine: String,
    /// The versions of the schema.
    pub(crate) schema: Vec<i64>,
    pub(crate) instance_id: String,
    /// The master keys that open what is in it: one, or two while it was being replaced.
    pub(crate) master_keys: Vec<String>,
    /// How far the installation was, for the rule of the epoch.
    pub(crate) epoch: i64,
    pub(crate) tables: Vec<Table>,
}

/// One table in a backup.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: u64,
}

/// A key that the frames are sealed with, and its salt.
pub(crate) struct BackupKey {
    salt: [u8; 32],
    key: LockedBox,
}

impl BackupKey {
    /// The key of one backup.
    pub(crate) fn of(master: &RootKey, salt: [u8; 32]) -> Result<Self, MemoryError> {
        let key = master.derive(&salt, b"keyferry backup/1")?;
        Ok(Self { salt, key })
    }
}

fn nonce(number: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    for (place, byte) in nonce.iter_mut().skip(NONCE - 8).zip(number.to_be_bytes()) {
        *place = byte;
    }
    nonce
}

fn associated(header: &[u8; 32], last: u8) -> Vec<u8> {
    [&header[..], &[last]].concat()
}

const MAGIC: &[u8] = b"KEYFERRY-BACKUP\n";
const VERSION: u8 = 1;
const FRAME: usize = 64 * 1024;

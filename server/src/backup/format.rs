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

use std::io::{self, Read, Write};

use keyferry_protocol::aead::{self, NONCE, TAG};
use keyferry_protocol::memory::{LockedBox, MemoryError, scrub};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BackupError;
use crate::store::{Cell, UnixTime};
use crate::vault::master_key::RootKey;

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

/// Writes frames, and the sum of everything at the end.
pub(super) struct Writer<W> {
    out: Summing<W>,
    key: Option<BackupKey>,
    header: [u8; 32],
    frame: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(
        out: W,
        header: &Header,
        key: Option<BackupKey>,
    ) -> Result<Self, BackupError> {
        let mut out = Summing::new(out);
        let text = serde_json::to_vec(header).map_err(io::Error::other)?;
        out.write_all(MAGIC)?;
        out.write_all(&[VERSION, u8::from(key.is_some())])?;
        out.write_all(&length(text.len())?)?;
        out.write_all(&text)?;
        if let Some(key) = &key {
            out.write_all(&key.salt)?;
        }
        Ok(Self {
            out,
            key,
            header: Sha256::digest(&text).into(),
            frame: Zeroizing::new(Vec::with_capacity(2 * FRAME)),
            number: 0,
        })
    }

    pub(super) fn row(&mut self, table: u16, cells: &[Cell]) -> Result<(), BackupError> {
        self.frame.extend(table.to_be_bytes());
        for cell in cells {
            match cell {
                Cell::Null => self.frame.push(0),
                Cell::Integer(number) => {
                    self.frame.push(1);
                    self.frame.extend(number.to_be_bytes());
                }
                Cell::Text(text) => self.bytes(2, text.as_bytes())?,
                Cell::Bytes(bytes) => self.bytes(3, bytes)?,
            }
        }
        if self.frame.len() >= FRAME {
            self.flush(0)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        self.flush(1)?;
        let sum = self.out.sum.finalize();
        self.out.inner.write_all(&sum)?;
        self.out.inner.flush()?;
        Ok(self.out.inner)
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) -> Result<(), BackupError> {
        self.frame.push(tag);
        self.frame.extend(length(bytes.len())?);
        self.frame.extend(bytes);
        Ok(())
    }

    fn flush(&mut self, last: u8) -> Result<(), BackupError> {
        if let Some(key) = &self.key {
            let associated = associated(&self.header, last);
            let tag = aead::seal(&key.key, nonce(self.number), &associated, &mut self.frame);
            self.frame.extend(tag);
        }
        self.out.write_all(&[last])?;
        self.out.write_all(&length(self.frame.len())?)?;
        self.out.write_all(&self.frame)?;
        self.frame.clear();
        self.number += 1;
        Ok(())
    }
}

/// Reads frames. The sum is checked by [`check_sum`] before anything is believed.
pub(super) struct Reader<R> {
    input: R,
    pub(super) header: Header,
    key: Option<BackupKey>,
    associated: [u8; 32],
    salt: Option<[u8; 32]>,
    number: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(mut input: R) -> Result<Self, BackupError> {
        let mut start = [0; MAGIC.len() + 2];
        input
            .read_exact(&mut start)
            .map_err(|_| BackupError::NotABackup)?;
        let sealed = match start.strip_prefix(MAGIC) {
            Some([VERSION, sealed @ (0 | 1)]) => *sealed == 1,
            Some([version, _]) if *version > VERSION => return Err(BackupError::Newer),
            _ => return Err(BackupError::NotABackup),
        };
        let text = read_sized(&mut input, LONGEST_HEADER)?;
        let header = serde_json::from_slice(&text).map_err(|_| BackupError::NotABackup)?;
        let mut salt = [0; 32];
        if sealed {
            input.read_exact(&mut salt)?;
        }
        Ok(Self {
            input,
            header,
            key: None,
            associated: Sha256::digest(&text).into(),
            salt: sealed.then_some(salt),
            number: 0,
        })
    }

    /// What its key is derived with, when it is sealed.
    pub(super) const fn salt(&self) -> Option<[u8; 32]> {
        self.salt
    }

    pub(super) fn unlock(&mut self, key: BackupKey) {
        self.key = Some(key);
    }

    /// The rows of the next frame.
    pub(super) fn frame(&mut self) -> Result<Frame, BackupError> {
        let mut last = [0];
        self.input.read_exact(&mut last)?;
        let [last] = last;
        let mut body = Zeroizing::new(read_sized(&mut self.input, LONGEST_FRAME)?);
        if let Some(key) = &self.key {
            let plain = body
                .len()
                .checked_sub(TAG)
                .ok_or(BackupError::DoesNotOpen)?;
            let mut opened = Zeroizing::new(vec![0; plain]);
            let associated = associated(&self.associated, last);
            let done = aead::open(
                &key.key,
                nonce(self.number),
                &associated,
                &body,
                &mut opened,
            );
            scrub();
            done.map_err(|_| BackupError::DoesNotOpen)?;
            body = opened;
        }
        self.number += 1;
        Ok(Frame {
            bytes: body,
            at: 0,
            last: last == 1,
        })
    }
}

/// The rows of one frame.
pub(super) struct Frame {
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
    /// Whether there is no other one.
    pub(super) last: bool,
}

impl Frame {
    /// The number of the next row's table; `None` at the end.
    pub(super) fn table(&mut self) -> Result<Option<usize>, BackupError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        Ok(Some(u16::from_be_bytes(self.take()?).into()))
    }

    pub(super) fn cell(&mut self) -> Result<Cell, BackupError> {
        let [tag] = self.take()?;
        Ok(match tag {
            0 => Cell::Null,
            1 => Cell::Integer(i64::from_be_bytes(self.take()?)),
            2 => {
                let text = String::from_utf8(self.sized()?);
                Cell::Text(text.map_err(|_| BackupError::Damaged)?)
            }
            3 => Cell::Bytes(self.sized()?),
            _ => return Err(BackupError::Damaged),
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk().ok_or(BackupError::Damaged)?;
        self.at += N;
        Ok(*taken)
    }

    fn sized(&mut self) -> Result<Vec<u8>, BackupError> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        let end = self.at.checked_add(length).ok_or(BackupError::Damaged)?;
        let bytes = self.bytes.get(self.at..end).ok_or(BackupError::Damaged)?;
        self.at = end;
        Ok(bytes.to_vec())
    }
}

/// Reads the whole file and compares its sum.
pub(super) fn check_sum(mut input: impl Read, length: u64) -> Result<(), BackupError> {
    let mut left = length.checked_sub(32).ok_or(BackupError::NotABackup)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; FRAME];
    while left > 0 {
        let most = usize::try_from(left).map_or(FRAME, |left| left.min(FRAME));
        let part = buffer.get_mut(..most).unwrap_or_default();
        input.read_exact(part)?;
        sum.update(&*part);
        left -= most as u64;
    }
    let mut told = [0; 32];
    input.read_exact(&mut told)?;
    if told[..] == sum.finalize()[..] {
        Ok(())
    } else {
        Err(BackupError::Damaged)
    }
}

struct Summing<W> {
    inner: W,
    sum: Sha256,
}

impl<W> Summing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            sum: Sha256::new(),
        }
    }
}

impl<W: Write> Summing<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }
}

fn read_sized(input: &mut impl Read, most: usize) -> Result<Vec<u8>, BackupError> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(BackupError::Damaged);
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(length: usize) -> Result<[u8; 4], BackupError> {
    let length = u32::try_from(length).map_err(|_| BackupError::Damaged)?;
    Ok(length.to_be_bytes())
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
const LONGEST_HEADER: usize = 1 << 20;
const LONGEST_FRAME: usize = 1 << 26;

//! Reading a backup file.

use std::io::Read;

use keyferry_protocol::aead::{self, TAG};
use keyferry_protocol::memory::scrub;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{BackupKey, FRAME, Header, MAGIC, VERSION, associated, nonce};
use crate::backup::BackupError;
use crate::store::Cell;

/// Reads frames. The sum is checked by [`check_sum`] before anything is believed.
pub(in crate::backup) struct Reader<R> {
    input: R,
    pub(in crate::backup) header: Header,
    key: Option<BackupKey>,
    associated: [u8; 32],
    salt: Option<[u8; 32]>,
    number: u64,
}

impl<R: Read> Reader<R> {
    pub(in crate::backup) fn begin(mut input: R) -> Result<Self, BackupError> {
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
    pub(in crate::backup) const fn salt(&self) -> Option<[u8; 32]> {
        self.salt
    }

    pub(in crate::backup) fn unlock(&mut self, key: BackupKey) {
        self.key = Some(key);
    }

    /// The rows of the next frame.
    pub(in crate::backup) fn frame(&mut self) -> Result<Frame, BackupError> {
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
pub(in crate::backup) struct Frame {
    bytes: Zeroizing<Vec<u8>>,
    at: usize,
    /// Whether there is no other one.
    pub(in crate::backup) last: bool,
}

impl Frame {
    /// The number of the next row's table; `None` at the end.
    pub(in crate::backup) fn table(&mut self) -> Result<Option<usize>, BackupError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        Ok(Some(u16::from_be_bytes(self.take()?).into()))
    }

    pub(in crate::backup) fn cell(&mut self) -> Result<Cell, BackupError> {
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
pub(in crate::backup) fn check_sum(mut input: impl Read, length: u64) -> Result<(), BackupError> {
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

const LONGEST_HEADER: usize = 1 << 20;
const LONGEST_FRAME: usize = 1 << 26;

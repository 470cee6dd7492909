//! Writing a backup file.

use std::io::{self, Write};

use keyferry_protocol::aead;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{BackupKey, FRAME, Header, MAGIC, VERSION, associated, nonce};
use crate::backup::BackupError;
use crate::store::Cell;

/// Writes frames, and the sum of everything at the end.
pub(in crate::backup) struct Writer<W> {
    out: Summing<W>,
    key: Option<BackupKey>,
    header: [u8; 32],
    frame: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> Writer<W> {
    pub(in crate::backup) fn begin(
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

    pub(in crate::backup) fn row(&mut self, table: u16, cells: &[Cell]) -> Result<(), BackupError> {
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

    pub(in crate::backup) fn finish(mut self) -> Result<W, BackupError> {
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

fn length(length: usize) -> Result<[u8; 4], BackupError> {
    let length = u32::try_from(length).map_err(|_| BackupError::Damaged)?;
    Ok(length.to_be_bytes())
}

//! The fields of a frame, read and written.

use super::{LocalError, MAX_FRAME};
use crate::ids::KeyName;

/// What is left to read of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], LocalError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(LocalError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LocalError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(LocalError::Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, LocalError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, LocalError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, LocalError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, LocalError> {
        let length = usize::from(self.u16()?);
        std::str::from_utf8(self.take(length)?).map_err(|_| LocalError::Malformed)
    }

    pub(super) fn name(&mut self) -> Result<KeyName, LocalError> {
        self.text()?.parse().map_err(|_| LocalError::Malformed)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(&self) -> Result<(), LocalError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(LocalError::Malformed)
        }
    }
}

/// A frame under construction, with room for its length in front.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Texts are the agent's own words, all far below the bound; a longer one is cut.
    pub(super) fn text(self, text: &str) -> Self {
        let cut = text
            .get(..text.floor_char_boundary(MAX_TEXT))
            .unwrap_or_default();
        let length = u16::try_from(cut.len()).expect("a cut text is at most 4 KiB");
        self.bytes(&length.to_be_bytes()).bytes(cut.as_bytes())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.truncate(4 + MAX_FRAME);
        let length = u32::try_from(self.0.len() - 4).expect("a frame is at most 64 KiB");
        if let Some(prefix) = self.0.first_chunk_mut::<4>() {
            *prefix = length.to_be_bytes();
        }
        self.0
    }
}

const MAX_TEXT: usize = 4096;

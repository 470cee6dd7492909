//! Reading and writing the fields of a message.

use crate::channel::{LONGEST, PADDING};
use crate::ids::KeyName;
use crate::memory::{Arena, LockedBox, MemoryError};

/// Bytes that are no message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(super) &'static str);

/// Where fields are written: first only counted, then into locked memory of that size.
pub(super) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A text of at most 255 bytes; a longer one is cut, which parsing elsewhere has ruled out.
    fn text(&mut self, text: &str) {
        let cut = text.floor_char_boundary(usize::from(u8::MAX));
        let text = text.get(..cut).unwrap_or_default();
        self.byte(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes(text.as_bytes());
    }
}

struct Count(usize);

impl Sink for Count {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

struct Fill<'a>(&'a mut [u8]);

impl Sink for Fill<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let (now, later) = std::mem::take(&mut self.0)
            .split_at_mut_checked(bytes.len())
            .expect("the message was counted before");
        now.copy_from_slice(bytes);
        self.0 = later;
    }
}

/// Writes a message of type `kind`, padded, into locked memory.
pub(super) fn encode(
    arena: &Arena,
    kind: u8,
    body: impl Fn(&mut dyn Sink),
) -> Result<LockedBox, MemoryError> {
    let mut count = Count(0);
    body(&mut count);
    let length = HEAD + count.0;
    let padded = length.next_multiple_of(PADDING);
    if padded > LONGEST {
        return Err(MemoryError::TooLarge(length));
    }
    let mut message = arena.take(padded)?;
    let mut fill = Fill(message.expose_mut());
    fill.byte(kind);
    fill.u32(u32::try_from(count.0).expect("a message is shorter than 64 KiB"));
    body(&mut fill);
    crate::memory::scrub_lightly();
    Ok(message)
}

/// Splits a padded message into its type and the fields of its body.
pub(super) fn decode(message: &[u8]) -> Result<(u8, Fields<'_>), Malformed> {
    if !message.len().is_multiple_of(PADDING) {
        return Err(Malformed("the length is no multiple of 256"));
    }
    let mut fields = Fields(message);
    let kind = fields.byte()?;
    let length = fields.u32()?;
    let body = usize::try_from(length)
        .ok()
        .and_then(|length| fields.take(length).ok());
    let body = body.ok_or(Malformed("the length is beyond the message"))?;
    if fields.0.len() >= PADDING || fields.0.iter().any(|byte| *byte != 0) {
        return Err(Malformed("the padding is not the shortest of zeros"));
    }
    Ok((kind, Fields(body)))
}

/// The fields of a message that are still unread.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("it ends inside a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("N bytes were taken"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        str::from_utf8(bytes).map_err(|_not_utf8| Malformed("a text is not UTF-8"))
    }

    pub(super) fn key_name(&mut self) -> Result<KeyName, Malformed> {
        self.text()?
            .parse()
            .map_err(|_bad| Malformed("a key name is none"))
    }

    /// Demands that everything has been read.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("it goes on after its fields"))
        }
    }
}

/// Type and length.
const HEAD: usize = 5;

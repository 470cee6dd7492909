//! One secret in locked memory.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::arena::{Shelves, Slot};

/// A secret in locked memory: wiped when dropped, and never printed, copied or compared by `==`.
pub struct LockedBox {
    /// `None` only while dropping.
    slot: Option<Slot>,
    len: usize,
    shelf: usize,
    home: Arc<Shelves>,
}

impl LockedBox {
    pub(super) fn new(slot: Slot, len: usize, shelf: usize, home: Arc<Shelves>) -> Self {
        Self {
            slot: Some(slot),
            len,
            shelf,
            home,
        }
    }

    /// The secret itself. Search for `expose` to audit every reader.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: the slot is `len` or more initialised bytes that this box owns, and `&self`
        // forbids writers.
        unsafe { std::slice::from_raw_parts(self.slot().start.as_ptr(), self.len) }
    }

    /// The secret itself, to be written.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`, and `&mut self` forbids everybody else.
        unsafe { std::slice::from_raw_parts_mut(self.slot().start.as_ptr(), self.len) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shortens the secret to `len` bytes and wipes the rest; a greater `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if let Some(rest) = self.expose_mut().get_mut(len..) {
            zeroize::Zeroize::zeroize(rest);
            self.len = len;
        }
    }

    /// Whether both hold the same bytes, in a time that depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.expose().ct_eq(other).into()
    }

    fn slot(&self) -> &Slot {
        self.slot
            .as_ref()
            .expect("the slot is given back only on drop")
    }
}

impl Drop for LockedBox {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // SAFETY: the slot is `slot.len` writable bytes that only this box knew.
            unsafe { memsec::memzero(slot.start.as_ptr(), slot.len) };
            self.home.give_back(slot, self.shelf);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::{Arena, ProtectionLevel};

    #[test]
    fn truncating_wipes_the_rest() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let mut secret = arena.hold(b"0123456789").unwrap();
        secret.truncate(20);
        assert_eq!(secret.len(), 10);
        secret.truncate(4);
        assert_eq!(secret.expose(), b"0123");
        secret.len = 10;
        assert_eq!(secret.expose(), b"0123\0\0\0\0\0\0");
    }

    #[test]
    fn only_the_same_bytes_match() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let secret = arena.hold(b"abc").unwrap();
        assert!(secret.matches(b"abc"));
        assert!(!secret.matches(b"abd"));
        assert!(!secret.matches(b"abcd"));
    }
}

//! Locked chunks, cut into slots of a few sizes.
//!
//! Making and freeing locked pages costs tens of microseconds and counts against
//! `RLIMIT_MEMLOCK` page by page, so secrets share chunks: ten thousand pairs of session keys fit
//! in 640 KiB.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use super::level::is_locked;
use super::mapping::Mapping;
use super::{LockedBox, MemoryError, ProtectionLevel};

/// A source of locked memory. Clones share it.
#[derive(Clone)]
pub struct Arena(Arc<Shelves>);

impl Arena {
    /// An arena whose memory is protected at `level`.
    pub fn new(level: ProtectionLevel) -> Result<Self, MemoryError> {
        let shelves = SLOT_SIZES.map(|slot| Mutex::new(Shelf::new(slot)));
        let arena = Self(Arc::new(Shelves { level, shelves }));
        // A first slot now, so that a machine without locked memory fails at start.
        arena.take(1)?;
        Ok(arena)
    }

    /// How the memory of this arena is protected.
    #[must_use]
    pub fn level(&self) -> ProtectionLevel {
        self.0.level
    }

    /// A zeroed secret of `len` bytes.
    pub fn take(&self, len: usize) -> Result<LockedBox, MemoryError> {
        let shelf = SLOT_SIZES
            .iter()
            .position(|slot| len <= *slot)
            .ok_or(MemoryError::TooLarge(len))?;
        let slot = self.0.take_slot(shelf)?;
        Ok(LockedBox::new(slot, len, shelf, Arc::clone(&self.0)))
    }

    /// A secret that holds a copy of `bytes`.
    pub fn hold(&self, bytes: &[u8]) -> Result<LockedBox, MemoryError> {
        let mut secret = self.take(bytes.len())?;
        secret.expose_mut().copy_from_slice(bytes);
        Ok(secret)
    }

    /// A secret of `len` random bytes.
    pub fn random(
        &self,
        len: usize,
        rng: &mut (impl rand_core::CryptoRng + ?Sized),
    ) -> Result<LockedBox, MemoryError> {
        let mut secret = self.take(len)?;
        fill_random(secret.expose_mut(), rng);
        Ok(secret)
    }
}

/// A system call cannot write into `memfd_secret` pages, so random bytes pass the stack.
fn fill_random(into: &mut [u8], rng: &mut (impl rand_core::CryptoRng + ?Sized)) {
    let mut passing = zeroize::Zeroizing::new([0u8; 64]);
    for piece in into.chunks_mut(passing.len()) {
        rng.fill_bytes(&mut *passing);
        for (to, from) in piece.iter_mut().zip(passing.iter()) {
            *to = *from;
        }
    }
}

/// All slots of one arena, a shelf for each size.
pub(super) struct Shelves {
    level: ProtectionLevel,
    shelves: [Mutex<Shelf>; SLOT_SIZES.len()],
}

impl Shelves {
    fn take_slot(&self, shelf: usize) -> Result<Slot, MemoryError> {
        let mut shelf = self
            .shelf(shelf)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if shelf.free.is_empty() {
            shelf.grow(self.level)?;
        }
        Ok(shelf.free.pop().expect("a grown shelf has a free slot"))
    }

    /// Takes a slot back; its owner has wiped it.
    pub(super) fn give_back(&self, slot: Slot, shelf: usize) {
        self.shelf(shelf)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .free
            .push(slot);
    }

    fn shelf(&self, shelf: usize) -> &Mutex<Shelf> {
        self.shelves.get(shelf).expect("a slot knows its shelf")
    }
}

struct Shelf {
    slot: usize,
    free: Vec<Slot>,
    chunks: Vec<Chunk>,
}

impl Shelf {
    fn new(slot: usize) -> Self {
        Self {
            slot,
            free: Vec::new(),
            chunks: Vec::new(),
        }
    }

    fn grow(&mut self, level: ProtectionLevel) -> Result<(), MemoryError> {
        let len = self
            .slot
            .max(SMALLEST_CHUNK)
            .next_multiple_of(super::level::PAGE);
        let chunk = Chunk::new(level, len)?;
        for number in 0..len / self.slot {
            // SAFETY: slot `number` ends within the chunk's `len` bytes.
            let start = unsafe { chunk.start().add(number * self.slot) };
            self.free.push(Slot {
                start,
                len: self.slot,
            });
        }
        self.chunks.push(chunk);
        Ok(())
    }
}

/// A piece of a chunk that has one owner: a free list or a [`LockedBox`].
pub(super) struct Slot {
    pub(super) start: NonNull<u8>,
    pub(super) len: usize,
}

// SAFETY: a slot is an exclusively owned range of memory; nothing about it is tied to a thread.
unsafe impl Send for Slot {}
// SAFETY: shared access to a slot only reads it.
unsafe impl Sync for Slot {}

/// Locked pages that slots are cut from.
enum Chunk {
    Mapped(Mapping),
    /// Between memsec's guard pages.
    Guarded(NonNull<[u8]>),
}

// SAFETY: a chunk is a range of memory owned by its shelf, and not tied to a thread.
unsafe impl Send for Chunk {}

impl Chunk {
    fn new(level: ProtectionLevel, len: usize) -> Result<Self, MemoryError> {
        match level {
            // The descriptor is closed at once: nobody can be given these pages.
            ProtectionLevel::MemfdSecret | ProtectionLevel::Unlocked => {
                Mapping::new(level, len).map(|(mapping, _descriptor)| Self::Mapped(mapping))
            }
            ProtectionLevel::Mlock => Self::guarded(len),
        }
    }

    fn guarded(len: usize) -> Result<Self, MemoryError> {
        // SAFETY: memsec returns a fresh guarded allocation or nothing.
        let block = unsafe { memsec::malloc_sized(len) }.ok_or(MemoryError::NotLockable)?;
        let chunk = Self::Guarded(block);
        if !is_locked(block) {
            return Err(MemoryError::NotLockable);
        }
        keep_from_children(block)?;
        // SAFETY: the block is `len` writable bytes that nobody else knows yet; memsec fills it
        // with a pattern, and slots are handed out zeroed.
        unsafe { memsec::memzero(block.cast::<u8>().as_ptr(), len) };
        Ok(chunk)
    }

    fn start(&self) -> NonNull<u8> {
        match self {
            Self::Mapped(mapping) => mapping.start(),
            Self::Guarded(block) => block.cast(),
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Self::Guarded(block) = self {
            // SAFETY: allocated by memsec in `guarded`; every box keeps the arena, so none is left.
            unsafe { memsec::free(*block) };
        }
    }
}

/// memsec keeps it from core dumps alone. A block of whole pages begins at one.
fn keep_from_children(block: NonNull<[u8]>) -> Result<(), MemoryError> {
    let start = block.cast::<u8>().as_ptr().cast();
    // SAFETY: the range is exactly this block, whose bytes stay as they are here.
    unsafe { rustix::mm::madvise(start, block.len(), rustix::mm::Advice::LinuxDontFork) }
        .map_err(MemoryError::refused("keep from children"))
}

/// Keys and credentials; tickets; values with their message around them; the largest message.
const SLOT_SIZES: [usize; 4] = [64, 512, 9216, 65536];
const SMALLEST_CHUNK: usize = 4 * super::level::PAGE;

#[cfg(test)]
mod tests {
    use super::*;

    fn arenas() -> [Arena; 3] {
        [
            ProtectionLevel::MemfdSecret,
            ProtectionLevel::Mlock,
            ProtectionLevel::Unlocked,
        ]
        .map(|level| Arena::new(level).unwrap())
    }

    #[test]
    fn a_secret_is_handed_out_zeroed_even_after_another_used_its_slot() {
        for arena in arenas() {
            for len in [1, 32, 64, 65, 512, 513, 9216, 9217, 65536] {
                let mut secret = arena.take(len).unwrap();
                assert!(secret.expose().iter().all(|byte| *byte == 0));
                assert_eq!(secret.len(), len);
                secret.expose_mut().fill(0xa5);
                drop(secret);
                assert!(
                    arena
                        .take(len)
                        .unwrap()
                        .expose()
                        .iter()
                        .all(|byte| *byte == 0)
                );
            }
        }
    }

    #[test]
    fn secrets_do_not_overlap() {
        for arena in arenas() {
            let mut secrets: Vec<_> = (0..600).map(|_| arena.take(48).unwrap()).collect();
            for (number, secret) in secrets.iter_mut().enumerate() {
                secret
                    .expose_mut()
                    .fill(u8::try_from(number % 251).unwrap());
            }
            for (number, secret) in secrets.iter().enumerate() {
                let expected = u8::try_from(number % 251).unwrap();
                assert!(secret.expose().iter().all(|byte| *byte == expected));
            }
        }
    }

    #[test]
    fn a_secret_larger_than_a_message_is_refused() {
        for arena in arenas() {
            assert!(matches!(
                arena.take(65537),
                Err(MemoryError::TooLarge(65537))
            ));
        }
    }

    #[test]
    fn a_secret_outlives_the_handle_that_it_came_from() {
        for arena in arenas() {
            let mut secret = arena.take(32).unwrap();
            drop(arena);
            secret.expose_mut().fill(7);
            assert_eq!(secret.expose(), [7; 32]);
        }
    }

    #[test]
    fn the_kernel_cannot_read_a_secret_of_the_better_level() {
        use super::super::level::read_by_the_kernel;
        let read = |level| {
            let secret = Arena::new(level).unwrap().hold(b"sk-0123456789").unwrap();
            read_by_the_kernel(NonNull::from(secret.expose()))
        };
        assert_eq!(
            read(ProtectionLevel::MemfdSecret),
            Err(rustix::io::Errno::FAULT)
        );
        assert_eq!(read(ProtectionLevel::Mlock), Ok(13));
    }

    #[test]
    fn no_child_inherits_a_secret() {
        for arena in arenas() {
            let secret = arena.hold(b"sk-0123456789").unwrap();
            let at = secret.expose().as_ptr().addr();
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let is_around = |line: &str| {
                let (start, end) = line.split_once(' ')?.0.split_once('-')?;
                let bound = |digits| usize::from_str_radix(digits, 16).ok();
                Some((bound(start)?..bound(end)?).contains(&at))
            };
            let mut lines = smaps.lines();
            lines.find(|line| is_around(line) == Some(true)).unwrap();
            let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
            let flags = flags.unwrap();
            assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
        }
    }

    #[test]
    fn random_secrets_differ() {
        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        for arena in arenas() {
            let one = arena.random(100, rng).unwrap();
            let other = arena.random(100, rng).unwrap();
            assert_ne!(one.expose(), other.expose());
            assert!(one.expose()[64..].iter().any(|byte| *byte != 0));
        }
    }
}

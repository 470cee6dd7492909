//! One key in pages that another process can map: it changes, and vanishes, in place.
//!
//! ```text
//!  word 0         1          2         3       4..8       8..
//!  sequence    version    length    state    reserved    value, in native-endian words
//! ```
//!
//! A sequence lock: the writer makes the sequence odd, writes, and makes it even again; a reader
//! that saw the same even number before and after has a whole value. Every access is atomic, so a
//! torn read is noticed and never undefined.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::mapping::{Mapping, is_secretmem};
use super::{LockedBox, MemoryError, ProtectionLevel, scrub_lightly};

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageState {
    /// No value yet.
    Empty = 0,
    /// A value.
    Live = 1,
    /// Zeroed: the key was revoked, or this machine may no longer have it.
    Revoked = 2,
    /// Zeroed: there was no contact with a server for longer than the lease.
    LeaseOver = 3,
}

impl PageState {
    fn from_word(word: u64) -> Self {
        match word {
            1 => Self::Live,
            2 => Self::Revoked,
            3 => Self::LeaseOver,
            _ => Self::Empty,
        }
    }
}

/// Why a page gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none in it now.
    #[error("the page holds no value")]
    NotLive(PageState),
    /// The writer died in the middle of a change.
    #[error("the page was left half written")]
    HalfWritten,
}

/// The writer's side: one key, for one receiver.
pub struct SecretPage {
    words: Words,
    descriptor: OwnedFd,
}

impl SecretPage {
    /// An empty page protected at `level`.
    pub fn new(level: ProtectionLevel) -> Result<Self, MemoryError> {
        let (mapping, descriptor) = Mapping::new(level, PAGE_BYTES)?;
        Ok(Self {
            words: Words(mapping),
            descriptor,
        })
    }

    /// Puts `value` into the page, where every process that maps it sees it.
    ///
    /// # Panics
    /// When the value is longer than [`MAX_VALUE`], which parsing has refused before.
    pub fn publish(&mut self, version: u32, value: &[u8]) {
        assert!(value.len() <= MAX_VALUE, "a value fits its page");
        self.change(|words| {
            let before = words.length();
            words.at(VERSION).store(version.into(), Ordering::Relaxed);
            words
                .at(LENGTH)
                .store(value.len() as u64, Ordering::Relaxed);
            words
                .at(STATE)
                .store(PageState::Live as u64, Ordering::Relaxed);
            for (word, piece) in words.value().zip(value.chunks(8)) {
                let mut bytes = [0; 8];
                for (to, from) in bytes.iter_mut().zip(piece) {
                    *to = *from;
                }
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
            words.wipe(value.len().div_ceil(8)..before.div_ceil(8));
        });
        scrub_lightly();
    }

    /// Zeroes the value in place and leaves the reason.
    pub fn zero(&mut self, reason: PageState) {
        self.change(|words| {
            words.at(LENGTH).store(0, Ordering::Relaxed);
            words.at(STATE).store(reason as u64, Ordering::Relaxed);
            words.wipe(0..MAX_VALUE / 8);
        });
    }

    /// What the receiver maps.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn change(&mut self, write: impl FnOnce(&Words)) {
        let sequence = self.words.at(SEQUENCE);
        let before = sequence.load(Ordering::Relaxed);
        let odd = before | 1;
        sequence.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        write(&self.words);
        sequence.store(odd.wrapping_add(1), Ordering::Release);
    }
}

impl Drop for SecretPage {
    /// The receiver may map it for longer than we live: it must find nothing. The reason why a
    /// page was zeroed before stays.
    fn drop(&mut self) {
        let state = PageState::from_word(self.words.at(STATE).load(Ordering::Relaxed));
        if matches!(state, PageState::Live | PageState::Empty) {
            self.zero(PageState::Revoked);
        }
    }
}

/// The reader's side.
pub struct MappedPage(Words);

impl MappedPage {
    /// Maps a page that the agent has passed, and closes the descriptor, so that nobody can
    /// steal it from this process.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the descriptor is to be closed here"
    )]
    pub fn map(descriptor: OwnedFd) -> Result<Self, MemoryError> {
        check_cannot_shrink(descriptor.as_fd())?;
        Mapping::of(descriptor.as_fd(), PAGE_BYTES).map(|mapping| Self(Words(mapping)))
    }

    /// Copies the value into `into`, which is shortened to it, and tells its version. No system
    /// call, unless the writer sleeps in the middle of a change.
    pub fn read(&self, into: &mut ValueBuffer) -> Result<u32, ReadError> {
        for attempt in 0..ATTEMPTS {
            match self.try_read(into) {
                Some(Ok(version)) => return Ok(version),
                Some(Err(state)) => return Err(ReadError::NotLive(state)),
                None if attempt < SPINS => std::hint::spin_loop(),
                // The writer was put to sleep in the middle of a change: let it run.
                None => std::thread::yield_now(),
            }
        }
        Err(ReadError::HalfWritten)
    }

    /// What the page holds now, and the version of its key. No system call.
    #[must_use]
    pub fn state(&self) -> (PageState, u32) {
        let state = PageState::from_word(self.0.at(STATE).load(Ordering::Acquire));
        (state, self.version())
    }

    /// A number that changes whenever the page does.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.at(SEQUENCE).load(Ordering::Acquire)
    }

    fn version(&self) -> u32 {
        u32::try_from(self.0.at(VERSION).load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// One look; `None` when the writer was at work.
    fn try_read(&self, into: &mut ValueBuffer) -> Option<Result<u32, PageState>> {
        let before = self.sequence();
        if before & 1 == 1 {
            return None;
        }
        let state = PageState::from_word(self.0.at(STATE).load(Ordering::Relaxed));
        let version = self.version();
        let length = self.0.length();
        if state == PageState::Live {
            into.copy_words(self.0.value(), length);
        }
        fence(Ordering::Acquire);
        if self.0.at(SEQUENCE).load(Ordering::Relaxed) != before {
            return None;
        }
        Some(if state == PageState::Live {
            Ok(version)
        } else {
            Err(state)
        })
    }
}

/// Where a reader copies a value to: locked memory that it owns.
pub struct ValueBuffer {
    bytes: LockedBox,
    length: usize,
}

impl ValueBuffer {
    /// Room for the longest value.
    pub fn new(arena: &super::Arena) -> Result<Self, MemoryError> {
        Ok(Self {
            bytes: arena.take(MAX_VALUE)?,
            length: 0,
        })
    }

    /// The value that was read last.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes
            .expose()
            .get(..self.length)
            .expect("the length is that of a value")
    }

    /// Forgets the value.
    pub fn wipe(&mut self) {
        let length = std::mem::take(&mut self.length).next_multiple_of(8);
        if let Some(used) = self.bytes.expose_mut().get_mut(..length) {
            // SAFETY: the slice is exactly this many writable bytes.
            unsafe { memsec::memzero(used.as_mut_ptr(), used.len()) };
        }
        scrub_lightly();
    }

    fn copy_words<'a>(&mut self, words: impl Iterator<Item = &'a AtomicU64>, length: usize) {
        self.length = self.length.max(length);
        let (wanted, _rest) = self
            .bytes
            .expose_mut()
            .split_at_mut_checked(length.next_multiple_of(8))
            .expect("a value fits the buffer");
        for (to, word) in wanted.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        self.length = length;
    }
}

/// The page as atomic words.
struct Words(Mapping);

// SAFETY: the words are only reached as atomics, which may be shared between threads.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    fn at(&self, index: usize) -> &AtomicU64 {
        self.all()
            .get(index)
            .expect("the header is part of the page")
    }

    fn value(&self) -> impl Iterator<Item = &AtomicU64> {
        self.all().iter().skip(HEADER_WORDS).take(MAX_VALUE / 8)
    }

    fn wipe(&self, range: std::ops::Range<usize>) {
        let words = self.value().skip(range.start).take(range.len());
        words.for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// The length of the value, whatever a stranger may have written there.
    fn length(&self) -> usize {
        let length = self.at(LENGTH).load(Ordering::Relaxed);
        usize::try_from(length).map_or(MAX_VALUE, |length| length.min(MAX_VALUE))
    }

    fn all(&self) -> &[AtomicU64] {
        let start = self.0.start().as_ptr().cast::<AtomicU64>().cast_const();
        // SAFETY: the mapping is page-aligned, as long as this, and lives as long as `&self`; every
        // process that maps it reaches it by atomics alone.
        unsafe { std::slice::from_raw_parts(start, self.0.len() / 8) }
    }
}

/// A page whose file could be cut short would kill its reader with SIGBUS.
fn check_cannot_shrink(descriptor: BorrowedFd<'_>) -> Result<(), MemoryError> {
    let stat = rustix::fs::fstat(descriptor).map_err(MemoryError::refused("look at"))?;
    if usize::try_from(stat.st_size) != Ok(PAGE_BYTES) {
        return Err(MemoryError::NotASecretPage("wrong size"));
    }
    let sealed = || {
        use rustix::fs::SealFlags;
        rustix::fs::fcntl_get_seals(descriptor).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
    };
    if is_secretmem(descriptor) || sealed() {
        return Ok(());
    }
    Err(MemoryError::NotASecretPage("it can be cut short"))
}

/// The longest value of a key, in bytes.
pub const MAX_VALUE: usize = 8192;

const SEQUENCE: usize = 0;
const VERSION: usize = 1;
const LENGTH: usize = 2;
const STATE: usize = 3;
const HEADER_WORDS: usize = 8;
const PAGE_BYTES: usize = (HEADER_WORDS * 8 + MAX_VALUE).next_multiple_of(super::level::PAGE);
/// A change takes about a microsecond.
const SPINS: u32 = 10_000;
/// A reader that has given way this often waits for a dead writer.
const ATTEMPTS: u32 = 1_000_000;

#[cfg(test)]
mod tests;

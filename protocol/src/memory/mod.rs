//! Locked memory: where every plaintext secret of Keyferry lives, and the only unsafe code here.
//!
//! ```text
//!  Arena ─ takes ─▶ LockedBox     keys and plaintext of this process; many share a locked chunk
//!  SecretPage ─ descriptor ─▶ MappedPage     one key for one tool; changes and vanishes in place
//! ```
//!
//! Two levels keep secrets. With `memfd_secret` (Linux 5.14) the kernel takes the pages out of its own
//! direct map: no `/proc/PID/mem`, no debugger, no core dump, no swap reaches them, not even for
//! root. With `mlock` they are only kept out of swap and core dumps. [`self_test`] says which
//! of the two this machine really gives; it never assumes, and never falls back to the third level,
//! which locks nothing and which an operator has to ask for.

mod allocator;
mod arena;
mod level;
mod locked_box;
mod mapping;
mod scrub;
mod secret_page;

pub use allocator::WipingAllocator;
pub use arena::Arena;
pub use level::{ProtectionLevel, UnknownLevel, self_test};
pub use locked_box::LockedBox;
pub use scrub::{scrub, scrub_lightly};
pub use secret_page::{MAX_VALUE, MappedPage, PageState, ReadError, SecretPage, ValueBuffer};

/// Why locked memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The kernel gives neither `memfd_secret` nor `mlock`.
    #[error(
        "this process may not lock memory: raise RLIMIT_MEMLOCK (`ulimit -l`, systemd LimitMEMLOCK=) \
         or boot with secretmem.enable=1"
    )]
    NotLockable,
    /// The kernel refused a step; most often the limit on locked memory is used up.
    #[error("cannot {step} locked memory (is RLIMIT_MEMLOCK used up?)")]
    Refused {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A secret larger than the arena hands out.
    #[error("a secret of {0} bytes is larger than locked memory holds")]
    TooLarge(usize),
    /// A descriptor that is not a secret page.
    #[error("the descriptor is not a secret page: {0}")]
    NotASecretPage(&'static str),
}

impl MemoryError {
    fn refused(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Refused {
            step,
            source: errno.into(),
        }
    }
}

//! How well this machine can keep a secret in memory, found out by trying.

use std::fmt;
use std::ptr::NonNull;
use std::str::FromStr;

use rustix::io::Errno;

use super::MemoryError;
use super::mapping::Mapping;

/// How the pages that hold secrets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtectionLevel {
    /// Left out of core dumps and wiped, but it may be swapped out: never chosen by itself.
    Unlocked = 0,
    /// Locked against swap, left out of core dumps; root and the kernel can read it.
    Mlock = 1,
    /// Taken out of the kernel's direct map: nobody but this process's own instructions reaches it.
    MemfdSecret = 2,
}

impl ProtectionLevel {
    /// The level with this code on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Unlocked),
            1 => Some(Self::Mlock),
            2 => Some(Self::MemfdSecret),
            _ => None,
        }
    }

    /// The code on the wire: 0 for `unlocked`, 1 for `mlock`, 2 for `memfd_secret`.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for ProtectionLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlocked => "unlocked",
            Self::Mlock => "mlock",
            Self::MemfdSecret => "memfd_secret",
        })
    }
}

impl FromStr for ProtectionLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "unlocked" => Ok(Self::Unlocked),
            "mlock" => Ok(Self::Mlock),
            "memfd_secret" => Ok(Self::MemfdSecret),
            _ => Err(UnknownLevel),
        }
    }
}

/// A protection level that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("protection levels are `memfd_secret`, `mlock` and `unlocked`")]
pub struct UnknownLevel;

/// The best level that this machine really gives, proven and not assumed.
///
/// `memfd_secret` is proven by `process_vm_readv(2)` on the page, which must fail with `EFAULT`;
/// `mlock` by asking the kernel to lock a page that memsec says is locked.
pub fn self_test() -> Result<ProtectionLevel, MemoryError> {
    if memfd_secret_keeps_the_kernel_out() {
        return Ok(ProtectionLevel::MemfdSecret);
    }
    if mlock_locks() {
        return Ok(ProtectionLevel::Mlock);
    }
    Err(MemoryError::NotLockable)
}

fn memfd_secret_keeps_the_kernel_out() -> bool {
    let Ok((mapping, _descriptor)) = Mapping::new(ProtectionLevel::MemfdSecret, PAGE) else {
        return false;
    };
    let page = NonNull::slice_from_raw_parts(mapping.start(), PAGE);
    // SAFETY: the mapping is PAGE readable bytes.
    let first = unsafe { mapping.start().as_ptr().read_volatile() };
    first == 0 && read_by_the_kernel(page) == Err(Errno::FAULT)
}

/// Asks the kernel for these bytes the way that `/proc/PID/mem`, debuggers and core dumps do.
pub(super) fn read_by_the_kernel(block: NonNull<[u8]>) -> Result<usize, Errno> {
    let mut copy = zeroize::Zeroizing::new(vec![0u8; block.len()]);
    let to = libc::iovec {
        iov_base: copy.as_mut_ptr().cast(),
        iov_len: copy.len(),
    };
    let from = libc::iovec {
        iov_base: block.cast::<u8>().as_ptr().cast(),
        iov_len: block.len(),
    };
    let itself = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: `to` is a live buffer of its length; a bad `from` is an error, not a fault.
    let read = unsafe { libc::process_vm_readv(itself, &raw const to, 1, &raw const from, 1, 0) };
    usize::try_from(read).map_err(|_negative| {
        let raw = std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default();
        Errno::from_raw_os_error(raw)
    })
}

fn mlock_locks() -> bool {
    // SAFETY: memsec returns a fresh guarded allocation or nothing.
    let Some(block) = (unsafe { memsec::malloc_sized(PAGE) }) else {
        return false;
    };
    let locked = is_locked(block);
    // SAFETY: allocated just above by the same library, and not used afterwards.
    unsafe { memsec::free(block) };
    locked
}

/// Whether the kernel holds these pages locked: memsec ignores a failed `mlock`, so ask again.
/// Locking locked pages is no change, and is refused when the limit forbids them.
pub(super) fn is_locked(block: NonNull<[u8]>) -> bool {
    // SAFETY: the block is a live allocation of exactly this length.
    unsafe { rustix::mm::mlock(block.cast::<u8>().as_ptr().cast(), block.len()) }.is_ok()
}

pub(super) const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const LEVELS: [ProtectionLevel; 3] = [
        ProtectionLevel::Unlocked,
        ProtectionLevel::Mlock,
        ProtectionLevel::MemfdSecret,
    ];

    #[test]
    fn this_machine_locks_memory() {
        assert!(self_test().is_ok());
    }

    #[test]
    fn levels_survive_their_printed_form_and_their_code() {
        for level in LEVELS {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(ProtectionLevel::from_code(level.code()), Some(level));
        }
        assert_eq!("none".parse::<ProtectionLevel>(), Err(UnknownLevel));
        assert_eq!(ProtectionLevel::from_code(3), None);
    }

    /// Runs in a child that has lost the right to lock memory: see the test below.
    #[test]
    fn child_that_may_lock_nothing() {
        if std::env::args().any(|argument| argument == "--exact") && memlock_limit() == Some(0) {
            assert!(matches!(self_test(), Err(MemoryError::NotLockable)));
        }
    }

    #[test]
    fn a_process_that_may_lock_nothing_is_refused() {
        let itself = std::env::current_exe().unwrap();
        let child = "memory::level::tests::child_that_may_lock_nothing";
        let run = |wrapper: &[&str]| {
            let (first, rest) = wrapper.split_first().unwrap();
            Command::new(first)
                .args(rest)
                .arg(&itself)
                .args([child, "--exact"])
                .output()
                .unwrap()
        };
        let output = if rustix::process::getuid().is_root() {
            run(&[
                "setpriv",
                "--bounding-set=-all",
                "--inh-caps=-all",
                "prlimit",
                "--memlock=0:0",
            ])
        } else {
            run(&["prlimit", "--memlock=0:0"])
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }

    fn memlock_limit() -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::Memlock).current
    }
}

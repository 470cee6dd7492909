//! A range of pages that the kernel keeps to this process.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::{MemoryError, ProtectionLevel};

/// Mapped pages; unmapped on drop. Whoever owns the secrets in them wipes them first.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

/// What a mapping is for.
#[derive(Clone, Copy)]
enum Access {
    Read,
    ReadAndWrite,
}

impl Mapping {
    /// New zeroed pages at `level`, and the descriptor that other processes can map.
    pub(super) fn new(level: ProtectionLevel, len: usize) -> Result<(Self, OwnedFd), MemoryError> {
        let descriptor = match level {
            ProtectionLevel::MemfdSecret => memfd_secret()?,
            ProtectionLevel::Mlock | ProtectionLevel::Unlocked => rustix::fs::memfd_create(
                c"keyferry",
                MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
            )
            .map_err(MemoryError::refused("create"))?,
        };
        rustix::fs::ftruncate(&descriptor, len as u64).map_err(MemoryError::refused("size"))?;
        if level < ProtectionLevel::MemfdSecret {
            // memfd_secret can be sized only once; a memfd must be told so, or a receiver of the
            // descriptor could cut it and kill the writer with SIGBUS.
            rustix::fs::fcntl_add_seals(
                &descriptor,
                SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
            )
            .map_err(MemoryError::refused("seal"))?;
        }
        let mapping = Self::map(descriptor.as_fd(), len, Access::ReadAndWrite)?;
        // The kernel locks pages of memfd_secret by itself.
        if level == ProtectionLevel::Mlock {
            mapping.lock()?;
        }
        Ok((mapping, descriptor))
    }

    /// Maps the pages behind a descriptor to be read, locked and out of core dumps and children.
    pub(super) fn of(descriptor: BorrowedFd<'_>, len: usize) -> Result<Self, MemoryError> {
        let mapping = Self::map(descriptor, len, Access::Read)?;
        if !is_secretmem(descriptor) {
            mapping.lock()?;
        }
        Ok(mapping)
    }

    fn map(descriptor: BorrowedFd<'_>, len: usize, access: Access) -> Result<Self, MemoryError> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadAndWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a fresh mapping at an address of the kernel's choosing overlaps nothing.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                descriptor,
                0,
            )
        }
        .map_err(MemoryError::refused("map"))?;
        let start = NonNull::new(start.cast::<u8>()).expect("mmap never returns the null page");
        let mapping = Self { start, len };
        mapping.keep_to_this_process()?;
        Ok(mapping)
    }

    fn keep_to_this_process(&self) -> Result<(), MemoryError> {
        let advise = |advice, step| {
            // SAFETY: the range is exactly this mapping, and neither advice changes its bytes here.
            unsafe { rustix::mm::madvise(self.start.as_ptr().cast(), self.len, advice) }
                .map_err(MemoryError::refused(step))
        };
        advise(Advice::LinuxDontFork, "keep from children")?;
        advise(Advice::LinuxDontDump, "keep from core dumps")
    }

    fn lock(&self) -> Result<(), MemoryError> {
        // SAFETY: the range is exactly this mapping.
        unsafe { rustix::mm::mlock(self.start.as_ptr().cast(), self.len) }
            .map_err(MemoryError::refused("lock"))
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `of` with this length, and no reference into it outlives its owner.
        let unmapped = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "a mapping can be unmapped");
    }
}

/// Is this a `memfd_secret` descriptor? Its file system has a magic number of its own.
pub(super) fn is_secretmem(descriptor: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(descriptor).is_ok_and(|fs| fs.f_type == SECRETMEM_MAGIC)
}

fn memfd_secret() -> Result<OwnedFd, MemoryError> {
    // SAFETY: memfd_secret(2) takes one integer and touches no memory of ours.
    let raw = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let raw = i32::try_from(raw)
        .ok()
        .filter(|raw| *raw >= 0)
        .ok_or_else(|| MemoryError::Refused {
            step: "create",
            source: std::io::Error::last_os_error(),
        })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// `SECRETMEM_MAGIC` of linux/magic.h: "SECM".
const SECRETMEM_MAGIC: rustix::fs::FsWord = 0x5345_434d;

//! What the agent asks of the kernel and no safe library offers: the only unsafe code of the agent.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The process at the other end of a Unix socket, pinned: its number cannot be reused while this
/// descriptor lives. `None` before Linux 6.5, or when that process is gone.
pub fn peer_pidfd(socket: impl AsFd) -> Option<OwnedFd> {
    let mut descriptor: RawFd = -1;
    let mut length = libc::socklen_t::try_from(size_of::<RawFd>()).ok()?;
    // SAFETY: both pointers are to live variables, and `length` is the size of the first.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    if outcome != 0 || descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Closes such a descriptor in every program that this one starts.
pub fn keep_from_children(descriptor: RawFd) {
    // SAFETY: F_SETFD sets a flag of whatever number it is given, and fails if it is none.
    let _it_may_be_none = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Takes over a descriptor that this process was started with (`--ticket-fd`).
///
/// Standard streams are refused, because the standard library believes that it owns them.
pub fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= libc::STDERR_FILENO {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: F_GETFD reads a flag of whatever number it is given.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, our parent opened it for us, and this is called once, before anything
    // else in this process opens one.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Waits for this descriptor in the runtime that this is called in.
pub fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor until it is dropped, and has always that number.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// `asm-generic/socket.h`; the libc crate has no name for it yet.
const SO_PEERPIDFD: libc::c_int = 77;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_socket_is_pinned_where_the_kernel_can() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let Some(pidfd) = peer_pidfd(&ours) else {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            assert!(
                release.starts_with("5.") || release.starts_with("6.1."),
                "{release}"
            );
            return;
        };
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
        assert!(
            about
                .unwrap()
                .contains(&format!("Pid:\t{}\n", std::process::id()))
        );
    }

    #[test]
    fn a_descriptor_that_is_not_open_or_a_standard_stream_is_refused() {
        assert!(inherited(2).is_err());
        assert!(inherited(-1).is_err());
        assert!(inherited(1 << 20).is_err());
    }
}

//! What this machine can see of its host: a paused, restored or cloned machine has clocks of its
//! own that show nothing.
//!
//! ```text
//!  VM generation id changed ─▶ ACPI ─▶ kernel ─▶ uevent NEW_VMGENID=1     (Linux 6.10)
//!  the host's time          ─▶ RTC  ─▶ /sys/class/rtc/rtc0/since_epoch    (runs while we do not)
//! ```

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// One look at the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostView {
    /// The machine's real-time clock, in whole seconds; `None` where there is none.
    pub clock: Option<Duration>,
    /// How often this machine was restored or cloned, as far as it was told.
    pub generation: u64,
}

/// The devices that are looked at.
#[derive(Debug)]
pub struct Machine {
    rtc: Option<File>,
    uevents: Option<OwnedFd>,
    generation: AtomicU64,
}

impl Machine {
    /// Opens them: before files and sockets can no longer be opened.
    pub fn open() -> Self {
        Self {
            rtc: File::open(RTC).ok().filter(|rtc| seconds(rtc).is_some()),
            uevents: listen().ok(),
            generation: AtomicU64::new(0),
        }
    }

    /// Another handle of what becomes readable when the kernel has news.
    pub fn news(&self) -> Option<OwnedFd> {
        self.uevents.as_ref()?.try_clone().ok()
    }

    /// Reads all of them.
    pub fn look(&self) -> HostView {
        while let Some(message) = self.uevents.as_ref().and_then(next_message) {
            if is_new_generation(&message) {
                self.generation.fetch_add(1, Ordering::Relaxed);
            }
        }
        HostView {
            clock: self.rtc.as_ref().and_then(seconds),
            generation: self.generation.load(Ordering::Relaxed),
        }
    }

    /// What a restored or cloned machine would be known by.
    pub fn shows(&self) -> Vec<&'static str> {
        let mut shows = Vec::new();
        shows.extend(self.uevents.is_some().then_some("VM generation id"));
        shows.extend(self.rtc.is_some().then_some("real-time clock"));
        shows
    }
}

fn seconds(rtc: &File) -> Option<Duration> {
    let mut text = [0; 32];
    let length = rtc.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Only the kernel sends to this group.
fn listen() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNELS_GROUP))?;
    Ok(socket)
}

/// `None` when there is none now. What did not fit the socket is lost, and reported once: that may
/// have been anything.
fn next_message(uevents: &OwnedFd) -> Option<Vec<u8>> {
    let mut message = vec![0; LONGEST];
    match recv(uevents.as_fd(), message.as_mut_slice(), RecvFlags::empty()) {
        Ok((_, length)) => {
            message.truncate(length);
            Some(message)
        }
        Err(rustix::io::Errno::NOBUFS) => Some(NEW_GENERATION.to_vec()),
        Err(_none_now) => None,
    }
}

/// `ACTION@DEVPATH`, then variables, each ended by a zero.
fn is_new_generation(message: &[u8]) -> bool {
    message
        .split(|byte| *byte == 0)
        .any(|variable| variable == NEW_GENERATION)
}

const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";
const NEW_GENERATION: &[u8] = b"NEW_VMGENID=1";
const KERNELS_GROUP: u32 = 1;
/// `UEVENT_BUFFER_SIZE` of the kernel, and room for the header.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_generation_id_is_recognised_among_other_news() {
        let news = b"change@/devices/LNXSYSTM:00/QEMUVGID:00\0ACTION=change\0\
            DEVPATH=/devices/LNXSYSTM:00/QEMUVGID:00\0SUBSYSTEM=acpi\0NEW_VMGENID=1\0SEQNUM=900\0";
        assert!(is_new_generation(news));
        for other in [
            &b"add@/devices/virtual/net/veth0\0ACTION=add\0SEQNUM=901\0"[..],
            b"change@/x\0SYNTH_ARG_NEW_VMGENID=1\0",
            b"NEW_VMGENID=10",
            b"",
        ] {
            assert!(
                !is_new_generation(other),
                "{}",
                String::from_utf8_lossy(other)
            );
        }
    }

    #[test]
    fn any_user_may_listen_and_nothing_is_new_at_first() {
        let machine = Machine::open();
        assert!(machine.news().is_some());
        assert_eq!(machine.look().generation, 0);
        assert!(machine.shows().contains(&"VM generation id"));
    }

    #[test]
    fn a_clock_that_shows_no_number_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("since_epoch");
        for (text, shown) in [
            ("1795371600\n", Some(1_795_371_600)),
            ("", None),
            ("x\n", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let clock = seconds(&File::open(&path).unwrap());
            assert_eq!(clock, shown.map(Duration::from_secs), "{text:?}");
        }
    }
}

//! The process at the other end, by the kernel's word.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use keyferry_protocol::wire::{ToolRule, is_program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::agent::Identified;
use crate::sys;

/// The process at the other end, as it was when it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its process id.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    groups: Vec<u32>,
    /// What it runs, where that was asked.
    pub program: Identified,
}

impl Peer {
    /// Asks the kernel. User and first group are exact; further groups are only believed of a
    /// process that is pinned, still runs, and still has that user.
    pub fn of_socket(socket: impl AsFd) -> io::Result<Self> {
        let credentials = socket_peercred(&socket)?;
        let (pid, uid) = (credentials.pid, credentials.uid.as_raw());
        let mut groups = vec![credentials.gid.as_raw()];
        groups.extend(further_groups(socket, pid, uid).unwrap_or_default());
        Ok(Self {
            pid: pid.as_raw_nonzero().get(),
            uid,
            groups,
            program: Identified::default(),
        })
    }

    /// The process itself. `None` when it has ended.
    pub(crate) fn process(&self, socket: impl AsFd) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let process = pidfd(socket, pid)?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        (is_alive(&process) && groups_of(&status, self.uid).is_some()).then_some(process)
    }

    /// A peer with these credentials.
    #[cfg(test)]
    pub(crate) fn of(uid: u32, groups: &[u32]) -> Self {
        Self {
            pid: 1,
            uid,
            groups: groups.to_vec(),
            program: Identified::default(),
        }
    }

    /// Whether it is known to run this program: all that is named has to fit.
    pub fn runs(&self, path: Option<&str>, sha256: Option<&[u8; 32]>) -> bool {
        is_program((path, sha256), self.known_program())
    }

    fn known_program(&self) -> Option<(&str, &[u8; 32])> {
        match &self.program {
            Identified::Known(program) => Some((&program.path, &program.sha256)),
            Identified::Unasked | Identified::Unknown(_) => None,
        }
    }

    /// Whether the rules of a key's owner let it use the key; none let everybody.
    pub fn is_let(&self, tools: &[ToolRule]) -> bool {
        let fits = |rule: &ToolRule| {
            rule.fits_user((self.uid, &self.groups)) && rule.fits_program(self.known_program())
        };
        tools.is_empty() || tools.iter().any(fits)
    }

    /// The same, whatever its program turns out to be.
    pub fn may_be_let(&self, tools: &[ToolRule]) -> bool {
        let names = |rule: &ToolRule| rule.fits_user((self.uid, &self.groups));
        tools.is_empty() || tools.iter().any(names)
    }

    /// Whether it belongs to this group.
    pub fn is_in(&self, gid: u32) -> bool {
        self.groups.contains(&gid)
    }
}

/// What is read under a process id is that process's only if it was alive before and after, which
/// the pidfd tells. Before Linux 6.5 it is opened by number, which might have been given to a newer
/// process: then that one has to have the same user to be believed.
fn further_groups(socket: impl AsFd, pid: Pid, uid: u32) -> Option<Vec<u32>> {
    let pidfd = pidfd(socket, pid)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    if !is_alive(&pidfd) {
        return None;
    }
    groups_of(&status, uid)
}

fn pidfd(socket: impl AsFd, pid: Pid) -> Option<OwnedFd> {
    sys::peer_pidfd(socket).or_else(|| pidfd_open(pid, PidfdFlags::empty()).ok())
}

/// A pidfd becomes readable when its process ends.
pub(crate) fn is_alive(pidfd: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut watched, Some(&at_once)) == Ok(0)
}

/// `Uid:` has real, effective, saved and file-system user; the second is what connects.
fn groups_of(status: &str, uid: u32) -> Option<Vec<u32>> {
    let numbers = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace()
            .map(|number| number.parse().ok())
            .collect::<Option<Vec<u32>>>()
    };
    if numbers("Uid:")?.get(1) != Some(&uid) {
        return None;
    }
    numbers("Groups:")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_socket_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of_socket(&ours).unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.is_in(rustix::process::getegid().as_raw()));
        for group in rustix::process::getgroups().unwrap() {
            assert!(peer.is_in(group.as_raw()));
        }
    }

    #[test]
    fn groups_are_believed_of_the_right_user_only() {
        let status = "Name:\ttool\nUid:\t1000\t1000\t1000\t1000\nGroups:\t27 1000 \nNStgid:\t1\n";
        assert_eq!(groups_of(status, 1000), Some(vec![27, 1000]));
        assert_eq!(groups_of(status, 1001), None);
        assert_eq!(groups_of("Uid:\t1000\nGroups:\n", 1000), None);
        assert_eq!(groups_of("", 1000), None);
    }

    #[test]
    fn a_process_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        assert!(!is_alive(&pidfd));
    }
}

//! Tickets from the host, over the serial port that the hypervisor has wired to the server:
//! PROTOCOL.md §11. With it a machine enrols at every boot, and keeps nothing for it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use keyferry_protocol::memory::{Arena, LockedBox, MemoryError, scrub};
use keyferry_protocol::ticket::{Ticket, TicketError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// An open port.
pub struct HostChannel {
    port: OwnedFd,
}

/// Why the host gave no ticket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostChannelError {
    /// The port failed, or nobody is at its other end.
    #[error("the host channel is not answered; on the host: keyferry-server vm channel")]
    Unanswered(#[source] io::Error),
    /// The server says no.
    #[error("the host refuses a ticket: {0}")]
    Refused(String),
    /// More than any ticket has.
    #[error("the host sends what is no ticket")]
    TooLong,
    /// Something else than a ticket.
    #[error("the host's ticket cannot be used")]
    Malformed(#[from] TicketError),
    /// No locked memory left.
    #[error("there is no locked memory for a ticket")]
    Memory(#[from] MemoryError),
}

impl HostChannel {
    /// Opens the port: before files can no longer be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let port = rustix::fs::open(path, flags, Mode::empty())?;
        if isatty(&port) {
            // No echo, no translation: what is a ticket there is a ticket here.
            let mut attributes = tcgetattr(&port)?;
            attributes.make_raw();
            tcsetattr(&port, OptionalActions::Now, &attributes)?;
        }
        Ok(Self { port })
    }

    /// Asks for a ticket, and waits for it a while.
    pub async fn ticket(&self, arena: &Arena) -> Result<Ticket, HostChannelError> {
        let late = || HostChannelError::Unanswered(io::ErrorKind::TimedOut.into());
        timeout(PATIENCE, self.converse(arena))
            .await
            .map_err(|_elapsed| late())?
    }

    async fn converse(&self, arena: &Arena) -> Result<Ticket, HostChannelError> {
        self.forget_old_answers()?;
        let mut rest = REQUEST;
        while !rest.is_empty() {
            let written = when_ready(|| rustix::io::write(&self.port, rest)).await?;
            rest = rest.get(written..).unwrap_or_default();
        }
        loop {
            let line = self.read_line(arena).await?;
            let text = line.expose().trim_ascii();
            if text.starts_with(b"kft") {
                return Ok(Ticket::parse(arena, text)?);
            }
            if let Some(reason) = text.strip_prefix(b"error ") {
                let reason = String::from_utf8_lossy(reason.get(..64).unwrap_or(reason));
                return Err(HostChannelError::Refused(reason.into_owned()));
            }
            // Anything else is noise of an earlier boot.
        }
    }

    /// An answer to an earlier request may have come too late for it: it is not that to the next.
    fn forget_old_answers(&self) -> Result<(), HostChannelError> {
        let mut passing = Zeroizing::new([0; 256]);
        for _ in 0..MOST_FORGOTTEN {
            match rustix::io::read(&self.port, &mut *passing) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(HostChannelError::Unanswered(errno.into())),
            }
        }
        Ok(())
    }

    async fn read_line(&self, arena: &Arena) -> Result<LockedBox, HostChannelError> {
        let mut line = arena.take(LONGEST)?;
        let mut length = 0;
        loop {
            // One byte at a time: what follows the line belongs to the next.
            let mut passing = Zeroizing::new([0]);
            if when_ready(|| rustix::io::read(&self.port, &mut *passing)).await? == 0 {
                return Err(HostChannelError::Unanswered(
                    io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            let place = line
                .expose_mut()
                .get_mut(length)
                .ok_or(HostChannelError::TooLong)?;
            [*place] = *passing;
            length += 1;
            if *passing == [b'\n'] {
                break;
            }
        }
        scrub();
        line.truncate(length);
        Ok(line)
    }
}

/// Tries until the port can; it is slow, rarely used, and not every serial port can be polled.
async fn when_ready(
    mut attempt: impl FnMut() -> rustix::io::Result<usize>,
) -> Result<usize, HostChannelError> {
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(Errno::AGAIN | Errno::INTR) => sleep(BETWEEN_TRIES).await,
            Err(errno) => return Err(HostChannelError::Unanswered(errno.into())),
        }
    }
}

/// A line end first: it ends whatever an earlier boot left half written.
const REQUEST: &[u8] = b"\nkeyferry-host/1 ticket\n";
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
const LONGEST: usize = 8192;
/// Pieces of 256 bytes: a host that never stops talking is heard all the same.
const MOST_FORGOTTEN: usize = 1024;
/// Where the port is found when nobody says.
pub const USUAL: &str = "/dev/virtio-ports/org.keyferry.0";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use keyferry_protocol::memory::self_test;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_came_too_late_is_not_that_to_the_next_request() {
        let (ours, mut host) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        host.write_all(b"error too_late\n").unwrap();
        let answering = std::thread::spawn(move || {
            host.read_exact(&mut [0; REQUEST.len()]).unwrap();
            host.write_all(b"error vm_cut_off\n").unwrap();
            host
        });
        let channel = HostChannel { port: ours.into() };
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let refused = channel.ticket(&arena).await.err().unwrap();
        assert!(refused.to_string().ends_with("vm_cut_off"), "{refused}");
        answering.join().unwrap();
    }
}

//! Reading the ticket, straight into locked memory.
//!
//! A system call cannot write into `memfd_secret` pages, so the text passes the stack, which is
//! wiped, and no buffer of the standard library's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use keyferry_agent::arguments::TicketFrom;
use keyferry_agent::{config, sys};
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError, scrub};
use keyferry_protocol::ticket::{Ticket, TicketError};
use zeroize::Zeroizing;

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTicket {
    #[error(
        "no ticket: pass one with --ticket-stdin, --ticket-fd or the systemd credential `ticket`, \
         or have the host give one with --channel auto (make it with `keyferry vms ticket NAME`)"
    )]
    NotGiven,
    #[error("the ticket cannot be read from {from}")]
    Unreadable {
        from: String,
        #[source]
        source: io::Error,
    },
    #[error("what was given is longer than any ticket")]
    TooLong,
    #[error("this ticket cannot be used")]
    Malformed(#[from] TicketError),
    #[error("there is no locked memory for the ticket")]
    Memory(#[from] MemoryError),
}

/// Reads and parses the ticket; of its text nothing remains.
pub(crate) fn read_ticket(from: &TicketFrom, arena: &Arena) -> Result<Ticket, NoTicket> {
    let text = match (from.ticket_stdin, from.ticket_fd) {
        (true, _) => {
            let stdin = io::stdin();
            read_all(stdin.as_fd(), "standard input", arena)
        }
        (false, Some(number)) => {
            let name = format!("descriptor {number}");
            let descriptor = sys::inherited(number).map_err(|source| NoTicket::Unreadable {
                from: name.clone(),
                source,
            })?;
            read_all(descriptor.as_fd(), &name, arena)
        }
        (false, None) => {
            let path = credential()
                .filter(|path| path.exists())
                .ok_or(NoTicket::NotGiven)?;
            let name = path.display().to_string();
            let file = File::open(path).map_err(|source| NoTicket::Unreadable {
                from: name.clone(),
                source,
            })?;
            read_all(file.as_fd(), &name, arena)
        }
    }?;
    Ok(Ticket::parse(arena, text.expose())?)
}

fn credential() -> Option<PathBuf> {
    config::credentials_directory().map(|folder| folder.join("ticket"))
}

/// Reads to the end, or to the end of the line.
fn read_all(from: BorrowedFd<'_>, name: &str, arena: &Arena) -> Result<LockedBox, NoTicket> {
    let mut text = arena.take(LONGEST)?;
    let mut length = 0;
    {
        let mut passing = Zeroizing::new([0_u8; 512]);
        loop {
            let read = match rustix::io::read(from, &mut *passing) {
                Ok(0) => break,
                Ok(read) => read,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => {
                    let (from, source) = (name.to_owned(), errno.into());
                    return Err(NoTicket::Unreadable { from, source });
                }
            };
            let piece = passing.get(..read).unwrap_or_default();
            let room = text.expose_mut().get_mut(length..length + read);
            room.ok_or(NoTicket::TooLong)?.copy_from_slice(piece);
            length += read;
            if piece.contains(&b'\n') {
                break;
            }
        }
    }
    scrub();
    text.truncate(length);
    Ok(text)
}

const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use keyferry_protocol::memory::self_test;

    use super::*;

    fn read(text: &[u8]) -> Result<LockedBox, NoTicket> {
        let arena = Arena::new(self_test().unwrap()).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let text = text.to_vec();
        let writing = std::thread::spawn(move || {
            let _reader_may_stop = writer.write_all(&text);
        });
        let outcome = read_all(reader.as_fd(), "a pipe", &arena);
        drop(reader);
        writing.join().unwrap();
        outcome
    }

    #[test]
    fn a_text_is_read_to_its_end() {
        let long = [b'x'; 5000];
        assert_eq!(read(&long).unwrap().expose(), long);
        assert!(read(b"").unwrap().expose().is_empty());
    }

    #[test]
    fn a_line_is_enough() {
        assert_eq!(read(b"kft1_text\n").unwrap().expose(), b"kft1_text\n");
    }

    #[test]
    fn an_endless_text_is_refused() {
        assert!(matches!(read(&[b'x'; LONGEST + 1]), Err(NoTicket::TooLong)));
    }
}

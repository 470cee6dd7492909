//! What can go wrong between a tool and the agent, and what to do about it.

use std::io;
use std::path::PathBuf;

use keyferry_protocol::local::{LocalError, Refusal, RefusalCode};
use keyferry_protocol::memory::{MemoryError, PageState, ReadError};
use keyferry_protocol::ticket::TicketError;

use crate::link::{LinkError, TargetError};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens on the socket.
    #[error(
        "the Keyferry agent is not running ({}); start it with `systemctl start keyferry-agent` or \
         `keyferry-agent run`",
        path.display()
    )]
    AgentNotRunning {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket's permissions keep this user out.
    #[error(
        "this user may not talk to the Keyferry agent ({}); join the group that owns the socket, \
         then log in again",
        path.display()
    )]
    SocketForbidden {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The agent said no.
    #[error("{}: {}{}", .0.code.as_str(), .0.advice, named_rule(&.0.rule))]
    Refused(Refusal),
    /// The owner has withdrawn the key, and it is wiped.
    #[error("this key was revoked and is wiped; ask its owner for a new one, then open it again")]
    Revoked,
    /// The agent was out of touch with its server for longer than the lease.
    #[error(
        "the agent lost its server for longer than the lease and wiped this key; it comes back by \
         itself when the server is reached (see `keyferry-agent status`)"
    )]
    LeaseOver,
    /// The agent has ended. With nobody to enforce the lease, this handle has let go of its page.
    #[error("the Keyferry agent has ended, and its keys with it; connect again when it runs")]
    AgentGone,
    /// The agent is stopped or stuck.
    #[error(
        "the Keyferry agent does not answer; see what it is doing with `systemctl status \
         keyferry-agent`, and start it again"
    )]
    AgentSilent,
    /// The value has line ends or other control characters.
    #[error("this key's value cannot be part of an HTTP header; ask its owner what it is for")]
    NotAHeader,
    /// The text is no ticket.
    #[error(
        "this is no ticket; `keyferry vms ticket NAME` prints one, which is good for 10 minutes"
    )]
    Ticket(#[from] TicketError),
    /// The ticket's server cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The server did not let this program in.
    #[error(
        "the server does not accept the ticket: it is older than 10 minutes, or another program has \
         used it; make a new one with `keyferry vms ticket NAME`"
    )]
    TicketRefused,
    /// The server refuses a step from a login to a ticket.
    #[error("{detail} ({code})")]
    Login {
        /// The server's code: docs/STATUS_CODES.md.
        code: String,
        /// Its explanation.
        detail: String,
    },
    /// The account has an authenticator app.
    #[error(
        "this account signs in with a second factor: give the code of its app as well, or use a service API key"
    )]
    SecondFactor,
    /// The server cannot be reached.
    #[error("there is no session with the server; is it running, and the network up?")]
    Server(#[source] LinkError),
    /// The text is no name of a key.
    #[error("a key's name is 1 to 64 letters, digits, `-`, `_` or `.`")]
    BadKeyName,
    /// The agent speaks a version that this library does not.
    #[error("the agent speaks version {0} of the local protocol; update this program or the agent")]
    Version(u16),
    /// What came from the socket is no answer of an agent.
    #[error("the agent's answer makes no sense; is it another program's socket?")]
    Protocol(#[source] Option<LocalError>),
    /// This process has no locked memory to read a key into.
    #[error("this process cannot keep a key safe; raise its RLIMIT_MEMLOCK (`ulimit -l`)")]
    Memory(#[from] MemoryError),
    /// The socket failed.
    #[error("the agent's socket failed")]
    Socket(#[source] io::Error),
}

impl Error {
    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AgentNotRunning { .. } => "agent_not_running",
            Self::SocketForbidden { .. } => "socket_forbidden",
            Self::Refused(refusal) => refusal.code.as_str(),
            Self::Revoked => RefusalCode::Revoked.as_str(),
            Self::LeaseOver => RefusalCode::LeaseOver.as_str(),
            Self::AgentGone => "agent_gone",
            Self::AgentSilent => "agent_silent",
            Self::Ticket(_) | Self::Target(_) => "bad_ticket",
            Self::TicketRefused => "ticket_refused",
            Self::Login { .. } => "login",
            Self::SecondFactor => "second_factor",
            Self::Server(_) => "server",
            Self::NotAHeader => "not_a_header",
            Self::BadKeyName => "bad_key_name",
            Self::Version(_) => "version",
            Self::Protocol(_) => "protocol",
            Self::Memory(_) => "memory",
            Self::Socket(_) => "socket",
        }
    }

    pub(crate) fn of_connecting(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::AgentNotRunning { path, source }
            }
            io::ErrorKind::PermissionDenied => Self::SocketForbidden { path, source },
            _ => Self::Socket(source),
        }
    }

    /// A page that its writer left half written belongs to an agent that was killed.
    pub(crate) fn of_reading(error: ReadError) -> Self {
        match error {
            ReadError::NotLive(PageState::Revoked) => Self::Revoked,
            ReadError::NotLive(PageState::LeaseOver) => Self::LeaseOver,
            _ => Self::AgentGone,
        }
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused => Self::TicketRefused,
            LinkError::Memory(error) => Self::Memory(error),
            other => Self::Server(other),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RefusalCode::Revoked => Self::Revoked,
            RefusalCode::LeaseOver => Self::LeaseOver,
            _ => Self::Refused(refusal),
        }
    }
}

fn named_rule(rule: &str) -> String {
    if rule.is_empty() {
        String::new()
    } else {
        format!(" (rule: {rule})")
    }
}

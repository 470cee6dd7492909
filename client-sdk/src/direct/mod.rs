//! A tool that speaks to the server itself, where no agent runs: the same handshake, the same
//! pages, the same lease.
//!
//! ```text
//!  server ◀── link ──▶ task ──▶ secret pages ──▶ KeyHandle
//! ```
//!
//! A task takes the agent's place: it answers what a handle asks, and changes pages in place.

mod line;
mod login;
mod oneself;
mod pages;
mod task;

use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::ticket::Ticket;
use tokio::time::{Duration, timeout};

use crate::link::{Endpoint, LinkError};
use crate::{Client, ClientCertificate, Error};
use line::Uplink;
pub use login::Login;
use secrecy::ExposeSecret;
use task::Task;

impl Client {
    /// Enrols this program with a one-time ticket (`keyferry vms ticket NAME`), as an agent would,
    /// and returns when the server has told all keys. Wipe the ticket's text afterwards.
    ///
    /// Keys are held in `memfd_secret` pages, or locked ones where the kernel has none; they follow
    /// rotation and revocation, and are zeroed when the server was not heard for the lease. Only
    /// keys that may be read (`--raw`) can be opened: for others there has to be an agent. Every
    /// program needs a machine (`keyferry vms add`) of its own. Lost connections are made again by
    /// themselves for as long as the program runs.
    pub async fn direct(ticket: &[u8]) -> Result<Self, Error> {
        Self::enrolled(ticket, None).await
    }

    /// The same with a server that wants to be shown a certificate.
    pub async fn direct_with_certificate(
        ticket: &[u8],
        shown: &ClientCertificate,
    ) -> Result<Self, Error> {
        Self::enrolled(ticket, Some(shown)).await
    }

    async fn enrolled(ticket: &[u8], shown: Option<&ClientCertificate>) -> Result<Self, Error> {
        let arena = Arena::new(self_test()?)?;
        let ticket = Ticket::parse(&arena, ticket)?;
        let level = arena.level();
        let mut task = Task::new(Uplink::new(arena, ticket, shown)?, level).await?;
        timeout(TO_TELL_ALL, task.until_all_is_told())
            .await
            .map_err(|_elapsed| LinkError::TimedOut)??;
        Ok(Self::spawn(|asked, opened| task.run(asked, opened)))
    }

    /// The same where there is no ticket: somebody signs in to `server` and makes one for the
    /// machine `vm`, which is added if it is not there.
    ///
    /// Password and tokens pass ordinary memory of this process, in buffers that are wiped when
    /// they are freed if its allocator is [`WipingAllocator`](crate::WipingAllocator).
    pub async fn direct_as(server: &Endpoint, login: &Login<'_>, vm: &str) -> Result<Self, Error> {
        let ticket = login::ticket(server, login, vm).await?;
        Self::enrolled(ticket.expose_secret().as_bytes(), server.shown()).await
    }
}

const TO_TELL_ALL: Duration = Duration::from_secs(15);

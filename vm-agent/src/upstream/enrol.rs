//! From a ticket to servers and a credential for them.

use keyferry_protocol::handshake::{CredentialKind, CredentialRef};
use keyferry_protocol::ticket::Ticket;
use keyferry_sdk::link::{Credential, ServerUrl, Target};
use keyferry_sdk::tls::{ServerTrust, SpkiPin};

use super::{HostChannelError, Upstream};

/// Why a ticket leads nowhere, or why there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The host gave none.
    #[error(transparent)]
    Host(#[from] HostChannelError),
    /// The ticket names a server in a way that cannot be used.
    #[error("the ticket names a server that cannot be used")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Upstream {
    /// From now on the servers are those of this ticket, and it is what is offered to them.
    pub fn enrol_with(&mut self, ticket: Ticket) -> Result<(), EnrolError> {
        self.targets = targets(&ticket)?;
        let reference = CredentialRef {
            kind: CredentialKind::Ticket,
            id: ticket.id,
        };
        self.credentials.replace(Credential {
            reference,
            secret: ticket.secret,
        });
        Ok(())
    }

    /// Whether only the host can help, and there is a channel to it.
    pub(super) fn needs_the_host(&self) -> bool {
        self.host_channel.is_some() && self.credentials.offered().is_none()
    }

    pub(super) async fn ask_the_host(&mut self) -> Result<(), EnrolError> {
        let Some(channel) = &self.host_channel else {
            return Ok(());
        };
        let ticket = channel.ticket(&self.arena).await?;
        self.enrol_with(ticket)
    }
}

fn targets(ticket: &Ticket) -> Result<Vec<Target>, EnrolError> {
    let trust = match ticket.spki_pin {
        Some(pin) => ServerTrust::Pinned(SpkiPin(pin)),
        None => ServerTrust::System,
    };
    let target = |url: &String| {
        let url = url
            .parse::<ServerUrl>()
            .map_err(|cause| EnrolError::Server(cause.into()))?;
        Target::new(url, &trust, ticket.server_key, ticket.min_suite)
            .map_err(|cause| EnrolError::Server(cause.into()))
    };
    ticket.urls.iter().map(target).collect()
}

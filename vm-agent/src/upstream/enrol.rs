//! From a ticket to servers and a credential for them.

use keyferry_protocol::handshake::{CredentialKind, CredentialRef};
use keyferry_protocol::ticket::Ticket;
use keyferry_sdk::link::{Credential, Target, TargetError};

use super::{Approval, ApprovalError, HostChannel, HostChannelError, Upstream};
use crate::agent::Agent;

/// Where tickets come from when nobody brings one.
pub enum Source {
    /// Nowhere: what the agent was started with is all it has.
    Nobody,
    /// The host, unattended.
    Host(HostChannel),
    /// A person, who approves a code.
    Person(Approval),
}

/// Why a ticket leads nowhere, or why there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The host gave none.
    #[error(transparent)]
    Host(#[from] HostChannelError),
    /// No person has approved.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// The ticket names a server in a way that cannot be used.
    #[error(transparent)]
    Server(#[from] TargetError),
}

impl Upstream {
    /// From now on the servers are those of this ticket, and it is what is offered to them.
    pub fn enrol_with(&mut self, ticket: Ticket) -> Result<(), EnrolError> {
        self.targets = Target::of_ticket(&ticket, self.shown.as_ref())?;
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

    /// Whether there is nothing to offer, and somebody to ask for a ticket.
    pub(super) fn needs_a_ticket(&self) -> bool {
        self.source.is_there() && self.credentials.offered().is_none()
    }

    pub(super) async fn ask_for_a_ticket(&mut self, agent: &Agent) -> Result<(), EnrolError> {
        let ticket = match &self.source {
            Source::Nobody => return Ok(()),
            Source::Host(channel) => channel.ticket(&self.arena).await?,
            Source::Person(approval) => {
                let own = (&self.arena, &self.identity.key);
                approval.ticket(agent, own).await?
            }
        };
        self.enrol_with(ticket)
    }
}

impl Source {
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Nobody)
    }
}

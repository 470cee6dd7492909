//! The way to the server: open, or being opened again.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::handshake::{Claims, CredentialKind, CredentialRef};
use keyferry_protocol::memory::Arena;
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{ToAgent, ToServer};
use rand_core::UnwrapErr;
use tokio::time::sleep;

use crate::link::{
    Backoff, Credential, Credentials, Identity, Link, LinkError, Received, Target, attach,
};
use crate::{ClientCertificate, Error};

/// What it takes to get to the servers.
pub(super) struct Uplink {
    arena: Arena,
    targets: Vec<Target>,
    identity: Identity,
    credentials: Credentials,
    backoff: Backoff,
    next_target: usize,
}

/// A session that has just begun.
pub(super) struct Attached {
    pub(super) link: Link,
    pub(super) lease: Duration,
}

type Attempt = Pin<Box<dyn Future<Output = (Uplink, Result<Attached, LinkError>)> + Send>>;

/// Where the session stands.
pub(super) enum Line {
    Open(Box<Link>, Box<Uplink>),
    Trying(Attempt),
    /// The owner has cut this program off.
    Over,
}

/// What happens on it next.
pub(super) enum Step {
    Received(Result<Received, LinkError>),
    Attached(Box<Attached>, Box<Uplink>),
    /// Another attempt is under way.
    Failed(Attempt),
}

impl Uplink {
    pub(super) fn new(
        arena: Arena,
        ticket: Ticket,
        shown: Option<&ClientCertificate>,
    ) -> Result<Self, Error> {
        let claims = Claims {
            boot_id: [0; 16],
            agent_version: concat!("sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
            protection: arena.level(),
            capabilities: Claims::TAKES_SERVER_KEYS,
        };
        let targets = Target::of_ticket(&ticket, shown)?;
        let reference = CredentialRef {
            kind: CredentialKind::Ticket,
            id: ticket.id,
        };
        let mut credentials = Credentials::none();
        credentials.replace(Credential {
            reference,
            secret: ticket.secret,
        });
        Ok(Self {
            identity: Identity::fresh(&arena, claims, &mut UnwrapErr(getrandom::SysRng))?,
            arena,
            targets,
            credentials,
            backoff: Backoff::default(),
            next_target: 0,
        })
    }

    /// One attempt at the next server. The credential for the session after this one is in locked
    /// memory before the server is told so.
    pub(super) async fn attach(&mut self) -> Result<Attached, LinkError> {
        let target = self
            .targets
            .get(self.next_target % self.targets.len().max(1));
        let target = target.ok_or(LinkError::Protocol("a ticket without a server"))?;
        let credential = self.credentials.offered().ok_or(LinkError::Refused)?;
        let (mut link, accept) = attach(&self.arena, target, &self.identity, credential).await?;
        let Ok(ToAgent::Accept(told)) = ToAgent::decode(accept.expose()) else {
            return Err(LinkError::Protocol("the first message is no welcome"));
        };
        self.credentials
            .take(&self.arena, told.next_id, told.next_secret)?;
        let lease = Duration::from_secs(told.lease_seconds.into());
        let credential = told.next_id;
        drop(accept);
        link.send(&ToServer::Ready { credential }).await?;
        Ok(Attached { link, lease })
    }

    /// The server has shown that it knows of the newest credential.
    pub(super) fn confirm(&mut self) {
        self.credentials.confirm();
    }

    /// The server has told all keys: the next failure is a first one.
    pub(super) fn settle(&mut self) {
        self.backoff.reset();
    }

    /// The server has a new static key.
    pub(super) fn pin(&mut self, server_key: PublicKey) {
        for target in &mut self.targets {
            target.server_key = server_key;
        }
    }

    /// Tries again after a wait that grows, and is never the same for all.
    pub(super) fn try_again(mut self, after: &LinkError) -> Attempt {
        self.next_target = self.next_target.wrapping_add(1);
        if matches!(after, LinkError::Refused) {
            self.credentials.refused();
        }
        let wait = self.backoff.next(&mut UnwrapErr(getrandom::SysRng));
        Box::pin(async move {
            sleep(wait).await;
            let attempt = self.attach().await;
            (self, attempt)
        })
    }
}

impl Line {
    /// May be cancelled: nothing that has happened is lost.
    pub(super) async fn next(&mut self) -> Step {
        match self {
            Self::Open(link, _) => Step::Received(link.next().await),
            Self::Trying(attempt) => match attempt.await {
                (uplink, Ok(attached)) => Step::Attached(Box::new(attached), Box::new(uplink)),
                (uplink, Err(error)) => Step::Failed(uplink.try_again(&error)),
            },
            Self::Over => pending().await,
        }
    }

    /// Says something, if there is anybody.
    pub(super) async fn say(&mut self, message: &ToServer) -> Result<(), LinkError> {
        match self {
            Self::Open(link, _) => link.send(message).await,
            Self::Trying(_) | Self::Over => Ok(()),
        }
    }

    pub(super) async fn ping(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Open(link, _) => link.ping().await,
            Self::Trying(_) | Self::Over => Ok(()),
        }
    }

    /// The session is lost, or not to be used any longer: another one is opened.
    pub(super) fn reopen(&mut self, after: &LinkError) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::Open(_, uplink) => Self::Trying(uplink.try_again(after)),
            other => other,
        };
    }
}

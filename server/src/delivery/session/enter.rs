//! Lets an agent in: the server's side of the handshake, and what its credential is worth.

use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::channel::ChannelError;
use keyferry_protocol::handshake::{CredentialKind, CredentialRef, HandshakeError, Suite, server};
use keyferry_protocol::ids::{CredentialId, SessionId, VmId as WireVmId};
use keyferry_protocol::memory::{LockedBox, MemoryError};
use keyferry_protocol::wire::{Accept, ToAgent, ToServer};
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::line::{Heard, Line, LineError};
use super::{Entered, reattach_context};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::store::{NewReattach, StoreError, StoredCredential, TicketId, Transaction};
use crate::vault::policy::DEFAULT_LEASE;
use crate::vault::seal::{self, Unsealable};
use crate::vault::{master_key, server_keys};

/// Why an agent was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("the handshake took too long")]
    Slow,
    #[error("the handshake failed: {0}")]
    Handshake(#[from] HandshakeError),
    #[error("the credential is unknown")]
    UnknownCredential,
    #[error("the ticket has ended or another agent has redeemed it")]
    TicketEnded,
    #[error("the credential belongs to another agent")]
    OtherAgent,
    #[error("the VM is cut off")]
    CutOff,
    #[error("the credential was used up before: the VM may have been cloned")]
    Clone,
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
    #[error("the credential cannot be unsealed: {0}")]
    Unsealable(#[from] Unsealable),
    #[error("no locked memory: {0}")]
    Memory(#[from] MemoryError),
}

impl Refused {
    /// Whether this server could not find out what the credential is worth.
    pub(super) const fn is_undecided(&self) -> bool {
        matches!(
            self,
            Self::Slow | Self::Store(_) | Self::Unsealable(_) | Self::Memory(_)
        )
    }
}

/// The credential for the agent's next session.
struct Next {
    id: TicketId,
    secret: LockedBox,
}

/// Shakes hands, admits the agent and hands it the credential for the next session.
pub(super) async fn enter(app: &App, line: &mut Line, session: Uuid) -> Result<Entered, Refused> {
    let in_time = app.config.connections.agents_first_word;
    let first = timeout(in_time, line.receive_clear()).await;
    let first = first.map_err(|_elapsed| Refused::Slow)??;
    let (offered, server_key) = receive(app, &first).await?;
    let offer = offered.credential();
    let known = look_up(app, offer).await?;
    let secret = match &known {
        Some(known) => open(app, offer, known).await?,
        // Goes on all the same, so that an unknown credential looks like a wrong one.
        None => app.arena.random(32, &mut app.rng())?,
    };
    let (proof, second) = offered.reply(&mut app.rng())?;
    line.send_clear(second).await?;
    let third = line.receive_clear().await?;
    let proven = proof.verify(&third, &secret)?;
    drop(secret);
    let known = known.ok_or(Refused::UnknownCredential)?;
    let entered = Entered {
        tenant: known.tenant_id,
        vm: known.vm_id,
        agent_key: proven.agent_key,
        claims: proven.claims,
        session,
        server_key,
        by: offer.kind,
    };
    let next = admit(app, offer, &known, &entered).await?;
    line.secure(proven.channel);
    welcome(app, line, &entered, &next).await?;
    Ok(entered)
}

/// A first message that opened, and with which of the server's keys.
type Received = (server::Offered, PublicKey);

/// Opens the first message with whichever of the server's keys the agent knows.
async fn receive(app: &App, first: &[u8]) -> Result<Received, HandshakeError> {
    let opened = receive_with(app, first);
    // The agent may have heard of a key on another server, before this one did.
    if matches!(opened, Err(HandshakeError::DoesNotOpen)) && server_keys::look(app).await {
        return receive_with(app, first);
    }
    opened
}

fn receive_with(app: &App, first: &[u8]) -> Result<Received, HandshakeError> {
    let mut opened = Err(HandshakeError::DoesNotOpen);
    for pair in app.server_keys.pairs().noise.iter() {
        opened = server::receive(&app.arena, pair, Suite::Hybrid, first)
            .map(|offered| (offered, pair.public()));
        if !matches!(opened, Err(HandshakeError::DoesNotOpen)) {
            break;
        }
    }
    opened
}

async fn look_up(app: &App, offer: CredentialRef) -> Result<Option<StoredCredential>, StoreError> {
    let id = TicketId::from_bytes(offer.id.0);
    match offer.kind {
        CredentialKind::Ticket => app.store.ticket(id).await,
        CredentialKind::Reattach => app.store.reattach_credential(id).await,
    }
}

async fn open(
    app: &App,
    offer: CredentialRef,
    known: &StoredCredential,
) -> Result<LockedBox, Unsealable> {
    let id = TicketId::from_bytes(offer.id.0);
    let context = match offer.kind {
        CredentialKind::Ticket => ticket_context(id),
        CredentialKind::Reattach => reattach_context(id),
    };
    master_key::open(app, &context, &known.sealed).await
}

/// Consumes the credential, which the agent has proven, and stores the next one as pending.
async fn admit(
    app: &App,
    offer: CredentialRef,
    known: &StoredCredential,
    entered: &Entered,
) -> Result<Next, Refused> {
    refuse_unfit(app, (offer, known), entered).await?;
    let agent_key = entered.agent_key.0;
    let place = entered.place();
    let id = TicketId::from_bytes(offer.id.0);
    let now = app.clock.now();
    let mut change = app.store.begin().await?;
    // The peer took its time to prove the credential, and the owner may have used it.
    if !change.hold_active_vm(place).await? {
        return Err(Refused::CutOff);
    }
    match offer.kind {
        CredentialKind::Ticket => {
            if !change.redeem_ticket(id, &agent_key, now).await? {
                return Err(Refused::TicketEnded);
            }
        }
        // Its use confirms it, should `Ready` have been lost.
        CredentialKind::Reattach => {
            if !change.promote_credential(place, id).await? {
                drop(change);
                return Err(overtaken(app, id, entered).await?);
            }
        }
    }
    change.clear_for_agent(place, &agent_key).await?;
    let next = insert_next(app, &mut change, entered).await?;
    audit(app, &mut change, entered, action(offer.kind)).await?;
    // Sessions of another agent of this VM look again and find themselves unwelcome.
    let (tenant, vm) = place;
    bus::commit(app, change, &[Event::VmChanged { tenant, vm }]).await?;
    Ok(next)
}

async fn refuse_unfit(
    app: &App,
    (offer, known): (CredentialRef, &StoredCredential),
    entered: &Entered,
) -> Result<(), Refused> {
    let agent_key = entered.agent_key.0;
    if known.vm_status != "active" {
        return Err(Refused::CutOff);
    }
    if offer.kind == CredentialKind::Reattach && known.agent_key.as_deref() != Some(&agent_key[..])
    {
        return Err(Refused::OtherAgent);
    }
    if known.status == "retired" {
        return Err(suspect_clone(app, entered).await?);
    }
    Ok(())
}

async fn insert_next(
    app: &App,
    change: &mut Transaction,
    entered: &Entered,
) -> Result<Next, Refused> {
    let now = app.clock.now();
    let id = TicketId::new(now, &mut app.rng());
    let secret = app.arena.random(32, &mut app.rng())?;
    let context = reattach_context(id);
    let new = NewReattach {
        id,
        tenant: entered.tenant,
        vm: entered.vm,
        agent_key: entered.agent_key.0,
        sealed: seal::seal(&app.master_key, &mut app.rng(), &context, &secret)?,
        created_at: now,
    };
    change.insert_reattach(&new).await?;
    Ok(Next { id, secret })
}

/// Sends `Accept`, waits for `Ready`, and makes the next credential the current one.
async fn welcome(
    app: &App,
    line: &mut Line,
    entered: &Entered,
    next: &Next,
) -> Result<(), Refused> {
    let accept = ToAgent::Accept(Accept {
        session: SessionId(entered.session.into_bytes()),
        vm: WireVmId(entered.vm.bytes()),
        lease_seconds: DEFAULT_LEASE,
        next_id: CredentialId(next.id.bytes()),
        next_secret: next
            .secret
            .expose()
            .try_into()
            .expect("a credential's secret is 32 bytes"),
    });
    line.say(accept.encode(&app.arena)?).await?;
    let ready = ToServer::Ready {
        credential: CredentialId(next.id.bytes()),
    };
    loop {
        if let Heard::Message(message) = line.hear().await? {
            if ToServer::decode(message.expose()).map_err(LineError::from)? != ready {
                return Err(LineError::OutOfTurn.into());
            }
            break;
        }
    }
    let mut change = app.store.begin().await?;
    let place = entered.place();
    // One that was voided meanwhile is no welcome, which the session finds when it looks first. The
    // machine comes before its credentials, as when its owner cuts it off.
    if change.hold_active_vm(place).await? && change.promote_credential(place, next.id).await? {
        change.commit().await?;
    }
    Ok(())
}

/// The credential was worth something when the agent offered it, and nothing when it was proven.
async fn overtaken(app: &App, id: TicketId, entered: &Entered) -> Result<Refused, StoreError> {
    let known = app.store.reattach_credential(id).await?;
    match known.is_some_and(|known| known.status == "retired") {
        true => suspect_clone(app, entered).await,
        false => Ok(Refused::UnknownCredential),
    }
}

/// Marks the VM for its owner: two machines have proven the same credential.
async fn suspect_clone(app: &App, entered: &Entered) -> Result<Refused, StoreError> {
    let mut change = app.store.begin().await?;
    change.mark_suspected_clone(entered.place()).await?;
    audit(app, &mut change, entered, "agent.suspected_clone").await?;
    let (tenant, vm) = entered.place();
    bus::commit(app, change, &[Event::VmChanged { tenant, vm }]).await?;
    Ok(Refused::Clone)
}

async fn audit(
    app: &App,
    change: &mut Transaction,
    entered: &Entered,
    action: &'static str,
) -> Result<(), StoreError> {
    let (actor, subject) = (format!("vm:{}", entered.vm), entered.vm.to_string());
    let entry = Entry {
        tenant: Some(entered.tenant),
        actor: &actor,
        action,
        subject: Some(&subject),
        detail: json!({
            "protection": entered.claims.protection.to_string(),
            "agent_version": entered.claims.agent_version,
        }),
        correlation: entered.session,
    };
    change.insert_audit_event(app, &entry).await
}

const fn action(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Ticket => "agent.enrolled",
        CredentialKind::Reattach => "agent.reattached",
    }
}

/// What a ticket's sealed secret is bound to.
pub(crate) fn ticket_context(id: TicketId) -> Vec<u8> {
    [b"keyferry ticket\0".as_slice(), &id.bytes()].concat()
}

impl From<ChannelError> for Refused {
    fn from(cause: ChannelError) -> Self {
        Self::Line(cause.into())
    }
}

#[cfg(test)]
mod tests;

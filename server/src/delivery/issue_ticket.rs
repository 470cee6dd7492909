//! Gives out a one-time ticket for a virtual machine.

use std::time::Duration;

use keyferry_protocol::handshake::Suite;
use keyferry_protocol::ids::CredentialId;
use keyferry_protocol::ticket::Ticket;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::session::ticket_context;
use super::vm::owned;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::http::Identity;
use crate::secret::Handed;
use crate::sessions::{Permission, SignedIn};
use crate::store::{NewTicket, StoredVm, TenantId, TicketId, UnixTime, UserId, VmId};
use crate::vault::seal;

/// The answer of `POST /vms/{id}/ticket`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Issued {
    ticket: Handed,
    expires_at: UnixTime,
}

/// Makes a ticket; its secret is kept sealed and shown this once.
pub(crate) async fn issue_ticket(
    app: &App,
    caller: &SignedIn,
    id: VmId,
) -> Result<Issued, ApiError> {
    caller.require(Permission::VmEnroll)?;
    let vm = owned(app, caller, id).await?;
    let issued_for = IssuedFor {
        tenant: caller.tenant_id(),
        created_by: Some(caller.user_id()),
        actor: caller.actor(),
        correlation: caller.request_id(),
        way: "request",
        agent_key: None,
    };
    let (ticket, expires_at) = issue(app, &vm, &issued_for).await?;
    let printed = ticket.print(&app.arena).map_err(ApiError::internal)?;
    let text = str::from_utf8(printed.expose()).map_err(ApiError::internal)?;
    let ticket = Handed::new(Zeroizing::new(text.to_owned()));
    Ok(Issued { ticket, expires_at })
}

/// On whose word a ticket is made, as the audit tells it.
pub(super) struct IssuedFor {
    pub(super) tenant: TenantId,
    pub(super) created_by: Option<UserId>,
    pub(super) actor: String,
    pub(super) correlation: Uuid,
    pub(super) way: &'static str,
    /// The only agent that may redeem it, where it is known beforehand.
    pub(super) agent_key: Option<[u8; 32]>,
}

/// Makes and stores a ticket for a VM that is not cut off.
pub(super) async fn issue(
    app: &App,
    vm: &StoredVm,
    issued_for: &IssuedFor,
) -> Result<(Ticket, UnixTime), ApiError> {
    let now = app.clock.now();
    let ticket = make(app, TicketId::new(now, &mut app.rng()))?;
    let row = row(app, issued_for, (vm.id, &ticket))?;
    let mut change = app.store.begin().await?;
    if !change.hold_active_vm((issued_for.tenant, vm.id)).await? {
        return Err(ApiError::VmCutOff);
    }
    change.insert_ticket(&row).await?;
    let subject = vm.id.to_string();
    let detail = json!({ "ticket": row.id, "expires_at": row.expires_at, "way": issued_for.way });
    let entry = Entry {
        tenant: Some(issued_for.tenant),
        actor: &issued_for.actor,
        action: "vm.ticket",
        subject: Some(&subject),
        detail,
        correlation: issued_for.correlation,
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok((ticket, row.expires_at))
}

fn make(app: &App, id: TicketId) -> Result<Ticket, ApiError> {
    Ok(Ticket {
        id: CredentialId(id.bytes()),
        secret: app
            .arena
            .random(32, &mut app.rng())
            .map_err(ApiError::internal)?,
        server_key: app.server_keys.pairs().noise.current.public(),
        min_suite: Suite::Hybrid,
        spki_pin: app.identity.as_ref().and_then(Identity::pin),
        urls: app.public_urls.clone(),
    })
}

fn row(
    app: &App,
    issued_for: &IssuedFor,
    (vm, ticket): (VmId, &Ticket),
) -> Result<NewTicket, ApiError> {
    let id = TicketId::from_bytes(ticket.id.0);
    let context = ticket_context(id);
    let sealed = seal::seal(&app.master_key, &mut app.rng(), &context, &ticket.secret);
    let now = app.clock.now();
    Ok(NewTicket {
        id,
        tenant: issued_for.tenant,
        vm,
        created_by: issued_for.created_by,
        agent_key: issued_for.agent_key,
        sealed: sealed.map_err(ApiError::internal)?,
        created_at: now,
        expires_at: now + TICKET_LIFE,
    })
}

/// How long a ticket can be redeemed.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(600);

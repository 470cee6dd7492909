//! Gives out a one-time ticket for a virtual machine.

use std::time::Duration;

use keyferry_protocol::handshake::Suite;
use keyferry_protocol::ids::CredentialId;
use keyferry_protocol::ticket::Ticket;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::session::ticket_context;
use super::vm::owned;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Handed;
use crate::sessions::{Permission, SignedIn};
use crate::store::{NewTicket, TicketId, UnixTime, VmId};
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
    if vm.status != "active" {
        return Err(ApiError::VmCutOff);
    }
    let now = app.clock.now();
    let ticket = make(app, TicketId::new(now, &mut app.rng()))?;
    let row = row(app, caller, (vm.id, &ticket))?;
    let expires_at = row.expires_at;
    let mut change = app.store.begin().await?;
    change.insert_ticket(&row).await?;
    let (actor, subject) = (caller.actor(), id.to_string());
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &actor,
        action: "vm.ticket",
        subject: Some(&subject),
        detail: json!({ "ticket": row.id, "expires_at": expires_at }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    let printed = ticket.print(&app.arena).map_err(ApiError::internal)?;
    let text = str::from_utf8(printed.expose()).map_err(ApiError::internal)?;
    Ok(Issued {
        ticket: Handed::new(Zeroizing::new(text.to_owned())),
        expires_at,
    })
}

fn make(app: &App, id: TicketId) -> Result<Ticket, ApiError> {
    Ok(Ticket {
        id: CredentialId(id.bytes()),
        secret: app
            .arena
            .random(32, &mut app.rng())
            .map_err(ApiError::internal)?,
        server_key: app.server_keys.noise.public(),
        min_suite: Suite::Hybrid,
        spki_pin: app.certificate_pin,
        urls: app.public_urls.clone(),
    })
}

fn row(app: &App, caller: &SignedIn, (vm, ticket): (VmId, &Ticket)) -> Result<NewTicket, ApiError> {
    let id = TicketId::from_bytes(ticket.id.0);
    let context = ticket_context(id);
    let sealed = seal::seal(&app.master_key, &mut app.rng(), &context, &ticket.secret);
    let now = app.clock.now();
    Ok(NewTicket {
        id,
        tenant: caller.tenant_id(),
        vm,
        created_by: caller.user_id(),
        sealed: sealed.map_err(ApiError::internal)?,
        created_at: now,
        expires_at: now + TICKET_LIFE,
    })
}

/// How long a ticket can be redeemed.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(600);

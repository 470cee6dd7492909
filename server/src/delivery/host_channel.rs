//! The host channel: tickets for one VM over a Unix socket that its hypervisor connects to a
//! serial port inside it. PROTOCOL.md §11.
//!
//! Whoever holds the other end of that wire is in the VM: the hypervisor says so. So the VM needs
//! to keep nothing, and enrols again after every reboot.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::issue_ticket::{IssuedFor, issue};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::store::{StoreError, TenantId, VmId, uuid_v7};

/// The VM at the other end of the wire.
#[derive(Clone, Copy)]
pub(crate) struct WiredVm {
    pub(crate) tenant: TenantId,
    pub(crate) vm: VmId,
}

/// A wire has one machine at its other end: who asks first has the place until it hangs up.
#[derive(Clone)]
pub(crate) struct Place(Arc<Semaphore>);

impl Place {
    pub(crate) fn free() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// Answers one connection of the hypervisor until it ends.
pub(crate) async fn converse(
    app: App,
    (wired, place): (WiredVm, Place),
    stream: UnixStream,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (mut held, mut told_owner) = (None, false);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if read == 0 {
            return Ok(());
        }
        // A port that was just opened may have noise of an earlier boot in it.
        if line.trim_ascii() != REQUEST {
            continue;
        }
        let correlation = uuid_v7(app.clock.now(), &mut app.rng());
        held = held.or_else(|| place.take());
        if held.is_some() {
            writer
                .write_all(&answer(&app, wired, correlation).await)
                .await?;
        } else {
            warn!(vm = %wired.vm, "another machine has the host channel: it may have been cloned");
            writer.write_all(IN_USE).await?;
            told_owner = told_owner || suspect_clone(&app, wired, correlation).await.is_ok();
        }
        sleep(PAUSE).await;
    }
}

async fn answer(app: &App, wired: WiredVm, correlation: Uuid) -> Zeroizing<Vec<u8>> {
    match ticket(app, wired, correlation).await {
        Ok(ticket) => {
            info!(vm = %wired.vm, "ticket given over the host channel");
            ticket
        }
        Err(refused) => {
            warn!(vm = %wired.vm, reason = %refused, "no ticket over the host channel");
            Zeroizing::new(format!("error {}\n", refused.code()).into_bytes())
        }
    }
}

async fn ticket(
    app: &App,
    wired: WiredVm,
    correlation: Uuid,
) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let vm = app
        .store
        .vm(wired.tenant, wired.vm)
        .await?
        .ok_or(ApiError::NotFound)?;
    let issued_for = IssuedFor {
        tenant: wired.tenant,
        created_by: None,
        actor: "operator".to_owned(),
        correlation,
        way: "host channel",
        agent_key: None,
    };
    let (ticket, _expires_at) = issue(app, &vm, &issued_for).await?;
    let text = ticket.print(&app.arena).map_err(ApiError::internal)?;
    Ok(Zeroizing::new([text.expose(), b"\n"].concat()))
}

/// Tells the owner that two machines are what one should be.
async fn suspect_clone(app: &App, wired: WiredVm, correlation: Uuid) -> Result<(), StoreError> {
    let WiredVm { tenant, vm } = wired;
    let mut change = app.store.begin().await?;
    change.mark_suspected_clone((tenant, vm)).await?;
    let entry = Entry {
        tenant: Some(tenant),
        actor: "operator",
        action: "agent.suspected_clone",
        subject: Some(&vm.to_string()),
        detail: json!({ "way": "host channel" }),
        correlation,
    };
    change.insert_audit_event(app, &entry).await?;
    bus::commit(app, change, &[Event::VmChanged { tenant, vm }]).await
}

const REQUEST: &[u8] = b"keyferry-host/1 ticket";
const IN_USE: &[u8] = b"error channel_in_use\n";
const LONGEST_LINE: u64 = 256;
/// Between two tickets, so that a VM cannot fill the database.
const PAUSE: Duration = Duration::from_secs(1);

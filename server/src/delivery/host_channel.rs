//! The host channel: tickets for one VM over a Unix socket that its hypervisor connects to a
//! serial port inside it. PROTOCOL.md §11.
//!
//! Whoever holds the other end of that wire is in the VM: the hypervisor says so. So the VM needs
//! to keep nothing, and enrols again after every reboot.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use super::issue_ticket::{IssuedFor, issue};
use crate::app::App;
use crate::error::ApiError;
use crate::store::{TenantId, VmId, uuid_v7};

/// The VM at the other end of the wire.
#[derive(Clone, Copy)]
pub(crate) struct WiredVm {
    pub(crate) tenant: TenantId,
    pub(crate) vm: VmId,
}

/// Answers one connection of the hypervisor until it ends.
pub(crate) async fn converse(app: App, wired: WiredVm, stream: UnixStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
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
        match ticket(&app, wired, correlation).await {
            Ok(ticket) => {
                info!(vm = %wired.vm, "ticket given over the host channel");
                writer.write_all(&ticket).await?;
            }
            Err(refused) => {
                warn!(vm = %wired.vm, reason = %refused, "no ticket over the host channel");
                let answer = format!("error {}\n", refused.code());
                writer.write_all(answer.as_bytes()).await?;
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ticket(
    app: &App,
    wired: WiredVm,
    correlation: Uuid,
) -> Result<zeroize::Zeroizing<Vec<u8>>, ApiError> {
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
    Ok(zeroize::Zeroizing::new([text.expose(), b"\n"].concat()))
}

const REQUEST: &[u8] = b"keyferry-host/1 ticket";
const LONGEST_LINE: u64 = 256;
/// Between two tickets, so that a VM cannot fill the database.
const PAUSE: Duration = Duration::from_secs(1);

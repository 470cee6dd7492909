//! Security events, told to the operator's webhook: signed, and again and again until it takes them.
//!
//! An event waits in the database from the transaction that it tells of, so that nothing but a
//! webhook that is away for a day loses it. One that is sent twice has the same id both times.

mod address;
mod send;
mod webhook;

use std::time::Duration;

use crate::app::App;
use crate::outbound::OutboundError;
use crate::store::StoreError;

pub(crate) use send::send;
pub(crate) use webhook::Webhook;

/// Why there are no alerts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlertsError {
    #[error("the authority of the webhook cannot be read")]
    Authority(#[source] OutboundError),
}

/// Which events an operator wants to hear of at once.
pub(crate) fn concerns_security(action: &str) -> bool {
    let areas = ["security.", "server.", "operator.", "audit."];
    let single = [
        "agent.refused",
        "agent.suspected_clone",
        "auth.password_reset",
        "mfa.totp_removed",
        "vm.wipe",
    ];
    areas.iter().any(|area| action.starts_with(area)) || single.contains(&action)
}

/// Alerts that no webhook has taken for so long are only in the audit.
pub(crate) async fn forget_old(app: &App) -> Result<u64, StoreError> {
    let before = app.clock.now() - LONGEST_WAIT;
    app.store.delete_old_alerts(before).await
}

const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3_600);

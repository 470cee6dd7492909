//! Security events, told to the operator's webhook: signed, retried, and never waited for.

mod address;
mod send;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::AlertSettings;
use crate::store::{AuditRecord, TenantId, UnixTime};
use send::Webhook;

/// Takes security events after they were written down. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Alerts(Option<Sender<Alert>>);

/// The other end of the queue.
pub(crate) struct Pending {
    webhook: Webhook,
    queue: Receiver<Alert>,
}

/// Why there are no alerts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlertsError {
    #[error("the authority of the webhook cannot be read")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the webhook is told, in JSON.
#[derive(Serialize)]
struct Alert {
    id: Uuid,
    at: UnixTime,
    tenant_id: Option<TenantId>,
    actor: String,
    action: String,
    subject: Option<String>,
    detail: Value,
    correlation_id: Uuid,
}

impl Default for Alerts {
    /// Nobody is told.
    fn default() -> Self {
        Self(None)
    }
}

impl Alerts {
    /// A queue toward the webhook; without one there is nothing to do.
    pub(crate) fn new(settings: &AlertSettings) -> Result<(Self, Option<Pending>), AlertsError> {
        let Some(webhook) = Webhook::new(settings)? else {
            return Ok((Self(None), None));
        };
        let (sender, queue) = mpsc::channel(MOST_WAITING);
        Ok((Self(Some(sender)), Some(Pending { webhook, queue })))
    }

    /// Takes the event if it is one of security. When too many wait, it is only in the audit.
    pub(crate) fn offer(&self, event: &AuditRecord) {
        let Some(queue) = &self.0 else { return };
        if !concerns_security(&event.action) {
            return;
        }
        let alert = Alert {
            id: event.id,
            at: event.at,
            tenant_id: event.tenant_id,
            actor: event.actor.clone(),
            action: event.action.clone(),
            subject: event.subject.clone(),
            detail: serde_json::from_str(&event.detail).unwrap_or(Value::Null),
            correlation_id: event.correlation_id,
        };
        if queue.try_send(alert).is_err() {
            warn!(
                action = event.action,
                "too many alerts wait; this one is only in the audit"
            );
        }
    }
}

impl Pending {
    /// Sends what comes, one after the other, as long as somebody may offer more.
    pub(crate) async fn send_all(mut self) {
        while let Some(alert) = self.queue.recv().await {
            self.send(&alert).await;
        }
    }

    async fn send(&self, alert: &Alert) {
        let body = serde_json::to_vec(alert).expect("an alert is plain text and numbers");
        let mut wait = FIRST_WAIT;
        for attempt in 1..=ATTEMPTS {
            match self.webhook.post(&body).await {
                Ok(()) => {
                    return info!(alert = %alert.id, action = alert.action, "an alert was sent");
                }
                Err(cause) => warn!(%cause, alert = %alert.id, attempt, "an alert was not taken"),
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        warn!(alert = %alert.id, action = alert.action, "an alert is given up; it is only in the audit");
    }
}

/// Which events an operator wants to hear of at once.
fn concerns_security(action: &str) -> bool {
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

const MOST_WAITING: usize = 1_024;
const ATTEMPTS: u32 = 10;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

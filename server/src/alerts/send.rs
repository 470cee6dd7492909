//! What waits goes out, one after the other, the oldest first.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use uuid::Uuid;

use super::Webhook;
use crate::app::App;
use crate::store::{AuditRecord, PendingAlert, StoreError, TenantId, UnixTime};

/// What the webhook is told, in JSON.
#[derive(Serialize)]
struct Alert<'a> {
    id: Uuid,
    at: UnixTime,
    tenant_id: Option<TenantId>,
    actor: &'a str,
    action: &'a str,
    subject: Option<&'a str>,
    detail: Value,
    correlation_id: Uuid,
}

/// Sends until the server stops. Other servers do the same: who claims an alert first sends it.
pub(crate) async fn send(app: App, webhook: Webhook) {
    let mut round = interval(EVERY);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        match send_what_waits(&app, &webhook).await {
            Ok(()) => failing = false,
            Err(cause) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%cause, "alerts that wait cannot be read; tried again");
                }
            }
        }
    }
}

async fn send_what_waits(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    for alert in app.store.due_alerts(app.clock.now()).await? {
        let until = app.clock.now() + CLAIM;
        if app.store.claim_alert(&alert, until).await? {
            send_one(app, webhook, &alert).await?;
        }
    }
    Ok(())
}

/// A server that dies in here leaves its claim, which ends by itself: then another one sends it
/// again.
async fn send_one(app: &App, webhook: &Webhook, alert: &PendingAlert) -> Result<(), StoreError> {
    let PendingAlert {
        event, attempts, ..
    } = alert;
    let body = serde_json::to_vec(&Alert::of(event)).expect("an alert is plain text and numbers");
    match webhook.post(&body).await {
        Ok(()) => {
            info!(alert = %event.id, action = event.action, "an alert was sent");
            app.store.delete_alert(event.id).await
        }
        Err(cause) => {
            warn!(%cause, alert = %event.id, attempts, "an alert was not taken");
            let again = app.clock.now() + pause(*attempts);
            app.store.put_off_alert(alert, again).await
        }
    }
}

impl<'a> Alert<'a> {
    fn of(event: &'a AuditRecord) -> Self {
        Self {
            id: event.id,
            at: event.at,
            tenant_id: event.tenant_id,
            actor: &event.actor,
            action: &event.action,
            subject: event.subject.as_deref(),
            detail: serde_json::from_str(&event.detail).unwrap_or(Value::Null),
            correlation_id: event.correlation_id,
        }
    }
}

/// Longer each time.
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 7)).unwrap_or(0);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

const EVERY: Duration = Duration::from_millis(500);
/// More than the webhook may take.
const CLAIM: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

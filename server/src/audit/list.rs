//! The tenant's events, newest first.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::Filter;
use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::SignedIn;
use crate::store::{ChainId, LinkedRecord, UnixTime};

/// An event as it is shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Event {
    /// Its place in the tenant's chain.
    seq: i64,
    id: Uuid,
    at: UnixTime,
    actor: String,
    action: String,
    subject: Option<String>,
    detail: Value,
    /// The request or agent session that it belongs to.
    correlation_id: Uuid,
    /// What binds it to the event before it, in hexadecimal.
    hash: String,
}

/// The tenant's events that pass the filter.
pub(crate) async fn list(
    app: &App,
    caller: &SignedIn,
    (filter, page): &(Filter, Page),
) -> Result<List<Event>, ApiError> {
    let before = page.after_id::<i64>()?.unwrap_or(i64::MAX);
    let chain = ChainId::of(Some(caller.tenant_id()));
    let rows = app.store.audit_before(chain, (before, page.rows()), filter);
    let events = rows.await?.into_iter().map(|row| Event::of(row, chain));
    Ok(List::new(events.collect(), page, |event| {
        event.seq.to_string()
    }))
}

impl Event {
    pub(super) fn of(row: LinkedRecord, chain: ChainId) -> Self {
        let hash = row.link(chain).hash;
        let event = row.event;
        Self {
            seq: row.seq,
            id: event.id,
            at: event.at,
            actor: event.actor,
            action: event.action,
            subject: event.subject,
            // What was tampered with may be anything, and is shown as it is.
            detail: serde_json::from_str(&event.detail).unwrap_or(Value::String(event.detail)),
            correlation_id: event.correlation_id,
            hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

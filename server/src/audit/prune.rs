//! Old events go, and what is left can still be verified.

use serde_json::json;

use super::{Entry, Link};
use crate::app::App;
use crate::store::{Head, StoreError, TenantId, UnixTime, uuid_v7};

/// Forgets what is older than this time, and tells how many events that were. Each chain says
/// itself that it was pruned.
pub(crate) async fn prune(app: &App, before: UnixTime) -> Result<u64, StoreError> {
    let mut pruned = 0;
    for head in app.store.audit_heads().await? {
        let first_kept = app.store.first_audit_event_since(head.end.chain, before);
        let last = first_kept.await?.map_or(head.end.seq, |first| first - 1);
        let mut from = head.pruned.seq;
        // In pieces, so that nobody waits for long.
        while from < last {
            let upto = last.min(from + PIECE);
            pruned += prune_to(app, &head, upto).await?;
            from = upto;
        }
    }
    Ok(pruned)
}

async fn prune_to(app: &App, head: &Head, seq: i64) -> Result<u64, StoreError> {
    let chain = head.end.chain;
    let Some(upto) = app.store.audit_link(chain, seq).await? else {
        return Ok(0);
    };
    let mut change = app.store.begin().await?;
    let pruned = change.prune_chain(&upto, &app.audit_key).await?;
    change.insert_audit_event(app, &entry(app, &upto)).await?;
    change.commit().await?;
    Ok(pruned)
}

fn entry<'a>(app: &App, upto: &Link) -> Entry<'a> {
    Entry {
        tenant: TenantId::of(upto.chain),
        actor: "operator",
        action: "audit.pruned",
        subject: None,
        detail: json!({ "up_to": upto.seq }),
        correlation: uuid_v7(app.clock.now(), &mut app.rng()),
    }
}

const PIECE: i64 = 10_000;

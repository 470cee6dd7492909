//! Old events go, and what is left can still be verified.

use serde_json::json;

use super::{Entry, Link};
use crate::app::App;
use crate::store::{Head, StoreError, TenantId, UnixTime, uuid_v7};

/// Forgets what is older than this time, and tells how many events that were. Each chain says
/// itself that it was pruned.
pub(crate) async fn prune(app: &App, before: UnixTime) -> Result<u64, StoreError> {
    prune_by(app, before, PIECE).await
}

/// The same; `progress` hears of events that are gone or that stay.
pub(crate) async fn prune_shown(
    app: &App,
    before: UnixTime,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, StoreError> {
    in_pieces(app, before, (PIECE, progress)).await
}

/// The same by so many events at a time, so that nobody waits for long.
pub(super) async fn prune_by(app: &App, before: UnixTime, piece: i64) -> Result<u64, StoreError> {
    in_pieces(app, before, (piece, &|_| ())).await
}

async fn in_pieces(
    app: &App,
    before: UnixTime,
    (piece, progress): (i64, &(dyn Fn(u64) + Sync)),
) -> Result<u64, StoreError> {
    let mut pruned = 0;
    for head in app.store.audit_heads().await? {
        let mut from = head.pruned.seq;
        while from < head.end.seq {
            let upto = head.end.seq.min(from + piece);
            let part = (from, upto);
            let kept = app
                .store
                .first_audit_event_since(head.end.chain, part, before);
            let kept = kept.await?;
            let last = kept.map_or(upto, |first| first - 1);
            if last > from {
                pruned += prune_to(app, &head, last).await?;
            }
            if kept.is_some() {
                // What lies behind it stays as well.
                progress((head.end.seq - from).unsigned_abs());
                break;
            }
            progress((upto - from).unsigned_abs());
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::audit::{append, size};
    use crate::testing;

    #[tokio::test]
    async fn whoever_looks_hears_of_every_event_whether_it_goes_or_stays() {
        let server = testing::server().await;
        let app = &server.app;
        let note = async |tenant: u8| {
            let entry = Entry {
                tenant: Some(TenantId::from_bytes([tenant; 16])),
                action: "test.noted",
                ..entry(app, &Link::origin(crate::store::ChainId::SERVER))
            };
            append(app, &entry).await.unwrap();
        };
        for tenant in [1, 1, 1, 2, 2] {
            note(tenant).await;
        }
        server.clock.advance(Duration::from_secs(3_600));
        let before = app.clock.now();
        for tenant in [1, 1, 3] {
            note(tenant).await;
        }
        for piece in [1, 2, 100] {
            let all = size(&app.store).await.unwrap();
            let heard = AtomicU64::new(0);
            let progress = |events| {
                heard.fetch_add(events, Ordering::Relaxed);
            };
            in_pieces(app, before, (piece, &progress)).await.unwrap();
            assert_eq!(heard.into_inner(), all, "{piece}");
        }
    }
}

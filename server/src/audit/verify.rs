//! Has anybody changed, removed, moved or added events behind the server's back?

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Anchors, ChainKey, Link};
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::SignedIn;
use crate::store::{ChainId, Head, LinkedRecord, Store, StoreError};

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Report {
    /// Whether nothing is wrong.
    pub(crate) intact: bool,
    /// How many events were looked at.
    pub(crate) events: u64,
    /// How many chains.
    pub(crate) chains: u64,
    /// What is wrong, the first hundred.
    pub(crate) faults: Vec<Fault>,
}

/// Something that is wrong with a chain.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Fault {
    /// The tenant, or zeros for the server's own chain.
    pub(crate) chain: ChainId,
    /// Where in the chain.
    pub(crate) seq: i64,
    /// What is wrong there.
    pub(crate) kind: FaultKind,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// The event, or its place, is not what was written.
    Altered,
    /// Events are missing from here on.
    Missing,
    /// The chain has been longer: its end is missing.
    Truncated,
    /// Events were taken away that no operator has pruned.
    Pruned,
    /// So many events as `seq` says are in no chain.
    Unlinked,
}

/// Where the chains are, and what their links are made with.
pub(crate) struct Books<'a> {
    pub(crate) store: &'a Store,
    pub(crate) key: &'a ChainKey,
}

/// Verifies every chain, against what was kept outside the database too; `progress` hears of events.
pub(crate) async fn verify(
    books: &Books<'_>,
    anchors: Option<&Anchors>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let heads = books.store.audit_heads().await?;
    for head in &heads {
        verify_chain(books, head, (&mut report, progress)).await?;
    }
    if let Some(anchors) = anchors {
        let ends = heads.iter().map(|head| (head.end.chain, head)).collect();
        hold_against(books, anchors, &ends, &mut report).await?;
    }
    let unlinked = unlinked(books.store).await?;
    if unlinked > 0 {
        report.add(ChainId::SERVER, unlinked, FaultKind::Unlinked);
    }
    report.intact = report.faults.is_empty();
    Ok(report)
}

/// About how many events the chains have.
pub(crate) async fn size(store: &Store) -> Result<u64, StoreError> {
    let heads = store.audit_heads().await?;
    let events = heads.iter().map(|head| head.end.seq - head.pruned.seq);
    Ok(events.sum::<i64>().unsigned_abs())
}

async fn unlinked(store: &Store) -> Result<i64, StoreError> {
    let mut look = store.begin_long().await?;
    look.unlinked_audit_events().await
}

/// Verifies the chain of the caller's tenant. One at a time: it reads a lot.
pub(crate) async fn verify_own(app: &App, caller: &SignedIn) -> Result<Report, ApiError> {
    let alone = app.verifying.try_acquire();
    let _alone = alone.map_err(|_| ApiError::Overloaded)?;
    let mut report = Report::default();
    let chain = ChainId::of(Some(caller.tenant_id()));
    if let Some(head) = app.store.audit_head(chain).await? {
        verify_chain(&app.books(), &head, (&mut report, &|_| {})).await?;
    }
    report.intact = report.faults.is_empty();
    Ok(report)
}

pub(super) async fn verify_chain(
    books: &Books<'_>,
    head: &Head,
    (report, progress): (&mut Report, &(dyn Fn(u64) + Sync)),
) -> Result<(), StoreError> {
    let chain = head.end.chain;
    report.chains += 1;
    if !is_vouched(books, head) {
        report.add(chain, head.pruned.seq, FaultKind::Pruned);
    }
    let mut last = head.pruned;
    loop {
        let rows = books.store.audit_after(chain, last.seq, PIECE).await?;
        let gap = rows
            .first()
            .is_none_or(|row| row.link(chain).seq != last.seq + 1);
        if gap && let Some(pruned) = pruned_since(books, &last).await? {
            last = pruned;
            continue;
        }
        if rows.is_empty() {
            return verify_end(books, &last, report).await;
        }
        progress(u64::try_from(rows.len()).unwrap_or(0));
        for row in rows {
            let found = row.link(chain);
            if found.seq != last.seq + 1 {
                report.add(chain, last.seq + 1, FaultKind::Missing);
            } else if last.next(books.key, &row.event) != found
                || ChainId::of(row.event.tenant_id) != chain
            {
                report.add(chain, found.seq, FaultKind::Altered);
            }
            report.events += 1;
            last = found;
        }
    }
}

/// Whether an operator has pruned what is missing before the chain's first event.
fn is_vouched(books: &Books<'_>, head: &Head) -> bool {
    head.pruned == Link::origin(head.end.chain)
        || head.pruned_mac == head.pruned.pruned_mac(books.key)
}

/// Where the chain begins by now, when an operator has pruned it beyond this place meanwhile.
async fn pruned_since(books: &Books<'_>, place: &Link) -> Result<Option<Link>, StoreError> {
    let head = books.store.audit_head(place.chain).await?;
    let further = |head: &Head| head.pruned.seq > place.seq && is_vouched(books, head);
    Ok(head.filter(further).map(|head| head.pruned))
}

/// Whether the chain ends where the last event is, or events have come meanwhile.
async fn verify_end(books: &Books<'_>, last: &Link, report: &mut Report) -> Result<(), StoreError> {
    let chain = last.chain;
    let Some(head) = books.store.audit_head(chain).await? else {
        report.add(chain, last.seq, FaultKind::Truncated);
        return Ok(());
    };
    let end = head.end;
    if end.seq > last.seq && !came_since(books, last).await? {
        report.add(chain, last.seq + 1, FaultKind::Truncated);
    } else if end.seq < last.seq {
        report.add(chain, end.seq + 1, FaultKind::Altered);
    } else if end.seq == last.seq && end != *last {
        report.add(chain, end.seq, FaultKind::Altered);
    }
    Ok(())
}

/// Whether there are events after this place by now.
async fn came_since(books: &Books<'_>, place: &Link) -> Result<bool, StoreError> {
    let next = books.store.audit_link(place.chain, place.seq + 1).await?;
    // They may be pruned already.
    Ok(next.is_some() || pruned_since(books, place).await?.is_some())
}

pub(super) async fn hold_against(
    books: &Books<'_>,
    anchors: &Anchors,
    heads: &BTreeMap<ChainId, &Head>,
    report: &mut Report,
) -> Result<(), StoreError> {
    for anchor in &anchors.chains {
        let kept = anchor.link();
        let head = heads.get(&kept.chain).copied();
        if let Some(kind) = lost(books, &kept, head).await? {
            report.add(kept.chain, kept.seq, kind);
        }
    }
    Ok(())
}

/// What is wrong with a place that a chain had reached, when it does not lead to this head.
pub(super) async fn lost(
    books: &Books<'_>,
    kept: &Link,
    head: Option<&Head>,
) -> Result<Option<FaultKind>, StoreError> {
    let Some(head) = head else {
        return Ok(Some(FaultKind::Truncated));
    };
    if head.end == *kept || (kept.seq <= head.pruned.seq && is_vouched(books, head)) {
        return Ok(None);
    }
    if head.end.seq < kept.seq {
        return Ok(Some(FaultKind::Truncated));
    }
    let before = Link {
        seq: kept.seq - 1,
        ..*kept
    };
    Ok(match books.store.audit_link(kept.chain, kept.seq).await? {
        None if pruned_since(books, &before).await?.is_some() => None,
        None => Some(FaultKind::Truncated),
        Some(found) => (found != *kept).then_some(FaultKind::Altered),
    })
}

/// Whether a server has written this event, whatever became of those around it.
pub(super) async fn is_genuine(
    books: &Books<'_>,
    chain: ChainId,
    row: &LinkedRecord,
) -> Result<bool, StoreError> {
    let found = row.link(chain);
    let before = match books.store.audit_link(chain, found.seq - 1).await? {
        Some(before) => Some(before),
        None => books.store.audit_head(chain).await?.map(|head| head.pruned),
    };
    Ok(before.is_some_and(|before| before.next(books.key, &row.event) == found))
}

impl FaultKind {
    /// For people.
    pub(crate) const fn explained(self) -> &'static str {
        match self {
            Self::Altered => "the event, or its place, is not what was written",
            Self::Missing => "events are missing from here on",
            Self::Truncated => "the chain was longer: its end is missing from here on",
            Self::Pruned => "events up to here were taken away, and no operator has pruned them",
            Self::Unlinked => "so many events are in no chain",
        }
    }
}

impl Report {
    fn add(&mut self, chain: ChainId, seq: i64, kind: FaultKind) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { chain, seq, kind });
        }
    }
}

const PIECE: i64 = 1_000;
const MOST_FAULTS: usize = 100;

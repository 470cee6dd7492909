//! Writes down beside the server's keys where the chains are, and notices when one has gone back.
//!
//! The place that a chain has lost stays written down: it is the proof.

use std::collections::BTreeMap;
use std::error::Error;

use serde_json::{Value, json};
use tracing::{error, warn};

use super::anchor::{Anchor, AnchorError};
use super::verify::{is_genuine, lost};
use super::{Anchors, Entry, FaultKind, append};
use crate::app::App;
use crate::data_dir::DataDir;
use crate::store::{ChainId, Head, StoreError, UnixTime, uuid_v7};

/// Writes down where the chains are; what fails is tried again later.
pub(crate) async fn keep_anchor(app: &App) {
    if let Err(cause) = keep(app).await {
        let deeper = cause.source().map(ToString::to_string);
        warn!(%cause, deeper, "the audit's anchor could not be kept; tried again later");
    }
}

async fn keep(app: &App) -> Result<(), AnchorError> {
    let data_dir = DataDir::prepare(&app.config.data_dir)?;
    let kept = Anchors::read(&data_dir)?.filter(|kept| kept.may_be_of(app.instance));
    // Read before it is compared: what is cut off after that is missed the next time.
    let heads = app.store.audit_heads().await?;
    let mut now = Anchors::of(&heads, app.instance, app.clock.now());
    let mut lost = Vec::new();
    if let Some(kept) = kept {
        lost = missed(app, &kept, &heads).await?;
        if !lost.is_empty() && was_brought_back(app, kept.at).await? {
            kept.put_by(&data_dir)?;
            lost.clear();
        }
    }
    app.metrics.audit_regressed(lost.len());
    now.hold_on_to(tell(app, lost).await?);
    now.write(&data_dir)
}

/// The places that chains have lost.
async fn missed(
    app: &App,
    kept: &Anchors,
    heads: &[Head],
) -> Result<Vec<(Anchor, FaultKind)>, StoreError> {
    let heads: BTreeMap<ChainId, &Head> = heads.iter().map(|head| (head.end.chain, head)).collect();
    let mut missed = Vec::new();
    for anchor in &kept.chains {
        let place = anchor.link();
        let head = heads.get(&place.chain).copied();
        if let Some(kind) = lost(&app.books(), &place, head).await? {
            missed.push((anchor.clone(), kind));
        }
    }
    Ok(missed)
}

/// Whether a restore tells why chains are shorter: a server or a command has written that down, and
/// has shut out what it would have revived.
async fn was_brought_back(app: &App, since: UnixTime) -> Result<bool, StoreError> {
    match app.store.newest_restore(since).await? {
        Some(event) => is_genuine(&app.books(), ChainId::SERVER, &event).await,
        None => Ok(false),
    }
}

/// Tells of those that nobody has told of, and marks them as told.
async fn tell(app: &App, missed: Vec<(Anchor, FaultKind)>) -> Result<Vec<Anchor>, StoreError> {
    let now = app.clock.now();
    let fresh = missed
        .iter()
        .filter(|(anchor, _)| anchor.missed_since.is_none());
    let chains: Vec<Value> = fresh.map(|(anchor, kind)| show(anchor, *kind)).collect();
    if !chains.is_empty() {
        let entry = Entry {
            tenant: None,
            actor: "operator",
            action: "security.audit_regressed",
            subject: None,
            detail: json!({ "count": chains.len(), "chains": chains.get(..MOST).unwrap_or(&chains) }),
            correlation: uuid_v7(now, &mut app.rng()),
        };
        append(app, &entry).await?;
        error!(
            chains = chains.len(),
            "the audit in the database is not what it was: somebody has cut events off, or an older \
             database was put in its place. See `keyferry-server audit verify`"
        );
    }
    Ok(missed
        .into_iter()
        .map(|(anchor, _)| anchor.missed(now))
        .collect())
}

fn show(anchor: &Anchor, kind: FaultKind) -> Value {
    let place = anchor.link();
    json!({ "chain": place.chain, "seq": place.seq, "kind": kind })
}

/// How many chains one event names.
const MOST: usize = 20;

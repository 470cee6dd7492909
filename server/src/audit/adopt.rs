//! Events from before there was a chain get their places.

use std::collections::BTreeMap;

use super::{ChainKey, Link};
use crate::store::{ChainId, StoreError, Transaction};

/// What becomes of events that are in no chain when the first key of the chains is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlinked {
    /// They are from before there was a chain, and begin it.
    Adopt,
    /// Somebody took them out of their chain: to link them would vouch for them.
    Leave,
}

/// Links the events of a database that has had no chain, in the transaction that makes its key.
pub(super) async fn adopt(change: &mut Transaction, key: &ChainKey) -> Result<(), StoreError> {
    if !change.begin_audit().await? {
        return Ok(());
    }
    let mut ends: BTreeMap<ChainId, Link> = BTreeMap::new();
    loop {
        let events = change.unlinked_audit().await?;
        if events.is_empty() {
            break;
        }
        for event in events {
            let chain = ChainId::of(event.tenant_id);
            let end = ends.entry(chain).or_insert_with(|| Link::origin(chain));
            *end = end.next(key, &event);
            change.link_audit(&event, end).await?;
        }
    }
    for end in ends.values() {
        change.begin_chain(end).await?;
    }
    Ok(())
}

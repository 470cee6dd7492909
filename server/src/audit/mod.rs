//! What happened, to whom, by whom: written before the answer goes out, and chained, so that nobody
//! who has the database alone can change or forget it unnoticed.

mod adopt;
mod anchor;
mod chain;
mod export;
mod filter;
mod keep_anchor;
mod key;
mod list;
mod prune;
mod sweep;
mod verify;

use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::store::{StoreError, TenantId};

pub(crate) use adopt::Unlinked;
pub(crate) use anchor::Anchors;
pub(crate) use chain::{HASH, Link};
pub(crate) use export::{After, Lines, export, export_all};
pub(crate) use filter::Filter;
pub(crate) use keep_anchor::keep_anchor;
pub(crate) use key::{CONTEXT as KEY_CONTEXT, ChainKey};
pub(crate) use list::list;
pub(crate) use prune::{prune, prune_shown};
pub(crate) use sweep::sweep;
pub(crate) use verify::{Books, FaultKind, Report, size, verify, verify_own};

/// One event. Never holds a secret, a password or a token.
pub(crate) struct Entry<'a> {
    /// Whose affair it is, when it is a tenant's.
    pub(crate) tenant: Option<TenantId>,
    /// Who did it: `user:ID`, `vm:ID`, `operator` or `anyone`.
    pub(crate) actor: &'a str,
    /// What was done, such as `auth.login` or `key.rotate`.
    pub(crate) action: &'static str,
    /// What it was done to: a key's name, a VM's id.
    pub(crate) subject: Option<&'a str>,
    /// More about it.
    pub(crate) detail: Value,
    /// The request or agent session that it belongs to.
    pub(crate) correlation: Uuid,
}

/// Writes one event down. What cannot be audited must not happen.
pub(crate) async fn append(app: &App, entry: &Entry<'_>) -> Result<(), StoreError> {
    let mut change = app.store.begin().await?;
    change.insert_audit_event(app, entry).await?;
    change.commit().await
}

#[cfg(test)]
mod tests;

//! What happened, to whom, by whom: written before the answer goes out.

use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::store::{StoreError, TenantId, uuid_v7};

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
    let now = app.clock.now();
    app.store
        .insert_audit_event(uuid_v7(now, &mut app.rng()), now, entry)
        .await
}

//! A virtual machine as its owners see it.

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::sessions::SignedIn;
use crate::store::{StoredVm, UnixTime, VmId};

/// A VM in an answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Vm {
    id: VmId,
    name: String,
    status: String,
    connected: bool,
    created_at: UnixTime,
    last_seen_at: Option<UnixTime>,
    protection: Option<String>,
    agent_version: Option<String>,
    suspected_clone: bool,
}

impl Vm {
    pub(super) fn of(app: &App, stored: StoredVm) -> Self {
        // Here, or as another server has noted.
        let noted = stored
            .session_until
            .is_some_and(|until| app.clock.now() < until);
        Self {
            connected: noted || app.attached.has(stored.id),
            id: stored.id,
            name: stored.name,
            status: stored.status,
            created_at: stored.created_at,
            last_seen_at: stored.last_seen_at,
            protection: stored.protection,
            agent_version: stored.agent_version,
            suspected_clone: stored.suspected_clone,
        }
    }

    /// What a list goes on after.
    pub(super) fn sorts_by(&self) -> String {
        self.name.clone()
    }
}

/// The VM of this id, which the caller's tenant owns.
pub(super) async fn owned(app: &App, caller: &SignedIn, id: VmId) -> Result<StoredVm, ApiError> {
    app.store
        .vm(caller.tenant_id(), id)
        .await?
        .ok_or(ApiError::NotFound)
}

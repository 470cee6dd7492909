//! The tenant's virtual machines.

use super::vm::{Vm, owned};
use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::{Permission, SignedIn};
use crate::store::VmId;

/// VMs by name.
pub(crate) async fn list_vms(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<Vm>, ApiError> {
    caller.require(Permission::VmRead)?;
    let after = page.after.as_deref().unwrap_or_default();
    let stored = app
        .store
        .vms(caller.tenant_id(), after, page.rows())
        .await?;
    let vms = stored
        .into_iter()
        .map(|stored| Vm::of(app, stored))
        .collect();
    Ok(List::new(vms, page, Vm::sorts_by))
}

/// One VM.
pub(crate) async fn show_vm(app: &App, caller: &SignedIn, id: VmId) -> Result<Vm, ApiError> {
    caller.require(Permission::VmRead)?;
    Ok(Vm::of(app, owned(app, caller, id).await?))
}

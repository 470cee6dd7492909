//! Renames, cuts off, brings back and removes virtual machines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::add_vm::{NAME, parse_name};
use super::vm::{Vm, owned};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::sessions::{Permission, SignedIn};
use crate::store::{StoreError, Transaction, VmId};

/// The body of `PATCH /vms/{id}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VmChange {
    #[schemars(regex(pattern = NAME))]
    name: Option<String>,
    status: Option<Status>,
}

/// Whether a VM may have keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    Active,
    CutOff,
}

/// Renames a VM, cuts it off, or sets it active again.
pub(crate) async fn change_vm(
    app: &App,
    caller: &SignedIn,
    id: VmId,
    wanted: VmChange,
) -> Result<Vm, ApiError> {
    caller.require(Permission::VmWrite)?;
    let vm = owned(app, caller, id).await?;
    let place = (caller.tenant_id(), vm.id);
    let mut change = app.store.begin().await?;
    if let Some(name) = &wanted.name {
        change.rename_vm(place, parse_name(name)?.as_str()).await?;
    }
    match wanted.status {
        Some(Status::Active) => change.activate_vm(place).await?,
        Some(Status::CutOff) => cut_off(&mut change, place).await?,
        None => {}
    }
    let detail = json!({ "name": wanted.name, "status": wanted.status });
    audit(app, caller, (&mut change, id), ("vm.change", detail)).await?;
    commit(app, caller, (change, id)).await?;
    Ok(Vm::of(app, owned(app, caller, id).await?))
}

/// Has a VM's agent wipe everything; it can only come back by a new ticket.
pub(crate) async fn wipe_vm(app: &App, caller: &SignedIn, id: VmId) -> Result<Vm, ApiError> {
    caller.require(Permission::VmWrite)?;
    let vm = owned(app, caller, id).await?;
    let mut change = app.store.begin().await?;
    cut_off(&mut change, (caller.tenant_id(), vm.id)).await?;
    audit(app, caller, (&mut change, id), ("vm.wipe", json!({}))).await?;
    commit(app, caller, (change, id)).await?;
    Ok(Vm::of(app, owned(app, caller, id).await?))
}

/// Cuts a VM off and forgets it.
pub(crate) async fn remove_vm(app: &App, caller: &SignedIn, id: VmId) -> Result<(), ApiError> {
    caller.require(Permission::VmWrite)?;
    let vm = owned(app, caller, id).await?;
    let mut change = app.store.begin().await?;
    change.delete_vm((caller.tenant_id(), vm.id)).await?;
    audit(
        app,
        caller,
        (&mut change, id),
        ("vm.remove", json!({ "name": vm.name })),
    )
    .await?;
    commit(app, caller, (change, id)).await?;
    Ok(())
}

async fn cut_off(
    change: &mut Transaction,
    place: (crate::store::TenantId, VmId),
) -> Result<(), StoreError> {
    change.cut_off_vm(place).await?;
    change.void_credentials(place).await
}

async fn audit(
    app: &App,
    caller: &SignedIn,
    (change, id): (&mut Transaction, VmId),
    (action, detail): (&'static str, Value),
) -> Result<(), StoreError> {
    let (actor, subject) = (caller.actor(), id.to_string());
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &actor,
        action,
        subject: Some(&subject),
        detail,
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await
}

async fn commit(
    app: &App,
    caller: &SignedIn,
    (change, vm): (Transaction, VmId),
) -> Result<(), StoreError> {
    let tenant = caller.tenant_id();
    bus::commit(app, change, &[Event::VmChanged { tenant, vm }]).await
}

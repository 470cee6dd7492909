//! Makes a virtual machine known.

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::vm::{Vm, owned};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::{Permission, SignedIn};
use crate::store::{Transaction, VmId};

/// The body of `POST /vms`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVm {
    #[schemars(regex(pattern = NAME))]
    name: String,
}

/// What the name of a VM looks like: the same as that of a key.
pub(super) const NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";

/// Adds a VM; it has no agent until one enrols.
pub(crate) async fn add_vm(app: &App, caller: &SignedIn, new: NewVm) -> Result<Vm, ApiError> {
    caller.require(Permission::VmWrite)?;
    let name = parse_name(&new.name)?;
    let mut change = app.store.begin().await?;
    let id = insert(app, caller, &mut change, &name).await?;
    change.commit().await?;
    Ok(Vm::of(app, owned(app, caller, id).await?))
}

/// Makes a VM known, if the plan allows one more.
pub(super) async fn insert(
    app: &App,
    caller: &SignedIn,
    change: &mut Transaction,
    name: &KeyName,
) -> Result<VmId, ApiError> {
    let now = app.clock.now();
    let id = VmId::new(now, &mut app.rng());
    let tenant = caller.tenant_id();
    if change.vms_left(tenant).await?.is_some_and(|left| left <= 0) {
        return Err(ApiError::PlanLimit);
    }
    let made = (caller.user_id(), now);
    change.insert_vm((tenant, id), name.as_str(), made).await?;
    let (actor, subject) = (caller.actor(), id.to_string());
    let entry = Entry {
        tenant: Some(tenant),
        actor: &actor,
        action: "vm.add",
        subject: Some(&subject),
        detail: json!({ "name": name.as_str() }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(id)
}

/// A VM's name obeys the rules of a key's.
pub(super) fn parse_name(text: &str) -> Result<KeyName, ApiError> {
    text.parse()
        .map_err(|_bad| ApiError::invalid("name", "is 1 to 64 of the characters A-Z a-z 0-9 - _ ."))
}

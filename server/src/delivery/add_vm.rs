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
use crate::store::VmId;

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
    let now = app.clock.now();
    let id = VmId::new(now, &mut app.rng());
    let place = (caller.tenant_id(), id);
    let mut change = app.store.begin().await?;
    if change
        .vms_left(caller.tenant_id())
        .await?
        .is_some_and(|left| left <= 0)
    {
        return Err(ApiError::PlanLimit);
    }
    change
        .insert_vm(place, name.as_str(), (caller.user_id(), now))
        .await?;
    let (actor, subject) = (caller.actor(), id.to_string());
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &actor,
        action: "vm.add",
        subject: Some(&subject),
        detail: json!({ "name": name.as_str() }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(Vm::of(app, owned(app, caller, id).await?))
}

/// A VM's name obeys the rules of a key's.
pub(super) fn parse_name(text: &str) -> Result<KeyName, ApiError> {
    text.parse()
        .map_err(|_bad| ApiError::invalid("name", "is 1 to 64 of the characters A-Z a-z 0-9 - _ ."))
}

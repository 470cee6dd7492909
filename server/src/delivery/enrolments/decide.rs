//! A person approves or denies an agent.

use keyferry_protocol::approval::{UserCode, fingerprint};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::show::named;
use super::{Enrolment, agent_key};
use crate::app::App;
use crate::audit::Entry;
use crate::delivery::add_vm::{insert, parse_name};
use crate::error::ApiError;
use crate::sessions::{Permission, SignedIn};
use crate::store::{Decision, StoredEnrolment, Transaction, VmId};

/// The body of `POST /enrolments/{code}/approve`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// The VM that the agent is in, which is added if there is none of this name; without it, the
    /// name that the agent proposes.
    name: Option<String>,
}

/// Lets the agent that shows this code enrol.
pub(crate) async fn approve(
    app: &App,
    caller: &SignedIn,
    code: UserCode,
    approval: Approval,
) -> Result<Enrolment, ApiError> {
    let found = named(app, caller, &code).await?;
    let name = approval.name.as_deref().or(found.name.as_deref());
    let name = name.ok_or_else(|| ApiError::invalid("name", "is needed: the agent gave none"))?;
    let name = parse_name(name)?;
    let known = app
        .store
        .vm_named(caller.tenant_id(), name.as_str())
        .await?;
    let mut change = app.store.begin().await?;
    let vm = match known {
        Some(vm) if !change.hold_active_vm((caller.tenant_id(), vm.id)).await? => {
            return Err(ApiError::VmCutOff);
        }
        Some(vm) => vm.id,
        None => {
            caller.require(Permission::VmWrite)?;
            insert(app, caller, &mut change, &name).await?
        }
    };
    decide(app, caller, change, (&found, "approved", Some(vm))).await?;
    Enrolment::of(named(app, caller, &code).await?)
}

/// Turns the agent that shows this code away.
pub(crate) async fn deny(
    app: &App,
    caller: &SignedIn,
    code: UserCode,
) -> Result<Enrolment, ApiError> {
    let found = named(app, caller, &code).await?;
    let change = app.store.begin().await?;
    decide(app, caller, change, (&found, "denied", None)).await?;
    Enrolment::of(named(app, caller, &code).await?)
}

async fn decide(
    app: &App,
    caller: &SignedIn,
    mut change: Transaction,
    (found, status, vm): (&StoredEnrolment, &'static str, Option<VmId>),
) -> Result<(), ApiError> {
    let decision = Decision {
        tenant: caller.tenant_id(),
        status,
        vm,
        by: caller.user_id(),
        at: app.clock.now(),
    };
    if !change.decide_enrolment(found.id, &decision).await? {
        return Err(ApiError::AlreadyDecided);
    }
    let (actor, subject) = (caller.actor(), found.id.to_string());
    let detail: Value = json!({
        "fingerprint": fingerprint(agent_key(found)?), "address": found.address, "vm": vm,
    });
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &actor,
        action: if vm.is_some() {
            "enrolment.approve"
        } else {
            "enrolment.deny"
        },
        subject: Some(&subject),
        detail,
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}

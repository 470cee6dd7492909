//! Gives members other roles, and sends them away.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::Member;
use super::reach::{Reach, role_of};
use super::roles::role_named;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::{self, BuiltIn, Permission, Role, SignedIn};
use crate::store::{Transaction, UserId};

/// The body of `PATCH /members/{user}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberChange {
    role: String,
}

/// Gives a member of the caller's tenant another role; it counts from the next request on.
pub(crate) async fn change_member(
    app: &App,
    caller: &SignedIn,
    user: UserId,
    wanted: MemberChange,
) -> Result<Member, ApiError> {
    let place = (caller.tenant_id(), user);
    let mut change = app.store.begin().await?;
    let reach = Reach::hold(&mut change, caller, Permission::UserAdmin).await?;
    let role = role_named(&mut change, caller, &wanted.role).await?;
    reach.require(&role)?;
    let before = within(&reach, &mut change, caller, user).await?;
    change.change_membership(place, role.name()).await?;
    keep_an_owner(caller, &mut change, &before).await?;
    let detail = json!({ "from": before.name(), "to": role.name() });
    audit(app, caller, (&mut change, user), ("member.change", detail)).await?;
    let stored = change.member(caller.tenant_id(), user).await?;
    change.commit().await?;
    stored.map(Member::from).ok_or(ApiError::NotFound)
}

/// Sends a member away; their sessions in this tenant end with it.
pub(crate) async fn remove_member(
    app: &App,
    caller: &SignedIn,
    user: UserId,
) -> Result<(), ApiError> {
    let mut change = app.store.begin().await?;
    let reach = Reach::hold(&mut change, caller, Permission::UserAdmin).await?;
    let before = within(&reach, &mut change, caller, user).await?;
    remove(app, caller, change, (user, before)).await
}

/// Leaves the tenant that the caller is signed in to.
pub(crate) async fn leave(app: &App, caller: &SignedIn) -> Result<(), ApiError> {
    caller.session_id()?;
    let user = caller.user_id();
    let mut change = app.store.begin().await?;
    change.hold_tenant(caller.tenant_id()).await?;
    let before = role_of(&mut change, caller, user).await?;
    let before = before.ok_or(ApiError::NotFound)?;
    remove(app, caller, change, (user, before)).await
}

/// What the member sent goes too: by an invitation of their own they would come back. So do their
/// sessions, which would count again for who is invited again.
async fn remove(
    app: &App,
    caller: &SignedIn,
    mut change: Transaction,
    (user, before): (UserId, Role),
) -> Result<(), ApiError> {
    let place = (caller.tenant_id(), user);
    change.delete_membership(place).await?;
    change.delete_invitations_by(place).await?;
    keep_an_owner(caller, &mut change, &before).await?;
    let detail = json!({ "role": before.name() });
    audit(app, caller, (&mut change, user), ("member.remove", detail)).await?;
    let ended = change.end_sessions_in(place, app.clock.now()).await?;
    Ok(sessions::commit_end(app, change, &ended).await?)
}

/// The role of a member whom the caller may change.
async fn within(
    reach: &Reach,
    change: &mut Transaction,
    caller: &SignedIn,
    user: UserId,
) -> Result<Role, ApiError> {
    let role = role_of(change, caller, user).await?;
    let role = role.ok_or(ApiError::NotFound)?;
    reach.require(&role)?;
    Ok(role)
}

/// Refuses a change after which nobody would own the tenant.
async fn keep_an_owner(
    caller: &SignedIn,
    change: &mut Transaction,
    before: &Role,
) -> Result<(), ApiError> {
    let owner = BuiltIn::Owner;
    let tenant = caller.tenant_id();
    if before.is(owner) && change.members_in_role(tenant, owner.name()).await? == 0 {
        return Err(ApiError::LastOwner);
    }
    Ok(())
}

async fn audit(
    app: &App,
    caller: &SignedIn,
    (change, user): (&mut Transaction, UserId),
    (action, detail): (&'static str, Value),
) -> Result<(), ApiError> {
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action,
        subject: Some(&user.to_string()),
        detail,
        correlation: caller.request_id(),
    };
    Ok(change.insert_audit_event(app, &entry).await?)
}

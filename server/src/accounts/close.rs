//! The end of an account.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::mfa;
use super::prove_password::prove_password;
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::{Origin, SignedIn};
use crate::store::Transaction;

/// The proof that it is the user who closes the account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closing {
    current_password: Secret,
    /// A second factor, for those who have one.
    code: Option<Secret>,
}

/// Closes the caller's account: it is forgotten with every tenant that has no other member, and
/// their machines wipe.
pub(crate) async fn close_me(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    request: Closing,
) -> Result<(), ApiError> {
    caller.session_id()?;
    let id = caller.user_id();
    let user = app.store.user_by_id(id).await?;
    let user = user.ok_or(ApiError::Unauthenticated)?;
    let password = Some(&request.current_password);
    prove_password(app, origin, caller, (&user, password)).await?;
    if app.store.has_totp(id).await? {
        let code = request.code.as_ref().ok_or(ApiError::InvalidCode)?;
        mfa::prove(app, caller, code).await?;
    }
    let mut change = app.store.begin().await?;
    hold(app, caller, &mut change).await?;
    let ended = change.end_sessions(id, None, app.clock.now()).await?;
    let machines = change.vms_of_user_alone(id).await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "account.closed",
        subject: None,
        detail: json!({ "machines": machines.len() }),
        correlation: caller.request_id(),
    };
    change.delete_account(id).await?;
    change.insert_audit_event(app, &entry).await?;
    let ended = ended.into_iter();
    let ended = ended.map(|session| Event::SessionEnded { session });
    let machines = machines.into_iter();
    let machines = machines.map(|(tenant, vm)| Event::VmChanged { tenant, vm });
    bus::commit(app, change, &ended.chain(machines).collect::<Vec<_>>()).await?;
    Ok(())
}

/// Holds what goes with the account, unless others need it.
async fn hold(app: &App, caller: &SignedIn, change: &mut Transaction) -> Result<(), ApiError> {
    let id = caller.user_id();
    change.hold_tenants_of(id).await?;
    if change.is_last_admin(id).await? {
        return Err(ApiError::LastAdmin);
    }
    if change.is_last_owner(id).await? {
        return Err(ApiError::LastOwner);
    }
    change.hold_to_delete(id).await?;
    caller.hold(app, change).await
}

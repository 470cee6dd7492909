//! Changes of accounts by an operator. Each is audited under the operator's name.

use serde_json::{Value, json};

use super::Operator;
use crate::accounts::{Replacement, mailed_reset, replace};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits;
use crate::secret::Secret;
use crate::sessions;
use crate::store::{SessionId, StoredUser, Transaction};

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Disabled,
}

/// Gives the account a new password and ends all its sessions.
pub(crate) async fn set_password(
    app: &App,
    by: &Operator,
    (user, new): (&StoredUser, &Secret),
) -> Result<(), ApiError> {
    let new = Replacement::hash(app, user, new).await?;
    let mut change = app.store.begin().await?;
    let what = ("operator.password_reset", json!({}));
    audit(app, by, (&mut change, user), what).await?;
    replace(app, change, &new, None).await
}

/// Mails a link to the account's address, by which its owner chooses a new password.
pub(super) async fn mail_reset(
    app: &App,
    by: &Operator,
    user: &StoredUser,
) -> Result<(), ApiError> {
    let email = user.email().ok_or(ApiError::NoEmail)?;
    let mut change = app.store.begin().await?;
    let mail = mailed_reset(app, &mut change, (user.id, &email)).await?;
    let what = ("operator.reset_mailed", json!({}));
    audit(app, by, (&mut change, user), what).await?;
    change.commit().await?;
    app.mailer.post(mail);
    Ok(())
}

/// Forgets that anyone failed to sign in to the account.
pub(crate) async fn unlock(app: &App, by: &Operator, user: &StoredUser) -> Result<(), ApiError> {
    let mut change = app.store.begin().await?;
    let account = limits::account_key(user.id);
    change.forget_login_failures(&account).await?;
    change.unlock_user(user.id).await?;
    let what = ("operator.unlock", json!({}));
    audit(app, by, (&mut change, user), what).await?;
    Ok(change.commit().await?)
}

/// Closes the account to everyone, which ends its sessions, or makes it what it was before.
pub(crate) async fn set_status(
    app: &App,
    by: &Operator,
    (user, status): (&StoredUser, Status),
) -> Result<(), ApiError> {
    let mut change = app.store.begin().await?;
    let (action, ended) = match status {
        Status::Active => {
            change.open_user(user.id).await?;
            ("operator.enable", Vec::new())
        }
        Status::Disabled => ("operator.disable", close(app, &mut change, user).await?),
    };
    audit(app, by, (&mut change, user), (action, json!({}))).await?;
    Ok(sessions::commit_end(app, change, &ended).await?)
}

/// Ends every session of the account, and every login that is under way.
async fn close(
    app: &App,
    change: &mut Transaction,
    user: &StoredUser,
) -> Result<Vec<SessionId>, ApiError> {
    if change.is_last_admin(user.id).await? {
        return Err(ApiError::LastAdmin);
    }
    change.close_user(user.id).await?;
    change.end_logins(user.id).await?;
    Ok(change.end_sessions(user.id, None, app.clock.now()).await?)
}

async fn audit(
    app: &App,
    by: &Operator,
    (change, user): (&mut Transaction, &StoredUser),
    (action, detail): (&'static str, Value),
) -> Result<(), ApiError> {
    let entry = Entry {
        tenant: Some(user.tenant_id),
        actor: &by.actor,
        action,
        subject: Some(&user.id.to_string()),
        detail,
        correlation: by.request_id,
    };
    Ok(change.insert_audit_event(app, &entry).await?)
}

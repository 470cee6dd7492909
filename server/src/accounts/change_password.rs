//! A new password in place of a known one.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::NewPassword;
use super::prove_password::prove_password;
use crate::app::App;
use crate::audit::Entry;
use crate::error::{ApiError, FieldError};
use crate::secret::Secret;
use crate::sessions::{self, Origin, SignedIn};
use crate::store::{
    EmailTokenPurpose, PasswordChange, SessionId, StoredUser, Transaction, UserId, uuid_v7,
};

/// What the password is and what it shall be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRequest {
    current_password: Secret,
    #[schemars(length(min = 8, max = 72))]
    new_password: Secret,
}

/// A password that is ready to take the place of the old one.
pub(crate) struct Replacement {
    user: UserId,
    old_hash: String,
    new_hash: String,
}

/// Changes the caller's password. Every other session ends.
pub(crate) async fn change_password(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    request: ChangeRequest,
) -> Result<(), ApiError> {
    let session = caller.session_id()?;
    let user = app.store.user_by_id(caller.user_id()).await?;
    let user = user.ok_or(ApiError::Unauthenticated)?;
    let current = Some(&request.current_password);
    prove_password(app, origin, caller, (&user, current)).await?;
    let new = Replacement::hash(app, &user, &request.new_password).await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "auth.password_changed",
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    change.insert_audit_event(app, &entry).await?;
    replace(app, change, &new, Some(session)).await
}

impl Replacement {
    /// Checks the new password against the policy and the user's earlier ones, and hashes it.
    pub(crate) async fn hash(app: &App, user: &StoredUser, new: &Secret) -> Result<Self, ApiError> {
        let policy = &app.config.passwords;
        let password = NewPassword::parse(new.expose(), &user.known_words(), policy);
        let password = password.map_err(of_new_password)?;
        if was_used(app, user, new.expose()).await? {
            let fault = FieldError::new("new_password", "was used before");
            return Err(ApiError::WeakPassword(vec![fault]));
        }
        Ok(Self {
            user: user.id,
            old_hash: user.password_hash.clone(),
            new_hash: app.hasher.hash(password).await?,
        })
    }
}

/// Sets the password and ends every session but the one to keep, and every login under way.
pub(crate) async fn replace(
    app: &App,
    mut change: Transaction,
    new: &Replacement,
    keep: Option<SessionId>,
) -> Result<(), ApiError> {
    let now = app.clock.now();
    let step = PasswordChange {
        id: uuid_v7(now, &mut app.rng()),
        user: new.user,
        old_hash: &new.old_hash,
        new_hash: &new.new_hash,
        now,
    };
    // Someone else changed it while this password was hashed: who asks again knows the new state.
    if !change.change_password(&step).await? {
        return Err(ApiError::Overloaded);
    }
    let history = app.config.passwords.history.saturating_sub(1);
    change.trim_password_history(new.user, history).await?;
    let purpose = EmailTokenPurpose::Reset;
    change.void_email_tokens(new.user, purpose, now).await?;
    change.end_logins(new.user).await?;
    let ended = change.end_sessions(new.user, keep, now).await?;
    Ok(sessions::commit_end(app, change, &ended).await?)
}

async fn was_used(app: &App, user: &StoredUser, text: &str) -> Result<bool, ApiError> {
    let Some(earlier) = app.config.passwords.history.checked_sub(1) else {
        return Ok(false);
    };
    let mut hashes = app.store.earlier_passwords(user.id, earlier).await?;
    hashes.push(user.password_hash.clone());
    for hash in hashes {
        if app.hasher.check(text, Some(&hash)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The policy speaks of `password`; here the member is called `new_password`.
fn of_new_password(refused: ApiError) -> ApiError {
    match refused {
        ApiError::WeakPassword(faults) => ApiError::WeakPassword(
            faults
                .into_iter()
                .map(|fault| FieldError::new("new_password", fault.detail))
                .collect(),
        ),
        other => other,
    }
}

//! A new password for someone who forgot the old one and can read their mail.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Email;
use super::change_password::{Replacement, replace};
use super::mailed_token::{MailedToken, hash_of, mail_later};
use super::verify_email::{Address, MailOnItsWay};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::mail::Mail;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::store::{EmailTokenPurpose, StoreError, Transaction, UserId};

/// A token out of a mail, and what the password shall be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    token: Secret,
    #[schemars(length(min = 8, max = 72))]
    new_password: Secret,
}

/// Mails a link to the address, if it is a user's.
pub(crate) async fn forgot_password(
    app: &App,
    origin: &Origin,
    request: Address,
) -> Result<MailOnItsWay, ApiError> {
    app.config.offers.password_reset.must_be_on()?;
    mail_later(app, origin, request.parse()?, EmailTokenPurpose::Reset).await
}

/// A mail with a link for this user, to be sent once the change is durable.
pub(crate) async fn mailed_reset(
    app: &App,
    change: &mut Transaction,
    (user, email): (UserId, &Email),
) -> Result<Mail, StoreError> {
    let token = MailedToken::new(app, EmailTokenPurpose::Reset, user, email);
    token.keep(app, change).await
}

/// Takes the token back and sets the password. Every session ends.
pub(crate) async fn reset_password(
    app: &App,
    origin: &Origin,
    request: Reset,
) -> Result<(), ApiError> {
    let hash = hash_of(request.token.expose())?;
    let (purpose, now) = (EmailTokenPurpose::Reset, app.clock.now());
    let owner = app.store.owner_of_email_token(&hash, purpose, now).await?;
    let owner = owner.ok_or(ApiError::InvalidToken)?;
    let user = app.store.user_by_id(owner).await?;
    let user = user.ok_or(ApiError::InvalidToken)?;
    let new = Replacement::hash(app, &user, &request.new_password).await?;

    let mut change = app.store.begin().await?;
    let used = change.use_email_token(&hash, purpose, app.clock.now());
    if used.await? != Some(owner) {
        return Err(ApiError::InvalidToken);
    }
    // Whoever has the token can read the mailbox.
    change.verify_email(owner).await?;
    let entry = Entry {
        tenant: None,
        actor: &format!("user:{owner}"),
        action: "auth.password_reset",
        subject: None,
        detail: json!({}),
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    replace(app, change, &new, None).await
}

//! The proof that an e-mail address belongs to its account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Email;
use super::mailed_token::{hash_of, mail_later};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::store::EmailTokenPurpose;

/// A token out of a mail.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verification {
    token: Secret,
}

/// Whom a mail is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    #[schemars(regex(pattern = Email::PATTERN), length(max = 100))]
    email: String,
}

/// The answer for every address.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MailOnItsWay {
    message: &'static str,
}

impl MailOnItsWay {
    pub(super) const fn perhaps() -> Self {
        Self {
            message: "If this address can be helped, a mail is on its way.",
        }
    }
}

impl Address {
    pub(super) fn parse(self) -> Result<Email, ApiError> {
        self.email.parse()
    }
}

/// Takes the token back, and with it the address as verified.
pub(crate) async fn verify_email(
    app: &App,
    origin: &Origin,
    request: Verification,
) -> Result<(), ApiError> {
    let hash = hash_of(request.token.expose())?;
    let now = app.clock.now();
    let mut change = app.store.begin().await?;
    let user = change
        .use_email_token(&hash, EmailTokenPurpose::Verify, now)
        .await?
        .ok_or(ApiError::InvalidToken)?;
    change.verify_email(user).await?;
    let entry = Entry {
        tenant: None,
        actor: &format!("user:{user}"),
        action: "auth.email_verified",
        subject: None,
        detail: json!({}),
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}

/// Mails the link again, if the address waits for it.
pub(crate) async fn resend_verification(
    app: &App,
    origin: &Origin,
    request: Address,
) -> Result<MailOnItsWay, ApiError> {
    mail_later(app, origin, request.parse()?, EmailTokenPurpose::Verify).await
}

//! Changes of what an account is called.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::mailed_token::MailedToken;
use super::names::taken;
use super::prove_password::prove_password;
use super::register::FREE_TEXT;
use super::register::free_text;
use super::{Email, Me, Username, me};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits;
use crate::mail::Mail;
use crate::secret::Secret;
use crate::sessions::{Origin, SignedIn};
use crate::store::{AccountChange, EmailTokenPurpose, StoredUser};

/// New values; what is left out stays as it is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeChange {
    #[schemars(regex(pattern = Username::PATTERN))]
    username: Option<String>,
    #[schemars(regex(pattern = Email::PATTERN), length(max = 100))]
    email: Option<String>,
    /// An empty text takes the name away.
    #[schemars(length(max = 100), regex(pattern = FREE_TEXT))]
    full_name: Option<String>,
    /// Needed for another address, since whoever reads its mail can reset the password.
    current_password: Option<Secret>,
}

/// Changes the caller's account, and mails a link to a new address.
pub(crate) async fn change_me(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    request: MeChange,
) -> Result<Me, ApiError> {
    caller.session_id()?;
    let user = app.store.user_by_id(caller.user_id()).await?;
    let user = user.ok_or(ApiError::Unauthenticated)?;
    let change = parse(&request)?;
    if let Some(email) = &change.email {
        limits::mail_by(app, origin, caller.member()).await?;
        limits::mail(app, origin, email.text()).await?;
        let password = request.current_password.as_ref();
        prove_password(app, origin, caller, (&user, password)).await?;
    }
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "account.changed",
        subject: None,
        detail: json!({
            "username": change.username.is_some(),
            "email": change.email.is_some(),
            "full_name": change.full_name.is_some(),
        }),
        correlation: caller.request_id(),
    };
    let mut draft = app.store.begin().await?;
    caller.hold(app, &mut draft).await?;
    let changed = draft.change_account(user.id, &change).await;
    changed.map_err(taken)?;
    draft.insert_audit_event(app, &entry).await?;
    let link = match &change.email {
        Some(email) => Some(link(app, &user, email).keep(app, &mut draft).await?),
        None => None,
    };
    draft.commit().await?;
    tell_by_mail(app, &user, link);
    me(app, caller).await
}

fn parse(request: &MeChange) -> Result<AccountChange, ApiError> {
    let full_name = request.full_name.as_deref();
    let parsed = free_text("full_name", full_name)?;
    Ok(AccountChange {
        username: request
            .username
            .as_deref()
            .map(Username::chosen)
            .transpose()?,
        email: request.email.as_deref().map(str::parse).transpose()?,
        full_name: full_name.map(|_| parsed.unwrap_or_default()),
    })
}

fn link(app: &App, user: &StoredUser, email: &Email) -> MailedToken {
    MailedToken::new(app, EmailTokenPurpose::Verify, user.id, email)
}

/// The old address hears of the new one: its owner may not have asked for it.
fn tell_by_mail(app: &App, user: &StoredUser, link: Option<Mail>) {
    let Some(link) = link else {
        return;
    };
    if let Some(old) = user.email()
        && old.key() != link.to.key()
    {
        let text = "The e-mail address of your Keyferry account was changed.\n\n\
            If it was not you, tell your administrator at once.\n";
        let text = zeroize::Zeroizing::new(text.to_owned());
        app.mailer
            .post(Mail::new(old, "Your e-mail address was changed", text));
    }
    app.mailer.post(link);
}

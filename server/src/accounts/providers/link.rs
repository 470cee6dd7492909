//! Which account somebody has whom a provider vouches for.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::id_token::PersonClaims;
use crate::accounts::password::NO_PASSWORD;
use crate::accounts::{Email, free_text};
use crate::app::App;
use crate::audit::{self, Entry};
use crate::config::{ProviderSettings, SignUp};
use crate::error::ApiError;
use crate::limits;
use crate::mail::Mail;
use crate::sessions::Origin;
use crate::store::{IdentityId, NewIdentity, NewUser, StoredUser, TenantId, Transaction, UserId};

/// Somebody, by a provider's word.
pub(super) struct Somebody<'a> {
    pub(super) provider: &'a ProviderSettings,
    /// Who it is there, for ever.
    pub(super) subject: &'a str,
    pub(super) person: PersonClaims,
}

/// The account that the identity belongs to. One that is new belongs to the account with its
/// e-mail address, if both sides have verified that, or to a new one.
pub(super) async fn account(
    app: &App,
    origin: &Origin,
    who: Somebody<'_>,
) -> Result<StoredUser, ApiError> {
    let (issuer, now) = (&who.provider.issuer, app.clock.now());
    let known = app.store.use_identity(issuer, who.subject, now).await?;
    let id = match known {
        Some(user) => user,
        None => meet(app, origin, &who).await?,
    };
    let user = app.store.user_by_id(id).await?;
    match user.filter(StoredUser::is_active) {
        Some(user) => Ok(user),
        None => Err(refuse(app, origin, id, whence(origin, &who)).await?),
    }
}

/// The account is closed: that somebody wanted to come in is written down.
pub(super) async fn refuse(
    app: &App,
    origin: &Origin,
    user: UserId,
    detail: Value,
) -> Result<ApiError, ApiError> {
    let entry = Entry {
        tenant: None,
        actor: "anyone",
        action: "auth.login_refused",
        subject: Some(&user.to_string()),
        detail,
        correlation: origin.request_id,
    };
    audit::append(app, &entry).await?;
    Ok(ApiError::InvalidCredentials)
}

fn whence(origin: &Origin, who: &Somebody<'_>) -> Value {
    json!({ "provider": who.provider.name, "address": origin.peer })
}

async fn meet(app: &App, origin: &Origin, who: &Somebody<'_>) -> Result<UserId, ApiError> {
    let proven = who.person.email_verified;
    let email = who.person.email.as_deref().filter(|_| proven);
    let email: Email = email.ok_or(ApiError::ProviderEmail)?.parse()?;
    match app.store.user_by_email(&email).await? {
        // Whoever made an account with an address that is not theirs must not get its owner's
        // sign-ins, so an unverified one is nobody's.
        Some(user) if !user.email_verified() => Err(ApiError::AccountExists),
        Some(user) if !user.is_active() => {
            Err(refuse(app, origin, user.id, whence(origin, who)).await?)
        }
        Some(user) => {
            let mut change = app.store.begin().await?;
            link(app, origin, (&mut change, user.id), who).await?;
            change.commit().await?;
            tell_owner(app, who, email);
            Ok(user.id)
        }
        None => sign_up(app, origin, who, email).await,
    }
}

async fn sign_up(
    app: &App,
    origin: &Origin,
    who: &Somebody<'_>,
    email: Email,
) -> Result<UserId, ApiError> {
    app.config.offers.registration.must_be_on()?;
    if who.provider.sign_up == SignUp::Refused {
        return Err(ApiError::SwitchedOff);
    }
    limits::registration(app, origin).await?;
    let user = new_user(app, who, email);
    let mut change = app.store.begin().await?;
    change.insert_user(&user).await?;
    let entry = Entry {
        tenant: Some(user.tenant_id),
        actor: &format!("user:{}", user.id),
        action: "auth.register",
        subject: None,
        detail: json!({ "provider": who.provider.name }),
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    link(app, origin, (&mut change, user.id), who).await?;
    change.commit().await?;
    Ok(user.id)
}

fn new_user(app: &App, who: &Somebody<'_>, email: Email) -> NewUser {
    let now = app.clock.now();
    let named = free_text("name", who.person.name.as_deref());
    // A name that cannot be shown is none.
    let full_name = named.ok().flatten();
    NewUser {
        id: UserId::new(now, &mut app.rng()),
        tenant_id: TenantId::new(now, &mut app.rng()),
        tenant_name: full_name.clone().unwrap_or_else(|| email.text().to_owned()),
        username: None,
        email: Some(email),
        full_name,
        password_hash: NO_PASSWORD.to_owned(),
        server_admin: false,
        pending: false,
        email_verified: true,
        created_at: now,
    }
}

async fn link(
    app: &App,
    origin: &Origin,
    (change, user): (&mut Transaction, UserId),
    who: &Somebody<'_>,
) -> Result<(), ApiError> {
    if change.count_identities(user).await? >= MOST {
        return Err(ApiError::TooMany);
    }
    let now = app.clock.now();
    let identity = NewIdentity {
        id: IdentityId::new(now, &mut app.rng()),
        user_id: user,
        provider: &who.provider.name,
        issuer: &who.provider.issuer,
        subject: who.subject,
        created_at: now,
    };
    change.insert_identity(&identity).await?;
    let entry = Entry {
        tenant: None,
        actor: &format!("user:{user}"),
        action: "security.identity_linked",
        subject: Some(&identity.id.to_string()),
        detail: json!({ "provider": who.provider.name }),
        correlation: origin.request_id,
    };
    Ok(change.insert_audit_event(app, &entry).await?)
}

/// Of one user.
const MOST: i64 = 20;

fn tell_owner(app: &App, who: &Somebody<'_>, email: Email) {
    let name = &who.provider.display_name;
    let text = format!(
        "Your account at {name} can sign in to your Keyferry account from now on.\n\n\
         If it was not you, change your password at {name}, and take the link away:\n\
         GET and DELETE /auth/identities.\n"
    );
    let subject = "A new way to sign in";
    app.mailer
        .post(Mail::new(email, subject, Zeroizing::new(text)));
}

//! A new account with a tenant of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::mailed_token::MailedToken;
use super::names::taken;
use super::password::NO_PASSWORD;
use super::{Email, NewPassword, Profile, Tenant, Username};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits;
use crate::secret::Secret;
use crate::sessions::{self, Ground, Member, Origin, Tokens};
use crate::store::{EmailTokenPurpose, NewUser, TenantId, UserId};

/// What a new account is made from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    { "required": ["username"], "properties": { "username": { "type": "string" } } },
    { "required": ["email"], "properties": { "email": { "type": "string" } } },
]))]
pub(crate) struct NewAccount {
    #[schemars(regex(pattern = Username::PATTERN))]
    username: Option<String>,
    #[schemars(regex(pattern = Email::PATTERN), length(max = 100))]
    email: Option<String>,
    #[schemars(length(min = 8, max = 72))]
    password: Secret,
    #[schemars(length(max = 100), regex(pattern = FREE_TEXT))]
    full_name: Option<String>,
    #[schemars(length(max = 100), regex(pattern = FREE_TEXT))]
    tenant_name: Option<String>,
}

/// The new account, signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Registered {
    #[serde(flatten)]
    profile: Profile,
    /// None while the e-mail address must be verified first.
    #[serde(flatten)]
    tokens: Option<Tokens>,
}

/// What an account is made from, whoever makes it.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) full_name: Option<String>,
    pub(crate) tenant_name: Option<String>,
    /// Without one its owner is mailed a link to choose one.
    pub(crate) password: Option<Secret>,
}

/// Who makes an account, and whether it runs the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// Its owner; it has a tenant and nothing else.
    Ordinary,
    /// The same by an operator, as the audit knows them: no switch, budget or proof of the address
    /// is asked for.
    Provided(&'a str),
    /// The operator's own account.
    ServerAdmin,
}

impl From<NewAccount> for Wanted {
    fn from(account: NewAccount) -> Self {
        Self {
            username: account.username,
            email: account.email,
            full_name: account.full_name,
            tenant_name: account.tenant_name,
            password: Some(account.password),
        }
    }
}

/// Registers an account and signs it in.
pub(crate) async fn register(
    app: &App,
    origin: &Origin,
    account: NewAccount,
) -> Result<Registered, ApiError> {
    let user = create(app, origin, account.into(), Standing::Ordinary).await?;
    let profile = user.profile();
    if user.pending {
        return Ok(Registered {
            profile,
            tokens: None,
        });
    }
    let member = Member {
        user: user.id,
        tenant: user.tenant_id,
    };
    let ground = Ground::Login(user.created_at);
    let tokens = Some(sessions::start(app, origin, member, ground).await?);
    Ok(Registered { profile, tokens })
}

/// Makes an account without signing it in.
pub(crate) async fn create(
    app: &App,
    origin: &Origin,
    wanted: Wanted,
    standing: Standing<'_>,
) -> Result<NewUser, ApiError> {
    let by_stranger = standing == Standing::Ordinary;
    if by_stranger {
        app.config.offers.registration.must_be_on()?;
    }
    let names = Names::parse(&wanted)?;
    let pending = app.config.mail.must_verify && by_stranger;
    if names.email.is_none() && (pending || wanted.password.is_none()) {
        return Err(ApiError::invalid("email", "is needed here"));
    }
    let password = names.password(app, wanted.password.as_ref())?;
    if by_stranger {
        limits::registration(app, origin).await?;
    }
    names.are_free(app).await?;
    let password_hash = match password {
        Some(password) => app.hasher.hash(password).await?,
        None => NO_PASSWORD.to_owned(),
    };
    let user = NewUser {
        server_admin: standing == Standing::ServerAdmin,
        pending,
        ..names.into_user(app, password_hash)
    };
    keep(app, origin, &user, standing).await?;
    Ok(user)
}

/// Stores the account, and mails its owner a link, if there is an address.
async fn keep(
    app: &App,
    origin: &Origin,
    user: &NewUser,
    standing: Standing<'_>,
) -> Result<(), ApiError> {
    let own = format!("user:{}", user.id);
    let (actor, action) = match standing {
        Standing::Provided(operator) => (operator, "operator.add_user"),
        Standing::Ordinary | Standing::ServerAdmin => (own.as_str(), "auth.register"),
    };
    let entry = Entry {
        tenant: Some(user.tenant_id),
        actor,
        action,
        subject: Some(&user.id.to_string()),
        detail: json!({ "address": origin.peer }),
        correlation: origin.request_id,
    };
    let mut change = app.store.begin().await?;
    // Of two registrations at once the slower one meets the unique columns.
    change.insert_user(user).await.map_err(taken)?;
    change.insert_audit_event(app, &entry).await?;
    let link = match &user.email {
        Some(email) => Some(link(app, user, email).keep(app, &mut change).await?),
        None => None,
    };
    change.commit().await?;
    if let Some(mail) = link {
        app.mailer.post(mail);
    }
    Ok(())
}

/// Who has no password yet is to choose one; that proves the address too.
fn link(app: &App, user: &NewUser, email: &Email) -> MailedToken {
    let purpose = if user.password_hash == NO_PASSWORD {
        EmailTokenPurpose::Reset
    } else {
        EmailTokenPurpose::Verify
    };
    MailedToken::new(app, purpose, user.id, email)
}

struct Names {
    username: Option<Username>,
    email: Option<Email>,
    full_name: Option<String>,
    tenant: String,
}

impl Names {
    fn parse(account: &Wanted) -> Result<Self, ApiError> {
        let username = account.username.as_deref().map(Username::chosen);
        let username = username.transpose()?;
        let email: Option<Email> = account.email.as_deref().map(str::parse).transpose()?;
        let called = username
            .as_ref()
            .map(Username::text)
            .or(email.as_ref().map(Email::text));
        let Some(called) = called else {
            return Err(ApiError::invalid(
                "username",
                "give a username, an email or both",
            ));
        };
        let tenant = free_text("tenant_name", account.tenant_name.as_deref())?;
        let tenant = tenant.unwrap_or_else(|| called.to_owned());
        let full_name = free_text("full_name", account.full_name.as_deref())?;
        Ok(Self {
            username,
            email,
            full_name,
            tenant,
        })
    }

    fn known_words(&self) -> Vec<&str> {
        let names = [
            self.username.as_ref().map(Username::text),
            self.full_name.as_deref(),
        ];
        let mail = self.email.as_ref().map(Email::text);
        let parts = mail.into_iter().flat_map(|mail| mail.split(['@', '.']));
        names
            .into_iter()
            .flatten()
            .chain(mail)
            .chain(parts)
            .chain([self.tenant.as_str()])
            .collect()
    }

    fn password(
        &self,
        app: &App,
        wanted: Option<&Secret>,
    ) -> Result<Option<NewPassword>, ApiError> {
        let (words, policy) = (self.known_words(), &app.config.passwords);
        let parsed = wanted.map(|text| NewPassword::parse(text.expose(), &words, policy));
        parsed.transpose()
    }

    /// Somebody ordinary of these names.
    fn into_user(self, app: &App, password_hash: String) -> NewUser {
        let now = app.clock.now();
        NewUser {
            id: UserId::new(now, &mut app.rng()),
            tenant_id: TenantId::new(now, &mut app.rng()),
            tenant_name: self.tenant,
            username: self.username,
            email: self.email,
            full_name: self.full_name,
            password_hash,
            server_admin: false,
            pending: false,
            email_verified: false,
            created_at: now,
        }
    }

    async fn are_free(&self, app: &App) -> Result<(), ApiError> {
        if let Some(username) = &self.username
            && app.store.user_by_username(username).await?.is_some()
        {
            return Err(ApiError::AlreadyRegistered("username"));
        }
        if let Some(email) = &self.email
            && app.store.user_by_email(email).await?.is_some()
        {
            return Err(ApiError::AlreadyRegistered("email"));
        }
        Ok(())
    }
}

/// A text without control characters.
pub(crate) const FREE_TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// One that says something.
pub(crate) const NAME: &str =
    r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// A name that people read: trimmed, and `None` when nothing is left.
pub(crate) fn free_text(field: &str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err(ApiError::invalid(
            field,
            "is at most 100 characters without control characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

impl NewUser {
    fn profile(&self) -> Profile {
        Profile {
            id: self.id,
            username: self.username.as_ref().map(|name| name.text().to_owned()),
            email: self.email.as_ref().map(|mail| mail.text().to_owned()),
            full_name: self.full_name.clone(),
            is_active: !self.pending,
            email_verified: self.email_verified,
            tenant: Tenant {
                id: self.tenant_id,
                name: self.tenant_name.clone(),
            },
            created_at: self.created_at,
        }
    }
}

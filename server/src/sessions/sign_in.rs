//! Login by password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::second_factor::{Brought, MfaRequired, admit};
use super::{Origin, Tokens};
use crate::accounts::Profile;
use crate::app::App;
use crate::audit::{self, Entry};
use crate::error::ApiError;
use crate::limits::Attempt;
use crate::secret::Secret;
use crate::store::{StoredUser, UserId};
use crate::vault::{ClientKey, HandedOut, SealedKeys};

/// Who the caller claims to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "required": ["username"],
        "properties": { "username": { "type": "string" }, "email": { "type": "null" } },
    },
    {
        "required": ["email"],
        "properties": { "email": { "type": "string" }, "username": { "type": "null" } },
    },
]))]
pub(crate) struct Credentials {
    username: Option<String>,
    email: Option<String>,
    password: Secret,
    /// Whether the tokens go into cookies instead of the answer.
    #[serde(default)]
    cookie: bool,
    /// The second factor, by those who know that it will be asked for.
    mfa_code: Option<Secret>,
    /// To which the keys are sealed that this client may read.
    public_key: Option<ClientKey>,
}

/// What a first factor leads to.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum SignInOutcome {
    Complete(Box<SignInAnswer>),
    MfaRequired(MfaRequired),
}

/// The answer to a login.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SignInAnswer {
    #[serde(flatten)]
    tokens: Tokens,
    user_id: UserId,
    username: Option<String>,
    user: Profile,
    /// Only for a login that sent a public key.
    encrypted_api_keys: Option<SealedKeys>,
    /// Whether there are more keys than fit into an answer.
    encrypted_api_keys_truncated: bool,
}

impl SignInAnswer {
    pub(super) fn new(tokens: Tokens, user: Profile) -> Self {
        Self {
            encrypted_api_keys: None,
            encrypted_api_keys_truncated: false,
            tokens,
            user_id: user.id,
            username: user.username.clone(),
            user,
        }
    }

    pub(super) fn with_keys(self, handed: HandedOut) -> Self {
        Self {
            encrypted_api_keys: Some(handed.keys),
            encrypted_api_keys_truncated: handed.truncated,
            ..self
        }
    }

    /// The tokens in it.
    pub(crate) const fn tokens(&mut self) -> &mut Tokens {
        &mut self.tokens
    }
}

/// Signs a user in. An unknown user, a wrong password and a closed account look the same and
/// take the same time.
pub(crate) async fn sign_in(
    app: &App,
    origin: &Origin,
    claim: Credentials,
) -> Result<SignInOutcome, ApiError> {
    let password = claim.password.expose();
    let user = find(app, &claim).await?;
    let known = user.as_ref().map(|user| user.id);
    let attempt = Attempt::begin(app, origin, claim.name(), known).await?;
    let stored = user.as_ref().map(|user| user.password_hash.as_str());
    let right = app.hasher.check(password, stored).await?;
    let Some(user) = user.filter(|user| right && (user.is_active() || user.is_pending())) else {
        let refused = ApiError::InvalidCredentials;
        return Err(attempt.fail(&refusal(origin), refused).await?);
    };
    attempt.go_on().await?;
    if user.is_pending() {
        return Err(refuse_unverified(app, origin, user.id).await?);
    }
    if let Some(renewed) = app.hasher.rehash(password, &user.password_hash).await? {
        app.store
            .replace_password_hash(user.id, &user.password_hash, &renewed)
            .await?;
    }
    let brought = Brought {
        attempt: Some(attempt),
        code: claim.mfa_code.as_ref(),
        public_key: claim.public_key,
    };
    admit(app, origin, user, brought).await
}

impl Credentials {
    pub(crate) const fn wants_cookies(&self) -> bool {
        self.cookie
    }

    fn name(&self) -> &str {
        let name = self.username.as_deref().or(self.email.as_deref());
        name.unwrap_or_default()
    }
}

async fn find(app: &App, claim: &Credentials) -> Result<Option<StoredUser>, ApiError> {
    match (&claim.username, &claim.email) {
        // No username has an @, and many clients have one field for both.
        (Some(mail), None) if mail.contains('@') => by_email(app, mail).await,
        (Some(name), None) => match name.parse() {
            Ok(username) => Ok(app.store.user_by_username(&username).await?),
            Err(_) => Ok(None),
        },
        (None, Some(mail)) => by_email(app, mail).await,
        _ => Err(ApiError::invalid(
            "username",
            "give either a username or an email",
        )),
    }
}

async fn by_email(app: &App, mail: &str) -> Result<Option<StoredUser>, ApiError> {
    match mail.parse() {
        Ok(email) => Ok(app.store.user_by_email(&email).await?),
        Err(_) => Ok(None),
    }
}

/// The password was right, so it is known who was refused.
async fn refuse_unverified(app: &App, origin: &Origin, user: UserId) -> Result<ApiError, ApiError> {
    let entry = Entry {
        subject: Some(&user.to_string()),
        detail: json!({ "address": origin.peer, "reason": "email_unverified" }),
        ..refusal(origin)
    };
    audit::append(app, &entry).await?;
    Ok(ApiError::EmailUnverified)
}

/// Who was claimed stays out: people type passwords into the wrong field.
fn refusal(origin: &Origin) -> Entry<'static> {
    Entry {
        tenant: None,
        actor: "anyone",
        action: "auth.login_refused",
        subject: None,
        detail: json!({ "address": origin.peer }),
        correlation: origin.request_id,
    }
}

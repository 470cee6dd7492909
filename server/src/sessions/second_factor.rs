//! The second step of a login, for users who have a second factor.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::opaque::{OpaqueToken, Purpose};
use super::sign_in::{SignInAnswer, SignInOutcome};
use super::{Ground, Member, Origin, start};
use crate::accounts::mfa;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits::Attempt;
use crate::secret::{Handed, Secret};
use crate::store::{NewMfaChallenge, StoredUser, uuid_v7};
use crate::vault::{self, ClientKey};

/// The answer to a right password where a second factor is owed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MfaRequired {
    mfa_required: bool,
    mfa_token: Handed,
    expires_in: u64,
}

impl MfaRequired {
    /// The token, on its way in an address.
    pub(crate) fn into_token(self) -> Zeroizing<String> {
        self.mfa_token.into_text()
    }
}

/// A second factor for a login that owes one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecondFactor {
    mfa_token: Secret,
    code: Secret,
    /// To which the keys are sealed that this client may read.
    public_key: Option<ClientKey>,
    /// Whether the tokens go into cookies instead of the answer.
    #[serde(default)]
    cookie: bool,
}

impl SecondFactor {
    pub(crate) const fn wants_cookies(&self) -> bool {
        self.cookie
    }
}

/// What a login brings beside who it is for.
#[derive(Default)]
pub(crate) struct Brought<'a> {
    /// Where its failures are counted, and forgotten when it succeeds; none where no password was
    /// tried.
    pub(crate) attempt: Option<Attempt<'a>>,
    /// The second factor, by those who know that it will be asked for.
    pub(crate) code: Option<&'a Secret>,
    /// To which the keys are sealed that the client may read.
    pub(crate) public_key: Option<ClientKey>,
}

/// Lets a user in who has shown who they are, once the second factor is shown too.
pub(crate) async fn admit(
    app: &App,
    origin: &Origin,
    user: StoredUser,
    brought: Brought<'_>,
) -> Result<SignInOutcome, ApiError> {
    let owes = app.store.has_totp(user.id).await?;
    match (brought.attempt, brought.code) {
        (Some(attempt), _) if !owes => attempt.succeed().await?,
        (Some(attempt), Some(code)) => prove(app, origin, (&user, code), attempt).await?,
        _ if !owes => {}
        _ => {
            let owed = challenge(app, &user).await?;
            return Ok(SignInOutcome::MfaRequired(owed));
        }
    }
    let answer = enter(app, origin, user, brought.public_key).await?;
    Ok(SignInOutcome::Complete(Box::new(answer)))
}

/// Completes a login by its second factor.
pub(crate) async fn verify_mfa(
    app: &App,
    origin: &Origin,
    request: SecondFactor,
) -> Result<SignInAnswer, ApiError> {
    let token = OpaqueToken::parse(Purpose::Mfa, request.mfa_token.expose());
    let hash = token.ok_or(ApiError::InvalidMfaToken)?.hash();
    let now = app.clock.now();
    let owed = app.store.attempt_mfa_challenge(&hash, ATTEMPTS, now);
    let owed = owed.await?.ok_or(ApiError::InvalidMfaToken)?;
    let user = app.store.user_in_tenant(owed.user_id, owed.tenant_id);
    let user = user.await?.filter(StoredUser::is_active);
    let user = user.ok_or(ApiError::InvalidMfaToken)?;
    let attempt = Attempt::begin(app, origin, "", Some(user.id)).await?;
    prove(app, origin, (&user, &request.code), attempt).await?;
    if !app.store.use_mfa_challenge(&hash, now).await? {
        return Err(ApiError::InvalidMfaToken);
    }
    enter(app, origin, user, request.public_key).await
}

async fn challenge(app: &App, user: &StoredUser) -> Result<MfaRequired, ApiError> {
    let now = app.clock.now();
    let token = OpaqueToken::random(&mut app.rng());
    let new = NewMfaChallenge {
        id: uuid_v7(now, &mut app.rng()),
        tenant_id: user.tenant_id,
        user_id: user.id,
        token_hash: token.hash(),
        created_at: now,
        expires_at: now + LIFE,
    };
    let mut change = app.store.begin().await?;
    let password_of = user.password_changed_at;
    if !change.hold_login(user.id, password_of).await? {
        return Err(ApiError::InvalidCredentials);
    }
    change.insert_mfa_challenge(&new, MOST).await?;
    change.commit().await?;
    Ok(MfaRequired {
        mfa_required: true,
        mfa_token: Handed::new(token.text(Purpose::Mfa)),
        expires_in: LIFE.as_secs(),
    })
}

/// A wrong code counts like a wrong password, and is written down: the password was right before
/// it.
async fn prove(
    app: &App,
    origin: &Origin,
    (user, code): (&StoredUser, &Secret),
    attempt: Attempt<'_>,
) -> Result<(), ApiError> {
    let Err(refused) = mfa::check(app, user.id, code.expose()).await else {
        return attempt.succeed().await;
    };
    let entry = Entry {
        tenant: Some(user.tenant_id),
        actor: "anyone",
        action: "security.second_factor_refused",
        subject: Some(&user.id.to_string()),
        detail: json!({ "address": origin.peer }),
        correlation: origin.request_id,
    };
    Err(attempt.fail(&entry, refused).await?)
}

async fn enter(
    app: &App,
    origin: &Origin,
    user: StoredUser,
    public_key: Option<ClientKey>,
) -> Result<SignInAnswer, ApiError> {
    let member = Member {
        user: user.id,
        tenant: user.tenant_id,
    };
    let handed = match public_key {
        Some(key) => Some(vault::hand_out(app, origin, member, key).await?),
        None => None,
    };
    let ground = Ground::Login(user.password_changed_at);
    let tokens = start(app, origin, member, ground).await?;
    let answer = SignInAnswer::new(tokens, user.into_profile());
    Ok(match handed {
        Some(handed) => answer.with_keys(handed),
        None => answer,
    })
}

const LIFE: Duration = Duration::from_secs(5 * 60);
/// Of one user at once.
const MOST: i64 = 10;
/// So many codes may be tried with one password.
const ATTEMPTS: i32 = 5;

//! Whether a code is the user's second factor. Each counts once.

use std::time::Duration;

use serde_json::json;
use zeroize::Zeroizing;

use super::{context, recovery, totp};
use crate::app::App;
use crate::audit::{self, Entry};
use crate::error::ApiError;
use crate::limits::{self, Exceeded, Quota};
use crate::secret::Secret;
use crate::sessions::SignedIn;
use crate::store::{TotpAttempts, UserId};
use crate::vault::master_key;
use crate::vault::seal::Sealed;

/// Refuses unless `typed` is a code of the app or a recovery code, and uses it up.
pub(crate) async fn check(app: &App, user: UserId, typed: &str) -> Result<(), ApiError> {
    let code = plain(typed);
    let right = match digits(&code) {
        Some(number) => by_app(app, user, number).await?,
        None => recovery::redeem(app, user, &code).await?,
    };
    right.then_some(()).ok_or(ApiError::InvalidCode)
}

/// The same for somebody signed in. A wrong code is written down: who has a session has no need to
/// guess.
pub(crate) async fn prove(app: &App, caller: &SignedIn, code: &Secret) -> Result<(), ApiError> {
    let user = caller.user_id();
    let Err(refused) = check(app, user, code.expose()).await else {
        return Ok(());
    };
    let guesses = format!("factor:{user}");
    if limits::refusal_to_record(app, &guesses).await.is_some() {
        let entry = Entry {
            tenant: Some(caller.tenant_id()),
            actor: &caller.actor(),
            action: "security.second_factor_refused",
            subject: Some(&user.to_string()),
            detail: json!({}),
            correlation: caller.request_id(),
        };
        audit::append(app, &entry).await?;
    }
    Err(refused)
}

/// A code of the app; of several requests with one code, one is right.
async fn by_app(app: &App, user: UserId, code: u32) -> Result<bool, ApiError> {
    let now = app.clock.now();
    let attempts = TotpAttempts {
        most: ATTEMPTS,
        until: now + PAUSE,
        now,
    };
    // Counted before it is looked at, so that many at once are no way round the bound.
    let Some(stored) = app.store.attempt_totp(user, &attempts).await? else {
        return Err(blocked(app, user).await?);
    };
    let Some(step) = matching_step(app, user, &stored, code).await? else {
        return Ok(false);
    };
    Ok(app.store.use_totp_step(user, step).await?)
}

/// The time step in which the code is that of the sealed secret.
pub(super) async fn matching_step(
    app: &App,
    user: UserId,
    sealed: &Sealed,
    code: u32,
) -> Result<Option<i64>, ApiError> {
    let secret = master_key::open(app, &context(user), sealed).await;
    let secret = secret.map_err(ApiError::internal)?;
    Ok(totp::step_of(&secret, code, app.clock.now()))
}

/// Why no attempt is left: too many were wrong, or there is no app.
async fn blocked(app: &App, user: UserId) -> Result<ApiError, ApiError> {
    let until = app.store.totp_blocked_until(user).await?;
    Ok(until.map_or(ApiError::InvalidCode, |until| {
        ApiError::RateLimited(Exceeded {
            quota: Quota::new(ATTEMPTS.unsigned_abs(), PAUSE),
            wait: until.since(app.clock.now()),
        })
    }))
}

/// The code without what people put between its parts.
fn plain(typed: &str) -> Zeroizing<String> {
    let wanted = |letter: &char| !letter.is_whitespace() && *letter != '-';
    Zeroizing::new(typed.chars().filter(wanted).collect())
}

/// The number, if it is six digits.
pub(super) fn digits(code: &str) -> Option<u32> {
    let six = code.len() == 6 && code.bytes().all(|letter| letter.is_ascii_digit());
    six.then(|| code.parse().ok()).flatten()
}

/// The number that somebody typed as a code of the app.
pub(super) fn typed_digits(typed: &str) -> Option<u32> {
    digits(&plain(typed))
}

/// So many wrong codes are let pass before a pause, and one after each pause.
const ATTEMPTS: i32 = 10;
const PAUSE: Duration = Duration::from_secs(15 * 60);

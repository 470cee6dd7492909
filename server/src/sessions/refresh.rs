//! New tokens for an old refresh token.

use rand_core::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::binding;
use super::opaque::{OpaqueToken, Purpose};
use super::sign_in::SignInAnswer;
use super::start::Member;
use super::token::{Bearer, LEEWAY};
use super::{Membership, Origin, Tokens};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::limits;
use crate::secret::Secret;
use crate::store::{
    NewRefreshToken, StoreError, StoredRefreshToken, Transaction, UnixTime, uuid_v7,
};

/// A request for new tokens.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// Left out when it is in a cookie.
    refresh_token: Option<Secret>,
}

impl RefreshRequest {
    /// A request for what this token gives.
    pub(crate) fn of(token: &str) -> Self {
        Self {
            refresh_token: Some(Secret::new(token.to_owned())),
        }
    }

    pub(crate) const fn has_token(&self) -> bool {
        self.refresh_token.is_some()
    }
}

/// Exchanges a refresh token for its successor and a new access token.
pub(crate) async fn refresh(
    app: &App,
    origin: &Origin,
    request: RefreshRequest,
) -> Result<SignInAnswer, ApiError> {
    let token = request.refresh_token.as_ref();
    let token = token.and_then(|token| OpaqueToken::parse(Purpose::Refresh, token.expose()));
    let token = token.ok_or(ApiError::InvalidRefreshToken)?;
    let now = app.clock.now();
    let stored = find(app, &token, now).await?;
    let live = app.store.live_session(stored.session_id, now).await?;
    let live = live.ok_or(ApiError::InvalidRefreshToken)?;
    binding::check(app, origin, live.id).await?;

    let member = Member {
        user: live.user_id,
        tenant: live.tenant_id,
    };
    let fresh = match stored.used_at {
        None => {
            limits::refresh(app, origin, member).await?;
            rotate(app, origin, &stored, &token).await?
        }
        Some(_) => None,
    };
    let successor = match fresh {
        Some(successor) => successor,
        // Used before, or by someone else just now: who used it decides.
        None => again(app, origin, &token).await?,
    };
    let membership = Membership::load(app, member).await?;
    let bearer = Bearer {
        session: live.id,
        member,
        membership: membership.ok_or(ApiError::InvalidRefreshToken)?,
    };
    let tokens = Tokens::new(app, &bearer, &successor)?;
    let user = app.store.user_in_tenant(live.user_id, live.tenant_id);
    let user = user.await?.ok_or(ApiError::InvalidRefreshToken)?;
    Ok(SignInAnswer::new(tokens, user.into_profile()))
}

async fn find(
    app: &App,
    token: &OpaqueToken,
    now: UnixTime,
) -> Result<StoredRefreshToken, ApiError> {
    app.store
        .refresh_token(&token.hash(), now)
        .await?
        .ok_or(ApiError::InvalidRefreshToken)
}

/// Uses the token up, unless another request was faster.
async fn rotate(
    app: &App,
    origin: &Origin,
    stored: &StoredRefreshToken,
    token: &OpaqueToken,
) -> Result<Option<OpaqueToken>, ApiError> {
    let now = app.clock.now();
    let until = now + app.config.tokens.refresh_life;
    let mut salt = [0; 32];
    app.rng().fill_bytes(&mut salt);
    let successor = token.successor(&salt);
    let next = NewRefreshToken {
        id: uuid_v7(now, &mut app.rng()),
        tenant_id: stored.tenant_id,
        session_id: stored.session_id,
        token_hash: successor.hash(),
        created_at: now,
        expires_at: until,
    };
    // The grace is measured by one clock, at whichever servers the token is used.
    let used_at = app.store.clock(now).await?;
    let mut change = app.store.begin().await?;
    if !change.use_refresh_token(stored.id, used_at, &salt).await? {
        return Ok(None);
    }
    change.insert_refresh_token(&next).await?;
    change.extend_session(stored.session_id, until).await?;
    note(app, &mut change, (origin, stored), Use::First).await?;
    change.commit().await?;
    Ok(Some(successor))
}

/// How often a refresh token was used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    First,
    Again,
}

/// Writes down that the token gave its successor.
async fn note(
    app: &App,
    change: &mut Transaction,
    (origin, stored): (&Origin, &StoredRefreshToken),
    which: Use,
) -> Result<(), StoreError> {
    let entry = Entry {
        tenant: Some(stored.tenant_id),
        actor: &format!("user:{}", stored.user_id),
        action: "auth.refreshed",
        subject: Some(&stored.session_id.to_string()),
        detail: json!({ "address": origin.peer, "again": which == Use::Again }),
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await
}

/// Whether it is within the grace. A database that took over may have another clock.
async fn is_fresh(app: &App, used_at: UnixTime, now: UnixTime) -> Result<bool, StoreError> {
    let now = app.store.clock(now).await?;
    Ok(now.since(used_at) <= app.config.tokens.refresh_grace && used_at.since(now) <= LEEWAY)
}

/// A used token: within the grace the answer was lost, or two tabs asked at once, and the same
/// successor is given again; after it the token was stolen, and the whole session ends.
async fn again(app: &App, origin: &Origin, token: &OpaqueToken) -> Result<OpaqueToken, ApiError> {
    let now = app.clock.now();
    let stored = find(app, token, now).await?;
    if let (Some(used_at), Some(salt)) = (stored.used_at, &stored.successor_salt)
        && is_fresh(app, used_at, now).await?
    {
        if limits::repeat_to_record(app, stored.session_id).await {
            let mut change = app.store.begin().await?;
            note(app, &mut change, (origin, &stored), Use::Again).await?;
            change.commit().await?;
        }
        return Ok(token.successor(salt));
    }
    let entry = Entry {
        tenant: Some(stored.tenant_id),
        actor: "anyone",
        action: "security.refresh_token_reused",
        subject: Some(&stored.session_id.to_string()),
        detail: json!({ "user": stored.user_id, "address": origin.peer }),
        correlation: origin.request_id,
    };
    let mut change = app.store.begin().await?;
    change.end_session(stored.session_id, now).await?;
    change.insert_audit_event(app, &entry).await?;
    let session = stored.session_id;
    bus::commit(app, change, &[Event::SessionEnded { session }]).await?;
    Err(ApiError::InvalidRefreshToken)
}

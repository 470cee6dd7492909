//! The proof that a request comes from a signed-in user.

use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use super::opaque::{OpaqueToken, Purpose};
use super::start::Member;
use super::token::CheckedClaims;
use super::{Origin, Permission, Permissions, Role, ServiceKey, binding, key_ring, token};
use crate::app::App;
use crate::error::ApiError;
use crate::limits;
use crate::store::{LiveSession, ServiceKeyId, SessionId, TenantId, Transaction, UnixTime, UserId};

/// A signed-in caller. Only this module makes one, and only for a session or an API key that has
/// not ended.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// None for a program with an API key.
    session: Option<SessionId>,
    user: UserId,
    tenant: TenantId,
    role: Role,
    /// What the role permits, and of that only what an API key is limited to.
    permissions: Permissions,
    request_id: Uuid,
    standing: Standing,
    /// How many requests the tenant's plan allows in a minute.
    requests_per_minute: Option<u32>,
}

/// Whether the tenant lets the caller do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    /// The tenant demands a second factor that the caller does not have.
    OwesFactor,
}

impl SignedIn {
    /// The session, for what only a person may do: a program has none.
    pub(crate) fn session_id(&self) -> Result<SessionId, ApiError> {
        self.session.ok_or(ApiError::Forbidden)
    }

    /// The session, if it is one.
    pub(crate) const fn session(&self) -> Option<SessionId> {
        self.session
    }

    pub(crate) const fn user_id(&self) -> UserId {
        self.user
    }

    pub(crate) const fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    pub(crate) const fn member(&self) -> Member {
        Member {
            user: self.user,
            tenant: self.tenant,
        }
    }

    pub(crate) const fn role(&self) -> &Role {
        &self.role
    }

    /// Everything that the caller may do.
    pub(crate) const fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// The id under which the logs and the audit know this request.
    pub(crate) const fn request_id(&self) -> Uuid {
        self.request_id
    }

    /// The caller's name in the audit.
    pub(crate) fn actor(&self) -> String {
        format!("user:{}", self.user)
    }

    /// Refuses a caller who must set up a second factor first.
    pub(crate) fn owes_no_factor(&self) -> Result<(), ApiError> {
        match self.standing {
            Standing::Good => Ok(()),
            Standing::OwesFactor => Err(ApiError::SecondFactorOwed),
        }
    }

    pub(crate) const fn requests_per_minute(&self) -> Option<u32> {
        self.requests_per_minute
    }

    /// Refuses a person whose session has ended since it was looked at. Until the change is made or
    /// dropped, it does not.
    pub(crate) async fn hold(&self, app: &App, change: &mut Transaction) -> Result<(), ApiError> {
        let (session, now) = (self.session_id()?, app.clock.now());
        let holds = change.hold_session(self.user, session, now).await?;
        holds.then_some(()).ok_or(ApiError::Unauthenticated)
    }

    /// Refuses a caller whose role does not permit this.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), ApiError> {
        let permitted = self.permissions().permit(permission);
        permitted.then_some(()).ok_or(ApiError::Forbidden)
    }
}

/// Checks the bearer token of a request. Whether its session has ended is asked every time.
pub(crate) async fn signed_in(
    app: &App,
    origin: &Origin,
    bearer: Option<&str>,
) -> Result<SignedIn, ApiError> {
    let bearer = bearer.ok_or(ApiError::Unauthenticated)?;
    if let Some(key) = ServiceKey::parse(bearer) {
        return by_service_key(app, origin, &key).await;
    }
    let live = match OpaqueToken::parse(Purpose::Session, bearer) {
        Some(opaque) => {
            app.store
                .live_session_by_token(&opaque.hash(), app.clock.now())
                .await?
        }
        None => by_access_token(app, bearer).await?,
    };
    let live = live.ok_or(ApiError::Unauthenticated)?;
    binding::check(app, origin, live.id).await?;
    app.seen_sessions.note(live.id, app.clock.now());
    let standing = Standing::of(live.owes_factor);
    let role = standing.role((live.role, live.permissions.as_deref()))?;
    Ok(SignedIn {
        session: Some(live.id),
        standing,
        requests_per_minute: positive(live.requests_per_minute),
        user: live.user_id,
        tenant: live.tenant_id,
        permissions: role.permissions().clone(),
        role,
        request_id: origin.request_id,
    })
}

async fn by_service_key(
    app: &App,
    origin: &Origin,
    key: &ServiceKey,
) -> Result<SignedIn, ApiError> {
    let now = app.clock.now();
    let live = app.store.live_service_key(&key.hash(), now).await?;
    let live = live.ok_or(ApiError::Unauthenticated)?;
    let seen = live.last_used_at;
    if seen.is_none_or(|seen| now.since(seen) >= SEEN_AGAIN) {
        note_use(app, live.id, now);
    }
    let standing = Standing::of(live.owes_factor);
    let role = standing.role((live.role, live.role_permissions.as_deref()))?;
    let limits = live.permissions.as_deref().map(Permission::parse_list);
    let limits = limits.transpose().map_err(ApiError::internal)?;
    let permissions = match limits {
        Some(limits) => role.permissions().limited_to(&limits),
        None => role.permissions().clone(),
    };
    Ok(SignedIn {
        session: None,
        standing,
        requests_per_minute: positive(live.requests_per_minute),
        user: live.user_id,
        tenant: live.tenant_id,
        permissions,
        role,
        request_id: origin.request_id,
    })
}

impl Standing {
    const fn of(owes_factor: bool) -> Self {
        if owes_factor {
            Self::OwesFactor
        } else {
            Self::Good
        }
    }

    /// The member's role, which is worth nothing until the factor is there.
    fn role(self, (name, own): (String, Option<&str>)) -> Result<Role, ApiError> {
        match self {
            Self::Good => Role::of(name, own).map_err(ApiError::internal),
            Self::OwesFactor => Ok(Role::suspended()),
        }
    }
}

/// A bound as the database keeps it.
fn positive(bound: Option<i32>) -> Option<u32> {
    bound.and_then(|bound| u32::try_from(bound).ok())
}

/// Nobody waits for it, and a use that is not noted is noted with the next.
fn note_use(app: &App, id: ServiceKeyId, now: UnixTime) {
    let later = app.clone();
    let noted = app.background.spawn(async move {
        if let Err(cause) = later.store.touch_service_key(id, now).await {
            warn!(%cause, "the use of an API key was not noted");
        }
    });
    if let Err(cause) = noted {
        warn!(%cause, "the use of an API key was not noted");
    }
}

async fn by_access_token(app: &App, bearer: &str) -> Result<Option<LiveSession>, ApiError> {
    let claims = match token::check(app, bearer) {
        Some(claims) => claims,
        None => by_newer_key(app, bearer).await?,
    };
    let live = app
        .store
        .live_session(claims.session, app.clock.now())
        .await?;
    Ok(live.filter(|live| live.user_id == claims.user && live.tenant_id == claims.tenant))
}

/// Another server may have made a key since this one read them.
async fn by_newer_key(app: &App, bearer: &str) -> Result<CheckedClaims, ApiError> {
    if !token::names_unknown_key(app, bearer) || !limits::reading_of_keys(app).await {
        return Err(ApiError::Unauthenticated);
    }
    key_ring::reload(app).await.map_err(ApiError::internal)?;
    token::check(app, bearer).ok_or(ApiError::Unauthenticated)
}

/// How exactly the last use of an API key is known.
const SEEN_AGAIN: Duration = Duration::from_secs(60);

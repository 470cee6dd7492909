//! The proof that a request comes from a signed-in user.

use uuid::Uuid;

use super::opaque::{OpaqueToken, Purpose};
use super::{Origin, Permission, Role, token};
use crate::app::App;
use crate::error::ApiError;
use crate::store::{LiveSession, SessionId, TenantId, UserId};

/// A signed-in caller. Only this module makes one, and only for a session that has not ended.
#[derive(Debug)]
pub(crate) struct SignedIn {
    session: SessionId,
    user: UserId,
    tenant: TenantId,
    role: Role,
    request_id: Uuid,
}

impl SignedIn {
    pub(crate) const fn session_id(&self) -> SessionId {
        self.session
    }

    pub(crate) const fn user_id(&self) -> UserId {
        self.user
    }

    pub(crate) const fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// The id under which the logs and the audit know this request.
    pub(crate) const fn request_id(&self) -> Uuid {
        self.request_id
    }

    /// The caller's name in the audit.
    pub(crate) fn actor(&self) -> String {
        format!("user:{}", self.user)
    }

    /// Refuses a caller whose role does not permit this.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), ApiError> {
        let permitted = self.role.permissions().contains(&permission);
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
    let live = match OpaqueToken::parse(Purpose::Session, bearer) {
        Some(opaque) => {
            app.store
                .live_session_by_token(&opaque.hash(), app.clock.now())
                .await?
        }
        None => by_access_token(app, bearer).await?,
    };
    let live = live.ok_or(ApiError::Unauthenticated)?;
    app.seen_sessions.note(live.id, app.clock.now());
    Ok(SignedIn {
        session: live.id,
        user: live.user_id,
        tenant: live.tenant_id,
        role: live.role.parse().map_err(ApiError::internal)?,
        request_id: origin.request_id,
    })
}

async fn by_access_token(app: &App, bearer: &str) -> Result<Option<LiveSession>, ApiError> {
    let claims = token::check(app, bearer).ok_or(ApiError::Unauthenticated)?;
    let live = app
        .store
        .live_session(claims.session, app.clock.now())
        .await?;
    Ok(live.filter(|live| live.user_id == claims.user && live.tenant_id == claims.tenant))
}

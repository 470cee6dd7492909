//! A new session and its first tokens.

use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use super::devices::{self, Device};
use super::opaque::{OpaqueToken, Purpose};
use super::token::{self, Bearer};
use super::{Membership, Origin};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Handed;
use crate::store::{
    Acquaintance, DeviceId, NewRefreshToken, NewSession, SessionId, TenantId, Transaction, UserId,
    uuid_v7,
};

/// What a caller signs the next requests with.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Tokens {
    access_token: Option<Handed>,
    refresh_token: Option<Handed>,
    session_token: Option<Handed>,
    /// What a page sends along when the tokens are in cookies.
    csrf_token: Option<String>,
    token_type: &'static str,
    expires_in: u64,
    /// Whether the tenant demands a second factor that the user does not have: until it is set up,
    /// nothing else is possible.
    second_factor_owed: bool,
}

impl Tokens {
    /// A new access token beside this refresh token.
    pub(super) fn new(
        app: &App,
        bearer: &Bearer,
        refresh_token: &OpaqueToken,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            access_token: Some(Handed::new(token::issue(app, bearer)?)),
            refresh_token: Some(Handed::new(refresh_token.text(Purpose::Refresh))),
            session_token: None,
            csrf_token: None,
            token_type: "Bearer",
            expires_in: app.config.tokens.access_life.as_secs(),
            second_factor_owed: bearer.membership.owes_factor,
        })
    }

    /// Takes the session token, if it is new, and the refresh token out of the answer, which then
    /// tells `csrf_of` the session token in their place, and no access token.
    pub(crate) fn hand_to_browser(
        &mut self,
        known_session: Option<&str>,
        csrf_of: impl Fn(&str) -> String,
    ) -> Option<CookieTokens> {
        self.access_token = None;
        let session = match (self.session_token.take(), known_session) {
            (Some(new), _) => new.into_text(),
            (None, Some(known)) => Zeroizing::new(known.to_owned()),
            (None, None) => return None,
        };
        let csrf = csrf_of(&session);
        self.csrf_token = Some(csrf.clone());
        Some(CookieTokens {
            session,
            refresh: self.refresh_token.take()?.into_text(),
            csrf,
        })
    }
}

/// What goes into a browser's cookies.
pub(crate) struct CookieTokens {
    pub(crate) session: Zeroizing<String>,
    pub(crate) refresh: Zeroizing<String>,
    pub(crate) csrf: String,
}

/// Whom a session is for.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) user: UserId,
    pub(crate) tenant: TenantId,
}

/// Starts a session for a user who has just proved who they are.
pub(crate) async fn start(app: &App, origin: &Origin, member: Member) -> Result<Tokens, ApiError> {
    let membership = Membership::load(app, member).await?;
    let membership = membership.ok_or(ApiError::Unauthenticated)?;
    let now = app.clock.now();
    let session_token = OpaqueToken::random(&mut app.rng());
    let refresh_token = OpaqueToken::random(&mut app.rng());
    let mut session = NewSession {
        id: SessionId::new(now, &mut app.rng()),
        tenant_id: member.tenant,
        user_id: member.user,
        token_hash: session_token.hash(),
        created_at: now,
        expires_at: now + app.config.tokens.refresh_life,
        address: origin.peer.map(|address| address.to_string()),
        user_agent: origin.user_agent.as_deref().map(str::to_owned),
        device_id: None,
    };
    let first = NewRefreshToken {
        id: uuid_v7(now, &mut app.rng()),
        tenant_id: member.tenant,
        session_id: session.id,
        token_hash: refresh_token.hash(),
        created_at: now,
        expires_at: session.expires_at,
    };
    let entry = Entry {
        tenant: Some(member.tenant),
        actor: &format!("user:{}", member.user),
        action: "auth.session_started",
        subject: Some(&session.id.to_string()),
        detail: serde_json::json!({}),
        correlation: origin.request_id,
    };
    let mut change = app.store.begin().await?;
    change.note_login(member.user, now).await?;
    let device = meet_device(app, &mut change, member, origin).await?;
    session.device_id = device.map(|(id, _)| id);
    change.insert_session(&session).await?;
    change.insert_refresh_token(&first).await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    if let Some((_, Acquaintance::New)) = device {
        devices::tell_owner(app, origin, member.user);
    }

    let bearer = Bearer {
        session: session.id,
        member,
        membership,
    };
    Tokens::new(app, &bearer, &refresh_token).map(|tokens| Tokens {
        session_token: Some(Handed::new(session_token.text(Purpose::Session))),
        ..tokens
    })
}

/// Notes the device; one that is new to a user with others is a security event.
async fn meet_device(
    app: &App,
    change: &mut Transaction,
    member: Member,
    origin: &Origin,
) -> Result<Option<(DeviceId, Acquaintance)>, ApiError> {
    let Some(device) = Device::of(origin) else {
        return Ok(None);
    };
    let now = app.clock.now();
    let row = device.row(member.user, DeviceId::new(now, &mut app.rng()), now);
    let met = change.meet_device(&row).await?;
    if met.1 == Acquaintance::New {
        let entry = Entry {
            tenant: Some(member.tenant),
            actor: &format!("user:{}", member.user),
            action: "security.new_device",
            subject: Some(&met.0.to_string()),
            detail: serde_json::json!({ "network": row.network, "user_agent": row.user_agent }),
            correlation: origin.request_id,
        };
        change.insert_audit_event(app, &entry).await?;
    }
    Ok(Some(met))
}

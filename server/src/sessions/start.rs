//! A new session and its first tokens.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::devices::{self, Device};
use super::list::commit_end;
use super::opaque::{OpaqueToken, Purpose};
use super::token::{self, Bearer};
use super::{Membership, Origin};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Handed;
use crate::store::{
    Acquaintance, DeviceId, NewRefreshToken, NewSession, SessionId, StoreError, TenantId,
    Transaction, UnixTime, UserId, uuid_v7,
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

/// What a new session follows from, which must still hold when it begins.
#[derive(Clone, Copy)]
pub(crate) enum Ground {
    /// The user has shown who they are, while their password was the one of this time.
    Login(UnixTime),
    /// The user is signed in.
    Session(SessionId),
}

/// Starts a session, unless its ground is gone: whoever changes a password or closes an account
/// ends the logins that are under way too.
pub(crate) async fn start(
    app: &App,
    origin: &Origin,
    member: Member,
    ground: Ground,
) -> Result<Tokens, ApiError> {
    let membership = Membership::load(app, member).await?;
    let membership = membership.ok_or(ApiError::Unauthenticated)?;
    let session_token = OpaqueToken::random(&mut app.rng());
    let refresh_token = OpaqueToken::random(&mut app.rng());
    let mut session = new_session(app, origin, member, &session_token);
    let mut change = app.store.begin().await?;
    must_hold(app, &mut change, member, ground).await?;
    let device = meet_device(app, &mut change, member, origin).await?;
    session.device_id = device.map(|(id, _)| id);
    let crowded_out = crowd_out(app, &mut change, member, origin).await?;
    change.insert_session(&session).await?;
    let first = first_refresh_token(app, &session, &refresh_token);
    change.insert_refresh_token(&first).await?;
    let actor = format!("user:{}", member.user);
    let started = (
        session.id,
        "auth.session_started",
        json!({ "address": origin.peer }),
    );
    note(app, &mut change, (member, origin), (&actor, started)).await?;
    commit_end(app, change, &crowded_out).await?;
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

async fn must_hold(
    app: &App,
    change: &mut Transaction,
    member: Member,
    ground: Ground,
) -> Result<(), ApiError> {
    let now = app.clock.now();
    match ground {
        Ground::Login(since) => {
            let holds = change.note_login(member.user, since, now).await?;
            holds.then_some(()).ok_or(ApiError::InvalidCredentials)
        }
        Ground::Session(session) => {
            // Of too many others one will end.
            change.hold_every_session(member.user).await?;
            let holds = change.hold_session(member.user, session, now).await?;
            holds.then_some(()).ok_or(ApiError::Unauthenticated)
        }
    }
}

fn new_session(app: &App, origin: &Origin, member: Member, token: &OpaqueToken) -> NewSession {
    let now = app.clock.now();
    NewSession {
        id: SessionId::new(now, &mut app.rng()),
        tenant_id: member.tenant,
        user_id: member.user,
        token_hash: token.hash(),
        created_at: now,
        expires_at: now + app.config.tokens.refresh_life,
        address: origin.peer.map(|address| address.to_string()),
        user_agent: origin.user_agent.as_deref().map(str::to_owned),
        device_id: None,
    }
}

fn first_refresh_token(app: &App, session: &NewSession, token: &OpaqueToken) -> NewRefreshToken {
    NewRefreshToken {
        id: uuid_v7(session.created_at, &mut app.rng()),
        tenant_id: session.tenant_id,
        session_id: session.id,
        token_hash: token.hash(),
        created_at: session.created_at,
        expires_at: session.expires_at,
    }
}

/// Makes room for one more session: of too many the one ends that was not used for longest.
async fn crowd_out(
    app: &App,
    change: &mut Transaction,
    member: Member,
    origin: &Origin,
) -> Result<Vec<SessionId>, ApiError> {
    let now = app.clock.now();
    let ended = change.end_sessions_but(member.user, MOST_SESSIONS - 1, now);
    let ended = ended.await?;
    for (session, tenant) in &ended {
        let of = Member {
            tenant: *tenant,
            ..member
        };
        let why = json!({ "reason": "too_many" });
        let told = ("anyone", (*session, "auth.session_ended", why));
        note(app, change, (of, origin), told).await?;
    }
    Ok(ended.into_iter().map(|(session, _)| session).collect())
}

async fn note(
    app: &App,
    change: &mut Transaction,
    (member, origin): (Member, &Origin),
    (actor, (session, action, detail)): (&str, (SessionId, &'static str, Value)),
) -> Result<(), StoreError> {
    let entry = Entry {
        tenant: Some(member.tenant),
        actor,
        action,
        subject: Some(&session.to_string()),
        detail,
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await
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
            detail: json!({ "network": row.network, "user_agent": row.user_agent }),
            correlation: origin.request_id,
        };
        change.insert_audit_event(app, &entry).await?;
        change.forget_devices_but(member.user, MOST_DEVICES).await?;
    }
    Ok(Some(met))
}

/// Of one user, in all tenants together.
const MOST_SESSIONS: i64 = 200;
/// Of one user.
const MOST_DEVICES: i64 = 100;

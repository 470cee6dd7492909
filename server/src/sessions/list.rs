//! A user's own sessions, and their end.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::SignedIn;
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::store::{SessionId, StoreError, StoredSession, Transaction, UnixTime};

/// A session as its user sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OwnSession {
    id: SessionId,
    /// Whether this very request belongs to it.
    current: bool,
    address: Option<String>,
    user_agent: Option<String>,
    created_at: UnixTime,
    last_seen_at: UnixTime,
    expires_at: UnixTime,
}

/// Lists the caller's sessions, newest first.
pub(crate) async fn list(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<OwnSession>, ApiError> {
    let before = page.after_id()?;
    let stored = app
        .store
        .sessions_of(caller.user_id(), app.clock.now(), (before, page.rows()))
        .await?;
    let shown = stored.into_iter().map(|one| OwnSession::of(one, caller));
    Ok(List::new(shown.collect(), page, |one| one.id.to_string()))
}

/// Ends one of the caller's sessions.
pub(crate) async fn end(app: &App, caller: &SignedIn, id: SessionId) -> Result<(), ApiError> {
    caller.session_id()?;
    let (actor, subject) = (caller.actor(), id.to_string());
    let mut change = app.store.begin().await?;
    let now = app.clock.now();
    if !change.end_own_session(caller.user_id(), id, now).await? {
        return Err(ApiError::NotFound);
    }
    let entry = Entry {
        subject: Some(&subject),
        ..ended_by(caller, &actor, "auth.session_ended")
    };
    change.insert_audit_event(app, &entry).await?;
    bus::commit(app, change, &[Event::SessionEnded { session: id }]).await?;
    Ok(())
}

/// Ends all of the caller's sessions, this one too.
pub(crate) async fn sign_out_everywhere(app: &App, caller: &SignedIn) -> Result<(), ApiError> {
    caller.session_id()?;
    let actor = caller.actor();
    let mut change = app.store.begin().await?;
    let now = app.clock.now();
    let ended = change.end_sessions(caller.user_id(), None, now).await?;
    let entry = Entry {
        detail: json!({ "sessions": ended.len() }),
        ..ended_by(caller, &actor, "auth.logout_all")
    };
    change.insert_audit_event(app, &entry).await?;
    commit_end(app, change, &ended).await?;
    Ok(())
}

/// Makes the end of these sessions durable, and tells everyone of it.
pub(crate) async fn commit_end(
    app: &App,
    change: Transaction,
    ended: &[SessionId],
) -> Result<(), StoreError> {
    let ended = ended.iter().copied();
    let ended = ended.map(|session| Event::SessionEnded { session });
    bus::commit(app, change, &ended.collect::<Vec<_>>()).await
}

pub(super) fn ended_by<'a>(caller: &SignedIn, actor: &'a str, action: &'static str) -> Entry<'a> {
    Entry {
        tenant: Some(caller.tenant_id()),
        actor,
        action,
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    }
}

impl OwnSession {
    pub(crate) fn of(stored: StoredSession, caller: &SignedIn) -> Self {
        Self {
            current: caller.session() == Some(stored.id),
            id: stored.id,
            address: stored.address,
            user_agent: stored.user_agent,
            created_at: stored.created_at,
            last_seen_at: stored.last_seen_at.unwrap_or(stored.created_at),
            expires_at: stored.expires_at,
        }
    }
}

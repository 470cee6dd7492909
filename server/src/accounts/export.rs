//! Everything that is known of an account, for its owner to take away.

use schemars::JsonSchema;
use serde::Serialize;

use super::api_keys::ApiKey;
use super::mfa::SecondFactors;
use super::{Me, me, show_mfa};
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::{self, SignedIn};
use crate::store::{OwnEvent, UnixTime};

/// An account in one piece. Secrets are in none of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Export {
    exported_at: UnixTime,
    account: Me,
    second_factors: SecondFactors,
    sessions: Vec<sessions::OwnSession>,
    api_keys: Vec<ApiKey>,
    /// What the user did, newest first, at most ten thousand events.
    events: Vec<OwnEvent>,
}

/// Collects the caller's data.
pub(crate) async fn export_me(app: &App, caller: &SignedIn) -> Result<Export, ApiError> {
    caller.session_id()?;
    let (user, now) = (caller.user_id(), app.clock.now());
    let sessions = app.store.sessions_of(user, now, (None, ROWS)).await?;
    let member = (caller.tenant_id(), user);
    let keys = app.store.service_keys(member, None, ROWS).await?;
    let sessions = sessions.into_iter();
    Ok(Export {
        exported_at: now,
        account: me(app, caller).await?,
        second_factors: show_mfa(app, caller).await?,
        sessions: sessions
            .map(|one| sessions::OwnSession::of(one, caller))
            .collect(),
        api_keys: keys.into_iter().map(ApiKey::of).collect::<Result<_, _>>()?,
        events: app.store.events_of(&caller.actor(), ROWS).await?,
    })
}

const ROWS: i64 = 10_000;

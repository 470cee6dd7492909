//! Logout: the session's tokens are worth nothing from here on.

use serde_json::json;

use super::SignedIn;
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;

/// Ends the caller's session.
pub(crate) async fn sign_out(app: &App, caller: &SignedIn) -> Result<(), ApiError> {
    let session = caller.session_id()?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "auth.logout",
        subject: Some(&session.to_string()),
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    change.end_session(session, app.clock.now()).await?;
    change.insert_audit_event(app, &entry).await?;
    bus::commit(app, change, &[Event::SessionEnded { session }]).await?;
    Ok(())
}

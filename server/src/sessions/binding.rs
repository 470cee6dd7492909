//! Whether a session stays where it began: with the same program, in the same network.

use serde_json::json;

use super::Origin;
use crate::app::App;
use crate::audit::{self, Entry};
use crate::config::SessionBinding;
use crate::error::ApiError;
use crate::limits;
use crate::network::Network;
use crate::store::{SessionId, SessionPlace};

/// Notes a session that comes from elsewhere, and refuses it where the operator wants that.
pub(super) async fn check(app: &App, origin: &Origin, session: SessionId) -> Result<(), ApiError> {
    let binding = app.config.web.binding;
    if binding == SessionBinding::Off {
        return Ok(());
    }
    let place = app.store.session_place(session).await?;
    let Some(place) = place.filter(|place| has_moved(place, origin)) else {
        return Ok(());
    };
    if limits::note_of_move(app, session).await {
        let entry = Entry {
            tenant: Some(place.tenant_id),
            actor: &format!("user:{}", place.user_id),
            action: "security.session_moved",
            subject: Some(&session.to_string()),
            detail: json!({ "from": place.address, "to": origin.peer }),
            correlation: origin.request_id,
        };
        audit::append(app, &entry).await?;
    }
    match binding {
        SessionBinding::Enforce => Err(ApiError::Unauthenticated),
        SessionBinding::Off | SessionBinding::Warn => Ok(()),
    }
}

fn has_moved(place: &SessionPlace, origin: &Origin) -> bool {
    let began = place.address.as_deref().and_then(|text| text.parse().ok());
    let elsewhere = match (began, origin.peer) {
        (Some(began), Some(now)) => Network::of_neighbours(began) != Network::of_neighbours(now),
        _ => false,
    };
    elsewhere || place.user_agent.as_deref() != origin.user_agent.as_deref()
}

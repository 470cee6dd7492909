//! The proof that it is the user who asks, and not somebody who found a session.

use serde_json::json;

use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::limits::Attempt;
use crate::secret::Secret;
use crate::sessions::{Origin, SignedIn};
use crate::store::StoredUser;

/// Refuses unless the password is the user's. A wrong one counts like one at login, and is written
/// down: who has a session has no need to guess.
pub(super) async fn prove_password(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    (user, password): (&StoredUser, Option<&Secret>),
) -> Result<(), ApiError> {
    let wrong = |detail| ApiError::invalid("current_password", detail);
    let password = password.ok_or_else(|| wrong("is missing"))?;
    let attempt = Attempt::begin(app, origin, "", Some(user.id)).await?;
    let stored = Some(user.password_hash.as_str());
    if app.hasher.check(password.expose(), stored).await? {
        attempt.go_on().await?;
        return attempt.succeed().await;
    }
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "security.password_refused",
        subject: Some(&user.id.to_string()),
        detail: json!({ "address": origin.peer }),
        correlation: caller.request_id(),
    };
    Err(attempt.fail(&entry, wrong("is wrong")).await?)
}

//! The caller's API keys.

use super::ApiKey;
use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::SignedIn;

/// The caller's API keys that were not revoked, oldest first, never with a secret.
pub(crate) async fn list_api_keys(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<ApiKey>, ApiError> {
    let after = page.after_id()?;
    let member = (caller.tenant_id(), caller.user_id());
    let stored = app.store.service_keys(member, after, page.rows()).await?;
    let keys: Result<Vec<_>, _> = stored.into_iter().map(ApiKey::of).collect();
    Ok(List::new(keys?, page, |key| key.id.to_string()))
}

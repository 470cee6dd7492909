//! A new API key.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ApiKey;
use crate::accounts::register::{NAME, free_text};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Handed;
use crate::sessions::{Permission, ServiceKey, SignedIn};
use crate::store::{NewServiceKeyRow, ServiceKeyId, StoredServiceKey};
use crate::whole_number;

/// What an API key is made from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    #[schemars(length(min = 1, max = 100), regex(pattern = NAME))]
    name: String,
    #[serde(default, deserialize_with = "whole_number::optional")]
    #[schemars(range(min = 1, max = 3650))]
    expires_in_days: Option<u16>,
    #[schemars(with = "Option<Vec<Permission>>")]
    permissions: Option<Vec<String>>,
}

/// A new API key with its secret, which is never shown again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AddedApiKey {
    #[serde(flatten)]
    described: ApiKey,
    key: Handed,
}

/// Makes an API key for the caller, who needs a session for that.
pub(crate) async fn add_api_key(
    app: &App,
    caller: &SignedIn,
    request: NewApiKey,
) -> Result<AddedApiKey, ApiError> {
    caller.session_id()?;
    app.config.offers.api_keys.must_be_on()?;
    let secret = ServiceKey::random(&mut app.rng());
    let text = secret.text();
    let row = row(app, caller, &request, &secret)?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "api_key.add",
        subject: Some(&row.id.to_string()),
        detail: json!({ "name": row.name, "permissions": row.permissions }),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    let member = (caller.tenant_id(), caller.user_id());
    if change.count_service_keys(member).await? >= MOST {
        return Err(ApiError::TooMany);
    }
    change.insert_service_key(&row).await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    let described = ApiKey::of(StoredServiceKey {
        id: row.id,
        name: row.name,
        hint: row.hint,
        permissions: row.permissions,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: None,
    })?;
    Ok(AddedApiKey {
        described,
        key: Handed::new(text),
    })
}

fn row(
    app: &App,
    caller: &SignedIn,
    request: &NewApiKey,
    secret: &ServiceKey,
) -> Result<NewServiceKeyRow, ApiError> {
    let name = free_text("name", Some(&request.name))?;
    let name = name.ok_or_else(|| ApiError::invalid("name", "is missing"))?;
    let days = request.expires_in_days;
    if days.is_some_and(|days| !(1..=3_650).contains(&days)) {
        return Err(ApiError::invalid("expires_in_days", "is 1 to 3650"));
    }
    let life = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
    let now = app.clock.now();
    let text = secret.text();
    Ok(NewServiceKeyRow {
        id: ServiceKeyId::new(now, &mut app.rng()),
        tenant_id: caller.tenant_id(),
        user_id: caller.user_id(),
        name,
        hint: text.chars().skip(text.len() - 4).collect(),
        key_hash: secret.hash(),
        permissions: permissions(caller, request.permissions.as_deref())?,
        created_at: now,
        expires_at: life.map(|life| now + life),
    })
}

/// Of one member.
const MOST: i64 = 100;

/// Nobody gives a program more than they have.
fn permissions(caller: &SignedIn, wanted: Option<&[String]>) -> Result<Option<String>, ApiError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    for name in wanted {
        let known: Option<Permission> = name.parse().ok();
        if known.is_none_or(|permission| caller.require(permission).is_err()) {
            let detail = "may only hold permissions that you have";
            return Err(ApiError::invalid("permissions", detail));
        }
    }
    Ok(Some(wanted.join(" ")))
}

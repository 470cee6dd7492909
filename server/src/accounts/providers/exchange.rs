//! A session for the program that began a sign-in at a provider.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::link::refuse;
use crate::app::App;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::sessions::{Brought, Origin, SignInOutcome, admit};
use crate::store::StoredUser;

/// What the program was handed, and what it alone knows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderCode {
    code: Secret,
    verifier: Secret,
}

/// Exchanges the code, once, for a session or for the demand of a second factor.
pub(crate) async fn redeem(
    app: &App,
    origin: &Origin,
    request: ProviderCode,
) -> Result<SignInOutcome, ApiError> {
    let code = OpaqueToken::parse(Purpose::ProviderCode, request.code.expose());
    let code = code.ok_or(ApiError::InvalidSignIn)?.hash();
    let challenge = Sha256::digest(request.verifier.expose().as_bytes()).into();
    let now = app.clock.now();
    let id = app.store.redeem_provider_code(&code, &challenge, now);
    let id = id.await?.ok_or(ApiError::InvalidSignIn)?;
    let user = app.store.user_by_id(id).await?;
    let Some(user) = user.filter(StoredUser::is_active) else {
        return Err(refuse(app, origin, id, json!({ "address": origin.peer })).await?);
    };
    admit(app, origin, user, Brought::default()).await
}

//! A new secret for an authenticator app, which counts once it is confirmed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::context;
use crate::accounts::Profile;
use crate::accounts::prove_password::prove_password;
use crate::app::App;
use crate::audit::Entry;
use crate::base32;
use crate::error::ApiError;
use crate::outbound::escaped;
use crate::secret::{Handed, Secret};
use crate::sessions::{Origin, SignedIn};
use crate::store::NewTotp;
use crate::vault::seal;

/// What an authenticator app is fed with, shown once.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewSecret {
    /// Base32, to be typed.
    secret: Handed,
    /// The same, to be shown as a QR code.
    otpauth_url: Handed,
}

/// The proof that it is the user: whoever sets the second factor up shuts everybody else out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingUp {
    current_password: Secret,
}

/// Makes a secret. An unconfirmed one from before is forgotten; a confirmed one must be removed
/// first.
pub(crate) async fn start_totp(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    request: SettingUp,
) -> Result<NewSecret, ApiError> {
    caller.session_id()?;
    let user = app.store.user_by_id(caller.user_id()).await?;
    let user = user.ok_or(ApiError::Unauthenticated)?;
    let password = Some(&request.current_password);
    prove_password(app, origin, caller, (&user, password)).await?;
    let profile = user.into_profile();
    let secret = app.arena.random(SECRET, &mut app.rng());
    let secret = secret.map_err(ApiError::internal)?;
    let place = context(caller.user_id());
    let sealed = seal::seal(&app.master_key, &mut app.rng(), &place, &secret);
    let new = NewTotp {
        user_id: caller.user_id(),
        sealed: sealed.map_err(ApiError::internal)?,
        created_at: app.clock.now(),
    };
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "mfa.totp_started",
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    if !change.put_totp(&new).await? {
        return Err(ApiError::AlreadyExists);
    }
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    let text = base32::encode(secret.expose());
    Ok(NewSecret {
        otpauth_url: Handed::new(otpauth_url(&profile, &text)),
        secret: Handed::new(text),
    })
}

fn otpauth_url(profile: &Profile, secret: &str) -> Zeroizing<String> {
    let name = profile.username.as_deref().or(profile.email.as_deref());
    let label = escaped(name.unwrap_or("account"));
    Zeroizing::new(format!(
        "otpauth://totp/Keyferry:{label}?secret={secret}&issuer=Keyferry&algorithm=SHA1&digits=6&period=30"
    ))
}

/// Bytes of a secret, as RFC 4226 §4 recommends.
const SECRET: usize = 20;

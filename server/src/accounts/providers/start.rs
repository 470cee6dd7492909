//! Sends a browser to a provider.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{ProviderName, derived, form, url};
use crate::app::App;
use crate::error::ApiError;
use crate::limits;
use crate::sessions::Origin;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::store::{NewProviderSignIn, uuid_v7};

/// A program of the user's that began the sign-in and waits for its end.
pub(crate) struct Waiting {
    /// Where it listens, on the browser's own machine (RFC 8252 §7.3).
    pub(crate) port: u16,
    /// SHA-256 of what it alone knows.
    pub(crate) challenge: [u8; 32],
}

/// Where the browser goes, and what it must come back with.
pub(crate) struct Departure {
    pub(crate) location: String,
    /// For the browser's cookie: the sign-in is bound to it.
    pub(crate) secret: Zeroizing<String>,
}

/// Begins a sign-in at a provider.
pub(crate) async fn depart(
    app: &App,
    origin: &Origin,
    name: &ProviderName,
    program: Option<Waiting>,
) -> Result<Departure, ApiError> {
    let provider = app.providers.named(name)?;
    limits::provider_sign_in(app, origin).await?;
    let now = app.clock.now();
    let known = provider.known(now).await?;
    let secret = OpaqueToken::random(&mut app.rng());
    let new = NewProviderSignIn {
        id: uuid_v7(now, &mut app.rng()),
        provider: &provider.settings.name,
        token_hash: secret.hash(),
        created_at: now,
        expires_at: now + LIFE,
        program: program.map(|program| (program.port, program.challenge)),
    };
    app.store.insert_provider_sign_in(&new).await?;
    let query = form(&[
        ("response_type", "code"),
        ("client_id", &provider.settings.client_id),
        ("redirect_uri", &provider.redirect_uri(app)),
        ("scope", &provider.settings.scope),
        ("state", &derived(&secret, "state")),
        ("nonce", &derived(&secret, "nonce")),
        ("code_challenge", &challenge(&derived(&secret, "verifier"))),
        ("code_challenge_method", "S256"),
    ]);
    let endpoint = url(&known.metadata.authorization_endpoint)?.text();
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    Ok(Departure {
        location: format!("{endpoint}{joint}{query}"),
        secret: secret.text(Purpose::ProviderSignIn),
    })
}

/// `BASE64URL(SHA256(verifier))`, RFC 7636 §4.2.
fn challenge(verifier: &str) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(verifier.as_bytes()))
}

/// How long somebody may take to sign in at a provider.
pub(crate) const LIFE: Duration = Duration::from_secs(10 * 60);

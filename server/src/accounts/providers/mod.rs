//! Signing in by somebody else's word: OpenID Connect, authorization code with PKCE.
//!
//! ```text
//!  browser ── start ──▶ a secret in its cookie; state, nonce and PKCE verifier follow from it
//!  browser ── provider: signs in there ──▶ callback: code, state
//!  server  ── code, verifier, client secret ──▶ provider: ID token, checked here
//! ```
//!
//! A user is who the issuer and the subject say. The first time, the verified e-mail address
//! decides, and only toward an account whose own address is verified too.

mod callback;
mod discovery;
mod exchange;
mod id_token;
mod identities;
mod link;
mod start;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use callback::{Arrival, Return, come_back};
pub(crate) use exchange::{ProviderCode, redeem};
pub(crate) use identities::{Identity, list_identities, remove_identity};
pub(crate) use start::{LIFE, Waiting, depart};

use crate::app::App;
use crate::config::ProviderSettings;
use crate::error::ApiError;
use crate::outbound::{Client, OutboundError, Url, escaped};
use crate::page::List;
use crate::sessions::opaque::OpaqueToken;
use discovery::Memory;

/// Every provider of this server.
pub(crate) struct Providers(Vec<Provider>);

/// One provider and what is known of it.
pub(crate) struct Provider {
    settings: ProviderSettings,
    client: Client,
    memory: tokio::sync::Mutex<Memory>,
}

/// What a provider's routes are called.
pub(crate) struct ProviderName(String);

/// A provider as strangers see it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Choice {
    name: String,
    display_name: String,
    /// Where a browser begins.
    start: String,
}

impl Providers {
    pub(crate) fn new(settings: &[ProviderSettings]) -> Result<Self, OutboundError> {
        let one = |settings: &ProviderSettings| {
            Ok(Provider {
                client: Client::new(settings.ca_file.as_deref())?,
                settings: settings.clone(),
                memory: tokio::sync::Mutex::default(),
            })
        };
        settings.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    fn named(&self, name: &ProviderName) -> Result<&Provider, ApiError> {
        let mut all = self.0.iter();
        let found = all.find(|provider| provider.settings.name == name.0);
        found.ok_or(ApiError::NotFound)
    }
}

impl Provider {
    /// Where the provider sends browsers back to.
    fn redirect_uri(&self, app: &App) -> String {
        let base = app.public_urls.first().map_or("", String::as_str);
        format!("{base}/auth/providers/{}/callback", self.settings.name)
    }

    fn fails(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
        ApiError::ProviderFailed(cause.into())
    }
}

/// The providers at which one can sign in.
pub(crate) async fn list_providers(app: &App) -> Result<List<Choice>, ApiError> {
    let choice = |provider: &Provider| Choice {
        name: provider.settings.name.clone(),
        display_name: provider.settings.display_name.clone(),
        start: format!("/auth/providers/{}/start", provider.settings.name),
    };
    Ok(List::whole(app.providers.0.iter().map(choice).collect()))
}

impl FromStr for ProviderName {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// What follows from the secret of one sign-in, for one purpose each: `state` comes back by the
/// browser, `nonce` in the ID token, `verifier` goes to the provider with the code.
fn derived(secret: &OpaqueToken, purpose: &str) -> String {
    secret.derived(&format!("keyferry provider {purpose}"))
}

/// `application/x-www-form-urlencoded`, of queries and bodies alike.
fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{name}={}", escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn url(text: &str) -> Result<Url, ApiError> {
    text.parse().map_err(Provider::fails)
}

#[cfg(test)]
mod tests;

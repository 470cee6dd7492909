//! Who was turned away, as the audit tells of it: once in a while for each of them, so that nobody
//! fills it by trying again.

use std::time::Duration;

use serde_json::json;

use super::gcra::Quota;
use super::refusal_to_record;
use crate::app::App;
use crate::audit::{self, Entry};
use crate::error::ApiError;
use crate::network::Network;
use crate::sessions::{Member, Origin};
use crate::store::{TenantId, UserId};

/// Somebody whose budget may be used up.
pub(crate) struct Asker<'a> {
    pub(super) origin: &'a Origin,
    pub(super) tenant: Option<TenantId>,
    /// Whose account it is about, where there is one.
    pub(super) user: Option<UserId>,
}

impl<'a> Asker<'a> {
    /// A stranger, who is known by their address alone.
    pub(super) const fn at(origin: &'a Origin) -> Self {
        Self::about(origin, None)
    }

    /// A stranger who asks about this account, if it is one.
    pub(super) const fn about(origin: &'a Origin, user: Option<UserId>) -> Self {
        let tenant = None;
        Self {
            origin,
            tenant,
            user,
        }
    }

    pub(super) const fn member(origin: &'a Origin, member: Member) -> Self {
        Self {
            origin,
            tenant: Some(member.tenant),
            user: Some(member.user),
        }
    }

    /// Passes on what a budget of this name and kind said. That it is used up is written down once
    /// in the time that it takes to be full again.
    pub(super) async fn hears(
        &self,
        app: &App,
        (limit, whose): (&str, &str),
        said: Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let Err(ApiError::RateLimited(exceeded)) = &said else {
            return said;
        };
        if is_news(app, &format!("{limit}:{whose}"), exceeded.quota.per).await {
            let subject = self.user.map(|user| user.to_string());
            let entry = Entry {
                tenant: self.tenant,
                actor: "anyone",
                action: "auth.rate_limited",
                subject: subject.as_deref(),
                detail: json!({ "limit": limit, "address": self.origin.peer }),
                correlation: self.origin.request_id,
            };
            audit::append(app, &entry).await?;
        }
        said
    }
}

/// Passes an answer on. That a proof which names nobody was worth nothing is written down, for one
/// address and kind once in a quarter of an hour.
pub(crate) async fn proof<T>(
    app: &App,
    origin: &Origin,
    answer: Result<T, ApiError>,
) -> Result<T, ApiError> {
    let Some(refused) = answer.as_ref().err().filter(|refused| is_proof(refused)) else {
        return answer;
    };
    let whose = format!("{}:{}", refused.code(), network(origin));
    if is_news(app, &whose, A_WHILE).await {
        let entry = Entry {
            tenant: None,
            actor: "anyone",
            action: "auth.proof_refused",
            subject: None,
            detail: json!({ "code": refused.code(), "address": origin.peer }),
            correlation: origin.request_id,
        };
        audit::append(app, &entry).await?;
    }
    answer
}

/// Whether it is a mailed, rotated or short-lived token that did not count, or a provider's word. A
/// wrong password or code is written down where it is looked at.
const fn is_proof(refused: &ApiError) -> bool {
    matches!(
        refused,
        ApiError::InvalidRefreshToken
            | ApiError::InvalidToken
            | ApiError::InvalidMfaToken
            | ApiError::InvalidSignIn
            | ApiError::ProviderRefused
            | ApiError::ProviderEmail
            | ApiError::AccountExists
    )
}

/// From where somebody comes who may have many addresses.
fn network(origin: &Origin) -> String {
    origin
        .peer
        .map_or_else(String::new, |peer| Network::of_client(peer).to_string())
}

async fn is_news(app: &App, name: &str, span: Duration) -> bool {
    let (name, now) = (format!("told:{name}"), app.clock.now());
    let first = app.counters.take(name, Quota::new(1, span), now).await;
    first.is_open() && refusal_to_record(app, "proof").await.is_some()
}

const A_WHILE: Duration = Duration::from_secs(15 * 60);

//! One try to sign in: what it costs the address when it fails, and when an account is locked.
//!
//! An account has one budget, under whichever of its names it is tried; a name that no account has
//! has one too, so that neither an answer nor its time tells which accounts exist.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::gcra::Quota;
use super::turned_away::Asker;
use super::{Exceeded, Standing};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::network::Network;
use crate::sessions::Origin;
use crate::store::{EVERYWHERE, Failures, NewFailure, Transaction, UnixTime, UserId};

/// A try whose outcome is still open.
pub(crate) struct Attempt<'a> {
    app: &'a App,
    origin: &'a Origin,
    account: [u8; 32],
    user: Option<UserId>,
}

/// Under what the failures of an account are counted.
pub(crate) fn account_key(user: UserId) -> [u8; 32] {
    Sha256::digest([b"user\0".as_slice(), &user.bytes()].concat()).into()
}

/// The same for a name that no account has.
fn nobodys_key(claimed: &str) -> [u8; 32] {
    Sha256::digest(claimed.to_lowercase().as_bytes()).into()
}

impl<'a> Attempt<'a> {
    /// Lets the try begin, unless there were too many failures.
    pub(crate) async fn begin(
        app: &'a App,
        origin: &'a Origin,
        claimed: &str,
        user: Option<UserId>,
    ) -> Result<Self, ApiError> {
        let attempt = Self {
            app,
            origin,
            account: user.map_or_else(|| nobodys_key(claimed), account_key),
            user,
        };
        attempt.must_be_open().await?;
        Ok(attempt)
    }

    /// Lets the try go on after its password was found to be right. Tries that failed meanwhile
    /// count all the same: else sending many at once would be a way around the limit.
    pub(crate) async fn go_on(&self) -> Result<(), ApiError> {
        self.must_be_open().await
    }

    /// Every factor was right: what failed before is forgotten.
    pub(crate) async fn succeed(self) -> Result<(), ApiError> {
        Ok(self.app.store.forget_login_failures(&self.account).await?)
    }

    /// A factor was wrong: writes it down, and says what the caller is told, which is `refused`
    /// as long as there may be another try.
    pub(crate) async fn fail(
        self,
        entry: &Entry<'_>,
        mut refused: ApiError,
    ) -> Result<ApiError, ApiError> {
        let now = self.app.clock.now();
        let mut change = self.app.store.begin().await?;
        if let Some(bounds) = self.bounds() {
            let neighbours = self.neighbours().unwrap_or_default();
            let failure = NewFailure {
                account: self.account,
                at: now,
                window: bounds.lockout,
            };
            let everywhere = change.count_login_failure(&failure, EVERYWHERE).await?;
            let here = change.count_login_failure(&failure, &neighbours).await?;
            let (network, account) = (i64::from(bounds.network), i64::from(bounds.account));
            let locked = here >= network || everywhere >= account;
            let until = locked.then_some(now + bounds.lockout);
            change.note_failed_login(self.user, until).await?;
            if here == network || everywhere == account {
                self.tell_of_lock(&mut change).await?;
            }
            if here > network || everywhere > account {
                refused = bounds.exceeded(bounds.lockout);
            }
        }
        change.insert_audit_event(self.app, entry).await?;
        change.commit().await?;
        match self.charge_address(now).await {
            Some(standing) if !standing.is_open() => Ok(standing.opens().err().unwrap_or(refused)),
            _ => Ok(refused),
        }
    }

    /// A name that no account has is written down too, since that takes its time.
    async fn tell_of_lock(&self, change: &mut Transaction) -> Result<(), ApiError> {
        let user = self.user.map(|user| user.to_string());
        let entry = Entry {
            tenant: None,
            actor: "anyone",
            action: "security.account_locked",
            subject: user.as_deref(),
            detail: json!({ "address": self.origin.peer }),
            correlation: self.origin.request_id,
        };
        Ok(change.insert_audit_event(self.app, &entry).await?)
    }

    async fn must_be_open(&self) -> Result<(), ApiError> {
        let account = Base64UrlUnpadded::encode_string(&self.account);
        let whose = format!("{account}:{}", self.address().unwrap_or_default());
        let asker = Asker::about(self.origin, self.user);
        let said = self.look().await;
        asker.hears(self.app, ("login", &whose), said).await
    }

    /// A locked account comes first: it is the longer wait.
    async fn look(&self) -> Result<(), ApiError> {
        let now = self.app.clock.now();
        if let (Some(bounds), Some(neighbours)) = (self.bounds(), self.neighbours()) {
            let since = now - bounds.lockout;
            let places = [neighbours.as_str(), EVERYWHERE];
            let failures = self.app.store.login_failures(&self.account, places, since);
            for failures in failures.await? {
                self.must_not_be_locked(&failures, bounds, now).await?;
            }
        }
        match (self.app.config.limits.failed_logins, self.address()) {
            (Some(quota), Some(name)) => self.app.counters.look(&name, quota, now).await.opens(),
            _ => Ok(()),
        }
    }

    async fn must_not_be_locked(
        &self,
        failures: &Failures,
        bounds: Bounds,
        now: UnixTime,
    ) -> Result<(), ApiError> {
        let everywhere = failures.network == EVERYWHERE;
        let most = if everywhere {
            bounds.account
        } else {
            bounds.network
        };
        if failures.failures < i64::from(most) || (everywhere && self.is_at_home().await?) {
            return Ok(());
        }
        let ends = failures.last_at + bounds.lockout;
        Err(bounds.exceeded(ends.since(now)))
    }

    /// Strangers all over the world lock nobody out of the places where they usually are.
    async fn is_at_home(&self) -> Result<bool, ApiError> {
        match (self.user, self.neighbours()) {
            (Some(user), Some(place)) => Ok(self.app.store.has_been_at(user, &place).await?),
            _ => Ok(false),
        }
    }

    async fn charge_address(&self, now: UnixTime) -> Option<Standing> {
        let quota = self.app.config.limits.failed_logins?;
        Some(self.app.counters.charge(self.address()?, quota, now).await)
    }

    fn address(&self) -> Option<String> {
        let address = self.origin.peer?;
        Some(format!("login:{}", Network::of_client(address)))
    }

    fn neighbours(&self) -> Option<String> {
        let address = self.origin.peer?;
        Some(Network::of_neighbours(address).to_string())
    }

    /// None when there is no lockout, and for the operator's own commands.
    fn bounds(&self) -> Option<Bounds> {
        let limits = &self.app.config.limits;
        self.origin.peer?;
        if !limits.account_lockout {
            return None;
        }
        Some(Bounds {
            network: limits.failed_logins?.most,
            account: limits.account_failures,
            lockout: limits.lockout,
        })
    }
}

/// After how many failures an account is locked, and for how long.
#[derive(Clone, Copy)]
struct Bounds {
    network: u32,
    account: u32,
    lockout: Duration,
}

impl Bounds {
    /// The same answer as for an address, whatever is locked.
    const fn exceeded(self, wait: Duration) -> ApiError {
        ApiError::RateLimited(Exceeded {
            quota: Quota::new(self.network, self.lockout),
            wait,
        })
    }
}

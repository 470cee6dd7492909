//! Wrong passwords, by claimed account and network. They outlive a restart, and are forgotten
//! when their time is over.

use std::time::Duration;

use sqlx::FromRow;

use super::{Store, StoreError, Transaction, UnixTime, UserId, sql};

/// How often an account was tried in vain from one network, or from all.
#[derive(FromRow)]
pub(crate) struct Failures {
    pub(crate) network: String,
    pub(crate) failures: i64,
    pub(crate) last_at: UnixTime,
}

/// One more try in vain.
pub(crate) struct NewFailure {
    pub(crate) account: [u8; 32],
    pub(crate) at: UnixTime,
    /// After so long without one, the count begins anew.
    pub(crate) window: Duration,
}

impl Store {
    pub(crate) async fn login_failures(
        &self,
        account: &[u8; 32],
        networks: [&str; 2],
        since: UnixTime,
    ) -> Result<Vec<Failures>, StoreError> {
        const SQL: &str = "SELECT network, failures, last_at FROM login_failures \
            WHERE account = $1 AND network IN ($2, $3) AND last_at > $4";
        sql!(
            self,
            query_as(SQL, account.as_slice(), networks[0], networks[1], since).fetch_all
        )
    }

    pub(crate) async fn forget_login_failures(&self, account: &[u8; 32]) -> Result<(), StoreError> {
        for sql in FORGET {
            sql!(self, query(sql, account.as_slice()).execute)?;
        }
        Ok(())
    }

    pub(crate) async fn delete_old_login_failures(
        &self,
        before: UnixTime,
    ) -> Result<u64, StoreError> {
        const COUNTED_EVERYWHERE: &str =
            "DELETE FROM login_failures WHERE last_at <= $1 AND network = ''";
        const REST: &str = "DELETE FROM login_failures WHERE last_at <= $1";
        let mut rows = 0;
        for sql in [COUNTED_EVERYWHERE, REST] {
            rows += sql!(self, query(sql, before).execute)?;
        }
        Ok(rows)
    }
}

impl Transaction {
    /// Unlocks an account.
    pub(crate) async fn forget_login_failures(
        &mut self,
        account: &[u8; 32],
    ) -> Result<(), StoreError> {
        for sql in FORGET {
            sql!(self, query(sql, account.as_slice()).execute)?;
        }
        Ok(())
    }

    /// Counts one more, and tells how many it were in a row.
    pub(crate) async fn count_login_failure(
        &mut self,
        new: &NewFailure,
        network: &str,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "INSERT INTO login_failures (account, network, failures, last_at) \
            VALUES ($1, $2, 1, $3) ON CONFLICT (account, network) DO UPDATE SET \
            failures = CASE WHEN login_failures.last_at > $4 \
                THEN login_failures.failures + 1 ELSE 1 END, \
            last_at = excluded.last_at RETURNING failures";
        sql!(
            self,
            query_scalar(
                SQL,
                new.account.as_slice(),
                network,
                new.at,
                new.at - new.window
            )
            .fetch_one
        )
    }

    /// Shows the failure in the account, if there is one; it takes the same time if not.
    pub(crate) async fn note_failed_login(
        &mut self,
        user: Option<UserId>,
        locked_until: Option<UnixTime>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET failed_login_attempts = failed_login_attempts + 1, \
            locked_until = COALESCE($1, locked_until) WHERE id = $2";
        sql!(
            self,
            query(SQL, locked_until, user.unwrap_or(UserId::NOBODY)).execute
        )
        .map(drop)
    }
}

/// Where failures of one account are counted from all networks together. This row comes before
/// those of the networks, whoever changes several.
pub(crate) const EVERYWHERE: &str = "";
const FORGET: [&str; 2] = [
    "DELETE FROM login_failures WHERE account = $1 AND network = ''",
    "DELETE FROM login_failures WHERE account = $1",
];

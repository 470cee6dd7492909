//! Tokens that were mailed to people.

use uuid::Uuid;

use super::{Store, StoreError, Transaction, UnixTime, UserId, sql};
use crate::accounts::Email;

/// What a mailed token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmailTokenPurpose {
    Verify,
    Reset,
}

impl EmailTokenPurpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }
}

/// A mailed token to be.
pub(crate) struct NewEmailToken {
    pub(crate) id: Uuid,
    pub(crate) user_id: UserId,
    pub(crate) purpose: EmailTokenPurpose,
    pub(crate) email: Email,
    pub(crate) token_hash: [u8; 32],
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

impl Store {
    /// Whose token this is, while it counts.
    pub(crate) async fn owner_of_email_token(
        &self,
        token_hash: &[u8; 32],
        purpose: EmailTokenPurpose,
        now: UnixTime,
    ) -> Result<Option<UserId>, StoreError> {
        const SQL: &str = "SELECT user_id FROM email_tokens WHERE token_hash = $1 \
            AND purpose = $2 AND used_at IS NULL AND expires_at > $3";
        sql!(
            self,
            query_scalar(SQL, token_hash.as_slice(), purpose.name(), now).fetch_optional
        )
    }
}

impl Store {
    /// Forgets what people were to come back with and did not in time: mailed tokens, second
    /// steps, invitations, sign-ins at a provider.
    pub(crate) async fn delete_expired_proofs(&self, now: UnixTime) -> Result<u64, StoreError> {
        const MAILED: &str = "DELETE FROM email_tokens WHERE expires_at <= $1";
        const OWED: &str = "DELETE FROM mfa_challenges WHERE expires_at <= $1";
        const INVITED: &str = "DELETE FROM invitations WHERE expires_at <= $1";
        const AWAY: &str = "DELETE FROM provider_sign_ins WHERE expires_at <= $1";
        let mut rows = 0;
        for sql in [MAILED, OWED, INVITED, AWAY] {
            rows += sql!(self, query(sql, now).execute)?;
        }
        Ok(rows)
    }
}

impl Transaction {
    /// Keeps a token, and of too many of the user's for this purpose the newest.
    pub(crate) async fn insert_email_token(
        &mut self,
        new: &NewEmailToken,
    ) -> Result<(), StoreError> {
        // The new one first: it holds the user, as everybody does who changes their tokens.
        const SQL: &str = "INSERT INTO email_tokens \
            (id, user_id, purpose, email_key, token_hash, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.user_id,
                new.purpose.name(),
                new.email.key(),
                new.token_hash.as_slice(),
                new.created_at,
                new.expires_at
            )
            .execute
        )?;
        const OLD: &str = "DELETE FROM email_tokens WHERE user_id = $1 AND purpose = $2 \
            AND id NOT IN (SELECT e.id FROM email_tokens e WHERE e.user_id = $1 \
            AND e.purpose = $2 ORDER BY e.created_at DESC, e.id DESC LIMIT $3)";
        let of = new.purpose.name();
        sql!(self, query(OLD, new.user_id, of, MOST).execute).map(drop)
    }

    /// Uses the token up, unless its user has another address by now: until the transaction ends,
    /// they do not change it. Of several callers at once one learns whose it is.
    pub(crate) async fn use_email_token(
        &mut self,
        token_hash: &[u8; 32],
        purpose: EmailTokenPurpose,
        now: UnixTime,
    ) -> Result<Option<UserId>, StoreError> {
        const USER: &str = "UPDATE users SET status = status WHERE id = \
            (SELECT e.user_id FROM email_tokens e WHERE e.token_hash = $1)";
        const SQL: &str = "UPDATE email_tokens SET used_at = $1 WHERE token_hash = $2 \
            AND purpose = $3 AND used_at IS NULL AND expires_at > $1 AND email_key = \
            (SELECT u.email_key FROM users u WHERE u.id = email_tokens.user_id \
            AND u.status <> 'disabled') RETURNING user_id";
        sql!(self, query(USER, token_hash.as_slice()).execute)?;
        sql!(
            self,
            query_scalar(SQL, now, token_hash.as_slice(), purpose.name()).fetch_optional
        )
    }

    /// Voids every token of this purpose that the user was mailed.
    pub(crate) async fn void_email_tokens(
        &mut self,
        user: UserId,
        purpose: EmailTokenPurpose,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE email_tokens SET used_at = $1 \
            WHERE user_id = $2 AND purpose = $3 AND used_at IS NULL";
        sql!(self, query(SQL, now, user, purpose.name()).execute).map(drop)
    }
}

/// Of one user for one purpose.
const MOST: i64 = 100;

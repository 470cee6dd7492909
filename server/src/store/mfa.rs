//! Second factors, and logins that still owe one.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, TenantId, Transaction, UnixTime, UserId, sql};
use crate::vault::seal::Sealed;

/// A secret of an authenticator app that was not confirmed yet.
pub(crate) struct NewTotp {
    pub(crate) user_id: UserId,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
}

/// How many wrong codes are borne.
pub(crate) struct TotpAttempts {
    pub(crate) most: i32,
    /// Until when none is looked at once there were so many.
    pub(crate) until: UnixTime,
    pub(crate) now: UnixTime,
}

/// A login to be that owes a second factor.
pub(crate) struct NewMfaChallenge {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) token_hash: [u8; 32],
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

/// Whose login it is.
#[derive(FromRow)]
pub(crate) struct MfaChallenge {
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
}

/// Whether member `m` of tenant `t` lacks the second factor that the tenant demands.
macro_rules! owes_factor {
    () => {
        "(t.mfa_required AND NOT EXISTS (SELECT 1 FROM totp f \
         WHERE f.user_id = m.user_id AND f.confirmed_at IS NOT NULL)) AS owes_factor"
    };
}
pub(super) use owes_factor;

impl Store {
    pub(crate) async fn has_totp(&self, user: UserId) -> Result<bool, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM totp WHERE user_id = $1 AND confirmed_at IS NOT NULL";
        let count: i64 = sql!(self, query_scalar(SQL, user).fetch_one)?;
        Ok(count > 0)
    }

    pub(crate) async fn unconfirmed_totp(
        &self,
        user: UserId,
    ) -> Result<Option<Sealed>, StoreError> {
        const SQL: &str = "SELECT salt, secret AS ciphertext, master_key_id FROM totp \
            WHERE user_id = $1 AND confirmed_at IS NULL";
        sql!(self, query_as(SQL, user).fetch_optional)
    }

    /// Counts an attempt as wrong until it is shown to be right, and gives the secret; nothing
    /// when no attempt is left for now or there is no confirmed secret.
    pub(crate) async fn attempt_totp(
        &self,
        user: UserId,
        attempts: &TotpAttempts,
    ) -> Result<Option<Sealed>, StoreError> {
        const SQL: &str = "UPDATE totp SET failures = failures + 1, blocked_until = \
            CASE WHEN failures + 1 >= $1 THEN $2 ELSE NULL END \
            WHERE user_id = $3 AND confirmed_at IS NOT NULL \
            AND (blocked_until IS NULL OR blocked_until <= $4) \
            RETURNING salt, secret AS ciphertext, master_key_id";
        sql!(
            self,
            query_as(SQL, attempts.most, attempts.until, user, attempts.now).fetch_optional
        )
    }

    pub(crate) async fn totp_blocked_until(
        &self,
        user: UserId,
    ) -> Result<Option<UnixTime>, StoreError> {
        const SQL: &str = "SELECT blocked_until FROM totp WHERE user_id = $1";
        let found: Option<Option<UnixTime>> = sql!(self, query_scalar(SQL, user).fetch_optional)?;
        Ok(found.flatten())
    }

    /// Uses up the codes up to this step. Of several callers with one step, one gets `true`.
    pub(crate) async fn use_totp_step(&self, user: UserId, step: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE totp SET last_step = $1, failures = 0, blocked_until = NULL \
            WHERE user_id = $2 AND last_step < $1 AND confirmed_at IS NOT NULL";
        let used = sql!(self, query(SQL, step, user).execute)?;
        Ok(used == 1)
    }

    pub(crate) async fn recovery_codes_left(&self, user: UserId) -> Result<i64, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL";
        sql!(self, query_scalar(SQL, user).fetch_one)
    }

    /// Uses the code up. Of several callers with one code, one gets `true`.
    pub(crate) async fn use_recovery_code(
        &self,
        user: UserId,
        code_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE recovery_codes SET used_at = $1 \
            WHERE user_id = $2 AND code_hash = $3 AND used_at IS NULL";
        let used = sql!(self, query(SQL, now, user, code_hash.as_slice()).execute)?;
        Ok(used == 1)
    }

    /// Counts an attempt, and tells whose login it is while any is left.
    pub(crate) async fn attempt_mfa_challenge(
        &self,
        token_hash: &[u8; 32],
        most: i32,
        now: UnixTime,
    ) -> Result<Option<MfaChallenge>, StoreError> {
        const SQL: &str = "UPDATE mfa_challenges SET attempts = attempts + 1 \
            WHERE token_hash = $1 AND attempts < $2 AND used_at IS NULL AND expires_at > $3 \
            RETURNING tenant_id, user_id";
        sql!(
            self,
            query_as(SQL, token_hash.as_slice(), most, now).fetch_optional
        )
    }

    /// Uses the challenge up. Of several callers one gets `true`.
    pub(crate) async fn use_mfa_challenge(
        &self,
        token_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str =
            "UPDATE mfa_challenges SET used_at = $1 WHERE token_hash = $2 AND used_at IS NULL";
        let used = sql!(self, query(SQL, now, token_hash.as_slice()).execute)?;
        Ok(used == 1)
    }
}

impl Transaction {
    /// Keeps a new secret, unless the user has a confirmed one.
    pub(crate) async fn put_totp(&mut self, new: &NewTotp) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO totp (user_id, salt, secret, master_key_id, created_at, \
            last_step, failures) VALUES ($1, $2, $3, $4, $5, 0, 0) \
            ON CONFLICT (user_id) DO UPDATE SET salt = excluded.salt, secret = excluded.secret, \
            master_key_id = excluded.master_key_id, created_at = excluded.created_at \
            WHERE totp.confirmed_at IS NULL";
        let put = sql!(
            self,
            query(
                SQL,
                new.user_id,
                &new.sealed.salt,
                &new.sealed.ciphertext,
                &new.sealed.master_key_id,
                new.created_at
            )
            .execute
        )?;
        Ok(put == 1)
    }

    /// From here on login asks for codes after this step; unless the secret was replaced.
    pub(crate) async fn confirm_totp(
        &mut self,
        user: UserId,
        salt: &[u8],
        (step, now): (i64, UnixTime),
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE totp SET confirmed_at = $1, last_step = $2 \
            WHERE user_id = $3 AND salt = $4 AND confirmed_at IS NULL";
        let confirmed = sql!(self, query(SQL, now, step, user, salt).execute)?;
        Ok(confirmed == 1)
    }

    /// Keeps a login that owes a second factor, and of too many of the user's the newest.
    pub(crate) async fn insert_mfa_challenge(
        &mut self,
        new: &NewMfaChallenge,
        most: i64,
    ) -> Result<(), StoreError> {
        const OLD: &str = "DELETE FROM mfa_challenges WHERE user_id = $1 AND id NOT IN \
            (SELECT c.id FROM mfa_challenges c WHERE c.user_id = $1 \
            ORDER BY c.created_at DESC, c.id DESC LIMIT $2)";
        const SQL: &str = "INSERT INTO mfa_challenges \
            (id, tenant_id, user_id, token_hash, created_at, expires_at, attempts) \
            VALUES ($1, $2, $3, $4, $5, $6, 0)";
        sql!(self, query(OLD, new.user_id, most - 1).execute)?;
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant_id,
                new.user_id,
                new.token_hash.as_slice(),
                new.created_at,
                new.expires_at
            )
            .execute
        )
        .map(drop)
    }

    /// Ends the user's logins that are under way: those that owe a second factor, and those of
    /// programs that were not fetched yet.
    pub(crate) async fn end_logins(&mut self, user: UserId) -> Result<(), StoreError> {
        const OWED: &str = "DELETE FROM mfa_challenges WHERE user_id = $1";
        const HANDED: &str = "DELETE FROM provider_sign_ins WHERE user_id = $1";
        for sql in [OWED, HANDED] {
            sql!(self, query(sql, user).execute)?;
        }
        Ok(())
    }

    pub(crate) async fn delete_totp(&mut self, user: UserId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM totp WHERE user_id = $1";
        sql!(self, query(SQL, user).execute).map(drop)
    }

    pub(crate) async fn delete_recovery_codes(&mut self, user: UserId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM recovery_codes WHERE user_id = $1";
        sql!(self, query(SQL, user).execute).map(drop)
    }

    pub(crate) async fn insert_recovery_code(
        &mut self,
        id: Uuid,
        user: UserId,
        (code_hash, now): (&[u8; 32], UnixTime),
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO recovery_codes (id, user_id, code_hash, created_at) \
            VALUES ($1, $2, $3, $4)";
        sql!(
            self,
            query(SQL, id, user, code_hash.as_slice(), now).execute
        )
        .map(drop)
    }
}

//! Passwords that people have and had.

use uuid::Uuid;

use super::{Store, StoreError, Transaction, UnixTime, UserId, sql};

/// A change of a password.
pub(crate) struct PasswordChange<'a> {
    pub(crate) id: Uuid,
    pub(crate) user: UserId,
    pub(crate) old_hash: &'a str,
    pub(crate) new_hash: &'a str,
    pub(crate) now: UnixTime,
}

impl Store {
    /// The newest so many hashes of passwords that the user had before.
    pub(crate) async fn earlier_passwords(
        &self,
        user: UserId,
        count: u16,
    ) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT password_hash FROM password_history WHERE user_id = $1 \
            ORDER BY replaced_at DESC, id DESC LIMIT $2";
        sql!(self, query_scalar(SQL, user, i64::from(count)).fetch_all)
    }
}

impl Transaction {
    /// Replaces the password, unless it was changed meanwhile, and remembers the old one.
    pub(crate) async fn change_password(
        &mut self,
        change: &PasswordChange<'_>,
    ) -> Result<bool, StoreError> {
        const UPDATE: &str = "UPDATE users SET password_hash = $1, password_changed_at = \
            CASE WHEN $2 > password_changed_at THEN $2 ELSE password_changed_at + 1 END, \
            failed_login_attempts = 0, locked_until = NULL WHERE id = $3 AND password_hash = $4";
        const REMEMBER: &str = "INSERT INTO password_history \
            (id, user_id, password_hash, replaced_at) VALUES ($1, $2, $3, $4)";
        let changed = sql!(
            self,
            query(
                UPDATE,
                change.new_hash,
                change.now,
                change.user,
                change.old_hash
            )
            .execute
        )?;
        if changed == 1 {
            sql!(
                self,
                query(
                    REMEMBER,
                    change.id,
                    change.user,
                    change.old_hash,
                    change.now
                )
                .execute
            )?;
        }
        Ok(changed == 1)
    }

    /// Forgets all but the newest so many passwords.
    pub(crate) async fn trim_password_history(
        &mut self,
        user: UserId,
        count: u16,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM password_history WHERE user_id = $1 AND id NOT IN \
            (SELECT id FROM password_history WHERE user_id = $1 \
            ORDER BY replaced_at DESC, id DESC LIMIT $2)";
        sql!(self, query(SQL, user, i64::from(count)).execute).map(drop)
    }
}

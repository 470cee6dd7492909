//! Users with the tenant they work in.

use sqlx::FromRow;

use super::{SessionId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, folded, sql};
use crate::accounts::{Email, Profile, Tenant, Username};

/// A user with the tenant joined first.
macro_rules! user_where {
    ($condition:literal) => {
        concat!(
            "SELECT u.id, u.username, u.email, u.full_name, u.password_hash, u.status, \
             u.email_verified, u.password_changed_at, u.created_at, t.id AS tenant_id, t.name AS tenant_name \
             FROM users u JOIN memberships m ON m.user_id = u.id \
             JOIN tenants t ON t.id = m.tenant_id WHERE ",
            $condition,
            " ORDER BY m.created_at, t.id LIMIT 1"
        )
    };
}

/// A user to be.
pub(crate) struct NewUser {
    pub(crate) id: UserId,
    pub(crate) tenant_id: TenantId,
    pub(crate) tenant_name: String,
    pub(crate) username: Option<Username>,
    pub(crate) email: Option<Email>,
    pub(crate) full_name: Option<String>,
    pub(crate) password_hash: String,
    pub(crate) server_admin: bool,
    /// Whether the e-mail address must be verified before the first login.
    pub(crate) pending: bool,
    pub(crate) email_verified: bool,
    pub(crate) created_at: UnixTime,
}

/// A user as a member of one tenant.
#[derive(FromRow)]
pub(crate) struct StoredUser {
    pub(crate) id: UserId,
    username: Option<String>,
    email: Option<String>,
    full_name: Option<String>,
    pub(crate) password_hash: String,
    status: String,
    email_verified: bool,
    /// Another time is another password.
    pub(crate) password_changed_at: UnixTime,
    created_at: UnixTime,
    pub(crate) tenant_id: TenantId,
    tenant_name: String,
}

impl StoredUser {
    pub(crate) fn is_active(&self) -> bool {
        self.status == "active"
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.status == "pending"
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.status == "disabled"
    }

    /// The address, as it was when it was accepted.
    pub(crate) fn email(&self) -> Option<Email> {
        self.email.as_deref().and_then(|text| text.parse().ok())
    }

    pub(crate) const fn email_verified(&self) -> bool {
        self.email_verified
    }

    /// The words about this user that a guesser tries first.
    pub(crate) fn known_words(&self) -> Vec<&str> {
        let mail = self.email.as_deref();
        [self.username.as_deref(), self.full_name.as_deref(), mail]
            .into_iter()
            .flatten()
            .chain(mail.into_iter().flat_map(|mail| mail.split(['@', '.'])))
            .chain([self.tenant_name.as_str()])
            .collect()
    }

    pub(crate) fn into_profile(self) -> Profile {
        Profile {
            is_active: self.is_active(),
            id: self.id,
            username: self.username,
            email: self.email,
            full_name: self.full_name,
            email_verified: self.email_verified,
            tenant: Tenant {
                id: self.tenant_id,
                name: self.tenant_name,
            },
            created_at: self.created_at,
        }
    }
}

impl Store {
    pub(crate) async fn user_by_username(
        &self,
        username: &Username,
    ) -> Result<Option<StoredUser>, StoreError> {
        const SQL: &str = user_where!("u.username_key = $1");
        let key = username.key();
        sql!(self, query_as(SQL, &key).fetch_optional)
    }

    pub(crate) async fn user_by_email(
        &self,
        email: &Email,
    ) -> Result<Option<StoredUser>, StoreError> {
        const SQL: &str = user_where!("u.email_key = $1");
        let key = email.key();
        sql!(self, query_as(SQL, &key).fetch_optional)
    }

    pub(crate) async fn user_in_tenant(
        &self,
        id: UserId,
        tenant: TenantId,
    ) -> Result<Option<StoredUser>, StoreError> {
        const SQL: &str = user_where!("u.id = $1 AND m.tenant_id = $2");
        sql!(self, query_as(SQL, id, tenant).fetch_optional)
    }

    pub(crate) async fn user_by_id(&self, id: UserId) -> Result<Option<StoredUser>, StoreError> {
        const SQL: &str = user_where!("u.id = $1");
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    /// Whether an operator's account exists.
    pub(crate) async fn has_server_admin(&self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM users WHERE server_admin = $1";
        let count: i64 = sql!(self, query_scalar(SQL, true).fetch_one)?;
        Ok(count > 0)
    }

    /// Replaces the hash, unless the password was changed meanwhile.
    pub(crate) async fn replace_password_hash(
        &self,
        id: UserId,
        old: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3";
        sql!(self, query(SQL, new, id, old).execute).map(drop)
    }
}

impl Transaction {
    /// A user, and the tenant that this user owns.
    pub(crate) async fn insert_user(&mut self, user: &NewUser) -> Result<(), StoreError> {
        const TENANT: &str = "INSERT INTO tenants (id, name, created_at, name_key) \
            VALUES ($1, $2, $3, $4)";
        const USER: &str = "INSERT INTO users (id, username, username_key, email, email_key, \
            full_name, password_hash, status, email_verified, server_admin, \
            failed_login_attempts, password_changed_at, created_at, full_name_key) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $11, $12)";
        const MEMBER: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
            VALUES ($1, $2, 'owner', $3)";
        let (username, email) = (user.username.as_ref(), user.email.as_ref());
        sql!(
            self,
            query(
                TENANT,
                user.tenant_id,
                &user.tenant_name,
                user.created_at,
                folded(&user.tenant_name)
            )
            .execute
        )?;
        sql!(
            self,
            query(
                USER,
                user.id,
                username.map(Username::text),
                username.map(Username::key),
                email.map(Email::text),
                email.map(Email::key),
                &user.full_name,
                &user.password_hash,
                if user.pending { "pending" } else { "active" },
                user.email_verified,
                user.server_admin,
                user.created_at,
                user.full_name.as_deref().map(folded)
            )
            .execute
        )?;
        sql!(
            self,
            query(MEMBER, user.tenant_id, user.id, user.created_at).execute
        )
        .map(drop)
    }

    /// The address is known to be the user's; an account that waited for that becomes active.
    pub(crate) async fn verify_email(&mut self, id: UserId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET email_verified = $1, \
            status = CASE status WHEN 'pending' THEN 'active' ELSE status END WHERE id = $2";
        sql!(self, query(SQL, true, id).execute).map(drop)
    }

    /// Closes an account, and remembers what it was.
    pub(crate) async fn close_user(&mut self, id: UserId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET status_before = status, status = 'disabled' \
            WHERE id = $1 AND status <> 'disabled'";
        sql!(self, query(SQL, id).execute).map(drop)
    }

    /// Makes a closed account what it was before.
    pub(crate) async fn open_user(&mut self, id: UserId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET status = COALESCE(status_before, 'active'), \
            status_before = NULL WHERE id = $1 AND status = 'disabled'";
        sql!(self, query(SQL, id).execute).map(drop)
    }

    /// Whether the server would be left without an admin who can sign in. Until the transaction
    /// ends, nobody else closes one.
    pub(crate) async fn is_last_admin(&mut self, user: UserId) -> Result<bool, StoreError> {
        const ADMINS: &str = "SELECT id FROM users WHERE server_admin = $1 ORDER BY id";
        const HOLD: &str = "UPDATE users SET status = status WHERE id = $1";
        const SQL: &str = "SELECT COUNT(*) FROM users u WHERE u.id = $1 AND u.server_admin = $2 \
            AND u.status <> 'disabled' AND NOT EXISTS (SELECT 1 FROM users o \
            WHERE o.id <> $1 AND o.server_admin = $2 AND o.status = 'active')";
        let admins: Vec<UserId> = sql!(self, query_scalar(ADMINS, true).fetch_all)?;
        for admin in admins {
            sql!(self, query(HOLD, admin).execute)?;
        }
        let last: i64 = sql!(self, query_scalar(SQL, user, true).fetch_one)?;
        Ok(last > 0)
    }

    /// Lets a locked account be tried again.
    pub(crate) async fn unlock_user(&mut self, id: UserId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET failed_login_attempts = 0, locked_until = NULL, \
            status = CASE status WHEN 'locked' THEN 'active' ELSE status END WHERE id = $1";
        sql!(self, query(SQL, id).execute).map(drop)
    }

    /// Notes a login, unless the account was closed or its password changed since the user has shown
    /// who they are. Until the transaction ends, it is neither.
    pub(crate) async fn note_login(
        &mut self,
        id: UserId,
        password_of: UnixTime,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET last_login_at = $1, failed_login_attempts = 0, \
            locked_until = NULL WHERE id = $2 AND status = 'active' AND password_changed_at = $3";
        let noted = sql!(self, query(SQL, now, id, password_of).execute)?;
        Ok(noted == 1)
    }

    /// Whether the account is still open, and its password the one of this time. Until the
    /// transaction ends, it stays so.
    pub(crate) async fn hold_login(
        &mut self,
        id: UserId,
        password_of: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE users SET status = status \
            WHERE id = $1 AND status = 'active' AND password_changed_at = $2";
        let holds = sql!(self, query(SQL, id, password_of).execute)?;
        Ok(holds == 1)
    }

    /// Whether the user's session has not ended. Until the transaction ends, it does not.
    pub(crate) async fn hold_session(
        &mut self,
        id: UserId,
        session: SessionId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        // The user first, as whoever ends all of a user's sessions does.
        const USER: &str = "UPDATE users SET status = status WHERE id = $1 AND status = 'active'";
        const SESSION: &str = "UPDATE sessions SET expires_at = expires_at \
            WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3";
        let open = sql!(self, query(USER, id).execute)?;
        let lives = sql!(self, query(SESSION, session, id, now).execute)?;
        Ok(open == 1 && lives == 1)
    }
}

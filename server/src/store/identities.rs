//! Identities of users at other providers, and sign-ins that were sent there.

use sqlx::FromRow;
use uuid::Uuid;

use super::{IdentityId, Store, StoreError, Transaction, UnixTime, UserId, sql};

/// A sign-in that is sent to a provider.
pub(crate) struct NewProviderSignIn<'a> {
    pub(crate) id: Uuid,
    pub(crate) provider: &'a str,
    pub(crate) token_hash: [u8; 32],
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
    /// The program that began it: its port, and the SHA-256 of what it alone knows.
    pub(crate) program: Option<(u16, [u8; 32])>,
}

/// A sign-in that came back.
#[derive(FromRow)]
pub(crate) struct ReturnedSignIn {
    pub(crate) id: Uuid,
    port: Option<i32>,
}

impl ReturnedSignIn {
    /// Where the program waits that began it; none for a page.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port.and_then(|port| u16::try_from(port).ok())
    }
}

/// An identity to be.
pub(crate) struct NewIdentity<'a> {
    pub(crate) id: IdentityId,
    pub(crate) user_id: UserId,
    pub(crate) provider: &'a str,
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) created_at: UnixTime,
}

/// An identity as its user sees it.
#[derive(FromRow)]
pub(crate) struct StoredIdentity {
    pub(crate) id: IdentityId,
    pub(crate) provider: String,
    pub(crate) issuer: String,
    pub(crate) created_at: UnixTime,
    pub(crate) last_used_at: UnixTime,
}

impl Store {
    pub(crate) async fn insert_provider_sign_in(
        &self,
        new: &NewProviderSignIn<'_>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO provider_sign_ins (id, provider, token_hash, created_at, \
            expires_at, port, challenge) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let port = new.program.map(|(port, _)| i32::from(port));
        let challenge = new.program.map(|(_, challenge)| challenge.to_vec());
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.provider,
                new.token_hash.as_slice(),
                new.created_at,
                new.expires_at,
                port,
                challenge
            )
            .execute
        )
        .map(drop)
    }

    /// Takes a sign-in back. Of several callers at once one gets it.
    pub(crate) async fn take_provider_sign_in(
        &self,
        token_hash: &[u8; 32],
        provider: &str,
        now: UnixTime,
    ) -> Result<Option<ReturnedSignIn>, StoreError> {
        const SQL: &str = "UPDATE provider_sign_ins SET used_at = $1 WHERE token_hash = $2 \
            AND provider = $3 AND used_at IS NULL AND expires_at > $1 RETURNING id, port";
        sql!(
            self,
            query_as(SQL, now, token_hash.as_slice(), provider).fetch_optional
        )
    }

    /// Uses a code up, for whoever knows what the program alone knows.
    pub(crate) async fn redeem_provider_code(
        &self,
        code_hash: &[u8; 32],
        challenge: &[u8; 32],
        now: UnixTime,
    ) -> Result<Option<UserId>, StoreError> {
        const SQL: &str = "UPDATE provider_sign_ins SET redeemed_at = $1 WHERE code_hash = $2 \
            AND challenge = $3 AND redeemed_at IS NULL AND expires_at > $1 RETURNING user_id";
        sql!(
            self,
            query_scalar(SQL, now, code_hash.as_slice(), challenge.as_slice()).fetch_optional
        )
    }

    /// Whose identity this is, which is noted as used.
    pub(crate) async fn use_identity(
        &self,
        issuer: &str,
        subject: &str,
        now: UnixTime,
    ) -> Result<Option<UserId>, StoreError> {
        const SQL: &str = "UPDATE identities SET last_used_at = $1 \
            WHERE issuer = $2 AND subject = $3 RETURNING user_id";
        sql!(self, query_scalar(SQL, now, issuer, subject).fetch_optional)
    }

    pub(crate) async fn identities(
        &self,
        user: UserId,
        after: IdentityId,
        rows: i64,
    ) -> Result<Vec<StoredIdentity>, StoreError> {
        const SQL: &str = "SELECT id, provider, issuer, created_at, last_used_at \
            FROM identities WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3";
        sql!(self, query_as(SQL, user, after, rows).fetch_all)
    }
}

impl Transaction {
    /// Keeps for the program that began the sign-in who it was, under a code.
    pub(crate) async fn keep_provider_code(
        &mut self,
        id: Uuid,
        (user, code_hash): (UserId, &[u8; 32]),
        expires_at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE provider_sign_ins SET user_id = $1, code_hash = $2, \
            expires_at = $3 WHERE id = $4";
        sql!(
            self,
            query(SQL, user, code_hash.as_slice(), expires_at, id).execute
        )
        .map(drop)
    }

    pub(crate) async fn count_identities(&mut self, user: UserId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM identities WHERE user_id = $1";
        sql!(self, query_scalar(SQL, user).fetch_one)
    }

    pub(crate) async fn insert_identity(
        &mut self,
        new: &NewIdentity<'_>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO identities (id, user_id, provider, issuer, subject, \
            created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $6)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.user_id,
                new.provider,
                new.issuer,
                new.subject,
                new.created_at
            )
            .execute
        )
        .map(drop)
    }

    /// Forgets an identity of the user; `false` when there is none of this id.
    pub(crate) async fn delete_identity(
        &mut self,
        user: UserId,
        id: IdentityId,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM identities WHERE user_id = $1 AND id = $2";
        Ok(sql!(self, query(SQL, user, id).execute)? == 1)
    }
}

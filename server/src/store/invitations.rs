//! Open invitations.

use sqlx::FromRow;

use super::{InvitationId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, sql};
use crate::accounts::Email;

/// An invitation to be.
pub(crate) struct NewInvitation {
    pub(crate) id: InvitationId,
    pub(crate) tenant: TenantId,
    pub(crate) email: Email,
    pub(crate) role: String,
    pub(crate) token_hash: [u8; 32],
    pub(crate) invited_by: UserId,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

/// An invitation that nobody has accepted yet.
#[derive(FromRow)]
pub(crate) struct StoredInvitation {
    pub(crate) id: InvitationId,
    pub(crate) tenant_id: TenantId,
    pub(crate) email: String,
    pub(crate) role: String,
    pub(crate) invited_by: Option<UserId>,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

impl Store {
    pub(crate) async fn invitations(
        &self,
        (tenant, now): (TenantId, UnixTime),
        after: InvitationId,
        rows: i64,
    ) -> Result<Vec<StoredInvitation>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, email, role, invited_by, created_at, expires_at \
            FROM invitations WHERE tenant_id = $1 AND expires_at > $2 AND id > $3 \
            ORDER BY id LIMIT $4";
        sql!(self, query_as(SQL, tenant, now, after, rows).fetch_all)
    }

    pub(crate) async fn invitation_by_token(
        &self,
        token_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<Option<StoredInvitation>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, email, role, invited_by, created_at, expires_at \
            FROM invitations WHERE token_hash = $1 AND expires_at > $2";
        sql!(
            self,
            query_as(SQL, token_hash.as_slice(), now).fetch_optional
        )
    }
}

impl Transaction {
    /// Invites, in place of an earlier invitation of the same address.
    pub(crate) async fn put_invitation(&mut self, new: &NewInvitation) -> Result<(), StoreError> {
        const OLD: &str = "DELETE FROM invitations WHERE tenant_id = $1 AND email_key = $2";
        const NEW: &str = "INSERT INTO invitations (id, tenant_id, email, email_key, role, \
            token_hash, invited_by, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sql!(self, query(OLD, new.tenant, new.email.key()).execute)?;
        sql!(
            self,
            query(
                NEW,
                new.id,
                new.tenant,
                new.email.text(),
                new.email.key(),
                &new.role,
                new.token_hash.as_slice(),
                new.invited_by,
                new.created_at,
                new.expires_at
            )
            .execute
        )
        .map(drop)
    }

    /// How many open invitations the tenant has.
    pub(crate) async fn count_invitations(
        &mut self,
        tenant: TenantId,
        now: UnixTime,
    ) -> Result<i64, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM invitations WHERE tenant_id = $1 AND expires_at > $2";
        sql!(self, query_scalar(SQL, tenant, now).fetch_one)
    }

    /// Takes away what one member sent.
    pub(crate) async fn delete_invitations_by(
        &mut self,
        (tenant, user): (TenantId, UserId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM invitations WHERE tenant_id = $1 AND invited_by = $2";
        sql!(self, query(SQL, tenant, user).execute).map(drop)
    }

    /// Takes an invitation away; of several callers at once one gets `true`.
    pub(crate) async fn delete_invitation(
        &mut self,
        tenant: TenantId,
        id: InvitationId,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM invitations WHERE tenant_id = $1 AND id = $2";
        let gone = sql!(self, query(SQL, tenant, id).execute)?;
        Ok(gone == 1)
    }
}

//! What agents prove: tickets and reattach credentials, their secrets sealed.

use sqlx::FromRow;

use super::{Store, StoreError, TenantId, TicketId, Transaction, UnixTime, UserId, VmId, sql};
use crate::vault::seal::Sealed;

/// A credential that an agent may prove, with the VM that it stands for.
#[derive(FromRow)]
pub(crate) struct StoredCredential {
    pub(crate) tenant_id: TenantId,
    pub(crate) vm_id: VmId,
    pub(crate) vm_status: String,
    /// The only agent that may use it; `None` for a ticket that nobody has redeemed.
    pub(crate) agent_key: Option<Vec<u8>>,
    /// `pending`, `current` or `retired`; `ticket` for a ticket.
    pub(crate) status: String,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
}

/// A ticket to be.
pub(crate) struct NewTicket {
    pub(crate) id: TicketId,
    pub(crate) tenant: TenantId,
    pub(crate) vm: VmId,
    /// Nobody for a ticket over the host channel.
    pub(crate) created_by: Option<UserId>,
    /// The only agent that may redeem it, if one is known.
    pub(crate) agent_key: Option<[u8; 32]>,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

/// A reattach credential to be; it is pending until the agent has confirmed it.
pub(crate) struct NewReattach {
    pub(crate) id: TicketId,
    pub(crate) tenant: TenantId,
    pub(crate) vm: VmId,
    pub(crate) agent_key: [u8; 32],
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
}

impl Store {
    pub(crate) async fn ticket(
        &self,
        id: TicketId,
    ) -> Result<Option<StoredCredential>, StoreError> {
        const SQL: &str = "SELECT t.tenant_id, t.vm_id, m.status AS vm_status, \
            t.redeemed_by AS agent_key, 'ticket' AS status, t.salt, t.secret AS ciphertext, t.master_key_id \
            FROM tickets t JOIN vms m ON m.id = t.vm_id WHERE t.id = $1";
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    pub(crate) async fn reattach_credential(
        &self,
        id: TicketId,
    ) -> Result<Option<StoredCredential>, StoreError> {
        const SQL: &str = "SELECT r.tenant_id, r.vm_id, m.status AS vm_status, r.agent_key, \
            r.status, r.salt, r.secret AS ciphertext, r.master_key_id \
            FROM reattach_credentials r JOIN vms m ON m.id = r.vm_id WHERE r.id = $1";
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    /// Whether the VM is active and this agent still has a credential for it.
    pub(crate) async fn agent_is_welcome(
        &self,
        (tenant, vm): (TenantId, VmId),
        agent_key: &[u8],
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM vms m WHERE m.tenant_id = $1 AND m.id = $2 \
            AND m.status = 'active' AND EXISTS (SELECT 1 FROM reattach_credentials r \
            WHERE r.tenant_id = $1 AND r.vm_id = $2 AND r.agent_key = $3 \
            AND r.status <> 'retired')";
        let welcome: i64 = sql!(self, query_scalar(SQL, tenant, vm, agent_key).fetch_one)?;
        Ok(welcome > 0)
    }

    /// Forgets tickets that ended before `before`.
    pub(crate) async fn delete_ended_tickets(&self, before: UnixTime) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM tickets WHERE expires_at < $1";
        sql!(self, query(SQL, before).execute)
    }

    /// Forgets retired credentials made before `before`: too old to tell of a clone.
    pub(crate) async fn delete_retired_credentials(
        &self,
        before: UnixTime,
    ) -> Result<u64, StoreError> {
        const SQL: &str =
            "DELETE FROM reattach_credentials WHERE status = 'retired' AND created_at < $1";
        sql!(self, query(SQL, before).execute)
    }
}

impl Transaction {
    pub(crate) async fn insert_ticket(&mut self, new: &NewTicket) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO tickets (id, tenant_id, vm_id, created_by, salt, secret, \
            master_key_id, created_at, expires_at, redeemed_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant,
                new.vm,
                new.created_by,
                &new.sealed.salt,
                &new.sealed.ciphertext,
                &new.sealed.master_key_id,
                new.created_at,
                new.expires_at,
                new.agent_key.as_ref().map(<[u8; 32]>::as_slice)
            )
            .execute
        )
        .map(drop)
    }

    /// Redeems a ticket for this agent: the first time, or again by the same one, until it ends.
    pub(crate) async fn redeem_ticket(
        &mut self,
        id: TicketId,
        agent_key: &[u8],
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE tickets SET redeemed_by = $2, \
            redeemed_at = COALESCE(redeemed_at, $3) WHERE id = $1 AND expires_at > $3 \
            AND (redeemed_by IS NULL OR redeemed_by = $2)";
        let rows = sql!(self, query(SQL, id, agent_key, now).execute)?;
        Ok(rows == 1)
    }

    /// Ends every way in for a VM that this transaction has changed, so that none is made meanwhile:
    /// its tickets, its credentials, and what it has asked for.
    pub(crate) async fn void_credentials(
        &mut self,
        (tenant, vm): (TenantId, VmId),
    ) -> Result<(), StoreError> {
        const TICKETS: &str = "DELETE FROM tickets WHERE tenant_id = $1 AND vm_id = $2";
        const CREDENTIALS: &str =
            "DELETE FROM reattach_credentials WHERE tenant_id = $1 AND vm_id = $2";
        const APPROVALS: &str =
            "DELETE FROM enrolment_requests WHERE tenant_id = $1 AND vm_id = $2";
        for sql in [TICKETS, CREDENTIALS, APPROVALS] {
            sql!(self, query(sql, tenant, vm).execute)?;
        }
        Ok(())
    }

    /// Makes room for a new pending credential: those of other agents of this VM end, and one
    /// that this agent was offered and never confirmed is forgotten.
    pub(crate) async fn clear_for_agent(
        &mut self,
        (tenant, vm): (TenantId, VmId),
        agent_key: &[u8],
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM reattach_credentials WHERE tenant_id = $1 AND vm_id = $2 \
            AND (agent_key <> $3 OR status = 'pending')";
        sql!(self, query(SQL, tenant, vm, agent_key).execute).map(drop)
    }

    pub(crate) async fn insert_reattach(&mut self, new: &NewReattach) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO reattach_credentials (id, tenant_id, vm_id, agent_key, \
            salt, secret, master_key_id, status, created_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant,
                new.vm,
                new.agent_key.as_slice(),
                &new.sealed.salt,
                &new.sealed.ciphertext,
                &new.sealed.master_key_id,
                new.created_at
            )
            .execute
        )
        .map(drop)
    }

    /// Makes a confirmed credential the current one, and retires the one before, which stays known
    /// so that a clone that proves it is recognised. False when the credential was voided or retired.
    pub(crate) async fn promote_credential(
        &mut self,
        (tenant, vm): (TenantId, VmId),
        id: TicketId,
    ) -> Result<bool, StoreError> {
        const PROMOTE: &str = "UPDATE reattach_credentials SET status = 'current' \
            WHERE tenant_id = $1 AND vm_id = $2 AND id = $3 AND status <> 'retired'";
        const RETIRE: &str = "UPDATE reattach_credentials SET status = 'retired' \
            WHERE tenant_id = $1 AND vm_id = $2 AND status = 'current' AND id <> $3";
        if sql!(self, query(PROMOTE, tenant, vm, id).execute)? == 0 {
            return Ok(false);
        }
        sql!(self, query(RETIRE, tenant, vm, id).execute)?;
        Ok(true)
    }
}

//! Tenants, their members and their own roles. Every query names the tenant or the user.

use sqlx::FromRow;

use super::{
    Store, StoreError, StoredPlan, TenantId, Transaction, UnixTime, UserId, folded, owes_factor,
    sql,
};

/// A member of a tenant with the tenant's plan and, when the role is the tenant's own, its list.
macro_rules! membership_where {
    ($condition:literal) => {
        concat!(
            "SELECT t.id, t.name, t.created_at, m.role, r.permissions, t.plan, \
             p.requests_per_minute, p.vms, p.storage_gb, p.features, t.mfa_required, ",
            owes_factor!(),
            " FROM memberships m JOIN tenants t ON t.id = m.tenant_id \
             JOIN plans p ON p.name = t.plan \
             LEFT JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = m.role WHERE ",
            $condition
        )
    };
}

/// What a user is in one tenant.
#[derive(FromRow)]
pub(crate) struct StoredMembership {
    pub(crate) id: TenantId,
    pub(crate) name: String,
    pub(crate) created_at: UnixTime,
    pub(crate) role: String,
    pub(crate) permissions: Option<String>,
    #[sqlx(flatten)]
    pub(crate) plan: StoredPlan,
    pub(crate) mfa_required: bool,
    /// Whether the member lacks the second factor that the tenant demands.
    pub(crate) owes_factor: bool,
}

/// A member as the others see them.
#[derive(FromRow)]
pub(crate) struct StoredMember {
    pub(crate) id: UserId,
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) full_name: Option<String>,
    pub(crate) role: String,
    pub(crate) permissions: Option<String>,
    pub(crate) created_at: UnixTime,
}

/// A role of a tenant's own.
#[derive(FromRow)]
pub(crate) struct StoredRole {
    pub(crate) name: String,
    pub(crate) permissions: String,
}

impl Store {
    pub(crate) async fn membership(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> Result<Option<StoredMembership>, StoreError> {
        const SQL: &str = membership_where!("m.tenant_id = $1 AND m.user_id = $2");
        sql!(self, query_as(SQL, tenant, user).fetch_optional)
    }

    /// Every tenant that the user belongs to, after this one.
    pub(crate) async fn memberships(
        &self,
        user: UserId,
        after: TenantId,
        rows: i64,
    ) -> Result<Vec<StoredMembership>, StoreError> {
        const SQL: &str = membership_where!("m.user_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3");
        sql!(self, query_as(SQL, user, after, rows).fetch_all)
    }

    pub(crate) async fn members(
        &self,
        tenant: TenantId,
        after: UserId,
        rows: i64,
    ) -> Result<Vec<StoredMember>, StoreError> {
        const SQL: &str = "SELECT u.id, u.username, u.email, u.full_name, m.role, r.permissions, \
            m.created_at FROM memberships m JOIN users u ON u.id = m.user_id \
            LEFT JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = m.role \
            WHERE m.tenant_id = $1 AND u.id > $2 ORDER BY u.id LIMIT $3";
        sql!(self, query_as(SQL, tenant, after, rows).fetch_all)
    }

    pub(crate) async fn roles(
        &self,
        tenant: TenantId,
        after: &str,
        rows: i64,
    ) -> Result<Vec<StoredRole>, StoreError> {
        const SQL: &str = "SELECT name, permissions FROM roles \
            WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3";
        sql!(self, query_as(SQL, tenant, after, rows).fetch_all)
    }
}

impl Transaction {
    pub(crate) async fn insert_tenant(
        &mut self,
        id: TenantId,
        name: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO tenants (id, name, created_at, name_key) \
            VALUES ($1, $2, $3, $4)";
        sql!(self, query(SQL, id, name, now, folded(name)).execute).map(drop)
    }

    pub(crate) async fn change_tenant(
        &mut self,
        id: TenantId,
        (name, mfa_required): (Option<&str>, Option<bool>),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tenants SET name = COALESCE($2, name), \
            mfa_required = COALESCE($3, mfa_required), name_key = COALESCE($4, name_key) \
            WHERE id = $1";
        let key = name.map(folded);
        sql!(self, query(SQL, id, name, mfa_required, key).execute).map(drop)
    }

    pub(crate) async fn insert_membership(
        &mut self,
        (tenant, user): (TenantId, UserId),
        role: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO memberships (tenant_id, user_id, role, created_at) \
            VALUES ($1, $2, $3, $4)";
        sql!(self, query(SQL, tenant, user, role, now).execute).map(drop)
    }

    pub(crate) async fn change_membership(
        &mut self,
        (tenant, user): (TenantId, UserId),
        role: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE memberships SET role = $3 WHERE tenant_id = $1 AND user_id = $2";
        sql!(self, query(SQL, tenant, user, role).execute).map(drop)
    }

    pub(crate) async fn delete_membership(
        &mut self,
        (tenant, user): (TenantId, UserId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM memberships WHERE tenant_id = $1 AND user_id = $2";
        sql!(self, query(SQL, tenant, user).execute).map(drop)
    }

    /// Holds the tenant, so that of two changes of its members one sees the other's.
    pub(crate) async fn hold_tenant(&mut self, tenant: TenantId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tenants SET name = name WHERE id = $1";
        sql!(self, query(SQL, tenant).execute).map(drop)
    }

    /// How many tenants on this plan the user owns. Until the transaction ends, nobody else counts.
    pub(crate) async fn owned_tenants(
        &mut self,
        user: UserId,
        plan: &str,
    ) -> Result<i64, StoreError> {
        // PostgreSQL locks the row; SQLite has one writer anyway.
        const LOCK: &str = "UPDATE users SET status = status WHERE id = $1";
        const SQL: &str = "SELECT COUNT(*) FROM memberships m JOIN tenants t \
            ON t.id = m.tenant_id WHERE m.user_id = $1 AND m.role = 'owner' AND t.plan = $2";
        sql!(self, query(LOCK, user).execute)?;
        sql!(self, query_scalar(SQL, user, plan).fetch_one)
    }

    pub(crate) async fn member(
        &mut self,
        tenant: TenantId,
        user: UserId,
    ) -> Result<Option<StoredMember>, StoreError> {
        const SQL: &str = "SELECT u.id, u.username, u.email, u.full_name, m.role, r.permissions, \
            m.created_at FROM memberships m JOIN users u ON u.id = m.user_id \
            LEFT JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = m.role \
            WHERE m.tenant_id = $1 AND u.id = $2";
        sql!(self, query_as(SQL, tenant, user).fetch_optional)
    }

    /// A role of the tenant's own.
    pub(crate) async fn role(
        &mut self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<StoredRole>, StoreError> {
        const SQL: &str = "SELECT name, permissions FROM roles WHERE tenant_id = $1 AND name = $2";
        sql!(self, query_as(SQL, tenant, name).fetch_optional)
    }

    pub(crate) async fn count_roles(&mut self, tenant: TenantId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM roles WHERE tenant_id = $1";
        sql!(self, query_scalar(SQL, tenant).fetch_one)
    }

    pub(crate) async fn count_members(&mut self, tenant: TenantId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM memberships WHERE tenant_id = $1";
        sql!(self, query_scalar(SQL, tenant).fetch_one)
    }

    /// To how many tenants the user belongs.
    pub(crate) async fn count_tenants_of(&mut self, user: UserId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM memberships WHERE user_id = $1";
        sql!(self, query_scalar(SQL, user).fetch_one)
    }

    /// How many members have this role.
    pub(crate) async fn members_in_role(
        &mut self,
        tenant: TenantId,
        role: &str,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM memberships WHERE tenant_id = $1 AND role = $2";
        sql!(self, query_scalar(SQL, tenant, role).fetch_one)
    }

    /// Whether a member or an open invitation has this role.
    pub(crate) async fn role_is_used(
        &mut self,
        tenant: TenantId,
        role: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT \
            (SELECT COUNT(*) FROM memberships WHERE tenant_id = $1 AND role = $2) \
            + (SELECT COUNT(*) FROM invitations WHERE tenant_id = $1 AND role = $2)";
        let users: i64 = sql!(self, query_scalar(SQL, tenant, role).fetch_one)?;
        Ok(users > 0)
    }

    /// Makes a role or replaces what it permits.
    pub(crate) async fn put_role(
        &mut self,
        tenant: TenantId,
        (name, permissions): (&str, &str),
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO roles (tenant_id, name, permissions, created_at) \
            VALUES ($1, $2, $3, $4) \
            ON CONFLICT (tenant_id, name) DO UPDATE SET permissions = excluded.permissions";
        sql!(self, query(SQL, tenant, name, permissions, now).execute).map(drop)
    }

    pub(crate) async fn delete_role(
        &mut self,
        tenant: TenantId,
        name: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM roles WHERE tenant_id = $1 AND name = $2";
        sql!(self, query(SQL, tenant, name).execute).map(drop)
    }
}

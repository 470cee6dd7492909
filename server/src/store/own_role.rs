//! The role that this program has in PostgreSQL, and what it can do to the audit. SQLite has none.

use std::fmt::{self, Display, Formatter};

use sqlx::PgPool;

use super::{Pool, Store, StoreError, in_time};
use crate::traces;

/// The database's role, where the engine has roles.
pub(crate) struct OwnRole {
    pub(crate) name: String,
    /// By what it can change what the audit holds; none when it can only add.
    pub(crate) changes_audit: Option<String>,
    /// After how many days it may let go of events, when it may.
    pub(crate) prunes_after_days: Option<i64>,
}

impl Display for OwnRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.changes_audit, self.prunes_after_days) {
            (Some(way), _) => write!(f, "{name} can change the audit, since it {way}"),
            (None, None) => write!(f, "{name} can only add to the audit"),
            (None, Some(days)) => write!(
                f,
                "{name} can only add to the audit, and prune what is older than {days} days"
            ),
        }
    }
}

impl Store {
    /// Who this program is for the database, once the schema is there.
    pub(crate) async fn own_role(&self) -> Result<Option<OwnRole>, StoreError> {
        const SQL: &str = "SELECT current_user::text, keep_days FROM _audit_retention";
        let Pool::Postgres(pool) = &self.pool else {
            return Ok(None);
        };
        let query = sqlx::query_as(SQL).fetch_one(pool);
        let (name, prunes_after_days) =
            in_time(&self.bound(), traces::statement(&SQL), query).await?;
        Ok(Some(OwnRole {
            name,
            changes_audit: self.changes_audit(pool, None).await?,
            prunes_after_days,
        }))
    }

    /// Who this is that can neither make the schema nor has made it; none for its owner.
    pub(super) async fn stranger_to_schema(
        &self,
        pool: &PgPool,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT current_user::text WHERE NOT COALESCE((SELECT has_schema_privilege(n.oid, 'CREATE') \
            AND COALESCE(pg_has_role(c.relowner, 'USAGE'), TRUE) FROM pg_namespace n \
            LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = '_sqlx_migrations' \
            WHERE n.nspname = current_schema()), FALSE)";
        let query = sqlx::query_scalar(SQL).fetch_optional(pool);
        in_time(&self.bound(), traces::statement(&SQL), query).await
    }

    /// By what a role, or this one, can change what the audit holds. What a role can become counts
    /// as well.
    pub(super) async fn changes_audit(
        &self,
        pool: &PgPool,
        role: Option<&str>,
    ) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar(WAYS).bind(role).fetch_optional(pool);
        in_time(&self.bound(), traces::statement(&WAYS), query).await
    }
}

/// From the plainest on. `CREATEROLE` alone led into any role before PostgreSQL 16.
const WAYS: &str = "WITH who AS (SELECT oid, rolsuper, rolcreaterole FROM pg_roles \
        WHERE rolname = COALESCE($1::text, session_user::text)), \
    audit AS (SELECT c.oid, c.relname, c.relowner FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() \
        AND c.relname IN \
        ('audit_events', 'audit_heads', '_audit_retention', 'recent_auth_events')), \
    ways (rank, way, open) AS ( \
        SELECT 1, 'is a superuser', rolsuper FROM who \
        UNION ALL SELECT 2, 'owns ' || relname, pg_has_role(who.oid, relowner, 'MEMBER') \
            FROM audit, who \
        UNION ALL SELECT 3, 'owns the schema', pg_has_role(who.oid, nspowner, 'MEMBER') \
            FROM pg_namespace, who WHERE nspname = current_schema() \
        UNION ALL SELECT 4, 'owns the database', pg_has_role(who.oid, datdba, 'MEMBER') \
            FROM pg_database, who WHERE datname = current_database() \
        UNION ALL SELECT 5, 'may make itself a member of other roles', rolcreaterole \
            AND current_setting('server_version_num')::int < 160000 FROM who \
        UNION ALL SELECT 6, 'may ' || privilege || ' ' || relname, \
            has_table_privilege(who.oid, audit.oid, privilege) FROM audit, who, \
            unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege \
        UNION ALL SELECT 7, 'may UPDATE columns of ' || relname, \
            has_any_column_privilege(who.oid, audit.oid, 'UPDATE') FROM audit, who \
            WHERE relname <> 'audit_heads' \
        UNION ALL SELECT 8, 'may UPDATE where the audit begins', \
            has_column_privilege(who.oid, audit.oid, 'pruned_seq', 'UPDATE') FROM audit, who \
            WHERE relname = 'audit_heads' \
        UNION ALL SELECT 9, 'may change ' || relname, \
            has_table_privilege(who.oid, audit.oid, 'INSERT') FROM audit, who \
            WHERE relname = '_audit_retention' \
        UNION ALL SELECT 10, 'may CREATE in the schema', \
            has_schema_privilege(who.oid, current_schema(), 'CREATE') FROM who \
        UNION ALL SELECT 11, 'is a member of ' || rolname, \
            pg_has_role(who.oid, pg_roles.oid, 'MEMBER') FROM pg_roles, who WHERE rolname IN \
            ('pg_execute_server_program', 'pg_write_server_files')) \
    SELECT way FROM ways WHERE open ORDER BY rank, way LIMIT 1";

//! What the owner of a schema in PostgreSQL gives to the role that servers run as: no more than they
//! need, so that the audit can only be added to.

use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::copy::TABLES;
use super::{Pool, Store, StoreError, in_time};
use crate::traces;

/// Why a role is given nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    #[error("SQLite has no roles: --grant-to is for PostgreSQL")]
    NoRoles,
    #[error("there is no role {0}: CREATE ROLE it with LOGIN and a password first")]
    NoSuchRole(String),
    /// Taking rights away from the owner would bind nobody, and break what it does for others.
    #[error("the role {0} can become the owner of the schema: servers need one that owns nothing")]
    OwnsSchema(String),
    #[error("what servers need could not be granted")]
    Store(#[from] StoreError),
}

/// A role that owns nothing.
pub(crate) struct Grantee<'a> {
    pool: &'a PgPool,
    store: &'a Store,
    role: String,
}

impl Store {
    /// A role that may be given what servers need.
    pub(crate) async fn grantee(&self, role: &str) -> Result<Grantee<'_>, GrantError> {
        // Whether it can become who we are, or who owns the tables that are there.
        const SQL: &str = "SELECT pg_has_role(r.oid, current_user, 'MEMBER') OR EXISTS ( \
            SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = current_schema() AND c.relname = '_sqlx_migrations' \
            AND pg_has_role(r.oid, c.relowner, 'MEMBER')) FROM pg_roles r WHERE r.rolname = $1";
        let Pool::Postgres(pool) = &self.pool else {
            return Err(GrantError::NoRoles);
        };
        let query = sqlx::query_scalar(SQL).bind(role).fetch_optional(pool);
        let owns: Option<bool> = in_time(&self.bound(), traces::statement(&SQL), query).await?;
        match owns {
            None => Err(GrantError::NoSuchRole(role.to_owned())),
            Some(true) => Err(GrantError::OwnsSchema(role.to_owned())),
            Some(false) => Ok(Grantee {
                pool,
                store: self,
                role: role.to_owned(),
            }),
        }
    }

    /// What this role lacks of what servers need; nothing where it owns everything.
    pub(crate) async fn lacking_rights(&self) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT needed.privilege || ' on ' || needed.name \
            FROM unnest($1::text[], $2::text[]) AS needed (name, privilege) \
            JOIN pg_namespace n ON n.nspname = current_schema() \
            JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = needed.name \
            WHERE NOT CASE needed.privilege WHEN 'DELETE' THEN has_table_privilege(c.oid, 'DELETE') \
            ELSE has_any_column_privilege(c.oid, needed.privilege) END";
        let Pool::Postgres(pool) = &self.pool else {
            return Ok(Vec::new());
        };
        let (mut names, mut privileges) = (Vec::new(), Vec::new());
        for relation in self.relations(pool).await? {
            for privilege in relation.needed() {
                names.push(relation.name.clone());
                privileges.push(*privilege);
            }
        }
        let query = sqlx::query_scalar(SQL).bind(names).bind(privileges);
        let span = traces::statement(&SQL);
        in_time(&self.bound(), span, query.fetch_all(pool)).await
    }

    /// Our tables and views that are there.
    async fn relations(&self, pool: &PgPool) -> Result<Vec<Relation>, StoreError> {
        const SQL: &str = "SELECT c.relname::text AS name, c.relkind = 'v' AS is_view FROM pg_class c \
            JOIN pg_class m ON m.relnamespace = c.relnamespace AND m.relowner = c.relowner \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = current_schema() AND m.relname = '_sqlx_migrations' \
            AND c.relkind IN ('r', 'p', 'v') AND c.relname = ANY($1) ORDER BY c.relname";
        let ours: Vec<&str> = TABLES.into_iter().chain(BESIDE).chain(VIEWS).collect();
        let query = sqlx::query_as(SQL).bind(ours).fetch_all(pool);
        in_time(&self.bound(), traces::statement(&SQL), query).await
    }
}

impl Grantee<'_> {
    /// The statements that give the role all that servers need, and take everything else away.
    pub(crate) async fn statements(&self) -> Result<Vec<String>, GrantError> {
        // The functions are called by people and views; those of triggers by nobody.
        const REST: &str = "SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $1) \
            FROM pg_namespace n WHERE n.nspname = current_schema() \
            AND NOT has_schema_privilege($1, n.oid, 'USAGE') \
            UNION ALL (SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, $1) \
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
            WHERE n.nspname = current_schema() AND pg_has_role(p.proowner, 'USAGE') \
            AND p.proname = ANY($2) ORDER BY p.proname)";
        let mut statements = Vec::new();
        let role = quoted(&self.role);
        for relation in self.store.relations(self.pool).await? {
            let (table, privileges) = (quoted(&relation.name), relation.granted());
            statements.push(format!("REVOKE ALL ON {table} FROM {role}"));
            statements.push(format!("GRANT {privileges} ON {table} TO {role}"));
        }
        let query = sqlx::query_scalar(REST).bind(&self.role).bind(FUNCTIONS);
        let rest = query.fetch_all(self.pool);
        let span = traces::statement(&REST);
        let rest: Vec<String> = in_time(&self.store.bound(), span, rest).await?;
        statements.extend(rest);
        Ok(statements)
    }

    /// Gives it that, at once or not at all, and lets it prune what is older than so many days.
    pub(crate) async fn grant(&self, prunes_after_days: Option<i64>) -> Result<(), GrantError> {
        const PRUNING: &str = "UPDATE _audit_retention SET keep_days = $1";
        const TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('keyferry grants'))";
        let statements = self.statements().await?;
        let all = async {
            let mut change = self.pool.begin().await?;
            // Two who grant at once would meet in the catalogue.
            sqlx::query(TURN).execute(&mut *change).await?;
            for statement in statements {
                let statement = sqlx::query(AssertSqlSafe(statement));
                statement.execute(&mut *change).await?;
            }
            let pruning = sqlx::query(PRUNING).bind(prunes_after_days);
            pruning.execute(&mut *change).await?;
            change.commit().await
        };
        Ok(in_time(&self.store.bound(), traces::statement(&"GRANT"), all).await?)
    }

    /// By what the role could change the audit nevertheless.
    pub(crate) async fn changes_audit(&self) -> Result<Option<String>, GrantError> {
        let ways = self.store.changes_audit(self.pool, Some(&self.role));
        Ok(ways.await?)
    }
}

/// A table or a view.
#[derive(FromRow)]
struct Relation {
    name: String,
    is_view: bool,
}

impl Relation {
    /// What servers do with it.
    fn needed(&self) -> &'static [&'static str] {
        match self.name.as_str() {
            // Through a view, its owner's rights on the tables would be used.
            _ if self.is_view => &["SELECT"],
            "_sqlx_migrations" | "_audit_retention" => &["SELECT"],
            "audit_events" | "retired_master_keys" => &["SELECT", "INSERT"],
            "audit_heads" | "audit_keys" => &["SELECT", "INSERT", "UPDATE"],
            _ => &["SELECT", "INSERT", "UPDATE", "DELETE"],
        }
    }

    /// The same in a statement. Where a chain begins is left to the function that prunes.
    fn granted(&self) -> String {
        self.needed().join(", ").replace(
            "UPDATE",
            match self.name.as_str() {
                "audit_heads" => "UPDATE (seq, hash)",
                _ => "UPDATE",
            },
        )
    }
}

/// A name as it stands in a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The tables that are in no backup.
const BESIDE: [&str; 3] = ["changes", "_audit_retention", "_sqlx_migrations"];
const VIEWS: [&str; 2] = ["active_auth_sessions", "recent_auth_events"];
/// What people, views and servers call.
const FUNCTIONS: [&str; 5] = [
    "cleanup_expired_auth_sessions",
    "cleanup_expired_auth_tokens",
    "get_auth_statistics",
    "microseconds_now",
    "prune_audit",
];

#[cfg(test)]
mod tests {
    use super::{GrantError, quoted};
    use crate::store::Store;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(quoted("keyferry"), "\"keyferry\"");
        assert_eq!(quoted("x\" TO y; --"), "\"x\"\" TO y; --\"");
    }

    #[tokio::test]
    async fn sqlite_has_nobody_to_grant_to() {
        let store = Store::open_in_memory().await;
        let refused = store.grantee("keyferry").await.err().unwrap();
        assert!(matches!(refused, GrantError::NoRoles));
        assert!(store.lacking_rights().await.unwrap().is_empty());
        assert!(store.own_role().await.unwrap().is_none());
    }
}

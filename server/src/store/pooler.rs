//! A pooler between us and PostgreSQL may give one session of it to several connections of ours, and
//! keep to itself what they are to be bound by.

use sqlx::error::DatabaseError;
use sqlx::{PgConnection, PgPool, Row, raw_sql};

use super::StoreError;

/// A statement that hangs is a database that does not answer. What a connection begins with says so.
pub(super) const BOUNDS: [(&str, &str); 2] = [
    ("statement_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
];

/// Refuses a pooler whose connections are no sessions, or are not bound.
pub(super) async fn refuse(pool: &PgPool) -> Result<(), StoreError> {
    let (mut one, mut other) = (pool.acquire().await?, pool.acquire().await?);
    // While neither is in a transaction, a pooler of these has one session for both.
    let sessions = [session(&mut one).await?, session(&mut other).await?];
    if sessions[0] == sessions[1] {
        return Err(StoreError::Pooled("gives out single transactions"));
    }
    for (setting, bound) in BOUNDS {
        if shown(&mut one, setting).await? != bound {
            return Err(StoreError::Pooled("does not pass on its settings"));
        }
    }
    Ok(())
}

/// Whether a pooler says this, of what PostgreSQL takes.
pub(super) fn has_spoken(told: &dyn DatabaseError) -> bool {
    told.code().is_some_and(|code| code == PROTOCOL_VIOLATION)
        && told.message().contains("startup parameter")
}

/// By no statement that has a name: those that another connection has made are not ours.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let sql = raw_sql("SELECT pg_backend_pid()");
    sql.fetch_one(connection).await?.try_get(0)
}

async fn shown(
    connection: &mut PgConnection,
    setting: &'static str,
) -> Result<String, sqlx::Error> {
    let sql = sqlx::query_scalar("SELECT current_setting($1)");
    sql.bind(setting).fetch_one(connection).await
}

const PROTOCOL_VIOLATION: &str = "08P01";

//! Opens a database, and brings its schema up to date.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::unfinished::still_answers;
use super::{
    LONGEST_STATEMENT, Pool, Store, StoreError, Transaction, UnixTime, Writes, in_time, pooler,
    sql, way,
};
use crate::config::Database;
use crate::{metrics, traces};

/// A step from one schema to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) version: i64,
    pub(crate) name: String,
}

/// How far the schema of a database is.
pub(crate) struct Schema {
    /// The versions that the database has.
    pub(crate) applied: Vec<i64>,
    /// What this program would still do.
    pub(crate) pending: Vec<Step>,
}

impl Schema {
    /// Whether the database has a table that came with this version.
    pub(crate) fn has(&self, version: i64) -> bool {
        self.applied.contains(&version)
    }

    /// Whether there is nothing in the database yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.applied.is_empty()
    }
}

impl Store {
    /// Opens the database as it is. A file that is not there is made, a server's database is not.
    pub(crate) async fn connect(database: &Database) -> Result<Self, StoreError> {
        match database {
            Database::File(path) => {
                let options = SqliteConnectOptions::new().filename(path);
                Self::connect_sqlite(options.create_if_missing(true)).await
            }
            Database::Postgres { url, connections } => {
                Self::connect_postgres(url, *connections).await
            }
        }
    }

    fn on(pool: Pool) -> Self {
        Self {
            pool,
            longest: LONGEST_STATEMENT,
            took: metrics::new_histogram(),
            writes: Writes::default(),
        }
    }

    /// The same database, with this bound.
    #[cfg(test)]
    pub(crate) fn with_longest(&self, longest: Duration) -> Self {
        Self {
            longest,
            ..self.clone()
        }
    }

    /// Opens an empty database that is gone when the store is dropped.
    #[cfg(test)]
    pub(crate) async fn open_in_memory() -> Self {
        let options = SqliteConnectOptions::new().in_memory(true);
        let store = Self::connect_sqlite(options).await;
        let store = store.expect("an empty database in memory opens");
        store.migrate().await.expect("an empty database migrates");
        store
    }

    /// How far the schema is. Changes nothing. A database of a newer program is refused.
    pub(crate) async fn schema(&self) -> Result<Schema, StoreError> {
        let applied = self.applied_versions().await?;
        let known = migrator(self);
        if let Some(newer) = applied
            .iter()
            .find(|version| !known.version_exists(**version))
        {
            return Err(StoreError::NewerSchema(*newer));
        }
        let pending = known.iter().filter(|one| !applied.contains(&one.version));
        let pending = pending.map(|one| Step {
            version: one.version,
            name: one.description.to_string(),
        });
        Ok(Schema {
            pending: pending.collect(),
            applied,
        })
    }

    /// What time the database has; SQLite has ours.
    pub(crate) async fn clock(&self, ours: UnixTime) -> Result<UnixTime, StoreError> {
        const SQL: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT";
        match &self.pool {
            Pool::Postgres(pool) => {
                let span = traces::statement(&SQL);
                in_time(&self.bound(), span, sqlx::query_scalar(SQL).fetch_one(pool)).await
            }
            Pool::Sqlite(_) => Ok(ours),
        }
    }

    /// Finds that [`migrate`](Self::migrate) has nothing to do, or the right to.
    pub(crate) async fn refuse_foreign_schema(&self) -> Result<(), StoreError> {
        let Pool::Postgres(pool) = &self.pool else {
            return Ok(());
        };
        match self.stranger_to_schema(pool).await? {
            None => Ok(()),
            Some(role) => self.need_nothing(migrator(self), role).await,
        }
    }

    /// Brings the schema up to date.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.run(migrator(self)).await?;
        self.fold_names().await
    }

    /// Brings an empty database to an earlier schema, for the rows of an old backup.
    pub(crate) async fn migrate_to(&self, versions: &[i64]) -> Result<(), StoreError> {
        let known = migrator(self);
        if let Some(newer) = versions
            .iter()
            .find(|version| !known.version_exists(**version))
        {
            return Err(StoreError::NewerSchema(*newer));
        }
        let wanted = known.iter().filter(|one| versions.contains(&one.version));
        self.run(&Migrator::with_migrations(wanted.cloned().collect()))
            .await
    }

    /// However long it takes: an index on a large table, or a server that migrates already.
    async fn run(&self, migrator: &Migrator) -> Result<(), StoreError> {
        match &self.pool {
            Pool::Postgres(pool) => {
                if let Some(role) = self.stranger_to_schema(pool).await? {
                    return self.need_nothing(migrator, role).await;
                }
                let options = pool.connect_options().as_ref().clone();
                let options = options.options(pooler::BOUNDS.map(|(name, _)| (name, "0")));
                let mut patient = PgConnection::connect_with(&options).await?;
                migrator.run(&mut patient).await?;
                Ok(patient.close().await?)
            }
            Pool::Sqlite(pool) => Ok(migrator.run(pool).await?),
        }
    }

    /// A role that does not own the schema finds all of it there, or cannot go on.
    async fn need_nothing(&self, migrator: &Migrator, role: String) -> Result<(), StoreError> {
        let applied = self.applied_versions().await?;
        match migrator.iter().all(|one| applied.contains(&one.version)) {
            true => Ok(()),
            false => Err(StoreError::ForeignSchema(role)),
        }
    }

    async fn applied_versions(&self) -> Result<Vec<i64>, StoreError> {
        // `information_schema` hides tables on which a role has no rights.
        const POSTGRES: &str = "SELECT COUNT(*) FROM pg_class c \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE n.nspname = current_schema() AND c.relname = '_sqlx_migrations'";
        const SQLITE: &str = "SELECT COUNT(*) FROM sqlite_schema \
            WHERE type = 'table' AND name = '_sqlx_migrations'";
        let there = match self.pool {
            Pool::Postgres(_) => POSTGRES,
            Pool::Sqlite(_) => SQLITE,
        };
        let there: i64 = sql!(self, query_scalar(there).fetch_one)?;
        if there == 0 {
            return Ok(Vec::new());
        }
        sql!(self, query_scalar(APPLIED).fetch_all)
    }

    async fn connect_postgres(url: &SecretString, connections: u32) -> Result<Self, StoreError> {
        let store = Self::connect_unasked(url, connections).await?;
        if let Pool::Postgres(pool) = &store.pool {
            pooler::refuse(pool).await?;
        }
        Ok(store)
    }

    /// Asks nothing of whoever is there.
    pub(super) async fn connect_unasked(
        url: &SecretString,
        connections: u32,
    ) -> Result<Self, StoreError> {
        way::read_files(url)?;
        let options = PgConnectOptions::from_str(url.expose_secret())?.options(pooler::BOUNDS);
        let pool = open_postgres(postgres_pool(connections), options).await?;
        Ok(Self::on(Pool::Postgres(pool)))
    }

    async fn connect_sqlite(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let options = options
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(ACQUIRE)
            .pragma("secure_delete", "ON");
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            // When a commit fails, on a full disk, SQLite has rolled back and sqlx still counts a
            // transaction: whatever came after it would be a savepoint that nobody ever commits.
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(!connection.is_in_transaction()) })
            })
            .connect_with(options)
            .await?;
        Ok(Self::on(Pool::Sqlite(pool)))
    }
}

impl Transaction {
    /// The versions of the schema of a database that is in use.
    pub(crate) async fn applied_versions(&mut self) -> Result<Vec<i64>, StoreError> {
        sql!(self, query_scalar(APPLIED).fetch_all)
    }
}

/// Opens a pool, or says why not: of itself it tells only that it tried in vain.
pub(crate) async fn open_postgres(
    pool: PgPoolOptions,
    options: PgConnectOptions,
) -> Result<PgPool, sqlx::Error> {
    let pool = pool.acquire_timeout(ACQUIRE);
    let opened = pool.connect_with(options.clone()).await;
    if let Err(sqlx::Error::PoolTimedOut) = opened {
        let alone = timeout(ACQUIRE, PgConnection::connect_with(&options)).await;
        if let Ok(Err(cause)) = alone {
            return Err(cause);
        }
    }
    opened
}

fn postgres_pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        // Under load a connection is known to live; after a pause it is asked.
        .before_acquire(|connection, known| {
            Box::pin(async move {
                if known.idle_for > PAUSE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| Box::pin(still_answers(connection)))
}

/// What this program knows of the engine's schema.
const fn migrator(store: &Store) -> &'static Migrator {
    match store.pool {
        Pool::Postgres(_) => &keyferry_migrations::POSTGRES,
        Pool::Sqlite(_) => &keyferry_migrations::SQLITE,
    }
}

const APPLIED: &str = "SELECT version FROM _sqlx_migrations ORDER BY version";
const ACQUIRE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::{Store, StoreError, sql};
    use crate::config::Database;

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_refused() {
        const SQL: &str = "INSERT INTO _sqlx_migrations \
            (version, description, success, checksum, execution_time) \
            VALUES (9999, 'of tomorrow', TRUE, x'00', 0)";
        let store = Store::open_in_memory().await;
        sql!(store, query(SQL).execute).unwrap();
        let refused = store.schema().await.err().unwrap();
        assert!(matches!(refused, StoreError::NewerSchema(9999)));
    }

    #[tokio::test]
    async fn looking_at_the_schema_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("keyferry.db"));
        let store = Store::connect(&database).await.unwrap();
        for _ in 0..2 {
            let schema = store.schema().await.unwrap();
            assert!(schema.is_empty());
            assert!(schema.pending.len() > 6);
        }
        store.migrate_to(&[1, 2]).await.unwrap();
        assert_eq!(store.schema().await.unwrap().applied, [1, 2]);
        store.migrate().await.unwrap();
        assert!(store.schema().await.unwrap().pending.is_empty());
    }
}

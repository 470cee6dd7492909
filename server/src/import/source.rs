//! The other system's database, which is only read.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgPool};

use super::Columns;
use super::layout::{Column, KEYS, Layout, LayoutError, Plan, USERS};
use super::rows::{Cells, ForeignKey, ForeignUser, Reading};
use crate::store::open_postgres;

/// Where the other system's rows are.
pub(crate) struct Tables {
    pub(crate) users: String,
    pub(crate) keys: String,
    /// Columns that the operator has named, by `users.FIELD` or `keys.FIELD`.
    pub(crate) columns: BTreeMap<String, String>,
}

/// An open database of another system.
pub(crate) struct Source {
    pool: PgPool,
    /// What the other system's database is called, with its server.
    pub(crate) name: String,
    /// The same without its server, as imports of earlier versions have noted it.
    pub(crate) short_name: String,
    users: Layout,
    keys: Layout,
}

/// Why the other system's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the other system's database cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Rows as they come; those that cannot be read as such.
type Rows<'a, T> = BoxStream<'a, Reading<T>>;

impl Source {
    /// Opens the database, and finds the tables and their columns.
    pub(crate) async fn open(
        options: PgConnectOptions,
        tables: &Tables,
    ) -> Result<Self, SourceError> {
        let options = options.options([("default_transaction_read_only", "on")]);
        let server = match options.get_socket() {
            Some(socket) => format!("{}:{}", socket.display(), options.get_port()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let pool = open_postgres(PgPoolOptions::new().max_connections(2), options).await?;
        let short_name = sqlx::query_scalar("SELECT current_database()::text");
        let short_name: String = short_name.fetch_one(&pool).await?;
        let users = layout(&pool, (&USERS, &tables.users), tables).await?;
        let keys = layout(&pool, (&KEYS, &tables.keys), tables).await?;
        Ok(Self {
            name: format!("{server}/{short_name}"),
            pool,
            short_name,
            users,
            keys,
        })
    }

    /// In which columns each field is, if in any.
    pub(super) fn columns(&self) -> Columns {
        let tables = [(&USERS, &self.users), (&KEYS, &self.keys)].into_iter();
        let columns = tables.flat_map(|(plan, layout)| {
            plan.wanted().map(|(field, _)| {
                let names = layout.names(field);
                let column = (!names.is_empty()).then(|| names.join(", "));
                (format!("{}.{field}", plan.flag), column)
            })
        });
        columns.collect()
    }

    /// How many users and keys there are.
    pub(super) async fn count(&self) -> Result<u64, SourceError> {
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM {}) + (SELECT COUNT(*) FROM {})",
            self.users.table, self.keys.table
        );
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Every user.
    pub(super) fn users(&self) -> Rows<'_, ForeignUser> {
        self.rows(&self.users, &["id"], ForeignUser::read)
    }

    /// Every key, those of one user together.
    pub(super) fn keys(&self) -> Rows<'_, ForeignKey> {
        self.rows(&self.keys, &["user", "id"], ForeignKey::read)
    }

    fn rows<'a, T: Send + 'a>(
        &'a self,
        layout: &'a Layout,
        order: &[&str],
        read: fn(&Cells<'_>) -> Reading<T>,
    ) -> Rows<'a, T> {
        let rows = sqlx::query(AssertSqlSafe(layout.select(order))).fetch(&self.pool);
        let read =
            move |row: Result<PgRow, _>| row.and_then(|row| read(&Cells { layout, row: &row }));
        rows.map(read).boxed()
    }
}

async fn layout(
    pool: &PgPool,
    (plan, table): (&Plan, &str),
    tables: &Tables,
) -> Result<Layout, SourceError> {
    const SQL: &str = "SELECT column_name::text, data_type::text FROM information_schema.columns \
        WHERE table_name = $1 AND table_schema = COALESCE($2, current_schema())";
    let (schema, name) = match table.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, table),
    };
    let there: Vec<Column> = sqlx::query_as(SQL)
        .bind(name)
        .bind(schema)
        .fetch_all(pool)
        .await?;
    let named = tables.columns.iter().filter_map(|(place, column)| {
        let (of, field) = place.split_once('.')?;
        (of == plan.flag).then(|| (field.to_owned(), column.clone()))
    });
    Ok(Layout::find((plan, table), &there, &named.collect())?)
}

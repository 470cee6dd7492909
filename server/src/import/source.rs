//! The other system's database, which is only read.

use std::collections::BTreeMap;

use futures_util::stream::BoxStream;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::Columns;
use super::layout::{Column, KEYS, Layout, LayoutError, USERS, Wanted};
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
    /// What the other system's database is called.
    pub(crate) name: String,
    users: Layout,
    keys: Layout,
}

/// A user of the other system.
#[derive(FromRow)]
pub(super) struct ForeignUser {
    pub(super) id: String,
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) password_hash: Option<String>,
    pub(super) full_name: Option<String>,
    active: Option<String>,
    verified: Option<String>,
}

/// A key of the other system.
#[derive(FromRow)]
pub(super) struct ForeignKey {
    pub(super) id: String,
    pub(super) user: Option<String>,
    pub(super) name: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) token: Option<String>,
    active: Option<String>,
}

impl ForeignUser {
    pub(super) fn is_active(&self) -> bool {
        is_true(self.active.as_deref(), true)
    }

    pub(super) fn is_verified(&self) -> bool {
        is_true(self.verified.as_deref(), false)
    }
}

impl ForeignKey {
    pub(super) fn is_active(&self) -> bool {
        is_true(self.active.as_deref(), true)
    }
}

fn is_true(text: Option<&str>, otherwise: bool) -> bool {
    text.map_or(otherwise, |text| ["true", "t", "1", "yes"].contains(&text))
}

/// Why the other system's database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the other system's database cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl Source {
    /// Opens the database, and finds the tables and their columns.
    pub(crate) async fn open(
        options: PgConnectOptions,
        tables: &Tables,
    ) -> Result<Self, SourceError> {
        let options = options.options([("default_transaction_read_only", "on")]);
        let pool = open_postgres(PgPoolOptions::new().max_connections(2), options).await?;
        let name = sqlx::query_scalar("SELECT current_database()::text");
        let name = name.fetch_one(&pool).await?;
        let users = layout(&pool, ("users", &tables.users, USERS), tables).await?;
        let keys = layout(&pool, ("keys", &tables.keys, KEYS), tables).await?;
        demand(
            &users,
            ("users", USERS),
            &[&["id"], &["username", "email"], &["password_hash"]],
        )?;
        demand(
            &keys,
            ("keys", KEYS),
            &[&["id"], &["user"], &["token"], &["name", "provider"]],
        )?;
        Ok(Self {
            pool,
            name,
            users,
            keys,
        })
    }

    /// In which column each field is, if in any.
    pub(super) fn columns(&self) -> Columns {
        let users = USERS
            .iter()
            .map(|(field, _)| ("users", *field, &self.users));
        let keys = KEYS.iter().map(|(field, _)| ("keys", *field, &self.keys));
        let columns = users.chain(keys).map(|(table, field, layout)| {
            let column = layout.column(field).map(str::to_owned);
            (format!("{table}.{field}"), column)
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
    pub(super) fn users(&self) -> BoxStream<'_, Result<ForeignUser, sqlx::Error>> {
        let sql = |field| self.users.sql(field);
        let sql = format!(
            "SELECT {} AS id, {} AS username, {} AS email, {} AS password_hash, {} AS full_name, \
             {} AS active, {} AS verified FROM {} ORDER BY 1",
            sql("id"),
            sql("username"),
            sql("email"),
            sql("password_hash"),
            sql("full_name"),
            sql("active"),
            sql("verified"),
            self.users.table
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch(&self.pool)
    }

    /// Every key, those of one user together.
    pub(super) fn keys(&self) -> BoxStream<'_, Result<ForeignKey, sqlx::Error>> {
        let sql = |field| self.keys.sql(field);
        let sql = format!(
            "SELECT {} AS id, {} AS \"user\", {} AS name, {} AS provider, {} AS token, \
             {} AS active FROM {} ORDER BY 2, 1",
            sql("id"),
            sql("user"),
            sql("name"),
            sql("provider"),
            sql("token"),
            sql("active"),
            self.keys.table
        );
        sqlx::query_as(AssertSqlSafe(sql)).fetch(&self.pool)
    }
}

async fn layout(
    pool: &PgPool,
    (prefix, table, wanted): (&'static str, &str, Wanted),
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
        (of == prefix).then(|| (field.to_owned(), column.clone()))
    });
    Ok(Layout::find(
        (prefix, table),
        &there,
        wanted,
        &named.collect(),
    )?)
}

fn demand(
    layout: &Layout,
    (flag, wanted): (&'static str, Wanted),
    needed: &[&[&'static str]],
) -> Result<(), LayoutError> {
    for any in needed {
        if layout.has_any(any) {
            continue;
        }
        let [first, ..] = any else { continue };
        let tried = wanted.iter().find(|(field, _)| field == first);
        let tried = tried.map_or(String::new(), |(_, usual)| usual.join(", "));
        return Err(LayoutError::NoColumn {
            table: layout.table.clone(),
            flag,
            wanted: first,
            tried,
        });
    }
    Ok(())
}

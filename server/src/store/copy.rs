//! Whole tables, row by row, in a form that both engines take.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, FromRow, Row};

use super::{Bound, Store, StoreError, Target, Transaction, on_database, sql};

/// A table and its columns.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) table: String,
    columns: Vec<Column>,
}

#[derive(Clone)]
struct Column {
    name: String,
    kind: Kind,
}

/// What a column holds, and how it is said in the engine's SQL.
#[derive(Clone, Copy)]
enum Kind {
    Integer,
    Boolean,
    Text,
    Json,
    Bytes,
    Uuid,
}

/// One value, the same for both engines: a UUID is its 16 bytes, a boolean 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

#[derive(FromRow)]
struct ColumnRow {
    table_name: String,
    column_name: String,
    data_type: String,
}

/// A table that refers to another one.
#[derive(FromRow)]
struct Reference {
    table_name: String,
    refers_to: String,
}

impl Shape {
    /// The names of the columns, in order.
    pub(crate) fn columns(&self) -> Vec<&str> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }

    /// The same table with its columns in this order, if it has just these.
    pub(crate) fn with_columns(&self, names: &[String]) -> Option<Self> {
        let find = |name: &String| self.columns.iter().find(|column| column.name == *name);
        let columns: Option<Vec<Column>> = names.iter().map(|name| find(name).cloned()).collect();
        (names.len() == self.columns.len()).then_some(())?;
        Some(Self {
            table: self.table.clone(),
            columns: columns?,
        })
    }

    fn select(&self) -> String {
        let columns = self.columns.iter().map(|Column { name, kind }| match kind {
            Kind::Integer => format!("CAST({name} AS BIGINT)"),
            Kind::Boolean => format!("CAST(CAST({name} AS INTEGER) AS BIGINT)"),
            Kind::Json => format!("CAST({name} AS TEXT)"),
            Kind::Uuid => format!("uuid_send({name})"),
            Kind::Text | Kind::Bytes => name.clone(),
        });
        let columns: Vec<String> = columns.collect();
        format!("SELECT {} FROM {}", columns.join(", "), self.table)
    }

    fn insert(&self) -> String {
        let places = self
            .columns
            .iter()
            .zip(1..)
            .map(|(column, place)| match column.kind {
                Kind::Boolean => format!("(${place} <> 0)"),
                Kind::Uuid => format!("CAST(encode(${place}, 'hex') AS UUID)"),
                Kind::Json => format!("CAST(${place} AS JSONB)"),
                Kind::Integer | Kind::Text | Kind::Bytes => format!("${place}"),
            });
        let places: Vec<String> = places.collect();
        let columns = self.columns().join(", ");
        format!(
            "INSERT INTO {} ({columns}) VALUES ({})",
            self.table,
            places.join(", ")
        )
    }
}

impl Kind {
    fn of(data_type: &str) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "bigint" | "integer" | "smallint" => Self::Integer,
            "boolean" => Self::Boolean,
            "text" | "character varying" => Self::Text,
            "json" | "jsonb" => Self::Json,
            "bytea" | "blob" => Self::Bytes,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }
}

impl Store {
    /// Starts a transaction that sees one moment, however long it and each of its statements take.
    pub(crate) async fn begin_long(&self) -> Result<Transaction, StoreError> {
        const SETTINGS: [&str; 3] = [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
        ];
        // It holds nobody up: others write meanwhile, and it does not see it.
        let bound = Bound {
            longest: None,
            ..self.bound()
        };
        let mut open = self.begin_by("BEGIN", bound).await?;
        if let Target::Postgres(open) = open.target() {
            for setting in SETTINGS {
                sqlx::query(setting).execute(&mut *open).await?;
            }
        }
        Ok(open)
    }
}

impl Transaction {
    /// Every table that outlives its servers, those that are referred to first.
    pub(crate) async fn shapes(&mut self) -> Result<Vec<Shape>, StoreError> {
        const POSTGRES: (&str, &str) = (
            "SELECT c.table_name::text, c.column_name::text, c.data_type::text \
             FROM information_schema.columns c JOIN information_schema.tables t \
             USING (table_schema, table_name) WHERE c.table_schema = current_schema() \
             AND t.table_type = 'BASE TABLE' AND c.table_name NOT LIKE '\\_%' \
             ORDER BY c.table_name, c.ordinal_position",
            "SELECT conrelid::regclass::text AS table_name, confrelid::regclass::text AS refers_to \
             FROM pg_constraint WHERE contype = 'f'",
        );
        const SQLITE: (&str, &str) = (
            "SELECT m.name AS table_name, c.name AS column_name, c.type AS data_type \
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' \
             AND m.name NOT LIKE '\\_%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%' \
             ORDER BY m.name, c.cid",
            "SELECT m.name AS table_name, f.\"table\" AS refers_to FROM sqlite_schema m \
             JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
        );
        let (columns, references) = match self.target() {
            Target::Postgres(_) => POSTGRES,
            Target::Sqlite(_) => SQLITE,
        };
        let mut columns: Vec<ColumnRow> = sql!(self, query_as(columns).fetch_all)?;
        columns.retain(|column| TABLES.contains(&column.table_name.as_str()));
        let references: Vec<Reference> = sql!(self, query_as(references).fetch_all)?;
        Ok(in_order(shapes_of(columns)?, &references))
    }

    /// How many rows a table has.
    pub(crate) async fn count_rows(&mut self, shape: &Shape) -> Result<u64, StoreError> {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", shape.table));
        let rows: i64 = sql!(self, query_scalar(sql).fetch_one)?;
        Ok(rows.unsigned_abs())
    }

    /// Hands every row of a table over.
    pub(crate) async fn each_row<E: From<StoreError>>(
        &mut self,
        shape: &Shape,
        mut take: impl FnMut(Vec<Cell>) -> Result<(), E>,
    ) -> Result<(), E> {
        let select = AssertSqlSafe(shape.select());
        on_database!(self, |db| {
            let mut rows = sqlx::query(select).fetch(db);
            while let Some(row) = rows.try_next().await.map_err(StoreError::from)? {
                let mut cells = Vec::with_capacity(shape.columns.len());
                for (place, column) in shape.columns.iter().enumerate() {
                    let cell = match column.kind {
                        Kind::Integer | Kind::Boolean => {
                            row.try_get::<Option<i64>, _>(place).map(Cell::integer)
                        }
                        Kind::Text | Kind::Json => {
                            row.try_get::<Option<String>, _>(place).map(Cell::text)
                        }
                        Kind::Bytes | Kind::Uuid => {
                            row.try_get::<Option<Vec<u8>>, _>(place).map(Cell::bytes)
                        }
                    };
                    cells.push(cell.map_err(StoreError::from)?);
                }
                take(cells)?;
            }
        });
        Ok(())
    }

    /// Puts one row into a table; `None` when a cell does not fit its column.
    pub(crate) async fn insert_row(
        &mut self,
        shape: &Shape,
        cells: Vec<Cell>,
    ) -> Result<Option<()>, StoreError> {
        let insert = AssertSqlSafe(shape.insert());
        on_database!(self, |db| {
            let mut query = sqlx::query(insert);
            for (column, cell) in shape.columns.iter().zip(cells) {
                query = match (column.kind, cell) {
                    (Kind::Integer | Kind::Boolean, Cell::Null) => query.bind(None::<i64>),
                    (Kind::Integer | Kind::Boolean, Cell::Integer(number)) => query.bind(number),
                    (Kind::Text | Kind::Json, Cell::Null) => query.bind(None::<String>),
                    (Kind::Text | Kind::Json, Cell::Text(text)) => query.bind(text),
                    (Kind::Bytes | Kind::Uuid, Cell::Null) => query.bind(None::<Vec<u8>>),
                    (Kind::Bytes | Kind::Uuid, Cell::Bytes(bytes)) => query.bind(bytes),
                    _ => return Ok(None),
                };
            }
            query.execute(db).await.map(drop)
        })?;
        Ok(Some(()))
    }

    /// Empties a table that a migration has filled.
    pub(crate) async fn clear_table(&mut self, shape: &Shape) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(format!("DELETE FROM {}", shape.table));
        sql!(self, query(sql).execute).map(drop)
    }
}

impl Cell {
    fn integer(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Integer)
    }

    fn text(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    fn bytes(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(Self::Null, Self::Bytes)
    }
}

fn shapes_of(rows: Vec<ColumnRow>) -> Result<Vec<Shape>, StoreError> {
    let mut shapes: Vec<Shape> = Vec::new();
    for row in rows {
        let kind = Kind::of(&row.data_type).ok_or_else(|| {
            let what = format!(
                "{}.{} is {}",
                row.table_name, row.column_name, row.data_type
            );
            StoreError::Statement(sqlx::Error::Protocol(what))
        })?;
        if shapes
            .last()
            .is_none_or(|shape| shape.table != row.table_name)
        {
            shapes.push(Shape {
                table: row.table_name,
                columns: Vec::new(),
            });
        }
        let shape = shapes.last_mut().expect("just pushed");
        shape.columns.push(Column {
            name: row.column_name,
            kind,
        });
    }
    Ok(shapes)
}

/// Each table after those that it refers to.
fn in_order(mut left: Vec<Shape>, references: &[Reference]) -> Vec<Shape> {
    let mut done: Vec<Shape> = Vec::new();
    let mut names = BTreeSet::new();
    while !left.is_empty() {
        let ready = |shape: &Shape| {
            let mut refers = references
                .iter()
                .filter(|one| one.table_name == shape.table);
            refers.all(|one| one.refers_to == shape.table || names.contains(&one.refers_to))
        };
        // Tables that refer to each other would stop us; then the first goes as it is.
        let next = left.iter().position(ready).unwrap_or(0);
        let shape = left.remove(next);
        names.insert(shape.table.clone());
        done.push(shape);
    }
    done
}

/// The tables that migrations make. Others in the same schema are somebody else's, and `changes` are
/// notes for servers that run, which are nothing to one that starts from a backup.
pub(super) const TABLES: [&str; 35] = [
    "audit_events",
    "audit_heads",
    "audit_keys",
    "devices",
    "email_tokens",
    "enrolment_requests",
    "held_versions",
    "identities",
    "imported_rows",
    "invitations",
    "key_versions",
    "login_failures",
    "master_key_rotations",
    "memberships",
    "mfa_challenges",
    "password_history",
    "pending_alerts",
    "plans",
    "provider_keys",
    "provider_sign_ins",
    "reattach_credentials",
    "recovery_codes",
    "refresh_tokens",
    "retired_master_keys",
    "roles",
    "server_keys",
    "service_api_keys",
    "sessions",
    "settings",
    "signing_keys",
    "tenants",
    "tickets",
    "totp",
    "users",
    "vms",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::TABLES;
    use crate::store::{Store, StoreError, sql};

    /// Takes far longer than a millisecond.
    const COUNTING: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
        WHERE i < 1000000) SELECT COUNT(*) FROM n";

    #[tokio::test]
    async fn every_table_of_the_schema_is_known() {
        const SQL: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' \
            AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY name";
        let store = Store::open_in_memory().await;
        let there: Vec<String> = sql!(store, query_scalar(SQL).fetch_all).unwrap();
        let mut known: Vec<&str> = TABLES.into_iter().chain(["changes"]).collect();
        known.sort_unstable();
        assert_eq!(there, known);
    }

    #[tokio::test]
    async fn a_look_at_whole_tables_takes_as_long_as_it_takes() {
        let store = Store::open_in_memory().await;
        let hasty = store.with_longest(Duration::from_millis(1));
        let mut look = hasty.begin_long().await.unwrap();
        let counted: i64 = sql!(look, query_scalar(COUNTING).fetch_one).unwrap();
        assert_eq!(counted, 1_000_000);
        look.commit().await.unwrap();
        let late: Result<i64, _> = sql!(hasty, query_scalar(COUNTING).fetch_one);
        assert!(matches!(late, Err(StoreError::Unreachable(_))));
    }
}

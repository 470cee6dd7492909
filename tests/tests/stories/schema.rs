//! The two folders of migrations describe one schema.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use keyferry_migrations::{POSTGRES, SQLITE};
use keyferry_tests::Database;
use sqlx::{Connection, PgConnection, SqliteConnection};

/// Table, column, and whether it may be null.
type Column = (String, String, bool);

#[tokio::test]
async fn both_engines_have_the_same_tables_columns_and_nullability() {
    let (sqlite, postgres) = (sqlite_columns().await, postgres_columns().await);
    let only_sqlite: Vec<_> = sqlite.difference(&postgres).collect();
    let only_postgres: Vec<_> = postgres.difference(&sqlite).collect();
    assert!(only_sqlite.is_empty(), "only in SQLite: {only_sqlite:?}");
    assert!(
        only_postgres.is_empty(),
        "only in PostgreSQL: {only_postgres:?}"
    );
    assert!(
        sqlite.len() > 50,
        "the comparison saw only {} columns",
        sqlite.len()
    );
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = Database::create_empty().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    POSTGRES.run(&mut connection).await.unwrap();
    POSTGRES.run(&mut connection).await.unwrap();
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    SQLITE.run(&mut connection).await.unwrap();
    SQLITE.run(&mut connection).await.unwrap();
}

async fn sqlite_columns() -> BTreeSet<Column> {
    const SQL: &str = "SELECT m.name, c.name, c.\"notnull\" = 0 FROM sqlite_schema AS m \
        JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE '\\_%' ESCAPE '\\' \
        AND m.name NOT LIKE 'sqlite%'";
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    SQLITE.run(&mut connection).await.unwrap();
    let rows: Vec<Column> = sqlx::query_as(SQL)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.into_iter().collect()
}

async fn postgres_columns() -> BTreeSet<Column> {
    const SQL: &str = "SELECT c.table_name::text, c.column_name::text, c.is_nullable = 'YES' \
        FROM information_schema.columns AS c \
        JOIN information_schema.tables AS t USING (table_schema, table_name) \
        WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' \
        AND c.table_name NOT LIKE '\\_%'";
    let database = Database::create_empty().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    POSTGRES.run(&mut connection).await.unwrap();
    let rows: Vec<Column> = sqlx::query_as(SQL)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.into_iter().collect()
}

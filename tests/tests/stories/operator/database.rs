//! Looking into the server's database, and changing it behind its back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::Stage;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

/// One value.
pub(super) async fn query<T>(stage: &Stage, sql: &str) -> T
where
    T: Send + Unpin,
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
        + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
        + Send
        + Unpin,
{
    let url = stage.database().map(|database| database.url().to_owned());
    query_at(&url.unwrap_or_else(|| file(stage)), sql).await
}

/// One value of the database at this URL.
pub(super) async fn query_at<T>(url: &str, sql: &str) -> T
where
    T: Send + Unpin,
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
        + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
        + Send
        + Unpin,
{
    let sql = AssertSqlSafe(sql.to_owned());
    let (value,): (T,) = match url.starts_with("postgres") {
        true => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_as(sql)
                .fetch_one(&mut connection)
                .await
                .unwrap()
        }
        false => {
            let mut connection = SqliteConnection::connect(url).await.unwrap();
            sqlx::query_as(sql)
                .fetch_one(&mut connection)
                .await
                .unwrap()
        }
    };
    value
}

/// Any statements.
pub(super) async fn execute(stage: &Stage, sql: &str) {
    let url = stage.database().map(|database| database.url().to_owned());
    execute_at(&url.unwrap_or_else(|| file(stage)), sql).await;
}

/// The same in the database at this URL.
pub(super) async fn execute_at(url: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(sql).await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

fn file(stage: &Stage) -> String {
    format!("sqlite:{}", stage.data_dir().join("keyferry.db").display())
}

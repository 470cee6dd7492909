//! Looking into the server's database, and changing it behind its back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::Stage;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// One value.
pub(super) async fn query<T>(stage: &Stage, sql: &str) -> T
where
    T: Send + Unpin,
    (T,): for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
        + for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
        + Send
        + Unpin,
{
    query_at(&url(stage), sql).await
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
pub(crate) async fn execute(stage: &Stage, sql: &str) {
    try_execute(stage, sql).await.unwrap();
}

/// Any statements, which the database may refuse.
pub(crate) async fn try_execute(stage: &Stage, sql: &str) -> Result<(), sqlx::Error> {
    try_execute_at(&url(stage), sql).await
}

/// Any statements in the database at this URL.
pub(super) async fn execute_at(url: &str, sql: &str) {
    try_execute_at(url, sql).await.unwrap();
}

async fn try_execute_at(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let statements = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(url).await?;
        return statements.execute(&mut connection).await.map(drop);
    }
    let mut connection = SqliteConnection::connect(url).await?;
    let done = statements.execute(&mut connection).await.map(drop);
    connection.close().await?;
    done
}

fn url(stage: &Stage) -> String {
    match stage.database() {
        Some(database) => database.url().to_owned(),
        None => format!("sqlite:{}", stage.data_dir().join("keyferry.db").display()),
    }
}

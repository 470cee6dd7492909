//! A transaction beside the servers, which holds rows that they want: so a story chooses in which
//! order things happen at once.

use sqlx::{Connection, PgConnection};

use crate::{Stage, until};

/// What is held in PostgreSQL until it is let go.
pub struct Held(PgConnection);

impl Held {
    /// Runs a statement in the transaction.
    pub async fn change(&mut self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.0).await.unwrap();
    }

    /// Makes what was changed durable, and lets go.
    pub async fn commit(mut self) {
        self.change("COMMIT").await;
    }

    /// Lets go, and nothing was changed.
    pub async fn let_go(self) {
        self.0.close().await.unwrap();
    }
}

impl Stage {
    /// Begins a transaction in PostgreSQL with a statement that locks something.
    pub async fn hold(&self, sql: &'static str) -> Held {
        let database = self.database().expect("rows are held in PostgreSQL");
        let mut held = Held(PgConnection::connect(database.url()).await.unwrap());
        for sql in ["BEGIN", sql] {
            held.change(sql).await;
        }
        held
    }

    /// Waits until a transaction waits for what is held.
    pub async fn until_waiting(&self) {
        self.until_waiting_in("").await;
    }

    /// Waits until one waits in a statement that begins like this.
    pub async fn until_waiting_in(&self, statement: &str) {
        const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity \
             WHERE wait_event_type = 'Lock' AND datname = current_database() \
             AND starts_with(query, $1)";
        let database = self.database().expect("rows are held in PostgreSQL");
        let mut beside = PgConnection::connect(database.url()).await.unwrap();
        until(
            &format!("a transaction waits in `{statement}`"),
            async || {
                let waiting = sqlx::query_scalar(WAITING).bind(statement);
                let waiting: i64 = waiting.fetch_one(&mut beside).await.unwrap();
                (waiting > 0).then_some(())
            },
        )
        .await;
    }
}

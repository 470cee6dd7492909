//! The folder in which one story plays, with everything that its programs write.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr, SqliteConnection};
use tempfile::TempDir;

use crate::{Database, Engine, PATIENCE, Room, until};

/// Declare it first in a story: what is declared later ends earlier.
pub struct Stage {
    folder: TempDir,
    database: Option<Database>,
}

impl Stage {
    /// An empty folder, and a database that was never used where the engine needs one. Its servers
    /// do not own it.
    pub async fn new(engine: Engine) -> Self {
        Self::with(match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Database::create().await),
        })
    }

    /// The same with nothing in the database, which belongs to its servers.
    pub async fn empty(engine: Engine) -> Self {
        Self::with(match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Database::create_empty().await),
        })
    }

    /// The same with a PostgreSQL of its own, which the story may kill and pause.
    pub async fn with_own_postgres() -> Self {
        Self::with_postgres_in(Room::Plenty).await
    }

    /// The same with so much room.
    pub async fn with_postgres_in(room: Room) -> Self {
        Self::with(Some(Database::create_alone(room).await))
    }

    fn with(database: Option<Database>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyferry-story-")
            .tempdir()
            .unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder, database }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where programs may put temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.path("tmp")
    }

    /// The server's data.
    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// Asks the database behind the server's back for one number.
    pub async fn count(&self, sql: &'static str) -> i64 {
        match self.database() {
            None => {
                let mut file = self.open_file().await;
                sqlx::query_scalar(sql).fetch_one(&mut file).await.unwrap()
            }
            Some(database) => {
                let mut server = PgConnection::connect(database.url()).await.unwrap();
                sqlx::query_scalar(sql)
                    .fetch_one(&mut server)
                    .await
                    .unwrap()
            }
        }
    }

    /// Changes the database behind the server's back, and tells how many rows that met.
    pub async fn change(&self, sql: impl SqlSafeStr) -> u64 {
        match self.database() {
            None => {
                let mut file = self.open_file().await;
                let done = sqlx::query(sql).execute(&mut file).await.unwrap();
                done.rows_affected()
            }
            Some(database) => {
                let mut server = PgConnection::connect(database.url()).await.unwrap();
                let done = sqlx::query(sql).execute(&mut server).await.unwrap();
                done.rows_affected()
            }
        }
    }

    /// The same with a statement in which `NUMBERS` are rows whose `i` is 1 to `most`, `NEW_ID` is
    /// one that nobody has, and `NEW_HASH` what no token hashes to.
    pub async fn change_by_numbers(&self, most: u32, sql: &str) -> u64 {
        let (numbers, id, hash) = match self.database() {
            None => (
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < MOST) \
                 SELECT i FROM n) n",
                "randomblob(16)",
                "randomblob(32)",
            ),
            Some(_) => (
                "generate_series(1, MOST) n(i)",
                "gen_random_uuid()",
                "decode(md5(i::text), 'hex')",
            ),
        };
        let numbers = numbers.replace("MOST", &most.to_string());
        let sql = sql.replace("NUMBERS", &numbers);
        let sql = sql.replace("NEW_ID", id).replace("NEW_HASH", hash);
        self.change(AssertSqlSafe(sql)).await
    }

    async fn open_file(&self) -> SqliteConnection {
        let file = self.data_dir().join("keyferry.db");
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(PATIENCE);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    /// The word that begins like this in a mail of the server's outbox, once it is there.
    pub fn mailed(&self, begins: &str) -> Option<String> {
        let mails = self.mails().into_iter();
        let mails = mails.filter_map(|mail| std::fs::read_to_string(mail).ok());
        let mut found = mails.filter_map(|text| {
            let start = text.find(begins)?;
            let word = text[start..].split_whitespace().next()?;
            Some(word.to_owned())
        });
        found.next_back()
    }

    /// The same, as soon as it is there.
    pub async fn mailed_token(&self, begins: &str) -> String {
        until("a mail lies in the outbox", async || self.mailed(begins)).await
    }

    /// Empties the server's outbox.
    pub fn forget_mails(&self) {
        for mail in self.mails() {
            std::fs::remove_file(mail).unwrap();
        }
    }

    /// Whole mails: a draft that is taken away is written again.
    fn mails(&self) -> Vec<PathBuf> {
        let outbox = std::fs::read_dir(self.data_dir().join("outbox"));
        let files = outbox.into_iter().flatten().flatten();
        let files = files.map(|file| file.path());
        files
            .filter(|file| file.extension().is_some_and(|ending| ending == "eml"))
            .collect()
    }

    /// The database, unless it is a file among the server's data.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }
}

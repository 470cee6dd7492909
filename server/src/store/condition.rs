//! Whether the database takes what is written, as far as writes and a look tell.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::trouble::Trouble;
use super::{Pool, Store, StoreError, sql};

/// What the database can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Everything.
    Well,
    /// It answers, and has no room for what is written.
    Full,
    /// It answers, and takes no writes, as a standby.
    ReadOnly,
    /// Its disk or its file fails.
    Failing,
}

/// Why the last statement failed, and when, where it was for one of these reasons.
#[derive(Clone, Default)]
pub(crate) struct Writes(Arc<Mutex<Option<(Condition, Instant)>>>);

impl Writes {
    /// Notes why a statement failed.
    pub(super) fn failed(&self, cause: &sqlx::Error) {
        let sqlx::Error::Database(told) = cause else {
            return;
        };
        match Trouble::of(told.as_ref()) {
            Some(Trouble::Full) => self.set(Some(Condition::Full)),
            Some(Trouble::ReadOnly) => self.set(Some(Condition::ReadOnly)),
            Some(Trouble::Failing) => self.set(Some(Condition::Failing)),
            Some(Trouble::Forbidden | Trouble::Passing) | None => {}
        }
    }

    /// What was written is durable.
    pub(super) fn succeeded(&self) {
        self.set(None);
    }

    fn set(&self, condition: Option<Condition>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = condition.map(|condition| (condition, Instant::now()));
    }

    fn last(&self) -> Option<(Condition, Duration)> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|(condition, at)| (condition, at.elapsed()))
    }
}

impl Store {
    /// Asks the database what it can do. An error is that it does not answer.
    pub(crate) async fn condition(&self) -> Result<Condition, StoreError> {
        match (self.is_read_only().await, self.writes.last()) {
            (Ok(true), _) => return Ok(Condition::ReadOnly),
            (Err(_), Some((Condition::Failing, _))) => return Ok(Condition::Failing),
            (Err(cause), _) => return Err(cause),
            (Ok(false), _) => {}
        }
        match self.writes.last() {
            None => Ok(Condition::Well),
            Some((condition, ago)) if ago < BEFORE_A_TRIAL => Ok(condition),
            // A server that nobody sends anything, since it says so, would say so for ever.
            Some(_) => self.try_to_write().await,
        }
    }

    async fn is_read_only(&self) -> Result<bool, StoreError> {
        const POSTGRES: &str = "SELECT current_setting('transaction_read_only') = 'on'";
        // It takes no side, but it reads the file.
        const SQLITE: &str = "SELECT COUNT(*) < 0 FROM settings";
        let sql = match self.pool {
            Pool::Postgres(_) => POSTGRES,
            Pool::Sqlite(_) => SQLITE,
        };
        sql!(self, query_scalar(sql).fetch_one)
    }

    async fn try_to_write(&self) -> Result<Condition, StoreError> {
        const SQL: &str = "UPDATE settings SET value = value WHERE name = $1";
        let mut change = self.begin().await?;
        let tried = match sql!(change, query(SQL, super::INSTANCE).execute) {
            Ok(_) => change.commit().await,
            Err(cause) => Err(cause),
        };
        match (tried, self.writes.last()) {
            (Ok(()), _) => Ok(Condition::Well),
            (Err(_), Some((condition, _))) => Ok(condition),
            (Err(cause), None) => Err(cause),
        }
    }
}

const BEFORE_A_TRIAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::Condition;
    use crate::config::Database;
    use crate::store::{Store, StoreError, sql};

    async fn write(store: &Store) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO settings (name, value, updated_at) VALUES \
            (hex(randomblob(8)), hex(randomblob(20000)), 0)";
        let mut change = store.begin().await?;
        sql!(change, query(SQL).execute)?;
        change.commit().await
    }

    #[tokio::test]
    async fn a_file_that_takes_no_writes_is_remembered_until_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("keyferry.db"));
        let store = Store::connect(&database).await.unwrap();
        store.migrate().await.unwrap();
        sql!(store, query("PRAGMA query_only = ON").execute).unwrap();
        let refused = write(&store).await;
        assert!(
            matches!(refused, Err(StoreError::Unreachable(_))),
            "{refused:?}"
        );
        assert_eq!(store.condition().await.unwrap(), Condition::ReadOnly);
        sql!(store, query("PRAGMA query_only = OFF").execute).unwrap();
        write(&store).await.unwrap();
        assert_eq!(store.condition().await.unwrap(), Condition::Well);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_any_more_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyferry.db");
        let store = Store::connect(&Database::File(path.clone())).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        let store = Store::connect(&Database::File(path.clone())).await.unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let header = std::fs::read(&path).unwrap()[..4096].to_vec();
        let noise = vec![0xa5; usize::try_from(length).unwrap() - header.len()];
        std::fs::write(&path, [header, noise].concat()).unwrap();
        assert_eq!(store.condition().await.unwrap(), Condition::Failing);
    }

    #[tokio::test]
    async fn a_write_that_finds_no_room_is_remembered_until_one_does() {
        const FULL: &str = "PRAGMA max_page_count = 1";
        const ROOM: &str = "PRAGMA max_page_count = 1000000";
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("keyferry.db"));
        let store = Store::connect(&database).await.unwrap();
        store.migrate().await.unwrap();
        assert_eq!(store.condition().await.unwrap(), Condition::Well);
        sql!(store, query(FULL).execute).unwrap();
        let mut failed = write(&store).await;
        while failed.is_ok() {
            failed = write(&store).await;
        }
        assert!(matches!(failed, Err(StoreError::Full(_))), "{failed:?}");
        assert_eq!(store.condition().await.unwrap(), Condition::Full);
        sql!(store, query(ROOM).execute).unwrap();
        write(&store).await.unwrap();
        assert_eq!(store.condition().await.unwrap(), Condition::Well);
    }
}

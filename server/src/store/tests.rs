//! Transactions, and statements that take too long.

use std::time::Duration;

use tokio::time::timeout;

use super::{Store, StoreError};
use crate::config::Database;

async fn insert(store: &Store, name: &str, commit: Commit) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO settings (name, value, updated_at) VALUES ($1, 'x', 0)";
    let mut change = store.begin().await?;
    sql!(change, query(SQL, name).execute)?;
    match commit {
        Commit::Yes => change.commit().await,
        Commit::No => Ok(()),
    }
}

enum Commit {
    Yes,
    No,
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    let store = Store::open_in_memory().await;
    insert(&store, "kept", Commit::No).await.unwrap();
    insert(&store, "kept", Commit::Yes).await.unwrap();
}

#[tokio::test]
async fn a_unique_column_says_so() {
    let store = Store::open_in_memory().await;
    insert(&store, "once", Commit::Yes).await.unwrap();
    let again = insert(&store, "once", Commit::Yes).await;
    assert!(matches!(again, Err(StoreError::Exists(_))));
}

async fn open_in(folder: &tempfile::TempDir) -> Store {
    let database = Database::File(folder.path().join("keyferry.db"));
    let store = Store::connect(&database).await.unwrap();
    store.migrate().await.unwrap();
    store
}

#[tokio::test]
async fn who_reads_and_then_writes_is_not_overtaken_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (open_in(&folder).await, open_in(&folder).await);
    let mut change = ours.begin().await.unwrap();
    sql!(change, query("SELECT * FROM settings").execute).unwrap();
    let overtaking = insert(&other, "theirs", Commit::Yes);
    let overtaking = timeout(Duration::from_millis(200), overtaking).await;
    assert!(overtaking.is_err(), "it waits");
    const SQL: &str = "INSERT INTO settings (name, value, updated_at) VALUES ('ours', 'x', 0)";
    sql!(change, query(SQL).execute).unwrap();
    change.commit().await.unwrap();
    insert(&other, "theirs", Commit::Yes).await.unwrap();
}

#[tokio::test]
async fn data_in_a_file_survives_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_in(&folder).await;
    insert(&store, "kept", Commit::Yes).await.unwrap();
    store.close().await;
    let again = open_in(&folder).await;
    assert!(matches!(
        insert(&again, "kept", Commit::Yes).await,
        Err(StoreError::Exists(_))
    ));
}

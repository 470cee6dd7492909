//! Brings a backup back into an empty database, in one transaction.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;

use super::BackupError;
use super::format::{BackupKey, Frame, Header, Reader, check_sum};
use crate::store::{INSTANCE, Shape, Store, StoreError, Transaction};

/// A backup that is whole, and whose master key is at hand.
pub(crate) struct Restoring {
    reader: Reader<BufReader<File>>,
}

/// Whether the operator knows that nothing happened after the backup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Something may have been revoked since: whatever could live again is shut out.
    Unknown,
    /// It is the newest state, such as on the way to another engine.
    UpToDate,
}

impl Restoring {
    /// Opens the file and finds it whole.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupError> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        Reader::begin(BufReader::new(&file))?;
        file.seek(SeekFrom::Start(0))?;
        check_sum(BufReader::new(&file), length)?;
        file.seek(SeekFrom::Start(0))?;
        let reader = Reader::begin(BufReader::new(file))?;
        Ok(Self { reader })
    }

    /// What it says of itself.
    pub(crate) const fn header(&self) -> &Header {
        &self.reader.header
    }

    /// The salt of its key, when it is sealed.
    pub(crate) const fn salt(&self) -> Option<[u8; 32]> {
        self.reader.salt()
    }

    /// Opens a sealed one from here on.
    pub(crate) fn unlock(&mut self, key: BackupKey) {
        self.reader.unlock(key);
    }
}

/// Fills the empty database, first with the schema of the backup, then brings it up to date.
pub(crate) async fn restore(
    store: &Store,
    restoring: Restoring,
    freshness: Freshness,
    progress: impl Fn(u64),
) -> Result<Header, BackupError> {
    let header = restoring.header().clone();
    if !is_filled(store, &header, freshness).await? {
        refuse_used(store, &header).await?;
        let begun = store.migrate_to(&header.schema).await;
        begun.map_err(|cause| match cause {
            StoreError::NewerSchema(_) => BackupError::Newer,
            other => other.into(),
        })?;
        fill(store, restoring, freshness, progress).await?;
    }
    store.migrate().await?;
    Ok(header)
}

async fn fill(
    store: &Store,
    mut restoring: Restoring,
    freshness: Freshness,
    progress: impl Fn(u64),
) -> Result<(), BackupError> {
    let header = restoring.header().clone();
    let mut change = store.begin_long().await?;
    change.hold_settings().await?;
    // A server may have begun to use it since it was looked at.
    if change.setting(INSTANCE).await?.is_some() {
        return Err(BackupError::NotEmpty);
    }
    let shapes = shapes(&mut change, &header).await?;
    let mut rows = vec![0_u64; shapes.len()];
    loop {
        let mut frame = restoring.reader.frame()?;
        let done = insert(&mut change, &shapes, (&mut frame, &mut rows)).await?;
        progress(done);
        if frame.last {
            break;
        }
    }
    let told = header.tables.iter().map(|table| table.rows);
    if !told.eq(rows) {
        return Err(BackupError::Damaged);
    }
    let epoch = epoch(&header, freshness).to_string();
    change
        .set_setting(super::epoch::SETTING, &epoch, header.created_at)
        .await?;
    Ok(change.commit().await?)
}

const fn epoch(header: &Header, freshness: Freshness) -> i64 {
    match freshness {
        Freshness::Unknown => super::epoch::RESTORED,
        Freshness::UpToDate => header.epoch,
    }
}

/// Whether the same restore was cut off when every row was there. Nobody has used them since:
/// whoever does moves the epoch on first.
async fn is_filled(
    store: &Store,
    header: &Header,
    freshness: Freshness,
) -> Result<bool, BackupError> {
    if store.schema().await?.applied.is_empty() {
        return Ok(false);
    }
    let epoch = epoch(header, freshness).to_string();
    let left = store.setting_of(super::epoch::SETTING, header.created_at);
    let instance = store.setting(INSTANCE).await?;
    Ok(instance.as_ref() == Some(&header.instance_id) && left.await? == Some(epoch))
}

/// Nothing may be there, or nothing but the tables that a restore begins with.
async fn refuse_used(store: &Store, header: &Header) -> Result<(), BackupError> {
    let applied = store.schema().await?.applied;
    if !applied.is_empty() && store.setting(INSTANCE).await?.is_some() {
        return Err(BackupError::NotEmpty);
    }
    let known = |version: &i64| header.schema.contains(version);
    match applied.iter().all(known) {
        true => Ok(()),
        false => Err(BackupError::NewerTables),
    }
}

/// The tables in the order of the backup. Rows that migrations made are thrown away.
async fn shapes(change: &mut Transaction, header: &Header) -> Result<Vec<Shape>, BackupError> {
    let there = change.shapes().await?;
    let mut shapes = Vec::new();
    for table in &header.tables {
        let shape = there.iter().find(|shape| shape.table == table.name);
        let shape = shape.and_then(|shape| shape.with_columns(&table.columns));
        shapes.push(shape.ok_or_else(|| BackupError::OtherTable(table.name.clone()))?);
    }
    if let Some(more) = there.iter().find(|shape| {
        let known = |table: &super::format::Table| table.name == shape.table;
        !header.tables.iter().any(known)
    }) {
        return Err(BackupError::OtherTable(more.table.clone()));
    }
    for shape in shapes.iter().rev() {
        if change.count_rows(shape).await? > 0 {
            change.clear_table(shape).await?;
        }
    }
    Ok(shapes)
}

async fn insert(
    change: &mut Transaction,
    shapes: &[Shape],
    (frame, rows): (&mut Frame, &mut [u64]),
) -> Result<u64, BackupError> {
    let mut done = 0;
    while let Some(number) = frame.table()? {
        let shape = shapes.get(number).ok_or(BackupError::Damaged)?;
        let mut cells = Vec::new();
        for _ in shape.columns() {
            cells.push(frame.cell()?);
        }
        let inserted = change.insert_row(shape, cells).await?;
        inserted.ok_or_else(|| BackupError::OtherTable(shape.table.clone()))?;
        if let Some(count) = rows.get_mut(number) {
            *count += 1;
        }
        done += 1;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::Snapshot;
    use crate::store::UnixTime;

    const NOW: UnixTime = UnixTime::from_seconds(1);

    /// A backup of a database that this instance uses.
    async fn backup_of(instance: &str, path: &Path) {
        let store = Store::open_in_memory().await;
        let decided = store.decide_setting(INSTANCE, instance, NOW).await;
        decided.unwrap();
        let snapshot = Snapshot::of(&store, NOW).await.unwrap();
        let out = File::create(path).unwrap();
        snapshot.write(out, None, || ()).await.unwrap();
    }

    #[tokio::test]
    async fn rows_that_the_same_restore_has_left_are_known_until_somebody_uses_them() {
        use Freshness::{Unknown, UpToDate};
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["backup", "other"].map(|name| folder.path().join(name));
        backup_of("ours", &file).await;
        backup_of("theirs", &other).await;
        for freshness in [Unknown, UpToDate] {
            let there = Store::open_in_memory().await;
            let again = async |file: &Path, freshness| {
                let restoring = Restoring::open(file).unwrap();
                restore(&there, restoring, freshness, |_| ())
                    .await
                    .map(drop)
            };
            again(&file, freshness).await.unwrap();
            again(&file, freshness).await.unwrap();
            let refused = again(&other, freshness).await;
            assert!(matches!(refused, Err(BackupError::NotEmpty)));

            let mut change = there.begin().await.unwrap();
            let folder = uuid::Uuid::from_bytes([1; 16]);
            let later = UnixTime::from_seconds(2);
            change.move_epoch(folder, 2_000_000, later).await.unwrap();
            change.commit().await.unwrap();
            let refused = again(&file, freshness).await;
            assert!(matches!(refused, Err(BackupError::NotEmpty)));
        }
    }

    #[tokio::test]
    async fn a_database_that_a_server_begins_to_use_meanwhile_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup");
        backup_of("ours", &file).await;
        let there = Store::open_in_memory().await;
        let filled = async || {
            let restoring = Restoring::open(&file).unwrap();
            fill(&there, restoring, Freshness::Unknown, |_| ()).await
        };
        there.decide_setting(INSTANCE, "theirs", NOW).await.unwrap();
        assert!(matches!(filled().await, Err(BackupError::NotEmpty)));
        let instance = there.setting(INSTANCE).await.unwrap();
        assert_eq!(instance.as_deref(), Some("theirs"));
    }
}

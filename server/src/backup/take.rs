//! Takes a backup: one moment of the database, while servers go on.

use std::io::Write;

use super::BackupError;
use super::format::{BackupKey, Header, Table, Writer};
use crate::store::{INSTANCE, Shape, Store, Transaction, UnixTime};

/// One moment of the database, about to be written.
pub(crate) struct Snapshot {
    transaction: Transaction,
    shapes: Vec<Shape>,
    /// What the backup will say of itself.
    pub(crate) header: Header,
}

impl Snapshot {
    /// Fixes the moment.
    pub(crate) async fn of(store: &Store, now: UnixTime) -> Result<Self, BackupError> {
        let mut transaction = store.begin_long().await?;
        // Of the same moment as the rows: a newer server may bring the schema up to date just now.
        let schema = transaction.applied_versions().await?;
        let shapes = transaction.shapes().await?;
        let mut header = Header {
            created_at: now,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            engine: store.engine().to_owned(),
            schema,
            instance_id: String::new(),
            master_keys: Vec::new(),
            epoch: 0,
            tables: Vec::new(),
        };
        describe(&mut header, &mut transaction, &shapes).await?;
        Ok(Self {
            transaction,
            shapes,
            header,
        })
    }

    /// Writes every table; `progress` hears of each row.
    pub(crate) async fn write<W: Write>(
        mut self,
        out: W,
        key: Option<BackupKey>,
        progress: impl Fn(),
    ) -> Result<W, BackupError> {
        let mut writer = Writer::begin(out, &self.header, key)?;
        for (shape, number) in self.shapes.iter().zip(0_u16..) {
            let rows = self.transaction.each_row(shape, |cells| {
                progress();
                writer.row(number, &cells)
            });
            rows.await?;
        }
        writer.finish()
    }
}

async fn describe(
    header: &mut Header,
    snapshot: &mut Transaction,
    shapes: &[Shape],
) -> Result<(), BackupError> {
    for shape in shapes {
        header.tables.push(Table {
            name: shape.table.clone(),
            columns: shape.columns().into_iter().map(ToOwned::to_owned).collect(),
            rows: snapshot.count_rows(shape).await?,
        });
    }
    let known = snapshot.setting("master_key_id").await?;
    let under_way = match header.schema.contains(&ROTATIONS_SINCE) {
        true => snapshot.new_master_key().await?,
        false => None,
    };
    header.master_keys = known.into_iter().chain(under_way).collect();
    let epoch = snapshot.setting(super::epoch::SETTING).await?;
    header.epoch = epoch.and_then(|text| text.parse().ok()).unwrap_or(0);
    header.instance_id = snapshot.setting(INSTANCE).await?.unwrap_or_default();
    Ok(())
}

/// The schema version that brought the table of changes of the master key.
const ROTATIONS_SINCE: i64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Database;

    #[tokio::test]
    async fn the_schema_is_that_of_the_moment_although_it_is_brought_up_to_date_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::File(folder.path().join("keyferry.db"));
        let store = Store::connect(&database).await.unwrap();
        let known = store.schema().await.unwrap().pending;
        let old: Vec<i64> = known[..known.len() - 1]
            .iter()
            .map(|step| step.version)
            .collect();
        store.migrate_to(&old).await.unwrap();
        let now = UnixTime::from_seconds(1);
        let snapshot = Snapshot::of(&store, now).await.unwrap();
        let newer = Store::connect(&database).await.unwrap();
        newer.migrate().await.unwrap();
        assert_eq!(snapshot.header.schema, old);
        assert_eq!(snapshot.header.tables.len(), snapshot.shapes.len());
        let mut rows = snapshot.transaction;
        assert_eq!(
            rows.applied_versions().await.unwrap(),
            old,
            "it sees one moment"
        );
        drop(rows);
        let now = Snapshot::of(&store, now).await.unwrap();
        assert_eq!(now.header.schema, newer.schema().await.unwrap().applied);
    }
}

//! How far the installation has come: the epoch, and where each data folder saw it last.

use uuid::Uuid;

use super::{StoreError, Transaction, UnixTime, sql};

/// What the database remembers; what it does not is as old as can be.
pub(crate) struct Epochs {
    /// That of the installation: of all folders, the latest.
    pub(crate) installation: Option<i64>,
    /// That of the folder that was asked for.
    pub(crate) folder: Option<i64>,
    /// The latest of those folders that were forgotten.
    pub(crate) forgotten: i64,
}

impl Transaction {
    /// The epochs, which nobody else moves on before this transaction ends.
    pub(crate) async fn hold_epochs(&mut self, folder: Option<Uuid>) -> Result<Epochs, StoreError> {
        const SQL: &str = "UPDATE settings SET value = value WHERE name = 'epoch' RETURNING value";
        let installation: Option<String> = sql!(self, query_scalar(SQL).fetch_optional)?;
        let folder = match folder {
            Some(folder) => self.setting(&of_folder(folder)).await?,
            None => None,
        };
        let forgotten = self.setting(FORGOTTEN).await?;
        let number = |value: Option<String>| value.and_then(|text| text.parse().ok());
        Ok(Epochs {
            installation: number(installation),
            folder: number(folder),
            forgotten: number(forgotten).unwrap_or(0),
        })
    }

    /// Moves the epoch on, never back, as this folder has seen it.
    pub(crate) async fn move_epoch(
        &mut self,
        folder: Uuid,
        to: i64,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.raise("epoch", to, now).await?;
        self.raise(&of_folder(folder), to, now).await
    }

    /// Forgets folders that nobody has used since then, and remembers how far the last of them was.
    pub(crate) async fn forget_folders(
        &mut self,
        before: UnixTime,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM settings WHERE name LIKE 'epoch/%' AND updated_at < $1 \
            RETURNING CAST(value AS BIGINT)";
        let gone: Vec<i64> = sql!(self, query_scalar(SQL, before).fetch_all)?;
        match gone.into_iter().max() {
            Some(latest) => self.raise(FORGOTTEN, latest, now).await,
            None => Ok(()),
        }
    }

    /// Forgets every folder, as if all had come this far.
    pub(crate) async fn forget_all_folders(
        &mut self,
        epoch: i64,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM settings WHERE name LIKE 'epoch/%'";
        sql!(self, query(SQL).execute)?;
        self.raise(FORGOTTEN, epoch, now).await
    }

    async fn raise(&mut self, name: &str, to: i64, now: UnixTime) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO settings (name, value, updated_at) \
            VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
            SET value = excluded.value, updated_at = excluded.updated_at \
            WHERE CAST(settings.value AS BIGINT) < CAST(excluded.value AS BIGINT)";
        sql!(self, query(SQL, name, to.to_string(), now).execute).map(drop)
    }
}

fn of_folder(folder: Uuid) -> String {
    format!("epoch/{folder}")
}

const FORGOTTEN: &str = "epochs_forgotten";

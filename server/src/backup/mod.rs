//! The whole database in a file, and back into an empty one of either engine.
//!
//! A database that is brought back remembers less than has happened: sessions that were ended live
//! in it, and keys that were revoked. The epoch tells, and then they are shut out.

mod confirm;
mod epoch;
mod format;
mod restore;
mod take;

use std::io;

use crate::store::StoreError;
use crate::vault::master_key::MasterKeyError;

pub(crate) use confirm::{confirm, held_back};
pub(crate) use epoch::{follow as follow_epoch, read as read_epoch, settle as settle_epoch};
pub(crate) use format::{BackupKey, Header};
pub(crate) use restore::{Freshness, Restoring, restore};
pub(crate) use take::Snapshot;

/// Why there is no backup, or why it was not brought back. Of one that was not, the database has
/// empty tables at most, which the next restore takes for nothing, or every row, which it leaves.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("the file is not a Keyferry backup")]
    NotABackup,
    #[error("the backup was made by a newer keyferry-server: install that")]
    Newer,
    #[error("the backup is damaged: its checksum is wrong or it ends too early")]
    Damaged,
    #[error("the backup is sealed, and this master key does not open it")]
    DoesNotOpen,
    #[error(
        "this is not the master key of the backup: put the master.key that was kept with it into \
         the data folder, or set ENCRYPTION_KEY, then try again"
    )]
    OtherMasterKey,
    #[error(
        "the database is not empty: an installation uses it, and its rows are there. Give the name \
         of a new one, or move the file away"
    )]
    NotEmpty,
    #[error(
        "the database has no rows, but newer tables than the backup: give the name of a new one, or \
         move the file away"
    )]
    NewerTables,
    #[error("the backup's table {0} does not fit the schema")]
    OtherTable(String),
    #[error(
        "servers have used the database after this backup was made, so that it is not up to date: \
         leave --up-to-date away"
    )]
    Behind,
    #[error(
        "--up-to-date needs this installation's file `epoch`, which tells whether servers have used \
         the database after this backup was made: copy it from the data folder of the server that \
         was stopped last into the new one, or leave --up-to-date away"
    )]
    NoEpoch,
    #[error("the file cannot be read or written")]
    File(#[from] io::Error),
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
}

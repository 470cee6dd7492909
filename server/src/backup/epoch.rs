//! How far the installation has come, in the database and beside the master key. A database that is
//! behind was brought back, and what was ended since lives in it again.
//!
//! Both are moved on when a server starts, every minute, and by every command that changes anything:
//! a copy of the database that is older than that is recognised. The database knows each data folder
//! by its name, so that nobody else moves on what this one compares with.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::time::interval;
use tracing::warn;
use uuid::Uuid;

use crate::app::App;
use crate::audit::Entry;
use crate::data_dir::DataDir;
use crate::sessions::{self, SigningKeysError};
use crate::store::{Epochs, StoreError, Transaction, UnixTime, uuid_v7};
use crate::vault::server_keys::{self, ServerKeysError};

/// Why the epoch could not be compared or moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EpochError {
    #[error("the epoch in the database cannot be read or moved on")]
    Store(#[from] StoreError),
    #[error("the file `epoch` in the data folder cannot be read or written")]
    File(#[from] io::Error),
    #[error("the server's new keys cannot be made")]
    SigningKeys(#[from] SigningKeysError),
    #[error("the server's new keys cannot be made")]
    ServerKeys(#[from] ServerKeysError),
}

/// Moves the epoch on until the server stops, and then once more.
pub(crate) async fn follow(app: App) {
    let mut round = interval(EVERY);
    let mut running = true;
    while running {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => running = false,
        }
        if let Err(cause) = settle(&app).await {
            warn!(%cause, "the epoch could not be moved on; tried again later");
        }
    }
}

/// Shuts out what a database that was brought back would revive; then moves the epoch on.
pub(crate) async fn settle(app: &App) -> Result<(), EpochError> {
    settle_in(app, &DataDir::prepare(&app.config.data_dir)?).await
}

async fn settle_in(app: &App, data_dir: &DataDir) -> Result<(), EpochError> {
    // First of all: a server of this folder moves both on, the database before the file.
    let own = read_own(data_dir, app.instance)?;
    let folder = own.and_then(|own| own.folder);
    let mut change = app.store.begin().await?;
    let known = change.hold_epochs(folder).await?;
    let now = app.clock.now();
    let before = known
        .installation
        .unwrap_or(0)
        .max(own.map_or(0, |own| own.epoch));
    let next = now.microseconds().max(before + 1);
    let behind = is_behind(&known, own);
    if behind {
        shut_out(app, &mut change, now).await?;
        // What other folders know to be missing is shut out with the rest.
        change.forget_all_folders(next, now).await?;
    }
    let folder = folder.unwrap_or_else(|| uuid_v7(now, &mut app.rng()));
    change.move_epoch(folder, next, now).await?;
    change.forget_folders(now - UNUSED, now).await?;
    change.commit().await?;
    if behind {
        app.bus.tell_of_a_gap();
    }
    // After the database, so that it is never the one ahead.
    let text = format!("{} {next} {folder}\n", app.instance);
    data_dir.write(FILE, text.as_bytes())?;
    if behind {
        sessions::reload_signing_keys(app).await?;
        server_keys::reload(app).await?;
    }
    Ok(())
}

/// Whether the database lacks what this folder has seen. Of each folder it remembers how far that
/// was; of forgotten ones, how far the last was.
fn is_behind(known: &Epochs, own: Option<Own>) -> bool {
    let Some(own) = own else {
        return known.installation == Some(RESTORED);
    };
    let remembered = match own.folder {
        Some(_) => known.folder.unwrap_or(known.forgotten),
        None => known.installation.unwrap_or(0),
    };
    known.installation == Some(RESTORED) || remembered < own.epoch
}

async fn shut_out(app: &App, change: &mut Transaction, now: UnixTime) -> Result<(), StoreError> {
    warn!(
        "the database was brought back from an earlier time: sessions, tickets, credentials and \
         the server's own keys are void; keys, API keys and VMs wait for `keyferry-server confirm`"
    );
    let shut_out = change.shut_out_the_revived(now).await?;
    change.end_own_keys().await?;
    let entry = Entry {
        tenant: None,
        actor: "operator",
        action: "server.restored",
        subject: None,
        detail: json!({ "rows": shut_out }),
        correlation: uuid_v7(now, &mut app.rng()),
    };
    change.insert_audit_event(app, &entry).await
}

/// What a data folder knows.
#[derive(Clone, Copy)]
struct Own {
    epoch: i64,
    /// Its name; none in a file of an older server.
    folder: Option<Uuid>,
}

/// The epoch beside the master key, if it is of this installation.
pub(crate) fn read(data_dir: &DataDir, instance: Uuid) -> io::Result<Option<i64>> {
    Ok(read_own(data_dir, instance)?.map(|own| own.epoch))
}

fn read_own(data_dir: &DataDir, instance: Uuid) -> io::Result<Option<Own>> {
    if !data_dir.has(FILE) {
        return Ok(None);
    }
    let text = data_dir.read(FILE)?;
    let text = str::from_utf8(&text).unwrap_or_default();
    let mut words = text.split_whitespace();
    if words.next() != Some(instance.to_string().as_str()) {
        return Ok(None);
    }
    let epoch = words.next().and_then(|epoch| epoch.parse().ok());
    let folder = words.next().and_then(|folder| folder.parse().ok());
    Ok(epoch.map(|epoch| Own { epoch, folder }))
}

pub(super) const SETTING: &str = "epoch";
/// The epoch of a database that was just brought back.
pub(super) const RESTORED: i64 = 0;
const FILE: &str = "epoch";
const EVERY: Duration = Duration::from_secs(60);
/// A folder that is in use is noted every minute.
const UNUSED: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::sql;
    use crate::testing::{self, Server};

    /// Servers with a data folder each, on one database.
    struct Scene {
        server: Server,
        folders: [TempDir; 2],
    }

    /// What the database knows of epochs, to be put back.
    type Rows = Vec<(String, String, i64)>;

    impl Scene {
        async fn set() -> Self {
            let server = testing::server().await;
            let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let scene = Self { server, folders };
            scene.settle(0).await;
            scene.settle(1).await;
            scene
        }

        async fn settle(&self, server: usize) {
            let data_dir = DataDir::prepare(self.folders[server].path()).unwrap();
            settle_in(&self.server.app, &data_dir).await.unwrap();
        }

        fn pass(&self, span: Duration) {
            self.server.clock.advance(span);
        }

        async fn rows(&self) -> Rows {
            const SQL: &str =
                "SELECT name, value, updated_at FROM settings WHERE name LIKE 'epoch%'";
            sql!(self.server.app.store, query_as(SQL).fetch_all).unwrap()
        }

        async fn bring_back(&self, rows: Rows) {
            const CLEAR: &str = "DELETE FROM settings WHERE name LIKE 'epoch%'";
            const PUT: &str = "INSERT INTO settings (name, value, updated_at) VALUES ($1, $2, $3)";
            let store = &self.server.app.store;
            sql!(store, query(CLEAR).execute).unwrap();
            for (name, value, at) in rows {
                sql!(store, query(PUT, name, value, at).execute).unwrap();
            }
        }

        /// How often everything was shut out.
        async fn shut_out(&self) -> i64 {
            const SQL: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'server.restored'";
            sql!(self.server.app.store, query_scalar(SQL).fetch_one).unwrap()
        }
    }

    #[tokio::test]
    async fn a_loss_that_one_server_knows_of_is_noticed_although_another_has_moved_on() {
        let scene = Scene::set().await;
        scene.settle(0).await;
        let before = scene.rows().await;
        scene.settle(1).await;
        scene.bring_back(before).await;
        scene.pass(EVERY);
        scene.settle(0).await;
        assert_eq!(
            scene.shut_out().await,
            0,
            "it knows of nothing that is missing"
        );
        scene.settle(1).await;
        assert_eq!(scene.shut_out().await, 1);
    }

    #[tokio::test]
    async fn a_loss_that_all_know_of_is_shut_out_once_and_the_next_one_again() {
        let scene = Scene::set().await;
        for losses in 1..=2 {
            let before = scene.rows().await;
            for _ in 0..2 {
                scene.pass(EVERY);
                scene.settle(0).await;
                scene.settle(1).await;
            }
            scene.bring_back(before).await;
            for server in [1, 0, 1, 0] {
                scene.settle(server).await;
                assert_eq!(scene.shut_out().await, losses);
            }
        }
    }

    #[tokio::test]
    async fn a_restored_database_is_shut_out_once_and_not_by_each_server() {
        let scene = Scene::set().await;
        const RESTORE: &str = "UPDATE settings SET value = '0' WHERE name = 'epoch'";
        sql!(scene.server.app.store, query(RESTORE).execute).unwrap();
        for server in [0, 1, 0] {
            scene.settle(server).await;
            assert_eq!(scene.shut_out().await, 1);
        }
    }

    #[tokio::test]
    async fn a_folder_that_was_not_used_for_long_is_forgotten_and_may_come_back() {
        let scene = Scene::set().await;
        let named = scene.rows().await.len();
        scene.pass(2 * UNUSED);
        scene.settle(0).await;
        assert_eq!(scene.rows().await.len(), named, "one less, and what it was");
        scene.settle(1).await;
        assert_eq!(scene.shut_out().await, 0);
        // It is known again, and so is what it has seen.
        let before = scene.rows().await;
        scene.settle(1).await;
        scene.bring_back(before).await;
        scene.settle(1).await;
        assert_eq!(scene.shut_out().await, 1);
    }

    #[tokio::test]
    async fn a_folder_that_the_database_never_knew_is_newer_than_it() {
        let scene = Scene::set().await;
        let before = scene.rows().await;
        let late = tempfile::tempdir().unwrap();
        let data_dir = DataDir::prepare(late.path()).unwrap();
        settle_in(&scene.server.app, &data_dir).await.unwrap();
        scene.bring_back(before).await;
        scene.settle(0).await;
        assert_eq!(scene.shut_out().await, 0);
        settle_in(&scene.server.app, &data_dir).await.unwrap();
        assert_eq!(scene.shut_out().await, 1);
    }

    #[tokio::test]
    async fn a_file_of_an_older_server_is_taken_up() {
        let scene = Scene::set().await;
        let data_dir = DataDir::prepare(scene.folders[1].path()).unwrap();
        let instance = scene.server.app.instance;
        let write = |epoch: i64| {
            let text = format!("{instance} {epoch}\n");
            data_dir.write(FILE, text.as_bytes()).unwrap();
        };
        write(1);
        scene.settle(1).await;
        assert_eq!(scene.shut_out().await, 0);
        let own = read_own(&data_dir, instance).unwrap().unwrap();
        assert!(own.folder.is_some() && own.epoch > 1);
        write(i64::MAX / 2);
        scene.settle(1).await;
        assert_eq!(scene.shut_out().await, 1);
    }
}

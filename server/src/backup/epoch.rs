//! How far the installation has come, in the database and beside the master key. A database that is
//! behind was brought back, and what was ended since lives in it again.
//!
//! Both are moved on when a server starts, every minute, and by every command that changes anything:
//! a copy of the database that is older than that is recognised.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::time::interval;
use tracing::warn;
use uuid::Uuid;

use crate::app::App;
use crate::audit::Entry;
use crate::data_dir::DataDir;
use crate::store::{StoreError, uuid_v7};

/// Why the epoch could not be compared or moved on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EpochError {
    #[error("the epoch in the database cannot be read or moved on")]
    Store(#[from] StoreError),
    #[error("the file `epoch` in the data folder cannot be read or written")]
    File(#[from] io::Error),
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
    let data_dir = DataDir::prepare(&app.config.data_dir)?;
    // First of all: a server of this folder moves both on, the database before the file.
    let own = read(&data_dir, app.instance)?;
    let mut change = app.store.begin().await?;
    let stored = change.hold_epoch().await?;
    let stored: Option<i64> = stored.and_then(|text| text.parse().ok());
    let behind = stored == Some(RESTORED) || own.is_some_and(|own| stored.unwrap_or(0) < own);
    let now = app.clock.now();
    let before = stored.unwrap_or(0).max(own.unwrap_or(0));
    let next = now.microseconds().max(before + 1);
    if behind {
        warn!(
            "the database was brought back from an earlier time: sessions, tickets and credentials \
             are void; keys, API keys and VMs wait for `keyferry-server confirm`"
        );
        let shut_out = change.shut_out_the_revived(now).await?;
        let entry = Entry {
            tenant: None,
            actor: "operator",
            action: "server.restored",
            subject: None,
            detail: json!({ "rows": shut_out }),
            correlation: uuid_v7(now, &mut app.rng()),
        };
        change.insert_audit_event(app, &entry).await?;
    }
    change.move_epoch(next, now).await?;
    change.commit().await?;
    // After the database, so that it is never the one ahead.
    let text = format!("{} {next}\n", app.instance);
    Ok(data_dir.write(FILE, text.as_bytes())?)
}

/// The epoch beside the master key, if it is of this installation.
pub(crate) fn read(data_dir: &DataDir, instance: Uuid) -> io::Result<Option<i64>> {
    if !data_dir.has(FILE) {
        return Ok(None);
    }
    let text = data_dir.read(FILE)?;
    let text = str::from_utf8(&text).unwrap_or_default();
    let own = text.trim().strip_prefix(&instance.to_string());
    Ok(own.and_then(|epoch| epoch.trim().parse().ok()))
}

pub(super) const SETTING: &str = "epoch";
/// The epoch of a database that was just brought back.
pub(super) const RESTORED: i64 = 0;
const FILE: &str = "epoch";
const EVERY: Duration = Duration::from_secs(60);

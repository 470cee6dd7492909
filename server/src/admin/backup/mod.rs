//! `keyferry-server backup`, `restore` and `confirm`.

mod confirm;
mod restore;
mod take;

use serde_json::json;

use super::Failure;
use super::start::begin;
use crate::audit::{self, Entry};
use crate::backup::Header;
use crate::config::Config;
use crate::store::uuid_v7;

pub(super) use confirm::{ConfirmFlags, confirm};
pub(super) use restore::{RestoreFlags, restore};
pub(super) use take::{BackupFlags, backup};

/// Starts on the database as servers do, and has the audit tell of what was done.
async fn write_down(
    config: Config,
    (action, detail): (&'static str, serde_json::Value),
) -> Result<(), Failure> {
    let (app, _stopper) = begin(config).await?;
    let entry = Entry {
        tenant: None,
        actor: "operator",
        action,
        subject: None,
        detail,
        correlation: uuid_v7(app.clock.now(), &mut app.rng()),
    };
    audit::append(&app, &entry).await?;
    app.store.close().await;
    Ok(())
}

fn rows(header: &Header) -> u64 {
    header.tables.iter().map(|table| table.rows).sum()
}

fn tell(header: &Header) -> serde_json::Value {
    json!({
        "rows": rows(header),
        "created_at": header.created_at,
        "engine": header.engine,
        "schema": header.schema.last(),
    })
}

/// What a restore cannot hold back, for the database does not know what has changed.
const UNKNOWN: &str = "Accounts are as they were when the backup was taken: passwords, second \
    factors, linked sign-ins, disabled accounts, members, roles and server admins. What was \
    changed there since, change again; recovery codes are void.";

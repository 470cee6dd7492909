//! `keyferry-server stats` and `sweep`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::open::connect_current;
use super::progress::Progress;
use super::start::reopen;
use super::{Failure, Settings};
use crate::clock::Clock;
use crate::{delivery, sessions};

#[derive(Args)]
pub(super) struct CareFlags {
    #[command(flatten)]
    settings: Settings,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Counts what the database holds.
pub(super) async fn stats(flags: CareFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (store, _schema) = connect_current(&config).await?;
    let counts = serde_json::to_value(store.counts(Clock::system().now()).await?)?;
    let engine = store.engine();
    store.close().await;
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        let told = json!({ "engine": engine, "counts": counts });
        writeln!(stdout, "{told}")?;
        return Ok(());
    }
    writeln!(stdout, "engine: {engine}")?;
    for (what, count) in counts.as_object().into_iter().flatten() {
        writeln!(stdout, "{}: {count}", what.replace('_', " "))?;
    }
    Ok(())
}

/// Throws away what has ended, as running servers do by themselves.
pub(super) async fn sweep(flags: CareFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (app, _stopper) = reopen(config).await?;
    let progress = Progress::saying("sweeping sessions and tokens");
    let sessions = sessions::sweep_once(&app).await?;
    progress.finish();
    let progress = Progress::saying("sweeping tickets, credentials and versions");
    let deliveries = delivery::sweep_once(&app).await?;
    progress.finish();
    app.store.close().await;
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        let told = json!({ "sessions_and_tokens": sessions, "tickets_and_versions": deliveries });
        writeln!(stdout, "{told}")?;
    } else {
        writeln!(
            stdout,
            "Swept {sessions} rows of sessions and tokens, {deliveries} of tickets, credentials \
             and versions."
        )?;
    }
    Ok(())
}

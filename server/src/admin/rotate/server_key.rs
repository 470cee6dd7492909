//! `keyferry-server rotate server-key`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::start::reopen;
use super::super::{Failure, Settings};
use crate::vault::server_keys;

#[derive(Args)]
pub(in crate::admin) struct ServerKeyFlags {
    #[command(flatten)]
    settings: Settings,
    /// For how many hours agents that were not connected may still use the old key, 1 to 720.
    /// After that they need a new ticket
    #[arg(long, value_name = "HOURS", default_value_t = 24,
        value_parser = clap::value_parser!(u64).range(1..=720))]
    overlap_hours: u64,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Makes new pairs. Servers that run take them up within seconds.
pub(super) async fn server_key(flags: ServerKeyFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (app, _stopper) = reopen(config).await?;
    let overlap = Duration::from_secs(flags.overlap_hours * 3_600);
    let until = server_keys::rotate(&app, overlap).await?;
    app.store.close().await;

    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{}", json!({ "previous_until": until }))?;
    } else {
        writeln!(
            stdout,
            "The server has new keys. Those before count until {until}."
        )?;
    }
    Ok(())
}

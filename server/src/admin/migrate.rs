//! `keyferry-server migrate`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::open::{connect, open};
use super::{Failure, Settings};
use crate::data_dir::DataDir;
use crate::store::Step;

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Brings the schema up to date, which `serve` does as well, or says what is pending.
pub(super) async fn migrate(flags: Migrate) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (store, schema) = connect(&config).await?;
    store.close().await;
    if !flags.dry_run && !schema.pending.is_empty() {
        let opened = open(&config, &DataDir::prepare(&config.data_dir)?).await?;
        opened.store.close().await;
    }
    tell(&flags, &schema.pending)?;
    Ok(())
}

fn tell(flags: &Migrate, steps: &[Step]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let done = if flags.dry_run { "pending" } else { "done" };
    if flags.json {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| json!({ "version": step.version, "name": step.name }))
            .collect();
        return writeln!(stdout, "{}", json!({ done: steps }));
    }
    if steps.is_empty() {
        return writeln!(stdout, "The schema is up to date.");
    }
    for step in steps {
        writeln!(stdout, "{done} {:04} {}", step.version, step.name)?;
    }
    Ok(())
}

//! `keyferry-server audit`: the record of what happened, in the operator's hands.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::draft::Draft;
use super::open::{Looked, look};
use super::progress::Progress;
use super::start::reopen;
use super::{Failure, Settings};
use crate::audit::{self, Anchors, Books, ChainKey, Report};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::Store;

#[derive(Args)]
pub(super) struct Audit {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    #[command(flatten)]
    Look(Look),
    /// Forget old events; what is left can still be verified
    Prune {
        /// Events older than so many days
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(0..=36_500))]
        older_than_days: u64,
    },
}

#[derive(Subcommand)]
enum Look {
    /// Look whether events were changed, removed, moved or added behind the server's back
    Verify {
        /// Where the chains were at an earlier time, as `audit anchor` printed it; unless given,
        /// what the server keeps in its data folder
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
    },
    /// Print where the chains are now, to be kept where nobody who has the database can change it
    Anchor,
    /// Write every event as one line of JSON, oldest first
    Export {
        /// Write to this file, which must not exist, instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Runs one action.
pub(super) async fn audit(config: Config, flags: Audit) -> Result<(), Failure> {
    match &flags.action {
        Action::Look(what) => {
            let data_dir = DataDir::existing(&config.data_dir)?;
            let looked = look(&config, &data_dir).await?;
            let done = show(what, (&looked, &data_dir), flags.json).await;
            looked.store.close().await;
            done
        }
        Action::Prune { older_than_days } => prune(config, *older_than_days, flags.json).await,
    }
}

/// What only looks, and changes nothing.
async fn show(
    what: &Look,
    (looked, data_dir): (&Looked, &DataDir),
    as_json: bool,
) -> Result<(), Failure> {
    let store = &looked.store;
    match what {
        Look::Verify { anchor } => {
            let anchors = match anchor {
                Some(path) => Some(kept(path)?),
                None => Anchors::read(data_dir)?,
            };
            let key = ChainKey::read(store, &looked.master_key).await?;
            let key = &key.ok_or("the audit has not begun")?;
            let books = Books { store, key };
            let report = verify_shown(&books, anchors.as_ref()).await?;
            tell(&report, anchors.as_ref(), as_json)
        }
        Look::Anchor => {
            let heads = store.audit_heads().await?;
            let anchors = Anchors::of(&heads, looked.instance, Clock::system().now());
            say(&serde_json::to_string(&anchors)?)
        }
        Look::Export { output } => export(store, output.as_deref(), as_json).await,
    }
}

/// Verifies every chain, and shows how far it is when somebody looks.
pub(super) async fn verify_shown(
    books: &Books<'_>,
    anchors: Option<&Anchors>,
) -> Result<Report, Failure> {
    let progress = Progress::new("verifying events", audit::size(books.store).await?);
    let report = audit::verify(books, anchors, &|events| progress.advance(events)).await?;
    progress.finish();
    Ok(report)
}

async fn prune(config: Config, days: u64, as_json: bool) -> Result<(), Failure> {
    let (app, _stopper) = reopen(config).await?;
    let age = Duration::from_secs(days * 86_400);
    let progress = Progress::new("looking for old events", audit::size(&app.store).await?);
    let done = |events| progress.advance(events);
    let pruned = audit::prune_shown(&app, app.clock.now() - age, &done).await;
    progress.finish();
    app.store.close().await;
    let pruned = pruned?;
    say(&if as_json {
        json!({ "pruned": pruned }).to_string()
    } else {
        format!("{pruned} events are forgotten.")
    })
}

/// An anchor that the operator has kept.
fn kept(path: &Path) -> Result<Anchors, Failure> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let text = std::fs::read(path).map_err(|cause| named(&cause))?;
    Ok(serde_json::from_slice(&text).map_err(|cause| named(&cause))?)
}

/// A chain that is not intact is a failure of the command.
fn tell(report: &Report, anchors: Option<&Anchors>, as_json: bool) -> Result<(), Failure> {
    let (events, chains) = (report.events, report.chains);
    if as_json {
        let mut shown = serde_json::to_value(report)?;
        if let Some(members) = shown.as_object_mut() {
            let at = anchors.map(|anchors| anchors.at);
            members.insert("anchored_at".to_owned(), json!(at));
        }
        say(&shown.to_string())?;
    } else {
        for fault in &report.faults {
            say(&format!(
                "chain {} at {}: {}",
                fault.chain,
                fault.seq,
                fault.kind.explained()
            ))?;
        }
        let held = anchors.map_or_else(
            || "there was no anchor to hold them against".to_owned(),
            |anchors| format!("held against the anchor of {}", anchors.at),
        );
        say(&format!("{events} events in {chains} chains; {held}"))?;
    }
    if report.intact {
        Ok(())
    } else {
        Err("the audit is not what the server wrote".into())
    }
}

async fn export(store: &Store, path: Option<&Path>, as_json: bool) -> Result<(), Failure> {
    let progress = Progress::new("exporting events", audit::size(store).await?);
    let done = |events| progress.advance(events);
    let count = match path {
        None => audit::export_all(store, &mut std::io::stdout().lock(), done).await?,
        Some(path) => {
            let draft = Draft::of_new(path)?;
            let mut output = draft.writer()?;
            let count = audit::export_all(store, &mut output, done).await?;
            output.flush()?;
            draft.publish()?;
            count
        }
    };
    progress.finish();
    match path {
        Some(_) if as_json => say(&json!({ "exported": count }).to_string()),
        Some(path) => say(&format!("{count} events are in {}.", path.display())),
        None => Ok(()),
    }
}

fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(())
}

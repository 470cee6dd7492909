//! `keyferry-server verify`: is everything as it should be? Changes nothing.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::open::{connect, look};
use super::progress::Progress;
use super::{Failure, Settings};
use crate::audit::{self, Anchors, Books, ChainKey};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{RecordKind, Store};
use crate::vault::master_key::MasterKey;
use crate::vault::{record_context_of, seal};

#[derive(Args)]
pub(super) struct Verify {
    #[command(flatten)]
    settings: Settings,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Serialize)]
pub(super) struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Looks at everything, and fails when anything is not as it should be.
pub(super) async fn verify(flags: Verify) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let checks = look_at_everything(&config).await;
    tell(&flags, &checks)?;
    all_good(&checks).map(drop)
}

/// Whether nothing is wrong.
pub(super) fn all_good(checks: &[Check]) -> Result<bool, Failure> {
    match checks.iter().find(|check| !check.ok) {
        None => Ok(true),
        Some(wrong) => Err(format!("{} is wrong: {}", wrong.name, wrong.detail).into()),
    }
}

/// Looks at everything that these settings lead to.
pub(super) async fn look_at_everything(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::good("settings", "can be read")];
    checks.push(Check::of("data folder", data_folder(config)));
    match connect(config).await {
        Ok((store, schema)) => {
            checks.push(Check::good("database", store.engine()));
            let pending = schema.pending.len();
            checks.push(Check::of(
                "schema",
                match pending {
                    0 => Ok("up to date"),
                    _ => Err(format!("{pending} steps behind: `keyferry-server migrate`")),
                },
            ));
            checks.push(Check::of("clock", clock(&store).await));
            store.close().await;
            records(config, &mut checks).await;
        }
        Err(cause) => checks.push(Check::of("database", Err::<&str, _>(cause))),
    }
    checks
}

fn data_folder(config: &Config) -> Result<&'static str, Failure> {
    let mode = std::fs::metadata(&config.data_dir)?.permissions().mode();
    match mode & 0o077 {
        0 => Ok("nobody else can read it"),
        _ => Err("others can read it: chmod -R go= it".into()),
    }
}

/// Whether the database's clock is ours, and nothing in it comes from the future.
async fn clock(store: &Store) -> Result<String, Failure> {
    let now = Clock::system().now();
    let theirs = store.clock(now).await?;
    let apart = now.since(theirs).max(theirs.since(now));
    if apart > CLOCKS_APART {
        return Err(format!("{apart:?} from the database's: set one of the two").into());
    }
    Ok(format!("within {} ms of the database's", apart.as_millis()))
}

/// Opens every sealed record.
async fn records(config: &Config, checks: &mut Vec<Check>) {
    let data_dir = match DataDir::existing(&config.data_dir) {
        Ok(data_dir) => data_dir,
        Err(cause) => return checks.push(Check::of("master key", Err::<&str, _>(cause))),
    };
    match look(config, &data_dir).await {
        Err(cause) => checks.push(Check::of("master key", Err::<&str, _>(cause))),
        Ok((store, master_key)) => {
            checks.push(Check::good("master key", "belongs to the database"));
            checks.push(Check::of("records", open_all(&store, &master_key).await));
            let audit = audit_chains(&data_dir, &store, &master_key).await;
            checks.push(Check::of("audit chains", audit));
            store.close().await;
        }
    }
}

/// Whether every event is what was written, also by what the data folder remembers.
async fn audit_chains(
    data_dir: &DataDir,
    store: &Store,
    master_key: &MasterKey,
) -> Result<String, Failure> {
    let Some(key) = ChainKey::read(store, master_key).await? else {
        return Ok("not begun".to_owned());
    };
    let anchors = Anchors::read(data_dir)?;
    let books = Books { store, key: &key };
    let report = audit::verify(&books, anchors.as_ref()).await?;
    match report.faults.first() {
        None => Ok(format!(
            "{} events in {} chains",
            report.events, report.chains
        )),
        Some(fault) => Err(format!(
            "{} faults, the first in chain {} at {}: {}; see `keyferry-server audit verify`",
            report.faults.len(),
            fault.chain,
            fault.seq,
            fault.kind.explained()
        )
        .into()),
    }
}

async fn open_all(store: &Store, master_key: &MasterKey) -> Result<String, Failure> {
    let mut all = 0;
    for kind in RecordKind::ALL {
        all += store.count_records(kind).await?;
    }
    let progress = Progress::new("opening records", all);
    let (mut opened, mut closed) = (0_u64, Vec::new());
    for kind in RecordKind::ALL {
        let mut after = Uuid::nil();
        loop {
            let records = store.records_after(kind, after).await?;
            let Some(last) = records.last() else { break };
            after = last.id;
            for record in &records {
                let context = record_context_of(kind, record);
                match seal::open(master_key, &context, &record.sealed()) {
                    Ok(_) => opened += 1,
                    Err(cause) => closed.push(format!("{} {}: {cause}", kind.name(), record.id)),
                }
            }
            progress.advance(u64::try_from(records.len()).unwrap_or(0));
        }
    }
    progress.finish();
    match closed.first() {
        None => Ok(format!("{opened} open")),
        Some(first) => Err(format!("{opened} open, {} do not: {first}", closed.len()).into()),
    }
}

fn tell(flags: &Verify, checks: &[Check]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        let answer =
            serde_json::json!({ "ok": checks.iter().all(|check| check.ok), "checks": checks });
        return writeln!(stdout, "{answer}");
    }
    for check in checks {
        let mark = if check.ok { "✓" } else { "✗" };
        writeln!(stdout, "{mark} {}: {}", check.name, check.detail)?;
    }
    Ok(())
}

impl Check {
    fn good(name: &'static str, detail: impl Display) -> Self {
        Self {
            name,
            ok: true,
            detail: detail.to_string(),
        }
    }

    fn of(name: &'static str, found: Result<impl Display, impl Into<Failure>>) -> Self {
        match found {
            Ok(detail) => Self::good(name, detail),
            Err(cause) => Self {
                name,
                ok: false,
                detail: cause.into().to_string(),
            },
        }
    }
}

/// Further apart, tokens and tickets of several servers would not agree.
const CLOCKS_APART: Duration = Duration::from_secs(5);

//! `keyferry-server verify`: is everything as it should be? Changes nothing.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::audit::verify_shown;
use super::open::{connect, look, never_used};
use super::progress::Progress;
use super::verify_services::services;
use super::{Failure, Settings, causes};
use crate::audit::{Anchors, Books, ChainKey};
use crate::cache::{Cache, Source};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{RecordKind, Schema, Store, UnixTime, Way};
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
    /// It may be as it is, and could be better.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    warning: bool,
    detail: String,
}

/// Looks at everything, and fails when anything is not as it should be.
pub(super) async fn verify(flags: Verify) -> Result<(), Failure> {
    let config = flags.settings.parse_as_served()?;
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
            checks.push(way(config));
            let state = state_of(&schema);
            let is_current = state.is_ok();
            checks.push(Check::of("schema", state));
            checks.push(Check::of("clock", clock(&store).await));
            if is_current {
                checks.push(Check::of("time of events", time_of_events(&store).await));
                checks.extend(database_role(&store).await);
            }
            store.close().await;
            // Of another schema than ours nothing more can be said.
            if is_current {
                records(config, &mut checks).await;
            }
        }
        Err(cause) => checks.push(Check::of("database", Err::<&str, _>(cause))),
    }
    checks.extend(services(config));
    if let Some(source) = &config.cache {
        checks.push(Check::of("cache", cache(Arc::clone(source)).await));
    }
    checks
}

fn state_of(schema: &Schema) -> Result<&'static str, Failure> {
    if schema.is_empty() {
        return Err(never_used());
    }
    match schema.pending.len() {
        0 => Ok("up to date"),
        missing => Err(format!(
            "older than this program by {missing} of its changes, so nothing else was looked at: \
             run `keyferry-server migrate`, then verify again"
        )
        .into()),
    }
}

/// Whether Redis does everything that servers want of it, at about our time.
async fn cache(source: Arc<Source>) -> Result<String, Failure> {
    let cache = Cache::new(source, Uuid::nil());
    let _hearing = cache.connect().await?;
    let theirs = cache.time().await.ok_or("Redis does not tell the time")?;
    let apart = close_by(theirs, "Redis's")?;
    Ok(format!("connected; its clock is within {apart} ms of ours"))
}

fn data_folder(config: &Config) -> Result<&'static str, Failure> {
    let folder = config.data_dir.display();
    let about = std::fs::metadata(&config.data_dir);
    let about =
        about.map_err(|cause| format!("{folder}: {cause}; `keyferry-server init` makes it"))?;
    let mode = about.permissions().mode();
    match mode & 0o077 {
        0 => Ok("nobody else can read it"),
        _ => Err(format!("others can read it: chmod -R go= {folder}").into()),
    }
}

/// Whether the database's clock is ours.
async fn clock(store: &Store) -> Result<String, Failure> {
    let theirs = store.clock(Clock::system().now()).await?;
    let apart = close_by(theirs, "the database's")?;
    Ok(format!("within {apart} ms of the database's"))
}

/// How many milliseconds somebody's clock is from ours.
fn close_by(theirs: UnixTime, whose: &str) -> Result<u128, Failure> {
    let now = Clock::system().now();
    let apart = now.since(theirs).max(theirs.since(now));
    if apart > CLOCKS_APART {
        return Err(format!("this clock is {apart:?} from {whose}: set one of the two").into());
    }
    Ok(apart.as_millis())
}

/// Whether nothing has happened in the future, as it seems to have when this clock went back.
async fn time_of_events(store: &Store) -> Result<&'static str, Failure> {
    let newest = store.newest_event().await?;
    let ahead = newest.map(|newest| newest.since(Clock::system().now()));
    match ahead.filter(|ahead| *ahead > CLOCKS_APART) {
        None => Ok("past"),
        Some(ahead) => Err(format!(
            "the newest event is {ahead:?} ahead of this clock: tokens, tickets and leases go by \
             it, so set it"
        )
        .into()),
    }
}

/// Whether the database holds this program back from changing the audit.
async fn database_role(store: &Store) -> Option<Check> {
    const NAME: &str = "database role";
    match store.own_role().await {
        Ok(role) => role.map(|role| Check {
            warning: role.changes_audit.is_some(),
            ..Check::good(NAME, role)
        }),
        Err(cause) => Some(Check::of(NAME, Err::<&str, _>(cause))),
    }
}

/// Whether somebody in the network could pass for the database.
fn way(config: &Config) -> Check {
    let (warning, detail) = match Way::to(&config.database) {
        Way::Here => (false, "stays on this machine"),
        Way::Verified => (false, "its certificate is verified"),
        Way::Unverified => (true, UNVERIFIED),
    };
    Check {
        warning,
        ..Check::good("way to the database", detail)
    }
}

/// Opens every sealed record.
async fn records(config: &Config, checks: &mut Vec<Check>) {
    let data_dir = match DataDir::existing(&config.data_dir) {
        Ok(data_dir) => data_dir,
        Err(cause) => return checks.push(Check::of("master key", Err::<&str, _>(cause))),
    };
    match look(config, &data_dir).await {
        Err(cause) => checks.push(Check::of("master key", Err::<&str, _>(cause))),
        Ok(looked) => {
            let (store, master_key) = (looked.store, looked.master_key);
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
    let report = verify_shown(&books, anchors.as_ref()).await?;
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
                match seal::open(master_key, &context, &record.sealed) {
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
        let mark = match check {
            Check { ok: false, .. } => "✗",
            Check { warning: true, .. } => "!",
            _ => "✓",
        };
        writeln!(stdout, "{mark} {}: {}", check.name, check.detail)?;
    }
    Ok(())
}

impl Check {
    fn good(name: &'static str, detail: impl Display) -> Self {
        Self {
            name,
            ok: true,
            warning: false,
            detail: detail.to_string(),
        }
    }

    pub(super) fn of(name: &'static str, found: Result<impl Display, impl Into<Failure>>) -> Self {
        match found {
            Ok(detail) => Self::good(name, detail),
            Err(cause) => {
                let cause = cause.into();
                let deeper = causes(cause.as_ref()).map(|cause| format!(", because: {cause}"));
                Self {
                    name,
                    ok: false,
                    warning: false,
                    detail: format!("{cause}{}", deeper.collect::<String>()),
                }
            }
        }
    }
}

const UNVERIFIED: &str = "its certificate is not verified, so whoever is in the network could pass for it: \
    add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL, unless the network is your own";
/// Further apart, tokens and tickets of several servers would not agree.
const CLOCKS_APART: Duration = Duration::from_secs(5);

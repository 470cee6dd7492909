//! `keyferry-server migrate`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::json;

use super::open::{Opened, connect, open};
use super::progress::Progress;
use super::{Failure, Settings};
use crate::audit::{Anchors, ChainKey};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{Grantee, INSTANCE, Schema, Step, Store};
use crate::vault::server_keys::Keeper;

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// Then give this PostgreSQL role what servers need, and take everything else from it: it can
    /// add to the audit, and can neither change nor delete what is there. Run it again after each
    /// upgrade, with the DATABASE_URL of the schema's owner
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// What was done, or would be.
#[derive(Default)]
struct Done {
    steps: Vec<Step>,
    grants: Vec<String>,
    /// How the role stands to the audit now.
    standing: Option<String>,
}

/// Brings the schema up to date, which `serve` does as well where it owns it, or says what is
/// pending.
pub(super) async fn migrate(flags: Migrate) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (store, schema) = connect(&config).await?;
    // Before anything is done.
    if let Some(role) = &flags.grant_to {
        store.grantee(role).await?;
    }
    if !flags.dry_run && !schema.pending.is_empty() {
        let progress = Progress::saying("bringing the schema up to date");
        bring_up_to_date(&config, (&store, &schema)).await?;
        progress.finish();
    }
    let mut done = Done {
        steps: schema.pending,
        ..Done::default()
    };
    if let Some(role) = &flags.grant_to {
        let grantee = store.grantee(role).await?;
        done.grants = grantee.statements().await?;
        if !flags.dry_run {
            done.standing = Some(grant(&grantee, config.audit.retention).await?);
        }
    }
    store.close().await;
    Ok(tell(&flags, &done)?)
}

/// What belongs to a master key is touched only with it at hand. An empty database belongs to none.
async fn bring_up_to_date(
    config: &Config,
    (store, schema): (&Store, &Schema),
) -> Result<(), Failure> {
    if schema.is_empty() || store.setting(INSTANCE).await?.is_none() {
        return Ok(store.migrate().await?);
    }
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let opened = open(config, &data_dir).await?;
    begin_audit(&opened, &data_dir).await?;
    opened.store.close().await;
    Ok(())
}

/// Events from before there was a chain get their places, which takes the owner's rights.
async fn begin_audit(opened: &Opened, data_dir: &DataDir) -> Result<(), Failure> {
    let keeper = Keeper {
        store: &opened.store,
        master_key: &opened.master_key,
        arena: &opened.arena,
        now: opened.clock.now(),
    };
    let mut rng = UnwrapErr(SysRng);
    ChainKey::load(&keeper, Anchors::unlinked(data_dir), &mut rng).await?;
    Ok(())
}

async fn grant(grantee: &Grantee<'_>, retention: Option<Duration>) -> Result<String, Failure> {
    let days = retention.map(|kept| i64::try_from(kept.as_secs() / DAY).unwrap_or(i64::MAX));
    grantee.grant(days).await?;
    let pruning = match days {
        None => "prunes none".to_owned(),
        Some(days) => {
            format!("prunes those older than {days} days (KEYFERRY_AUDIT_RETENTION_DAYS)")
        }
    };
    Ok(match grantee.changes_audit().await? {
        None => format!("It adds events to the audit, changes none, and {pruning}."),
        Some(way) => format!("It can change the audit nevertheless: it {way}."),
    })
}

fn tell(flags: &Migrate, told: &Done) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let done = if flags.dry_run { "pending" } else { "done" };
    if flags.json {
        let steps = told.steps.iter();
        let steps = steps.map(|step| json!({ "version": step.version, "name": step.name }));
        let mut answer = json!({ done: steps.collect::<Vec<_>>() });
        if let (Some(answer), Some(role)) = (answer.as_object_mut(), &flags.grant_to) {
            let grants = json!({ "role": role, "statements": told.grants,
                "standing": told.standing });
            answer.insert("grants".to_owned(), grants);
        }
        return writeln!(stdout, "{answer}");
    }
    if told.steps.is_empty() {
        writeln!(stdout, "The schema is up to date.")?;
    }
    for step in &told.steps {
        writeln!(stdout, "{done} {:04} {}", step.version, step.name)?;
    }
    for statement in told.grants.iter().filter(|_| flags.dry_run) {
        writeln!(stdout, "{statement};")?;
    }
    match (&flags.grant_to, &told.standing) {
        (Some(role), Some(standing)) => {
            writeln!(stdout, "The role {role} has what servers need. {standing}")
        }
        (Some(_), None) if !told.steps.is_empty() => {
            writeln!(stdout, "and the same on the tables that these steps make")
        }
        _ => Ok(()),
    }
}

const DAY: u64 = 86_400;

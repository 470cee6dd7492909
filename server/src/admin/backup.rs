//! `keyferry-server backup`, `restore` and `confirm`.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use getrandom::SysRng;
use keyferry_protocol::memory::{self, Arena};
use rand_core::{Rng, UnwrapErr};
use serde_json::json;
use tracing::warn;

use super::open::connect_used;
use super::progress::Progress;
use super::start::{begin, reopen};
use super::{Failure, Settings};
use crate::audit::{self, Anchors, Entry};
use crate::backup::{self, BackupError, BackupKey, Freshness, Header, Restoring, Snapshot};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{Schema, Store, uuid_v7};
use crate::vault::master_key::{Place, RootKey, candidates};
use crate::{operators, sessions};

#[derive(Args)]
pub(super) struct BackupFlags {
    #[command(flatten)]
    settings: Settings,
    /// Where to write the backup; must not be there yet
    file: PathBuf,
    /// Seal the backup under the master key. Keys are sealed in any case; this hides names, mail
    /// addresses and password hashes too
    #[arg(long)]
    seal: bool,
    /// Take it even when the audit cannot tell of it, such as before `migrate`
    #[arg(long)]
    unaudited: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct RestoreFlags {
    #[command(flatten)]
    settings: Settings,
    /// The backup
    file: PathBuf,
    /// Nothing was used since the backup was made, such as on the way to another engine: sessions,
    /// tickets and keys stay as they are. Refused when that cannot be
    #[arg(long)]
    up_to_date: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ConfirmFlags {
    #[command(flatten)]
    settings: Settings,
    /// Let everything live on that a restore holds back
    #[arg(long, conflicts_with = "account")]
    all: bool,
    /// Only what belongs to the tenant of this account, by username or e-mail address
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Writes the whole database into a file, while servers go on.
pub(super) async fn backup(flags: BackupFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (store, schema) = connect_used(&config).await?;
    let key = match flags.seal {
        true => Some(backup_key(&config, &store).await?),
        false => None,
    };
    let draft = flags.file.with_added_extension("part");
    let out = BufWriter::new(create(&flags.file, &draft)?);
    let told = Box::pin(tell_audit(config, &flags, &schema)).await;
    told.inspect_err(|_| drop(std::fs::remove_file(&draft)))?;
    let snapshot = Snapshot::of(&store, schema.applied, Clock::system().now()).await?;
    let header = snapshot.header.clone();
    let progress = Progress::new("backing up", rows(&header));
    let written = snapshot.write(out, key, || progress.advance(1)).await;
    let out = written.inspect_err(|_| drop(std::fs::remove_file(&draft)))?;
    progress.finish();
    let out = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    out.sync_all()?;
    std::fs::rename(&draft, &flags.file)?;
    store.close().await;
    let told = tell(&header);
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{told}")?;
    } else {
        let file = flags.file.display();
        writeln!(stdout, "{} rows are in {file}.", rows(&header))?;
        writeln!(
            stdout,
            "It is of no use without the master key: keep that too, elsewhere."
        )?;
    }
    Ok(())
}

/// Before the moment that the backup is of, so that it tells of itself.
async fn tell_audit(config: Config, flags: &BackupFlags, schema: &Schema) -> Result<(), Failure> {
    let detail = json!({ "file": flags.file, "sealed": flags.seal });
    let written = match schema.pending.is_empty() {
        true => write_down(config, ("operator.backup", detail)).await,
        false => Err("the schema is not up to date".into()),
    };
    match written {
        // Somebody who needs a backup may be in need of just this.
        Err(cause) if flags.unaudited => warn!(%cause, "the audit will not tell of this backup"),
        Err(cause) => {
            return Err(format!(
                "the audit cannot tell of this backup, so none was taken: {cause}. Mend that, or \
                 take it all the same with --unaudited"
            )
            .into());
        }
        Ok(()) => {}
    }
    Ok(())
}

/// Fills an empty database from a backup.
pub(super) async fn restore(flags: RestoreFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let mut restoring =
        Restoring::open(&flags.file).map_err(|cause| with_name(&cause, &flags.file))?;
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let header = restoring.header().clone();
    let keys = keys(&config, &data_dir, &header)?;
    let fits = keys
        .iter()
        .find(|key| header.master_keys.contains(&key.printed_id()));
    let fits = fits.ok_or(BackupError::OtherMasterKey)?;
    if let Some(salt) = restoring.salt() {
        restoring.unlock(BackupKey::of(fits, salt)?);
    }
    let freshness = freshness(&flags, &data_dir, &header)?;
    let store = Store::connect(&config.database).await?;
    let progress = Progress::new("restoring", rows(&header));
    let done = |rows| progress.advance(rows);
    backup::restore(&store, restoring, freshness, done).await?;
    progress.finish();
    store.close().await;
    Anchors::forget(&data_dir)?;
    let told = tell(&header);
    // Shuts out what must not be revived, and moves the epoch on.
    write_down(config, ("operator.restored", told.clone())).await?;
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{told}")?;
    } else {
        writeln!(
            stdout,
            "{} rows of {} are back.",
            rows(&header),
            header.created_at
        )?;
        if freshness == Freshness::Unknown {
            writeln!(
                stdout,
                "Everybody signs in again. Keys, API keys and VMs wait: look at them with \
                 `keyferry-server confirm`, then let them live on with `confirm --all`."
            )?;
            writeln!(stdout, "{UNKNOWN}")?;
        }
    }
    Ok(())
}

/// Shows what a restore holds back, or lets it live on.
pub(super) async fn confirm(flags: ConfirmFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (app, _stopper) = reopen(config).await?;
    let tenant = match &flags.account {
        Some(account) => {
            let account = account.parse()?;
            Some(operators::find_account(&app, &account).await?.tenant_id)
        }
        None => None,
    };
    let origin = sessions::Origin {
        request_id: uuid_v7(app.clock.now(), &mut app.rng()),
        peer: None,
        user_agent: None,
    };
    let rows = backup::held_back(&app, tenant).await?;
    let doing = flags.all || tenant.is_some();
    if doing {
        backup::confirm(&app, &origin, tenant).await?;
    }
    app.store.close().await;
    let mut stdout = std::io::stdout().lock();
    let what = if doing { "confirmed" } else { "held_back" };
    if flags.json {
        writeln!(stdout, "{}", json!({ what: rows, "to_look_at": UNKNOWN }))?;
        return Ok(());
    }
    for row in &rows {
        writeln!(stdout, "{}: {row}, of {}", row.tenant, row.changed_at)?;
    }
    match (rows.len(), doing) {
        (0, _) => writeln!(stdout, "Nothing is held back.")?,
        (some, true) => writeln!(stdout, "{some} of these live on.")?,
        (some, false) => {
            writeln!(stdout, "{some} of these wait: `confirm --all`.")?;
            writeln!(stdout, "{UNKNOWN}")?;
        }
    }
    Ok(())
}

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

async fn backup_key(config: &Config, store: &Store) -> Result<BackupKey, Failure> {
    let data_dir = DataDir::existing(&config.data_dir)?;
    let known = store.setting("master_key_id").await?.unwrap_or_default();
    let instance = store.setting("instance_id").await?.unwrap_or_default();
    let arena = Arena::new(memory::self_test()?)?;
    let place = Place {
        data_dir: &data_dir,
        arena: &arena,
        instance: instance.parse()?,
    };
    let keys = candidates(&config.master_key, &place)?;
    let key = keys.iter().find(|key| key.printed_id() == known);
    let key = key.ok_or("the master key at hand is not that of the database")?;
    let mut salt = [0; 32];
    UnwrapErr(SysRng).fill_bytes(&mut salt);
    Ok(BackupKey::of(key, salt)?)
}

fn keys(config: &Config, data_dir: &DataDir, header: &Header) -> Result<Vec<RootKey>, Failure> {
    let arena = Arena::new(memory::self_test()?)?;
    let place = Place {
        data_dir,
        arena: &arena,
        instance: header.instance_id.parse()?,
    };
    Ok(candidates(&config.master_key, &place)?)
}

fn freshness(
    flags: &RestoreFlags,
    data_dir: &DataDir,
    header: &Header,
) -> Result<Freshness, Failure> {
    if !flags.up_to_date {
        return Ok(Freshness::Unknown);
    }
    let own = backup::read_epoch(data_dir, header.instance_id.parse()?)?;
    if own.is_some_and(|own| own > header.epoch) {
        return Err(BackupError::Behind.into());
    }
    Ok(Freshness::UpToDate)
}

fn create(file: &Path, draft: &Path) -> Result<File, Failure> {
    if file.exists() {
        return Err(format!("{} is there already", file.display()).into());
    }
    let created = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft);
    created.map_err(|cause| format!("cannot write {}: {cause}", draft.display()).into())
}

fn with_name(cause: &BackupError, file: &Path) -> Failure {
    let file = file.display();
    match std::error::Error::source(cause) {
        Some(deeper) => format!("{file}: {cause}: {deeper}").into(),
        None => format!("{file}: {cause}").into(),
    }
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

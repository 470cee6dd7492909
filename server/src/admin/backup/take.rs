//! `keyferry-server backup`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use getrandom::SysRng;
use keyferry_protocol::memory::{self, Arena};
use rand_core::{Rng, UnwrapErr};
use serde_json::json;
use tracing::warn;

use super::{rows, tell, write_down};
use crate::admin::draft::Draft;
use crate::admin::open::connect_used;
use crate::admin::progress::Progress;
use crate::admin::{Failure, Settings};
use crate::backup::{BackupKey, Header, Snapshot};
use crate::clock::Clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{INSTANCE, Schema, Store};
use crate::vault::master_key::{Place, candidates};

#[derive(Args)]
pub(in crate::admin) struct BackupFlags {
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

/// Writes the whole database into a file, while servers go on.
pub(in crate::admin) async fn backup(flags: BackupFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let (store, schema) = connect_used(&config).await?;
    let key = match flags.seal {
        true => Some(backup_key(&config, &store).await?),
        false => None,
    };
    let draft = Draft::of_new(&flags.file)?;
    Box::pin(tell_audit(config, &flags, &schema)).await?;
    let header = take(&store, (draft.writer()?, key)).await?;
    draft.publish()?;
    store.close().await;
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{}", tell(&header))?;
        return Ok(());
    }
    let file = flags.file.display();
    writeln!(stdout, "{} rows are in {file}.", rows(&header))?;
    writeln!(
        stdout,
        "It is of no use without the master key: keep that too, elsewhere."
    )?;
    Ok(())
}

async fn take(
    store: &Store,
    (out, key): (BufWriter<File>, Option<BackupKey>),
) -> Result<Header, Failure> {
    let snapshot = Snapshot::of(store, Clock::system().now()).await?;
    let header = snapshot.header.clone();
    let progress = Progress::new("backing up", rows(&header));
    let mut out = snapshot.write(out, key, || progress.advance(1)).await?;
    progress.finish();
    out.flush()?;
    Ok(header)
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

async fn backup_key(config: &Config, store: &Store) -> Result<BackupKey, Failure> {
    let data_dir = DataDir::existing(&config.data_dir)?;
    let known = store.setting("master_key_id").await?.unwrap_or_default();
    let instance = store.setting(INSTANCE).await?.unwrap_or_default();
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

//! `keyferry-server restore`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use keyferry_protocol::memory::{self, Arena};

use super::{UNKNOWN, rows, tell, write_down};
use crate::admin::progress::Progress;
use crate::admin::{Failure, Settings};
use crate::audit::Anchors;
use crate::backup::{self, BackupError, BackupKey, Freshness, Header, Restoring};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::Store;
use crate::vault::master_key::{Place, RootKey, candidates};

#[derive(Args)]
pub(in crate::admin) struct RestoreFlags {
    #[command(flatten)]
    settings: Settings,
    /// The backup
    file: PathBuf,
    /// Nothing was used since the backup was made, such as on the way to another engine: sessions,
    /// tickets and keys stay as they are. Refused when that cannot be, by the file `epoch` of the data
    /// folder of the server that was stopped
    #[arg(long)]
    up_to_date: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Fills an empty database from a backup.
pub(in crate::admin) async fn restore(flags: RestoreFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let mut restoring =
        Restoring::open(&flags.file).map_err(|cause| with_name(&cause, &flags.file))?;
    let header = restoring.header().clone();
    let place = DataDir::as_it_is(&config.data_dir);
    unlock(&mut restoring, &keys(&config, &place, &header)?)?;
    let freshness = freshness(&flags, &place, &header)?;
    // From here on something is made.
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let store = Store::connect(&config.database).await?;
    let progress = Progress::new("restoring", rows(&header));
    let done = |rows| progress.advance(rows);
    backup::restore(&store, restoring, freshness, done).await?;
    progress.finish();
    store.close().await;
    Anchors::forget(&data_dir)?;
    // Shuts out what must not be revived, and moves the epoch on.
    write_down(config, ("operator.restored", tell(&header))).await?;
    report(&header, freshness, flags.json)
}

/// With that of the keys at hand which is the backup's.
fn unlock(restoring: &mut Restoring, keys: &[RootKey]) -> Result<(), Failure> {
    let known = &restoring.header().master_keys;
    let fits = keys.iter().find(|key| known.contains(&key.printed_id()));
    let fits = fits.ok_or(BackupError::OtherMasterKey)?;
    if let Some(salt) = restoring.salt() {
        restoring.unlock(BackupKey::of(fits, salt)?);
    }
    Ok(())
}

fn report(header: &Header, freshness: Freshness, as_json: bool) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if as_json {
        return Ok(writeln!(stdout, "{}", tell(header))?);
    }
    let (rows, taken) = (rows(header), &header.created_at);
    writeln!(stdout, "{rows} rows of {taken} are back.")?;
    if freshness == Freshness::Unknown {
        writeln!(
            stdout,
            "Everybody signs in again, and the server has new keys of its own. Keys, API keys and VMs wait: look at them with \
             `keyferry-server confirm`, then let them live on with `confirm --all`."
        )?;
        writeln!(stdout, "{UNKNOWN}")?;
    }
    Ok(())
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
    match own {
        None => Err(BackupError::NoEpoch.into()),
        Some(own) if own > header.epoch => Err(BackupError::Behind.into()),
        Some(_) => Ok(Freshness::UpToDate),
    }
}

fn with_name(cause: &BackupError, file: &Path) -> Failure {
    let file = file.display();
    match std::error::Error::source(cause) {
        Some(deeper) => format!("{file}: {cause}: {deeper}").into(),
        None => format!("{file}: {cause}").into(),
    }
}

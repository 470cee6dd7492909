//! `keyferry-server rotate master-key`.

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::super::progress::Progress;
use super::super::start::reopen;
use super::super::{Failure, Settings};
use crate::app::App;
use crate::data_dir::DataDir;
use crate::store::StoredRotation;
use crate::vault::master_key::{
    self, MasterKeyError, NewKey, Place, SHORTEST, TO_NOTICE, read_existing, stretch,
};

#[derive(Args)]
pub(in crate::admin) struct MasterKeyFlags {
    #[command(flatten)]
    settings: Settings,
    /// The new key, 32 bytes in base64 in a file, where a setting or systemd gives the key. Without
    /// it the one in the data folder is replaced by a fresh one
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_stdin")]
    new_key_file: Option<PathBuf>,
    /// Read a new passphrase from standard input
    #[arg(long)]
    new_passphrase_stdin: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Puts a new master key in the place of the present one, record by record.
pub(super) async fn master_key(flags: MasterKeyFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let kept_in = config.master_key.kept_in();
    let (app, _stopper) = reopen(config).await?;
    let data_dir = DataDir::existing(&app.config.data_dir)?;
    let new = flags.new_key(&app, &data_dir)?;
    let records = master_key::to_reseal(&app).await?;
    let rotation = master_key::begin(&app, new).await?;
    reseal(&app, &rotation, records).await?;
    app.store.close().await;

    let mut stdout = std::io::stdout().lock();
    let change = kept_in.map(|name| format!("put the new key into {name} before the next start"));
    if flags.json {
        let answer = json!({ "records": records, "to_do": change });
        writeln!(stdout, "{answer}")?;
    } else {
        writeln!(stdout, "{records} records are under the new master key.")?;
        if let Some(change) = change {
            writeln!(stdout, "Servers that run have it; {change}.")?;
        }
    }
    Ok(())
}

/// Seals every record anew, then retires the old key.
async fn reseal(app: &App, rotation: &StoredRotation, records: u64) -> Result<(), Failure> {
    let progress = Progress::new("sealing anew", records);
    loop {
        match master_key::reseal_some(app, rotation).await? {
            0 => {}
            some => {
                progress.advance(some);
                continue;
            }
        }
        // A server that has not looked yet would be refused, when it seals under the old key.
        let noticed = rotation.begun_at + TO_NOTICE;
        sleep(noticed.since(app.clock.now())).await;
        match master_key::finish(app, rotation).await {
            Err(MasterKeyError::Left { .. }) => {}
            done => {
                progress.finish();
                return Ok(done?);
            }
        }
    }
}

impl MasterKeyFlags {
    fn new_key(&self, app: &App, data_dir: &DataDir) -> Result<NewKey, Failure> {
        if let Some(path) = &self.new_key_file {
            return Ok(NewKey::Given(read_existing(path, &app.arena)?));
        }
        if !self.new_passphrase_stdin {
            return Ok(NewKey::Made);
        }
        let mut typed = Zeroizing::new(Vec::with_capacity(4096));
        std::io::stdin().lock().take(4096).read_to_end(&mut typed)?;
        let place = Place {
            data_dir,
            arena: &app.arena,
            instance: app.instance,
        };
        let key = stretch(typed.trim_ascii_end(), &place)?;
        let key = key.ok_or_else(|| format!("a passphrase has at least {SHORTEST} bytes"))?;
        Ok(NewKey::Given(key))
    }
}

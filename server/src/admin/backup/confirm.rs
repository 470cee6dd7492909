//! `keyferry-server confirm`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::UNKNOWN;
use crate::admin::start::{reopen, reopen_to_look};
use crate::admin::{Failure, Settings};
use crate::store::{HeldBackRow, uuid_v7};
use crate::{backup, operators, sessions};

#[derive(Args)]
pub(in crate::admin) struct ConfirmFlags {
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

/// Shows what a restore holds back, or lets it live on.
pub(in crate::admin) async fn confirm(flags: ConfirmFlags) -> Result<(), Failure> {
    let config = flags.settings.parse(Vec::new())?;
    let doing = flags.all || flags.account.is_some();
    let (app, _stopper) = match doing {
        true => reopen(config).await?,
        false => reopen_to_look(config).await?,
    };
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
    if doing {
        backup::confirm(&app, &origin, tenant).await?;
    }
    app.store.close().await;
    report(&rows, doing, flags.json)
}

fn report(rows: &[HeldBackRow], doing: bool, as_json: bool) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let what = if doing { "confirmed" } else { "held_back" };
    if as_json {
        writeln!(stdout, "{}", json!({ what: rows, "to_look_at": UNKNOWN }))?;
        return Ok(());
    }
    for row in rows {
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

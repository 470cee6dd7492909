//! `keyferry-server import`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use keyferry_protocol::memory::Arena;
use sqlx::postgres::PgConnectOptions;
use zeroize::Zeroizing;

use super::progress::Progress;
use super::start::{reopen, reopen_to_look};
use super::{Failure, Settings};
use crate::import::{
    FernetKeys, Import, KEYS, LayoutError, Remark, Report, Run, Source, Tables, USERS,
};
use crate::store::uuid_v7;
use crate::vault::policy::{DeliveryName, NewPolicy};

#[derive(Args)]
pub(super) struct ImportFlags {
    #[command(flatten)]
    settings: Settings,
    /// The other system's database, such as postgres://reader@db.example.org/app. Its password comes
    /// from PGPASSWORD or ~/.pgpass. It is only read
    #[arg(long, value_name = "URL")]
    from: String,
    /// A file with the Fernet key, or several, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    fernet_key_file: PathBuf,
    /// Look at everything, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// The table with the users
    #[arg(long, value_name = "TABLE", default_value = "users")]
    users_table: String,
    /// The table with the keys
    #[arg(long, value_name = "TABLE", default_value = "api_keys")]
    keys_table: String,
    /// Where something is, when it is not called as usual, such as users.password_hash=pwd; nothing
    /// after the = for a column that is not what its name says
    #[arg(long = "column", value_name = "TABLE.FIELD=COLUMN")]
    columns: Vec<String>,
    /// Whether tools may read the keys, or only the agent's proxy uses them
    #[arg(long, value_enum, default_value = "inject")]
    delivery: Delivery,
    /// What the other system is called here, so that a second import knows what came with the
    /// first; host, port and name of the database unless set
    #[arg(long, value_name = "NAME")]
    called: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Delivery {
    Inject,
    Raw,
}

/// Takes what is new in the other system.
pub(super) async fn import(flags: ImportFlags) -> Result<(), Failure> {
    let tables = flags.tables()?;
    let source = Source::open(flags.options()?, &tables).await?;
    let config = flags.settings.parse(Vec::new())?;
    let (app, _stopper) = match flags.dry_run {
        true => reopen_to_look(config).await?,
        false => reopen(config).await?,
    };
    let now = app.clock.now();
    let import = Import {
        fernet: fernet_keys(&flags.fernet_key_file, &app.arena)?,
        called: flags.called.clone().unwrap_or_else(|| source.name.clone()),
        called_before: flags.called.is_none().then(|| source.short_name.clone()),
        policy: NewPolicy::delivered(flags.delivery.into()).complete(now)?,
        run: if flags.dry_run { Run::Dry } else { Run::Real },
        correlation: uuid_v7(now, &mut app.rng()),
        app: &app,
        source: &source,
    };
    let progress = Progress::new("importing", import.size().await?);
    let report = import.run(|| progress.advance(1)).await?;
    progress.finish();
    app.store.close().await;
    tell(&flags, &report)
}

fn fernet_keys(path: &Path, arena: &Arena) -> Result<FernetKeys, Failure> {
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_KEY_BYTES));
    let most = u64::try_from(MOST_KEY_BYTES).unwrap_or(u64::MAX);
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut text)?;
    } else {
        let file = std::fs::File::open(path)
            .map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        file.take(most).read_to_end(&mut text)?;
    }
    Ok(FernetKeys::parse(&text, arena)?)
}

fn tell(flags: &ImportFlags, report: &Report) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        return Ok(writeln!(stdout, "{}", serde_json::to_string(report)?)?);
    }
    writeln!(stdout, "called {} from now on", report.called)?;
    tell_columns(&mut stdout, report)?;
    let would = if flags.dry_run {
        "to import"
    } else {
        "imported"
    };
    for (what, tally) in [("users", &report.users), ("keys", &report.keys)] {
        let (new, known, left_out) = (tally.imported, tally.known, tally.left_out);
        writeln!(
            stdout,
            "{what}: {new} {would}, {known} known from before, {left_out} left out"
        )?;
    }
    tell_rows(&mut stdout, "closed, as there", &report.closed)?;
    tell_rows(&mut stdout, "changed", &report.changed)?;
    tell_rows(&mut stdout, "left out", &report.left_out)?;
    Ok(())
}

fn tell_rows(out: &mut impl Write, what: &str, rows: &[Remark]) -> std::io::Result<()> {
    if !rows.is_empty() {
        writeln!(out, "{what}: {}", rows.len())?;
    }
    for row in rows.iter().take(MOST_SHOWN) {
        let (kind, id, reason) = (row.kind.name(), row.id.escape_debug(), &row.reason);
        writeln!(out, "  {kind} {id}: {reason}")?;
    }
    if rows.len() > MOST_SHOWN {
        writeln!(out, "  ... all of them with --json")?;
    }
    Ok(())
}

/// What the rows were taken from: a guess that went wrong is seen here.
fn tell_columns(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    for table in ["users", "keys"] {
        let used = report.columns.iter().filter_map(|(place, column)| {
            let field = place.strip_prefix(table)?.strip_prefix('.')?;
            Some(format!("{field}={}", column.as_deref()?))
        });
        let used: Vec<String> = used.collect();
        writeln!(out, "columns of {table}: {}", used.join(", "))?;
        let told = STATES.iter().any(|state| {
            let column = report.columns.get(&format!("{table}.{state}"));
            matches!(column, Some(Some(_)))
        });
        if !told {
            writeln!(
                out,
                "{table}: no column tells which are in use, so all count as such; name it with \
                 --column {table}.active=NAME"
            )?;
        }
    }
    Ok(())
}

impl ImportFlags {
    fn options(&self) -> Result<PgConnectOptions, Failure> {
        let authority = self.from.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || self.from.contains("password=") {
            return Err(
                "leave the password out of --from, where every user of this host can \
                read it: set PGPASSWORD, or use ~/.pgpass"
                    .into(),
            );
        }
        PgConnectOptions::from_str(&self.from).map_err(|cause| format!("--from: {cause}").into())
    }

    fn tables(&self) -> Result<Tables, LayoutError> {
        let fields: Vec<String> = [USERS, KEYS]
            .iter()
            .flat_map(|plan| {
                let named = |(field, _): &(&str, _)| format!("{}.{field}", plan.flag);
                plan.wanted().map(named)
            })
            .collect();
        let mut columns = BTreeMap::new();
        for text in &self.columns {
            match text.split_once('=') {
                Some((place, column)) if fields.iter().any(|field| field == place) => {
                    columns.insert(place.to_owned(), column.to_owned());
                }
                _ => return Err(LayoutError::Flag(text.clone(), fields.join(", "))),
            }
        }
        Ok(Tables {
            users: self.users_table.clone(),
            keys: self.keys_table.clone(),
            columns,
        })
    }
}

impl From<Delivery> for DeliveryName {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Inject => Self::Inject,
            Delivery::Raw => Self::Raw,
        }
    }
}

const MOST_KEY_BYTES: usize = 4_096;
const MOST_SHOWN: usize = 50;
/// Each of these tells whether a row is in use.
const STATES: [&str; 5] = ["active", "status", "disabled", "revoked", "deleted"];

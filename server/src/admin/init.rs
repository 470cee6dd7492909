//! `keyferry-server init`: from nothing to a server with an admin. Repeated, it keeps what is there.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::secrets_file::{Kept, write_secrets};
use super::start::begin;
use super::verify::{all_good, look_at_everything};
use super::{Failure, Settings, is_toml};
use crate::accounts::{self, Standing, Wanted};
use crate::app::App;
use crate::config::Config;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::store::uuid_v7;

#[derive(Args)]
pub(super) struct InitFlags {
    #[command(flatten)]
    settings: Settings,
    /// The first admin's name; it, an e-mail address, or both
    #[arg(long, value_name = "NAME", required_unless_present_any = ["secrets_only", "email"])]
    username: Option<String>,
    /// The first admin's e-mail address
    #[arg(long, value_name = "MAIL")]
    email: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
    /// Write fresh secrets into this file, .env or one that ends in .toml, and use it from then
    /// on. In one that is there only the secrets that it leaves empty are filled
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// Only write the file with the secrets, for containers that are not there yet
    #[arg(long, requires = "secrets_file")]
    secrets_only: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

/// Writes secrets when asked to, makes database and keys, creates the first admin, and tries it all.
pub(super) async fn init(flags: InitFlags) -> Result<(), Failure> {
    let mut told = json!({});
    if let Some(path) = &flags.secrets_file {
        let folder = flags.settings.data_folder()?;
        let kept = write_secrets(path, &folder)?;
        note(&mut told, "secrets", word(kept));
    }
    if !flags.secrets_only {
        let config = flags.settings.parse_with(flags.secrets_file.as_deref())?;
        admin(config, &flags, &mut told).await?;
        let config = flags.settings.parse_with(flags.secrets_file.as_deref())?;
        let checks = look_at_everything(&config).await;
        note(&mut told, "verified", all_good(&checks)?);
    }
    Ok(tell(&flags, &told)?)
}

async fn admin(config: Config, flags: &InitFlags, told: &mut Value) -> Result<(), Failure> {
    let (app, _stopper) = begin(config).await?;
    let there = app.store.has_server_admin().await?;
    if there {
        note(told, "admin", "kept");
    } else {
        create(&app, flags, told).await?;
    }
    app.background.finish(MAILING).await;
    app.store.close().await;
    Ok(())
}

async fn create(app: &App, flags: &InitFlags, told: &mut Value) -> Result<(), Failure> {
    let password = password(flags.password_stdin)?;
    let wanted = Wanted {
        username: flags.username.clone(),
        email: flags.email.clone(),
        password: Some(password),
        ..Wanted::default()
    };
    let origin = Origin {
        request_id: uuid_v7(app.clock.now(), &mut app.rng()),
        peer: None,
        user_agent: None,
    };
    let admin = accounts::create(app, &origin, wanted, Standing::ServerAdmin);
    let admin = admin.await.map_err(explain)?;
    let name = admin.username.as_ref().map(|name| name.text());
    note(told, "admin", "created");
    note(told, "id", json!(admin.id));
    note(told, "username", name);
    note(told, "email", flags.email.as_deref());
    Ok(())
}

fn note(told: &mut Value, what: &str, how: impl Into<Value>) {
    if let Some(told) = told.as_object_mut() {
        told.insert(what.to_owned(), how.into());
    }
}

const fn word(kept: Kept) -> &'static str {
    match kept {
        Kept::Written => "written",
        Kept::Filled => "filled",
        Kept::AsItWas => "kept",
    }
}

fn tell(flags: &InitFlags, told: &Value) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        return writeln!(stdout, "{told}");
    }
    let said = |what: &str| told.get(what).and_then(Value::as_str);
    if let (Some(path), Some(how)) = (&flags.secrets_file, said("secrets")) {
        writeln!(
            stdout,
            "{}: {how}. Keep a copy of it elsewhere.",
            path.display()
        )?;
    }
    match said("admin") {
        Some("created") => {
            let name = said("username").or(said("email")).unwrap_or_default();
            writeln!(stdout, "The admin {name} can sign in.")?;
        }
        Some(_) => writeln!(stdout, "There is an admin already: kept.")?,
        None => return Ok(()),
    }
    writeln!(stdout, "All is well. {}", flags.how_to_start())
}

impl InitFlags {
    /// The server needs what this command was told.
    fn how_to_start(&self) -> String {
        if self.settings.lead_to_the_package() {
            return "Start the server with `systemctl restart keyferry-server`.".into();
        }
        let mut command = "keyferry-server serve".to_owned();
        if let Some(folder) = &self.settings.data_dir {
            command.push_str(&format!(" --data-dir {folder}"));
        }
        let secrets = self.secrets_file.as_deref();
        let config = self.settings.config.as_deref();
        if let Some(file) = config.or(secrets.filter(|path| is_toml(path))) {
            command.push_str(&format!(" --config {}", file.display()));
        }
        let environment = secrets.filter(|path| !is_toml(path) && *path != Path::new(".env"));
        let environment = environment.map_or_else(String::new, |path| {
            format!(", with what {} sets in its environment", path.display())
        });
        format!("Start the server with `{command}`{environment}.")
    }
}

/// How long a command waits until its mails are on their way.
pub(super) const MAILING: Duration = Duration::from_secs(30);

/// A password from standard input, or asked for twice.
pub(super) fn password(from_stdin: bool) -> Result<Secret, Failure> {
    if from_stdin {
        let mut line = Zeroizing::new(String::with_capacity(256));
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            "there is no terminal to ask on; add --password-stdin and pipe the password".into(),
        );
    }
    let password = Secret::new(rpassword::prompt_password("New password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("The same again: ")?);
    if password.expose() != again.as_str() {
        return Err("the two passwords differ".into());
    }
    Ok(password)
}

/// A refusal with the members at fault, which a person at a terminal wants to see.
pub(super) fn explain(refused: ApiError) -> Failure {
    let faults: Vec<String> = refused
        .fields()
        .into_iter()
        .map(|fault| format!("{} {}", fault.field, fault.detail))
        .collect();
    if faults.is_empty() {
        refused.into()
    } else {
        faults.join("; ").into()
    }
}

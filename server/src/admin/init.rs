//! `keyferry-server init`.

use std::io::{BufRead, Write};

use serde_json::json;
use zeroize::Zeroizing;

use super::start::{Reachable, start};
use super::{Failure, Init};
use crate::accounts::{self, NewAccount, Standing};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::stop;
use crate::store::uuid_v7;

/// Prepares the data folder and creates the first admin; there is no default one.
pub(super) async fn init(config: Config, flags: Init) -> Result<(), Failure> {
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let (_stopper, stop) = stop::channel();
    let app = start(config, &data_dir, Reachable::default(), stop).await?;
    if app.store.has_server_admin().await? {
        return Err("there is an admin already".into());
    }
    let password = password(flags.password_stdin)?;
    let account = NewAccount::new(flags.username, flags.email, password);
    let request_id = uuid_v7(app.clock.now(), &mut app.rng());
    let origin = Origin {
        request_id,
        peer: None,
        user_agent: None,
    };
    let admin = accounts::create(&app, &origin, account, Standing::ServerAdmin);
    let admin = admin.await.map_err(explain)?;
    app.store.close().await;

    let name = admin.username.as_ref().map_or("", |name| name.text());
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{}", json!({ "id": admin.id, "username": name }))?;
    } else {
        writeln!(
            stdout,
            "The admin {name} can sign in. Start the server with `keyferry-server serve`."
        )?;
    }
    Ok(())
}

/// A password from standard input, or asked for twice.
pub(super) fn password(from_stdin: bool) -> Result<Secret, Failure> {
    if from_stdin {
        let mut line = Zeroizing::new(String::with_capacity(256));
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
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
        format!("{refused} {}", faults.join("; ")).into()
    }
}

//! The table of commands.

use clap::CommandFactory;
use serde_json::Value;

use crate::app::App;
use crate::arguments::{Arguments, Command, Keys, Sessions, Vms};
use crate::error::CliError;
use crate::output::Reply;
use crate::{account, keys, local, sessions, vms};

/// Runs one command.
pub async fn run(arguments: Arguments) -> Result<Reply, CliError> {
    if let Command::Completions { shell } = arguments.command {
        return Ok(completions(shell));
    }
    if let Command::Exec(it) = &arguments.command {
        return local::exec(it).await;
    }
    let app = App::from_environment()?;
    match arguments.command {
        Command::Register(it) => account::register(&app, it).await,
        Command::Login(it) => account::sign_in(&app, it).await,
        Command::Logout => account::sign_out(&app).await,
        Command::Sessions(it) => run_sessions(&app, it).await,
        Command::Keys(it) => run_keys(&app, it).await,
        Command::Vms(it) => run_vms(&app, it).await,
        Command::Read(it) => local::read(&it).await,
        Command::Exec(it) => local::exec(&it).await,
        Command::Status(it) => local::status(&app, &it).await,
        Command::Completions { shell } => Ok(completions(shell)),
    }
}

async fn run_sessions(app: &App, command: Sessions) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Sessions::List => sessions::list(&caller).await,
        Sessions::End { id } => sessions::end(&caller, id).await,
    }
}

async fn run_keys(app: &App, command: Keys) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Keys::Put(it) => keys::put(&caller, it).await,
        Keys::List => keys::list(&caller).await,
        Keys::Show(it) => keys::show(&caller, &it.name).await,
        Keys::Rotate(it) => keys::rotate(&caller, it).await,
        Keys::Revoke(it) => keys::revoke(&caller, &it.name).await,
        Keys::Delete(it) => keys::delete(&caller, &it.name).await,
    }
}

async fn run_vms(app: &App, command: Vms) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Vms::Add { name } => vms::add(&caller, &name).await,
        Vms::Ticket(it) => vms::ticket(&caller, &it.vm).await,
        Vms::List => vms::list(&caller).await,
        Vms::Held(it) => vms::held(&caller, &it.vm).await,
        Vms::Wipe(it) => vms::wipe(&caller, &it.vm).await,
        Vms::CutOff(it) => vms::set_status(&caller, &it.vm, vms::Status::CutOff).await,
        Vms::Allow(it) => vms::set_status(&caller, &it.vm, vms::Status::Active).await,
        Vms::Delete(it) => vms::delete(&caller, &it.vm).await,
    }
}

fn completions(shell: clap_complete::Shell) -> Reply {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "keyferry", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let json = Value::from(script.as_str());
    Reply::new(script, json)
}

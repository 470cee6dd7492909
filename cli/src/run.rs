//! The table of commands.

use clap::CommandFactory;
use serde_json::Value;

use crate::app::App;
use crate::arguments::{Account, ApiKeys, Arguments, Command, Keys, Mfa, Password, Sessions, Vms};
use crate::error::CliError;
use crate::events::{self, About, Form};
use crate::output::Reply;
use crate::secret_input::PasswordSource;
use crate::{
    account, api_keys, audit, devices, enrolments, identities, keys, local, mfa, operators,
    sessions, team, vms,
};

/// Runs one command.
pub async fn run(arguments: Arguments) -> Result<Reply, CliError> {
    if let Command::Completions { shell } = arguments.command {
        return Ok(completions(shell));
    }
    if let Command::Exec(it) = &arguments.command {
        return local::exec(it).await;
    }
    let form = if arguments.json {
        Form::Json
    } else {
        Form::Text
    };
    let app = App::from_environment()?;
    match arguments.command {
        Command::Register(it) => account::register(&app, it).await,
        Command::Login(it) => account::sign_in(&app, it).await,
        Command::Logout(it) => account::sign_out(&app, &it).await,
        Command::Sessions(it) => run_sessions(&app, it).await,
        Command::Devices(it) => devices::run(&app, it).await,
        Command::Account(it) => run_account(&app, it).await,
        Command::Password(it) => run_password(&app, it).await,
        Command::Mfa(it) => run_mfa(&app, it).await,
        Command::Identities(it) => identities::run(&app, it).await,
        Command::ApiKeys(it) => run_api_keys(&app, it).await,
        Command::Tenants(it) => team::run_tenants(&app, it).await,
        Command::Members(it) => team::run_members(&app, it).await,
        Command::Invitations(it) => team::run_invitations(&app, it).await,
        Command::Roles(it) => team::run_roles(&app, it).await,
        Command::Plans => team::plans(&app).await,
        Command::Admin(it) => operators::run(&app, it).await,
        Command::Audit(it) => audit::run(&app, it, form).await,
        Command::Keys(it) => run_keys(&app, it).await,
        Command::Vms(it) => run_vms(&app, it, form).await,
        Command::Events => events::follow(&app, About::Everything, form).await,
        Command::Approve(it) => enrolments::approve(&app.signed_in().await?, &it).await,
        Command::Deny { code } => enrolments::deny(&app.signed_in().await?, &code).await,
        Command::Enrolments => enrolments::list(&app.signed_in().await?).await,
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

fn source(stdin: bool) -> PasswordSource {
    if stdin {
        PasswordSource::Stdin
    } else {
        PasswordSource::Prompt
    }
}

async fn run_account(app: &App, command: Account) -> Result<Reply, CliError> {
    match command {
        Account::Show => account::show(app).await,
        Account::Change {
            username,
            email,
            full_name,
            password_stdin,
        } => {
            let wanted = account::Wanted {
                username,
                email,
                full_name,
            };
            account::change(app, wanted, source(password_stdin)).await
        }
        Account::Verify(contact) => account::verify(app, contact).await,
        Account::Resend { contact, email } => account::resend(app, contact, &email).await,
        Account::Export => account::export(app).await,
        Account::Close { password_stdin } => account::close(app, source(password_stdin)).await,
    }
}

async fn run_password(app: &App, command: Password) -> Result<Reply, CliError> {
    match command {
        Password::Forgot { contact, email } => account::forgot(app, contact, &email).await,
        Password::Reset {
            contact,
            password_stdin,
        } => account::reset(app, contact, source(password_stdin)).await,
        Password::Change { password_stdin } => {
            account::change_password(app, source(password_stdin)).await
        }
    }
}

async fn run_mfa(app: &App, command: Mfa) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Mfa::Status => mfa::status(&caller).await,
        Mfa::Start => mfa::start(&caller).await,
        Mfa::Confirm => mfa::confirm(&caller).await,
        Mfa::RecoveryCodes => mfa::renew_recovery_codes(&caller).await,
        Mfa::Remove => mfa::remove(&caller).await,
    }
}

async fn run_api_keys(app: &App, command: ApiKeys) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        ApiKeys::Add {
            name,
            expires_in_days,
            permissions,
        } => api_keys::add(&caller, &name, expires_in_days, &permissions).await,
        ApiKeys::List => api_keys::list(&caller).await,
        ApiKeys::Revoke { id } => api_keys::revoke(&caller, id).await,
    }
}

async fn run_keys(app: &App, command: Keys) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Keys::Put(it) => keys::put(&caller, it).await,
        Keys::List => keys::list(&caller).await,
        Keys::Show(it) => keys::show(&caller, &it.name).await,
        Keys::Rotate(it) => keys::rotate(&caller, it).await,
        Keys::Policy(it) => keys::change_policy(&caller, &it).await,
        Keys::Revoke(it) => keys::revoke(&caller, &it.name).await,
        Keys::Delete(it) => keys::delete(&caller, &it.name).await,
    }
}

async fn run_vms(app: &App, command: Vms, form: Form) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Vms::Add { name } => vms::add(&caller, &name).await,
        Vms::Ticket(it) => vms::ticket(&caller, &it.vm).await,
        Vms::List => vms::list(&caller).await,
        Vms::Rename { vm, name } => vms::rename(&caller, &vm, &name).await,
        Vms::Held(it) if it.watch => vms::watch_held(app, &caller, (&it.choice.vm, form)).await,
        Vms::Held(it) => vms::held(&caller, &it.choice.vm).await,
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

//! `keyferry-server admin`: accounts and tenants, by the operator's hand.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::init::{MAILING, explain, password};
use super::plan_limits::{self, LimitFlags};
use super::start::{begin, reopen};
use super::{Failure, Settings};
use crate::accounts::{self, Standing, Wanted};
use crate::app::App;
use crate::config::Config;
use crate::error::ApiError;
use crate::operators::{self, Operator, Status};
use crate::sessions::Origin;
use crate::store::{StoredUser, UserId, uuid_v7};

#[derive(Args)]
pub(super) struct Admin {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create another admin of this server
    Create(Newcomer),
    /// Make an account for somebody who is no admin, also where strangers may not register
    AddUser(Newcomer),
    /// Give an account a new password and end its sessions
    ResetPassword {
        #[command(flatten)]
        named: Named,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let an account that was locked after failed logins be tried again
    Unlock(Named),
    /// Close an account and end its sessions
    Disable(Named),
    /// Make a closed account what it was before
    Enable(Named),
    /// Put the tenant of an account on a plan
    Plan {
        /// Username or e-mail address of a member; the tenant is the one they sign in to
        account: String,
        /// The plan's name, such as pro
        plan: String,
    },
    /// Change what a plan allows; it counts at once, and what is not named stays
    Limits(LimitFlags),
}

/// For whom an account is made.
#[derive(Args)]
struct Newcomer {
    /// Their name; it, an e-mail address, or both
    #[arg(long, value_name = "NAME", required_unless_present = "email")]
    username: Option<String>,
    /// Their e-mail address
    #[arg(long, value_name = "MAIL")]
    email: Option<String>,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

/// An account that there is.
#[derive(Args)]
struct Named {
    /// Username, e-mail address or id
    account: String,
}

/// Runs one action.
pub(super) async fn admin(config: Config, flags: Admin) -> Result<(), Failure> {
    let (app, _stopper) = match flags.action {
        // The first admin may come before anything else.
        Action::Create { .. } => begin(config).await?,
        _ => reopen(config).await?,
    };
    let origin = Origin {
        request_id: uuid_v7(app.clock.now(), &mut app.rng()),
        peer: None,
        user_agent: None,
    };
    let told = act(&app, &origin, flags.action).await;
    app.background.finish(MAILING).await;
    app.store.close().await;
    let told = told?;
    let mut stdout = std::io::stdout().lock();
    if flags.json {
        writeln!(stdout, "{}", told.value)?;
    } else {
        writeln!(stdout, "{}", told.sentence)?;
    }
    Ok(())
}

/// What was done, for a person and for a program.
struct Told {
    sentence: String,
    value: Value,
}

impl Told {
    /// Of this account, as the admins of the server see it in REST.
    async fn of(app: &App, user: UserId, sentence: &str) -> Result<Self, Failure> {
        let account = operators::account(app, user).await.map_err(explain)?;
        Ok(Self {
            sentence: sentence.to_owned(),
            value: serde_json::to_value(account)?,
        })
    }
}

async fn act(app: &App, origin: &Origin, action: Action) -> Result<Told, Failure> {
    let by = Operator::on_host(origin);
    let (user, sentence) = match action {
        Action::Create(person) => {
            let user = create(app, origin, person, Standing::ServerAdmin).await?;
            (user, "The admin can sign in.")
        }
        Action::AddUser(person) => {
            let user = create(app, origin, person, Standing::Provided(by.actor())).await?;
            (user, "The account is there.")
        }
        Action::ResetPassword {
            named,
            password_stdin,
        } => {
            let user = find(app, &named.account).await?;
            let new = password(password_stdin)?;
            let set = operators::set_password(app, &by, (&user, &new)).await;
            set.map_err(explain)?;
            let told = "The password is changed; every session of the account has ended.";
            (user.id, told)
        }
        Action::Unlock(named) => {
            let user = find(app, &named.account).await?;
            operators::unlock(app, &by, &user).await?;
            (user.id, "The account is unlocked.")
        }
        Action::Disable(named) => {
            let user = set_status(app, &by, (&named, Status::Disabled)).await?;
            (user, "The account is closed; its sessions have ended.")
        }
        Action::Enable(named) => {
            let user = set_status(app, &by, (&named, Status::Active)).await?;
            let waits = find(app, &named.account).await?.is_pending();
            (user, if waits { WAITS } else { "The account is open." })
        }
        Action::Plan { account, plan } => return change_plan(app, &by, (&account, &plan)).await,
        Action::Limits(flags) => return change_limits(app, &by, flags).await,
    };
    Told::of(app, user, sentence).await
}

async fn create(
    app: &App,
    origin: &Origin,
    person: Newcomer,
    standing: Standing<'_>,
) -> Result<UserId, Failure> {
    let wanted = Wanted {
        username: person.username,
        email: person.email,
        password: Some(password(person.password_stdin)?),
        ..Wanted::default()
    };
    let made = accounts::create(app, origin, wanted, standing).await;
    Ok(made.map_err(explain)?.id)
}

async fn set_status(
    app: &App,
    by: &Operator,
    (named, status): (&Named, Status),
) -> Result<UserId, Failure> {
    let user = find(app, &named.account).await?;
    let set = operators::set_status(app, by, (&user, status)).await;
    set.map_err(explain)?;
    Ok(user.id)
}

async fn change_plan(
    app: &App,
    by: &Operator,
    (account, plan): (&str, &str),
) -> Result<Told, Failure> {
    let user = find(app, account).await?;
    let changed = operators::change_plan(app, by, (user.tenant_id, plan)).await;
    changed.map_err(explain)?;
    Ok(Told {
        sentence: format!("The tenant is on the plan {plan}."),
        value: json!({ "tenant": user.tenant_id, "plan": plan }),
    })
}

async fn change_limits(app: &App, by: &Operator, flags: LimitFlags) -> Result<Told, Failure> {
    let plan = plan_limits::set(app, by, flags).await?;
    let value = serde_json::to_value(plan)?;
    Ok(Told {
        sentence: format!("The plan is {value}"),
        value,
    })
}

async fn find(app: &App, account: &str) -> Result<StoredUser, Failure> {
    let name = account.parse().map_err(named)?;
    operators::find_account(app, &name).await.map_err(named)
}

fn named(refused: ApiError) -> Failure {
    match refused {
        ApiError::NotFound => "there is no such account".into(),
        other => other.into(),
    }
}

const WAITS: &str = "The account is not closed; it waits for its e-mail address to be verified.";

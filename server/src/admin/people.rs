//! `keyferry-server admin`: accounts and tenants, by the operator's hand.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::init::{MAILING, explain, password};
use super::plan_limits::{self, LimitFlags};
use super::start::{Reachable, start};
use super::{Failure, Settings};
use crate::accounts::{self, Standing, Wanted};
use crate::app::App;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::error::ApiError;
use crate::operators::{self, Operator, Status};
use crate::sessions::Origin;
use crate::stop;
use crate::store::{StoredUser, uuid_v7};

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
    Create {
        /// The admin's name
        #[arg(long, value_name = "NAME")]
        username: String,
        /// The admin's e-mail address
        #[arg(long, value_name = "MAIL")]
        email: Option<String>,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make an account for somebody who is no admin, also where strangers may not register
    AddUser {
        /// Their name
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Their e-mail address
        #[arg(long, value_name = "MAIL")]
        email: Option<String>,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give an account a new password and end its sessions
    ResetPassword {
        /// Username, e-mail address or id
        account: String,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Let an account that was locked after failed logins be tried again
    Unlock {
        /// Username, e-mail address or id
        account: String,
    },
    /// Close an account and end its sessions
    Disable {
        /// Username, e-mail address or id
        account: String,
    },
    /// Make a closed account what it was before
    Enable {
        /// Username, e-mail address or id
        account: String,
    },
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

/// Runs one action.
pub(super) async fn admin(config: Config, flags: Admin) -> Result<(), Failure> {
    let data_dir = DataDir::prepare(&config.data_dir)?;
    let (_stopper, stop) = stop::channel();
    let app = start(config, &data_dir, Reachable::default(), stop).await?;
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
        writeln!(stdout, "{}", json!({ "done": told }))?;
    } else {
        writeln!(stdout, "{told}")?;
    }
    Ok(())
}

async fn act(app: &App, origin: &Origin, action: Action) -> Result<String, Failure> {
    let by = Operator::on_host(origin);
    match action {
        Action::Create {
            username,
            email,
            password_stdin,
        } => {
            let wanted = wanted(username, email, password_stdin)?;
            let made = accounts::create(app, origin, wanted, Standing::ServerAdmin);
            made.await.map_err(explain)?;
            Ok("The admin can sign in.".to_owned())
        }
        Action::AddUser {
            username,
            email,
            password_stdin,
        } => {
            let wanted = wanted(username, email, password_stdin)?;
            let made = accounts::create(app, origin, wanted, Standing::Provided(by.actor()));
            made.await.map_err(explain)?;
            Ok("The account is there.".to_owned())
        }
        Action::ResetPassword {
            account,
            password_stdin,
        } => {
            let user = find(app, &account).await?;
            let new = password(password_stdin)?;
            let set = operators::set_password(app, &by, (&user, &new)).await;
            set.map_err(explain)?;
            Ok("The password is changed; every session of the account has ended.".to_owned())
        }
        Action::Unlock { account } => {
            let user = find(app, &account).await?;
            operators::unlock(app, &by, &user).await?;
            Ok("The account is unlocked.".to_owned())
        }
        Action::Disable { account } => {
            let user = find(app, &account).await?;
            let closed = operators::set_status(app, &by, (&user, Status::Disabled)).await;
            closed.map_err(explain)?;
            Ok("The account is closed; its sessions have ended.".to_owned())
        }
        Action::Enable { account } => {
            let user = find(app, &account).await?;
            operators::set_status(app, &by, (&user, Status::Active)).await?;
            let waits = find(app, &account).await?.is_pending();
            let told = if waits { WAITS } else { "The account is open." };
            Ok(told.to_owned())
        }
        Action::Plan { account, plan } => {
            let user = find(app, &account).await?;
            let changed = operators::change_plan(app, &by, (user.tenant_id, &plan)).await;
            changed.map_err(explain)?;
            Ok(format!("The tenant is on the plan {plan}."))
        }
        Action::Limits(flags) => plan_limits::set(app, &by, flags).await,
    }
}

fn wanted(username: String, email: Option<String>, stdin: bool) -> Result<Wanted, Failure> {
    Ok(Wanted {
        username: Some(username),
        email,
        password: Some(password(stdin)?),
        ..Wanted::default()
    })
}

async fn find(app: &App, account: &str) -> Result<StoredUser, Failure> {
    let name = account.parse().map_err(named)?;
    operators::find_account(app, &name).await.map_err(named)
}

const WAITS: &str = "The account is not closed; it waits for its e-mail address to be verified.";

fn named(refused: ApiError) -> Failure {
    match refused {
        ApiError::NotFound => "there is no such account".into(),
        other => other.into(),
    }
}

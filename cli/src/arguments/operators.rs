//! What admins of the server do: `keyferry admin`.

use std::str::FromStr;

use clap::{ArgGroup, Args, Subcommand};

/// See [`super::Command::Admin`].
#[derive(Subcommand)]
pub enum Admin {
    /// List the accounts.
    Users(Search),
    /// Make an account for somebody, who is mailed a token to choose a password.
    AddUser(NewPerson),
    /// Show one account.
    User(AccountName),
    /// Let an account that was locked after failed logins be tried again.
    Unlock(AccountName),
    /// Close an account and end its sessions.
    Disable(AccountName),
    /// Make a closed account what it was before.
    Enable(AccountName),
    /// Mail an account's owner a token to choose a new password.
    ResetPassword(AccountName),
    /// List the tenants, with how much they have.
    Tenants(Search),
    /// Put a tenant on a plan.
    Plan {
        /// Its name or id.
        tenant: String,
        /// Such as `pro`; `keyferry plans` tells all.
        plan: String,
    },
    /// Show what the plans allow, and change it.
    #[command(subcommand)]
    Plans(Plans),
    /// Count what there is on the server.
    Stats,
}

/// See [`Admin::Plans`].
#[derive(Subcommand)]
pub enum Plans {
    /// List the plans.
    List,
    /// Change what a plan allows; it counts at once, and what is not named stays.
    Set(PlanLimits),
}

/// What a plan allows; one of them at least is named.
#[derive(Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true)
    .args(["requests_per_minute", "vms", "storage_gb", "features", "no_features"])))]
pub struct PlanLimits {
    /// The plan's name, such as `pro`.
    pub(crate) plan: String,
    /// Requests of a tenant in a minute, or `none` for no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_minute: Option<Limit>,
    /// Machines of a tenant, or `none` for no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) vms: Option<Limit>,
    /// Gigabytes, for the services that read it, or `none` for no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) storage_gb: Option<Limit>,
    /// A feature, for the services that read it; can be repeated, and replaces all that there were.
    #[arg(long = "feature", value_name = "NAME", conflicts_with = "no_features")]
    pub(crate) features: Vec<String>,
    /// No features at all.
    #[arg(long)]
    pub(crate) no_features: bool,
}

/// A number, or `none` for no limit.
#[derive(Clone, Copy)]
pub struct Limit(pub(crate) Option<u32>);

impl FromStr for Limit {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self(None)),
            number => number.parse().map(|number| Self(Some(number))),
        }
        .map_err(|_| "a limit is a number, or `none`")
    }
}

/// Which of them.
#[derive(Args)]
pub struct Search {
    /// Only those with this text in a name or address.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

/// Whom an account is made for.
#[derive(Args)]
pub struct NewPerson {
    /// Their address.
    pub(crate) email: String,
    /// A name to sign in with.
    #[arg(long)]
    pub(crate) username: Option<String>,
    /// Their full name.
    #[arg(long)]
    pub(crate) full_name: Option<String>,
    /// The name of their tenant.
    #[arg(long)]
    pub(crate) tenant_name: Option<String>,
}

/// One account.
#[derive(Args)]
pub struct AccountName {
    /// Username, e-mail address or id.
    pub(crate) account: String,
}

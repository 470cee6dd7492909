//! What admins of the server do: `keyferry admin`.

use clap::{Args, Subcommand};

/// See [`super::Command::Admin`].
#[derive(Subcommand)]
pub enum Admin {
    /// List the accounts.
    Users(Search),
    /// Make an account for somebody, who is mailed a link to choose a password.
    AddUser(NewPerson),
    /// Show one account.
    User(AccountName),
    /// Let an account that was locked after failed logins be tried again.
    Unlock(AccountName),
    /// Close an account and end its sessions.
    Disable(AccountName),
    /// Make a closed account what it was before.
    Enable(AccountName),
    /// Mail an account's owner a link to choose a new password.
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
    /// Count what there is on the server.
    Stats,
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

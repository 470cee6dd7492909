//! Who works together: `keyferry tenants`, `members`, `invitations` and `roles`.

use clap::{Subcommand, ValueEnum};

/// See [`super::Command::Tenants`].
#[derive(Subcommand)]
pub enum Tenants {
    /// List the tenants that you belong to.
    List,
    /// Show the tenant that you work in.
    Show,
    /// Make a tenant that you own.
    Add {
        /// What it is called.
        name: String,
    },
    /// Give the tenant that you work in another name.
    Rename {
        /// What it shall be called.
        name: String,
    },
    /// Work in another tenant from now on.
    Enter {
        /// Its name or id.
        tenant: String,
    },
    /// Say whether its members need a second factor for everything that they do; it counts at once.
    Mfa {
        /// Who demands it must have one.
        demand: MfaDemand,
    },
    /// Leave the tenant that you work in.
    Leave,
}

/// Whether members need a second factor.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MfaDemand {
    /// Everybody does.
    Required,
    /// Everybody chooses.
    Optional,
}

/// See [`super::Command::Members`].
#[derive(Subcommand)]
pub enum Members {
    /// List the members of your tenant.
    List,
    /// Give a member another role.
    SetRole {
        /// Username, e-mail address or id.
        member: String,
        /// Such as `viewer`; `keyferry roles list` tells all.
        role: String,
    },
    /// Send a member away; their sessions in this tenant end.
    Remove {
        /// Username, e-mail address or id.
        member: String,
    },
}

/// See [`super::Command::Invitations`].
#[derive(Subcommand)]
pub enum Invitations {
    /// List the open invitations.
    List,
    /// Invite somebody by mail, for seven days.
    Add {
        /// Where the mail goes.
        email: String,
        /// Their role.
        #[arg(long, default_value = "member")]
        role: String,
    },
    /// Withdraw an invitation.
    Withdraw {
        /// The e-mail address or the id of the invitation.
        invitation: String,
    },
    /// Accept an invitation; its token is asked for, or read from standard input.
    Accept,
}

/// See [`super::Command::Roles`].
#[derive(Subcommand)]
pub enum Roles {
    /// List the roles that members can have.
    List,
    /// Make a role of your tenant's own, or change what it permits.
    Put {
        /// A lower case word.
        name: String,
        /// Such as `vault:read`, or `code:generate` for an application; can be repeated.
        #[arg(long = "permission", value_name = "PERMISSION", required = true)]
        permissions: Vec<String>,
    },
    /// Delete a role that nobody has.
    Delete {
        /// Its name.
        name: String,
    },
}

//! What can be said on the command line. Nothing secret can.

mod account;
mod audit;
mod keys;
mod local;
mod operators;
mod team;
mod vms;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub use account::{
    Account, ApiKeys, Contact, Devices, Identities, Login, Logout, Mfa, Password, Register,
    Sessions,
};
pub use audit::{Audit, AuditList, Moment};
pub use keys::{ChangePolicy, Expiry, KeyName, Keys, Provider, PutKey, RotateKey, Terms};
pub use local::{AgentSocket, Exec, Read, Status};
pub use operators::{AccountName, Admin, Limit, NewPerson, PlanLimits, Plans, Search};
pub use team::{Invitations, Members, MfaDemand, Roles, Tenants};
pub use vms::{Approve, Held, VmChoice, Vms};

/// Keeps API keys on a server, and ferries them into virtual machines.
///
/// Passwords and key values are asked for on the terminal or read from standard input, never
/// taken from arguments.
#[derive(Parser)]
#[command(name = "keyferry", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Answer in JSON, errors too.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Make an account on a server, and sign in.
    Register(Register),
    /// Sign in to a server.
    Login(Login),
    /// End the session.
    Logout(Logout),
    /// See where you are signed in, and end a session.
    #[command(subcommand)]
    Sessions(Sessions),
    /// See from where you have signed in, and forget a device.
    #[command(subcommand)]
    Devices(Devices),
    /// See, change, take away or close your account.
    #[command(subcommand)]
    Account(Account),
    /// Change your password, or choose a new one when you forgot it.
    #[command(subcommand)]
    Password(Password),
    /// A second factor for your logins.
    #[command(subcommand)]
    Mfa(Mfa),
    /// The providers by which you can sign in.
    #[command(subcommand)]
    Identities(Identities),
    /// API keys for your own programs.
    #[command(subcommand)]
    ApiKeys(ApiKeys),
    /// The tenants that you belong to.
    #[command(subcommand)]
    Tenants(Tenants),
    /// The members of your tenant.
    #[command(subcommand)]
    Members(Members),
    /// Invite people to your tenant, or accept an invitation.
    #[command(subcommand)]
    Invitations(Invitations),
    /// What the members of your tenant may do.
    #[command(subcommand)]
    Roles(Roles),
    /// List the plans that tenants can be on.
    Plans,
    /// For admins of the server: accounts, tenants and how much there is.
    #[command(subcommand)]
    Admin(Admin),
    /// See what happened in your tenant, take it away, and verify it.
    #[command(subcommand)]
    Audit(Audit),
    /// Store, list and change keys.
    #[command(subcommand)]
    Keys(Keys),
    /// Enrol virtual machines, and see what they hold.
    #[command(subcommand)]
    Vms(Vms),
    /// Tell what happens to keys and machines, as it happens, until the command is ended.
    Events,
    /// Let a machine enrol that shows this code.
    Approve(Approve),
    /// Turn a machine away that shows this code.
    Deny {
        /// As the machine shows it.
        code: keyferry_protocol::approval::UserCode,
    },
    /// List the machines that wait for this tenant's approval, and those it has decided.
    Enrolments,
    /// Write a key that this machine's agent holds to standard output.
    Read(Read),
    /// Run a command whose SDKs use keys through the agent, without having them.
    Exec(Exec),
    /// Tell what this machine's agent holds, and whether the server is well. Exit code 0: the agent is
    /// healthy, and the server, if you are signed in; 6: the agent is stale, disconnected or not
    /// running; 5: the server cannot be reached.
    Status(Status),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed
  2  the command line is wrong
  3  not signed in, or the credentials were refused
  4  there is no such key, machine, member, ...
  5  the server cannot be reached, or is not the one that was trusted
  6  the agent cannot be reached, does not give this key, or is not healthy (`status`)
  126, 127  the command of `exec` cannot be run, or is not found";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}

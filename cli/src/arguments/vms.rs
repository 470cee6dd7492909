//! `keyferry vms`.

use clap::{Args, Subcommand};

/// See [`super::Command::Vms`].
#[derive(Subcommand)]
pub enum Vms {
    /// Add a machine.
    Add {
        /// 1 to 64 letters, digits, `-`, `_`, `.`.
        name: keyferry_protocol::ids::KeyName,
    },
    /// Print a one-time ticket for a machine's agent: pipe it, do not keep it.
    Ticket(VmChoice),
    /// List the machines.
    List,
    /// Give a machine another name; its agent and its keys stay.
    Rename {
        /// Its name or id.
        vm: String,
        /// 1 to 64 letters, digits, `-`, `_`, `.`.
        name: keyferry_protocol::ids::KeyName,
    },
    /// Tell which keys a machine was given, and what it acknowledged.
    Held(Held),
    /// Wipe all keys in a machine now, and end its access.
    Wipe(VmChoice),
    /// End a machine's access; its agent wipes.
    CutOff(VmChoice),
    /// Give a machine that was cut off or wiped its access back; it then needs a new ticket.
    Allow(VmChoice),
    /// Cut a machine off and forget it.
    Delete(VmChoice),
}

/// See [`Vms::Held`].
#[derive(Args)]
pub struct Held {
    #[command(flatten)]
    pub(crate) choice: VmChoice,
    /// Go on telling what changes, as it happens.
    #[arg(long)]
    pub(crate) watch: bool,
}

/// One machine.
#[derive(Args)]
pub struct VmChoice {
    /// Its name or id.
    pub(crate) vm: String,
}

/// See [`super::Command::Approve`].
#[derive(Args)]
pub struct Approve {
    /// As the machine shows it.
    pub(crate) code: keyferry_protocol::approval::UserCode,
    /// What to call the machine; one of this name is enrolled anew. Default: what it calls itself.
    #[arg(long)]
    pub(crate) name: Option<keyferry_protocol::ids::KeyName>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Do not ask, but approve only an agent whose key has this fingerprint.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) key: Option<String>,
}

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
    /// Tell which keys a machine was given, and what it acknowledged.
    Held(VmChoice),
    /// Wipe all keys in a machine now, and end its access.
    Wipe(VmChoice),
    /// End a machine's access; its agent wipes.
    CutOff(VmChoice),
    /// Give a machine that was cut off or wiped its access back; it then needs a new ticket.
    Allow(VmChoice),
    /// Cut a machine off and forget it.
    Delete(VmChoice),
}

/// One machine.
#[derive(Args)]
pub struct VmChoice {
    /// Its name or id.
    pub(crate) vm: String,
}

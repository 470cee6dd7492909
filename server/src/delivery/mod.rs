//! Keys on their way into virtual machines: who they are, how they enrol, what they hold.

mod add_vm;
mod attached;
mod change_vm;
pub(crate) mod enrolments;
mod handshakes;
mod held;
pub(crate) mod host_channel;
mod issue_ticket;
mod list_vms;
mod published;
pub(crate) mod session;
mod sweep;
mod vm;
mod watch;
mod watchers;

pub(crate) use add_vm::add_vm;
pub(crate) use attached::Attached;
pub(crate) use change_vm::{change_vm, remove_vm, wipe_vm};
pub(crate) use handshakes::Place;
pub(crate) use held::held;
pub(crate) use issue_ticket::{TICKET_LIFE, issue_ticket};
pub(crate) use list_vms::{list_vms, show_vm};
pub(crate) use published::{Published, published};
pub(crate) use session::{reattach_context, ticket_context};
pub(crate) use sweep::{once as sweep_once, sweep};
pub(crate) use watch::{News, Watcher, watch};
pub(crate) use watchers::Watchers;

#[cfg(test)]
mod tests;

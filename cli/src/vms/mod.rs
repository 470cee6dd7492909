//! Virtual machines: enrolment, what they hold, and the end of it.

mod add;
mod delete;
mod find;
mod held;
mod list;
mod rename;
mod set_status;
mod ticket;
mod wipe;

pub(crate) use add::add;
pub(crate) use delete::delete;
pub(crate) use find::{Vm, find};
pub(crate) use held::{held, held_by, watch_held};
pub(crate) use list::list;
pub(crate) use rename::rename;
pub(crate) use set_status::{Status, set_status};
pub(crate) use ticket::ticket;
pub(crate) use wipe::wipe;

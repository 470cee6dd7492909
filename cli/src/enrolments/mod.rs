//! Machines that wait for approval.

mod decide;
mod list;

pub(crate) use decide::{approve, deny};
pub(crate) use list::list;

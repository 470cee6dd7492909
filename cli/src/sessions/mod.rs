//! One's own sessions.

mod end;
mod list;

pub(crate) use end::end;
pub(crate) use list::list;

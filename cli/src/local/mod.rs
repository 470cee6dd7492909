//! What this machine's agent holds.

mod exec;
mod read;
mod status;

pub(crate) use exec::exec;
pub(crate) use read::read;
pub(crate) use status::status;

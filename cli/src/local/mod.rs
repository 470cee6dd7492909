//! What this machine's agent holds.

mod read;
mod status;

pub(crate) use read::read;
pub(crate) use status::status;

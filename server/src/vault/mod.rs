//! Keys at rest: every provider key sealed under a key of its own, plaintext only in locked memory.

pub(crate) mod master_key;
pub(crate) mod policy;
pub(crate) mod seal;
pub(crate) mod server_keys;

mod adopt;
mod key;
mod list;
mod put;
mod records;
mod revoke;
mod rotate;
mod value;

pub(crate) use adopt::{Adopted, adopt};
pub(crate) use key::{Provider, record_context};
pub(crate) use list::{list, show, versions};
pub(crate) use put::put;
pub(crate) use records::record_context_of;
pub(crate) use revoke::{remove, revoke};
pub(crate) use rotate::rotate;

#[cfg(test)]
mod tests;

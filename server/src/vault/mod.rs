//! Keys at rest: every provider key sealed under a key of its own, plaintext only in locked memory.

pub(crate) mod master_key;
pub(crate) mod policy;
pub(crate) mod seal;
pub(crate) mod server_keys;

mod adopt;
mod change_policy;
mod hand_out;
mod key;
mod list;
mod put;
mod records;
mod revoke;
mod rotate;
mod use_policy;
mod value;

pub(crate) use adopt::{Adopted, adopt};
pub(crate) use change_policy::change_policy;
pub(crate) use hand_out::{ClientKey, HandedOut, SealedKeys, hand_out};
pub(crate) use key::{Provider, record_context};
pub(crate) use list::{list, show, versions};
pub(crate) use put::{MOST_KEYS, hold_a_place, put};
pub(crate) use records::record_context_of;
pub(crate) use revoke::{remove, revoke};
pub(crate) use rotate::rotate;
pub(crate) use use_policy::told;

#[cfg(test)]
mod tests;

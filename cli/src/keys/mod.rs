//! Keys in the vault. A value leaves this program only sealed to the server's key.

mod delete;
mod list;
mod policy;
mod put;
mod revoke;
mod rotate;
mod seal;
mod show;

pub(crate) use delete::delete;
pub(crate) use list::list;
pub(crate) use policy::change_policy;
pub(crate) use put::put;
pub(crate) use revoke::revoke;
pub(crate) use rotate::rotate;
pub(crate) use show::show;

use keyferry_protocol::ids::KeyName;
use serde_json::Value;

use crate::output::cell;

fn path(name: &KeyName) -> String {
    format!("/keys/{name}")
}

fn one_line(key: &Value) -> String {
    format!(
        "{} version {} ({}, {}, fingerprint {})",
        cell(key, "name"),
        cell(key, "version"),
        cell(key, "provider"),
        cell(key, "status"),
        cell(key, "fingerprint"),
    )
}

//! Finds the machine that a person means.

use crate::error::CliError;
use crate::output::cell;
use crate::rest_list::{Kind, find_item};
use crate::session::SignedIn;

/// A machine of this tenant.
pub(crate) struct Vm {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Vm {
    pub(super) fn path(&self) -> String {
        format!("/vms/{}", self.id)
    }
}

/// The machine with this name or id.
pub(crate) async fn find(caller: &SignedIn, name_or_id: &str) -> Result<Vm, CliError> {
    let vm = find_item(caller, &VM, name_or_id).await?;
    Ok(Vm {
        id: cell(&vm, "id"),
        name: cell(&vm, "name"),
    })
}

const VM: Kind = Kind {
    path: "/vms",
    names: &["name"],
    called: "machine",
    listed_by: "vms list",
};

//! Finds the machine that a person means.

use serde_json::Value;
use uuid::Uuid;

use crate::error::CliError;
use crate::rest_list::all_items;
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

/// The machine with this name, or else with this id.
pub(crate) async fn find(caller: &SignedIn, name_or_id: &str) -> Result<Vm, CliError> {
    let vms = all_items(caller, "/vms").await?;
    let id = name_or_id.parse::<Uuid>().map(|id| id.to_string()).ok();
    let by = |member: &str, wanted: &str| {
        vms.iter()
            .find(|vm| vm.get(member).and_then(Value::as_str) == Some(wanted))
    };
    let vm = by("name", name_or_id).or_else(|| by("id", &id?));
    let text = |member: &str| vm?.get(member)?.as_str().map(str::to_owned);
    match (text("id"), text("name")) {
        (Some(id), Some(name)) => Ok(Vm { id, name }),
        _ => Err(CliError::NoSuchVm(name_or_id.to_owned())),
    }
}

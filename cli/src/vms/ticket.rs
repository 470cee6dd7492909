//! `keyferry vms ticket`.

use hyper::Method;
use serde_json::json;

use super::find;
use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::session::SignedIn;

/// Prints a ticket, alone on its line.
pub(crate) async fn ticket(caller: &SignedIn, vm: &str) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    let path = format!("{}/ticket", vm.path());
    let ticket = caller.send_json(Method::POST, &path, &json!({})).await?;
    Ok(Reply::new(cell(&ticket, "ticket"), ticket))
}

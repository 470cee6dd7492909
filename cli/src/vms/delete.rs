//! `keyferry vms delete`.

use hyper::Method;
use serde_json::json;

use super::find;
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Cuts a machine off and forgets it.
pub(crate) async fn delete(caller: &SignedIn, vm: &str) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    caller.ask(Method::DELETE, &vm.path()).await?;
    Ok(Reply::new(
        format!("deleted {}", vm.name),
        json!({ "deleted": vm.name }),
    ))
}

//! `keyferry vms wipe`.

use hyper::Method;
use serde_json::json;

use super::find;
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Tells a machine to wipe everything, and ends its credentials.
pub(crate) async fn wipe(caller: &SignedIn, vm: &str) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    let path = format!("{}/wipe", vm.path());
    let answer = caller.send_json(Method::POST, &path, &json!({})).await?;
    let human = format!(
        "{0} is told to wipe and is cut off; `keyferry vms held {0}` shows its acknowledgement",
        vm.name
    );
    Ok(Reply::new(human, answer))
}

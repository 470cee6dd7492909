//! `keyferry vms rename`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;
use serde_json::json;

use super::find;
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Gives a machine another name.
pub(crate) async fn rename(caller: &SignedIn, vm: &str, name: &KeyName) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    let body = json!({ "name": name.to_string() });
    let answer = caller.send_json(Method::PATCH, &vm.path(), &body).await?;
    Ok(Reply::new(format!("{} is {name} now", vm.name), answer))
}

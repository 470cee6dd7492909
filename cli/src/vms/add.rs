//! `keyferry vms add`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;
use serde_json::json;

use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::session::SignedIn;

/// Adds a machine. Its name follows the rule of key names.
pub(crate) async fn add(caller: &SignedIn, name: &KeyName) -> Result<Reply, CliError> {
    let vm = caller
        .send_json(Method::POST, "/vms", &json!({ "name": name.to_string() }))
        .await?;
    let human = format!(
        "added {name} ({}); `keyferry vms ticket {name}` prints its ticket",
        cell(&vm, "id")
    );
    Ok(Reply::new(human, vm))
}

//! `keyferry keys delete`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;
use serde_json::json;

use super::path;
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Revokes a key and forgets it.
pub(crate) async fn delete(caller: &SignedIn, name: &KeyName) -> Result<Reply, CliError> {
    caller.ask(Method::DELETE, &path(name)).await?;
    Ok(Reply::new(
        format!("deleted {name}"),
        json!({ "deleted": name.to_string() }),
    ))
}

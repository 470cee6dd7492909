//! `keyferry keys revoke`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;

use super::{one_line, path};
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Destroys every version of a key.
pub(crate) async fn revoke(caller: &SignedIn, name: &KeyName) -> Result<Reply, CliError> {
    let key = caller
        .ask(Method::POST, &format!("{}/revoke", path(name)))
        .await?;
    Ok(Reply::new(format!("revoked {}", one_line(&key)), key))
}

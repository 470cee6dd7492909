//! `keyferry sessions end`.

use hyper::Method;
use serde_json::json;
use uuid::Uuid;

use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;

/// Ends one session; its tokens are refused from then on.
pub(crate) async fn end(caller: &SignedIn, id: Uuid) -> Result<Reply, CliError> {
    caller
        .ask(Method::DELETE, &format!("/auth/sessions/{id}"))
        .await?;
    Ok(Reply::new("ended", json!({ "ended": id })))
}

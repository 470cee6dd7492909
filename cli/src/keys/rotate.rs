//! `keyferry keys rotate`.

use hyper::Method;
use serde_json::{Value, json};

use super::seal::sealed_value;
use super::{one_line, path};
use crate::arguments::RotateKey;
use crate::error::CliError;
use crate::output::Reply;
use crate::rest::RestError;
use crate::session::SignedIn;

/// Gives a key its next version.
pub(crate) async fn rotate(caller: &SignedIn, arguments: RotateKey) -> Result<Reply, CliError> {
    let path = path(&arguments.key.name);
    let current = caller.ask(Method::GET, &path).await?;
    let version = current.get("version").and_then(Value::as_u64);
    let version = version.and_then(|it| u32::try_from(it).ok()?.checked_add(1));
    let version = version.ok_or_else(|| CliError::Unreachable {
        server: caller.rest().address().clone(),
        source: RestError::Answer,
    })?;
    let sealed = sealed_value(caller, &arguments.key.name, version).await?;
    let body = json!({
        "sealed": sealed, "version": version, "overlap_seconds": arguments.overlap,
    });
    let key = caller
        .send_json(Method::POST, &format!("{path}/rotate"), &body)
        .await?;
    Ok(Reply::new(format!("rotated {}", one_line(&key)), key))
}

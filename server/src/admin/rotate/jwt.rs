//! `keyferry-server rotate jwt`.

use std::io::Write;

use serde_json::json;

use super::super::Failure;
use super::super::start::reopen;
use crate::config::Config;
use crate::sessions;

/// Makes a new key that signs access tokens. Servers that run take it up within half a minute.
pub(super) async fn jwt(config: Config, as_json: bool) -> Result<(), Failure> {
    let (app, _stopper) = reopen(config).await?;
    sessions::rotate_signing_key(&app).await?;
    let keys = app.signing_keys.keys();
    let id = keys.current_id();
    app.store.close().await;

    let mut stdout = std::io::stdout().lock();
    if as_json {
        writeln!(stdout, "{}", json!({ "kid": id }))?;
    } else {
        writeln!(
            stdout,
            "Tokens are signed with the new key {id} from now on."
        )?;
    }
    Ok(())
}

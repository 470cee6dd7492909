//! Replaces the server's own key pairs. The ones before count for an overlap.

use std::time::Duration;

use serde_json::json;

use super::{HPKE, Keeper, NOISE, ServerKeysError, follow};
use crate::app::App;
use crate::audit::Entry;
use crate::store::{UnixTime, uuid_v7};

/// Makes new pairs for both purposes; until when the ones before count.
pub(crate) async fn rotate(app: &App, overlap: Duration) -> Result<UnixTime, ServerKeysError> {
    let now = app.clock.now();
    let until = now + overlap;
    let keeper = Keeper::of(app);
    let new = [
        keeper.make(NOISE, &mut app.rng())?,
        keeper.make(HPKE, &mut app.rng())?,
    ];
    let entry = Entry {
        tenant: None,
        actor: "operator",
        action: "server.keys_rotated",
        subject: None,
        detail: json!({ "previous_until": until }),
        correlation: uuid_v7(now, &mut app.rng()),
    };
    let mut change = app.store.begin().await?;
    for pair in &new {
        change.retire_server_key(pair.purpose, until).await?;
        change.insert_server_key(pair).await?;
    }
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    follow::reload(app).await?;
    Ok(until)
}

//! What a machine's proxy has used today: a new run of its agent goes on from there.

use keyferry_protocol::handshake::{Claims, CredentialKind};
use keyferry_protocol::wire::{ToAgent, Used};

use super::serve::Session;
use super::{Ended, Entered};
use crate::app::App;
use crate::store::{StoreError, UsedKey};

impl Session<'_> {
    /// Once in a session, before its first lease.
    pub(super) async fn tell_usage(&mut self) -> Result<(), Ended> {
        let knows_how = self.entered.claims.capabilities & Claims::TAKES_USAGE != 0;
        if self.usage_told || !knows_how {
            return Ok(());
        }
        let used = match self.entered.by {
            CredentialKind::Ticket => used_today(self.app, &self.entered).await?,
            // It has counted itself.
            CredentialKind::Reattach => Vec::new(),
        };
        self.say(&ToAgent::Used(used)).await?;
        self.usage_told = true;
        Ok(())
    }
}

/// As far as agents of this machine have told.
pub(super) async fn used_today(app: &App, entered: &Entered) -> Result<Vec<Used>, StoreError> {
    let today = app.clock.now().start_of_day();
    let used = app.store.used_since(&entered.actor(), today).await?;
    Ok(used.iter().filter_map(told).collect())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate, and nobody has a budget of 2^53"
)]
fn told(used: &UsedKey) -> Option<Used> {
    Some(Used {
        key: used.key.parse().ok()?,
        requests: used.requests as u64,
        bytes: used.bytes as u64,
    })
}

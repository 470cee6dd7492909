//! The signing keys that count now, and how a new one takes over.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::signing_keys::{self, SigningKeys, SigningKeysError};
use super::token;
use crate::app::App;
use crate::audit::Entry;
use crate::config::Algorithm;
use crate::store::{UnixTime, uuid_v7};
use crate::vault::server_keys::Keeper;

/// The keys as they were last read. Another server, or a command, may have changed them since.
pub(crate) struct KeyRing(RwLock<Arc<SigningKeys>>);

impl KeyRing {
    pub(crate) fn new(keys: SigningKeys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    pub(crate) fn keys(&self) -> Arc<SigningKeys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, keys: SigningKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// Reads the keys again.
pub(crate) async fn reload(app: &App) -> Result<(), SigningKeysError> {
    let algorithm = &app.config.tokens.algorithm;
    let keys = SigningKeys::load(&Keeper::of(app), algorithm, &mut app.rng()).await?;
    app.signing_keys.replace(keys);
    Ok(())
}

/// Makes a new current key. Tokens of the one before count until they end; its private half is
/// gone at once.
pub(crate) async fn rotate(app: &App) -> Result<(), SigningKeysError> {
    if !matches!(app.config.tokens.algorithm, Algorithm::EdDsa) {
        return Err(SigningKeysError::Shared);
    }
    let new = signing_keys::make(&Keeper::of(app), &mut app.rng())?;
    let now = app.clock.now();
    let entry = Entry {
        tenant: None,
        actor: "operator",
        action: "server.jwt_key_rotated",
        subject: Some(&new.id.to_string()),
        detail: serde_json::json!({}),
        correlation: uuid_v7(now, &mut app.rng()),
    };
    let mut change = app.store.begin().await?;
    change.retire_signing_key(last_use(app, now)).await?;
    change.insert_signing_key(&new).await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    reload(app).await
}

/// Other servers may sign with the old key until they have read the new one.
fn last_use(app: &App, now: UnixTime) -> UnixTime {
    now + app.config.tokens.access_life + token::LEEWAY + TO_NOTICE
}

/// Twice the time between two sweeps.
const TO_NOTICE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{reload, rotate};
    use crate::sessions::{published, signed_in, sweep_once};
    use crate::testing::{self, ORIGIN};

    #[tokio::test]
    async fn tokens_of_the_key_before_count_until_they_end() {
        let server = testing::server().await;
        let app = &server.app;
        let old = server.register("ada").await;
        let old_key = app.signing_keys.keys().current_id().to_owned();
        rotate(app).await.unwrap();
        assert_ne!(app.signing_keys.keys().current_id(), old_key);
        let new = server.register("eve").await;
        for token in [&old, &new] {
            signed_in(app, &ORIGIN, Some(token)).await.unwrap();
        }
        let both = serde_json::to_value(published(app).await.unwrap()).unwrap();
        assert_eq!(both["keys"].as_array().unwrap().len(), 2);

        server.clock.advance(Duration::from_secs(14 * 60));
        reload(app).await.unwrap();
        signed_in(app, &ORIGIN, Some(&old)).await.unwrap();
        server.clock.advance(Duration::from_secs(5 * 60));
        sweep_once(app).await.unwrap();
        reload(app).await.unwrap();
        let left = serde_json::to_value(published(app).await.unwrap()).unwrap();
        assert_eq!(left["keys"].as_array().unwrap().len(), 1);
        assert!(signed_in(app, &ORIGIN, Some(&old)).await.is_err());
    }

    #[tokio::test]
    async fn a_key_that_another_server_made_is_read_when_it_is_first_met() {
        let server = testing::server().await;
        let app = &server.app;
        let before = app.signing_keys.keys();
        rotate(app).await.unwrap();
        let token = server.register("ada").await;
        *app.signing_keys.0.write().unwrap() = before;
        signed_in(app, &ORIGIN, Some(&token)).await.unwrap();
    }

    #[tokio::test]
    async fn a_shared_secret_is_rotated_by_its_owner() {
        let server = testing::server_with(super::token::tests::hs256()).await;
        assert!(rotate(&server.app).await.is_err());
    }
}

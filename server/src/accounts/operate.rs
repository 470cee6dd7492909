//! What the operator does to an account, on the server's own command line.

use serde_json::{Value, json};

use super::change_password::{Replacement, replace};
use super::{Email, Username};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::Event;
use crate::error::ApiError;
use crate::limits;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::store::{StoredUser, Transaction};

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Disabled,
}

/// The account of this username or e-mail address.
pub(crate) async fn find_account(app: &App, called: &str) -> Result<StoredUser, ApiError> {
    let found = if called.contains('@') {
        app.store.user_by_email(&called.parse::<Email>()?).await?
    } else {
        let username: Username = called.parse()?;
        app.store.user_by_username(&username).await?
    };
    found.ok_or(ApiError::NotFound)
}

/// Gives the account a new password and ends all its sessions.
pub(crate) async fn set_password(
    app: &App,
    origin: &Origin,
    (user, new): (&StoredUser, &Secret),
) -> Result<(), ApiError> {
    let new = Replacement::hash(app, user, new).await?;
    let mut change = app.store.begin().await?;
    let what = ("operator.password_reset", json!({}));
    audit(app, origin, (&mut change, user), what).await?;
    replace(app, change, &new, None).await
}

/// Forgets that anyone failed to sign in to the account.
pub(crate) async fn unlock(app: &App, origin: &Origin, user: &StoredUser) -> Result<(), ApiError> {
    let names: Vec<[u8; 32]> = user.names().map(limits::account_key).collect();
    let mut change = app.store.begin().await?;
    audit(
        app,
        origin,
        (&mut change, user),
        ("operator.unlock", json!({})),
    )
    .await?;
    change.commit().await?;
    Ok(app.store.forget_login_failures(&names).await?)
}

/// Closes the account to everyone, which ends its sessions, or opens it again.
pub(crate) async fn set_status(
    app: &App,
    origin: &Origin,
    (user, status): (&StoredUser, Status),
) -> Result<(), ApiError> {
    let (name, action) = match status {
        Status::Active => ("active", "operator.enable"),
        Status::Disabled => ("disabled", "operator.disable"),
    };
    let mut change = app.store.begin().await?;
    change.set_user_status(user.id, name).await?;
    let ended = match status {
        Status::Active => Vec::new(),
        Status::Disabled => change.end_sessions(user.id, None, app.clock.now()).await?,
    };
    audit(app, origin, (&mut change, user), (action, json!({}))).await?;
    change.commit().await?;
    for session in ended {
        app.bus.publish(Event::SessionEnded { session });
    }
    Ok(())
}

async fn audit(
    app: &App,
    origin: &Origin,
    (change, user): (&mut Transaction, &StoredUser),
    (action, detail): (&'static str, Value),
) -> Result<(), ApiError> {
    let entry = Entry {
        tenant: Some(user.tenant_id),
        actor: "operator",
        action,
        subject: Some(&user.id.to_string()),
        detail,
        correlation: origin.request_id,
    };
    Ok(change.insert_audit_event(app, &entry).await?)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::json;

    use super::{Status, find_account, set_password, set_status, unlock};
    use crate::error::ApiError;
    use crate::secret::Secret;
    use crate::sessions::{Origin, sign_in, signed_in};
    use crate::testing::{self, ORIGIN, Server};

    async fn login(server: &Server, password: &str) -> Result<String, ApiError> {
        login_from(server, None, password).await
    }

    async fn login_from(
        server: &Server,
        peer: Option<IpAddr>,
        password: &str,
    ) -> Result<String, ApiError> {
        let origin = Origin { peer, ..ORIGIN };
        let claim = json!({ "username": "ada", "password": password });
        let claim = serde_json::from_value(claim).unwrap();
        let answer = sign_in(&server.app, &origin, claim).await?;
        let answer = serde_json::to_value(answer).unwrap();
        Ok(answer["access_token"].as_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn a_password_by_the_operator_ends_every_session() {
        let server = testing::server().await;
        server.user("ada").await;
        let before = login(&server, "SecurePass123!").await.unwrap();
        let user = find_account(&server.app, "ADA").await.unwrap();
        let new = Secret::new("Another-Harbour-7".to_owned());
        set_password(&server.app, &ORIGIN, (&user, &new))
            .await
            .unwrap();
        assert!(
            signed_in(&server.app, &ORIGIN, Some(&before))
                .await
                .is_err()
        );
        assert!(login(&server, "SecurePass123!").await.is_err());
        login(&server, "Another-Harbour-7").await.unwrap();
    }

    #[tokio::test]
    async fn a_disabled_account_is_closed_until_it_is_enabled() {
        let server = testing::server().await;
        server.user("ada").await;
        let before = login(&server, "SecurePass123!").await.unwrap();
        let user = find_account(&server.app, "ada").await.unwrap();
        let to = async |status| set_status(&server.app, &ORIGIN, (&user, status)).await;
        to(Status::Disabled).await.unwrap();
        assert!(
            signed_in(&server.app, &ORIGIN, Some(&before))
                .await
                .is_err()
        );
        assert!(login(&server, "SecurePass123!").await.is_err());
        to(Status::Active).await.unwrap();
        login(&server, "SecurePass123!").await.unwrap();
    }

    #[tokio::test]
    async fn an_unlocked_account_may_be_tried_again() {
        let server = testing::server().await;
        server.user("ada").await;
        let neighbour = |last| Some(IpAddr::from([203, 0, 113, last]));
        for last in 0..5 {
            let wrong = login_from(&server, neighbour(last), "wrong").await;
            assert!(matches!(wrong, Err(ApiError::InvalidCredentials)));
        }
        let locked = login_from(&server, neighbour(5), "SecurePass123!").await;
        assert!(matches!(locked, Err(ApiError::RateLimited(_))));
        let user = find_account(&server.app, "ada").await.unwrap();
        unlock(&server.app, &ORIGIN, &user).await.unwrap();
        let again = login_from(&server, neighbour(5), "SecurePass123!").await;
        again.unwrap();
    }
}

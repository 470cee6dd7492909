use std::net::IpAddr;

use serde_json::json;

use super::{Operator, Status, find_account, set_password, set_status, unlock};
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::{Origin, sign_in, signed_in};
use crate::store::sql;
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
    let user = find_account(&server.app, &"ADA".parse().unwrap())
        .await
        .unwrap();
    let new = Secret::new("Another-Harbour-7".to_owned());
    set_password(&server.app, &Operator::on_host(&ORIGIN), (&user, &new))
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
    let user = find_account(&server.app, &"ada".parse().unwrap())
        .await
        .unwrap();
    let to =
        async |status| set_status(&server.app, &Operator::on_host(&ORIGIN), (&user, status)).await;
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
    let user = find_account(&server.app, &"ada".parse().unwrap())
        .await
        .unwrap();
    unlock(&server.app, &Operator::on_host(&ORIGIN), &user)
        .await
        .unwrap();
    let again = login_from(&server, neighbour(5), "SecurePass123!").await;
    again.unwrap();
}

#[tokio::test]
async fn an_account_comes_back_as_what_it_was() {
    let server = testing::server().await;
    server.user("ada").await;
    let find = async || {
        let name = "ada".parse().unwrap();
        find_account(&server.app, &name).await.unwrap()
    };
    let to = async |status| {
        let user = find().await;
        let by = Operator::on_host(&ORIGIN);
        set_status(&server.app, &by, (&user, status)).await.unwrap();
    };
    let waits = "UPDATE users SET status = 'pending'";
    sql!(server.app.store, query(waits).execute).unwrap();
    to(Status::Active).await;
    assert!(find().await.is_pending(), "it was not closed");
    for _ in 0..2 {
        to(Status::Disabled).await;
        assert!(find().await.is_disabled());
    }
    to(Status::Active).await;
    assert!(find().await.is_pending());
}

#[tokio::test]
async fn an_admin_who_can_sign_in_stays() {
    let server = testing::server().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let admins = "UPDATE users SET server_admin = TRUE";
    sql!(server.app.store, query(admins).execute).unwrap();
    let close = async |name: &str| {
        let user = find_account(&server.app, &name.parse().unwrap())
            .await
            .unwrap();
        let by = Operator::on_host(&ORIGIN);
        set_status(&server.app, &by, (&user, Status::Disabled)).await
    };
    let (one, other) = tokio::join!(close("ada"), close("bob"));
    let refused = [&one, &other].map(|closed| matches!(closed, Err(ApiError::LastAdmin)));
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 1);
    let left = if one.is_ok() { &bob } else { &ada };
    let body = serde_json::from_value(json!({ "current_password": "SecurePass123!" }));
    let leaves = crate::accounts::close_me(&server.app, &ORIGIN, left, body.unwrap()).await;
    assert!(
        matches!(leaves, Err(ApiError::LastAdmin)),
        "the other one is closed"
    );
}

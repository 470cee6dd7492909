use std::time::Duration;

use serde_json::{Value, json};

use super::{Permission, SignedIn, refresh, sign_in, sign_out, signed_in};
use crate::accounts;
use crate::error::ApiError;
use crate::testing::{self, ORIGIN, Server};

fn shown(answer: &impl serde::Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

async fn register(server: &Server, username: &str) -> Result<Value, ApiError> {
    let account = json!({ "username": username, "password": "SecurePass123!" });
    let account = serde_json::from_value(account).unwrap();
    accounts::register(&server.app, &ORIGIN, account)
        .await
        .map(|answer| shown(&answer))
}

async fn login(server: &Server, claim: Value) -> Result<Value, ApiError> {
    let claim = serde_json::from_value(claim).unwrap();
    sign_in(&server.app, &ORIGIN, claim)
        .await
        .map(|answer| shown(&answer))
}

async fn renew(server: &Server, token: &Value) -> Result<Value, ApiError> {
    let request = json!({ "refresh_token": token });
    let request = serde_json::from_value(request).unwrap();
    refresh(&server.app, &ORIGIN, request)
        .await
        .map(|answer| shown(&answer))
}

async fn caller(server: &Server, token: &Value) -> Result<SignedIn, ApiError> {
    signed_in(&server.app, &ORIGIN, token.as_str()).await
}

#[tokio::test]
async fn a_registered_user_is_signed_in_with_either_token() {
    let server = testing::server().await;
    let answer = register(&server, "Ada").await.unwrap();
    assert_eq!(answer["username"], "Ada");
    assert_eq!(answer["tenant"]["name"], "Ada");
    for token in ["access_token", "session_token"] {
        let caller = caller(&server, &answer[token]).await.unwrap();
        assert_eq!(caller.user_id().to_string(), answer["id"].as_str().unwrap());
        caller.require(Permission::VaultWrite).unwrap();
        let me = shown(&accounts::me(&server.app, &caller).await.unwrap());
        assert_eq!(me["roles"], json!(["owner"]));
        assert!(
            me["permissions"]
                .as_array()
                .unwrap()
                .contains(&json!("vm:enroll"))
        );
    }
    assert!(caller(&server, &answer["refresh_token"]).await.is_err());
}

#[tokio::test]
async fn a_name_is_taken_whatever_its_case() {
    let server = testing::server().await;
    register(&server, "Ada").await.unwrap();
    let again = register(&server, "aDA").await;
    assert!(matches!(
        again,
        Err(ApiError::AlreadyRegistered("username"))
    ));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    login(
        &server,
        json!({ "username": "ADA", "password": "SecurePass123!" }),
    )
    .await
    .unwrap();
    for claim in [
        json!({ "username": "ada", "password": "SecurePass123?" }),
        json!({ "username": "eve", "password": "SecurePass123!" }),
        json!({ "username": "\0", "password": "SecurePass123!" }),
        json!({ "email": "ada@example.org", "password": "SecurePass123!" }),
        json!({ "username": "ada", "password": "SecurePass123!\0" }),
    ] {
        let refused = login(&server, claim.clone()).await;
        assert!(
            matches!(refused, Err(ApiError::InvalidCredentials)),
            "{claim}"
        );
    }
}

#[tokio::test]
async fn logout_ends_every_token_of_the_session_and_no_other() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    let second = login(&server, claim).await.unwrap();
    let signed_in = caller(&server, &first["access_token"]).await.unwrap();
    sign_out(&server.app, &signed_in).await.unwrap();
    for token in ["access_token", "session_token"] {
        let refused = caller(&server, &first[token]).await;
        assert!(matches!(refused, Err(ApiError::Unauthenticated)));
        caller(&server, &second[token]).await.unwrap();
    }
    let refused = renew(&server, &first["refresh_token"]).await;
    assert!(matches!(refused, Err(ApiError::InvalidRefreshToken)));
}

#[tokio::test]
async fn a_refresh_token_gives_its_successor_again_within_the_grace() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    server.clock.advance(Duration::from_secs(10));
    let again = renew(&server, &first["refresh_token"]).await.unwrap();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    caller(&server, &again["access_token"]).await.unwrap();
    renew(&server, &second["refresh_token"]).await.unwrap();
}

#[tokio::test]
async fn two_tabs_at_once_stay_signed_in() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let token = &first["refresh_token"];
    let (one, other) = tokio::join!(renew(&server, token), renew(&server, token));
    assert_eq!(
        one.unwrap()["refresh_token"],
        other.unwrap()["refresh_token"]
    );
}

#[tokio::test]
async fn a_replayed_refresh_token_ends_the_whole_session() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    server.clock.advance(Duration::from_secs(11));
    let replayed = renew(&server, &first["refresh_token"]).await;
    assert!(matches!(replayed, Err(ApiError::InvalidRefreshToken)));
    assert!(renew(&server, &second["refresh_token"]).await.is_err());
    for token in [&first["session_token"], &second["access_token"]] {
        assert!(caller(&server, token).await.is_err());
    }
}

#[tokio::test]
async fn a_session_ends_when_nobody_refreshes_it() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    server.clock.advance(Duration::from_secs(7 * 86_400 + 1));
    assert!(caller(&server, &first["session_token"]).await.is_err());
    assert!(renew(&server, &first["refresh_token"]).await.is_err());
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let server = testing::server().await;
    for text in [
        "",
        "kfs_",
        "kfs_AAAA",
        "a.b.c",
        "..",
        "\u{0}",
        &"x".repeat(5000),
    ] {
        assert!(caller(&server, &json!(text)).await.is_err(), "{text:?}");
    }
    assert!(signed_in(&server.app, &ORIGIN, None).await.is_err());
}

mod devices;
mod handed_keys;
mod renewal;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Origin, Permission, SignedIn, refresh, sign_in, sign_out, signed_in};
use crate::accounts;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::store::sql;
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

fn at(address: &str, user_agent: &str) -> Origin {
    Origin {
        request_id: uuid::Uuid::nil(),
        peer: Some(address.parse().unwrap()),
        user_agent: Some(user_agent.into()),
    }
}

async fn login_at(server: &Server, origin: &Origin) -> SignedIn {
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    let claim = serde_json::from_value(claim).unwrap();
    let answer = shown(&sign_in(&server.app, origin, claim).await.unwrap());
    caller(server, &answer["access_token"]).await.unwrap()
}

async fn items<T: serde::Serialize>(list: Result<List<T>, ApiError>) -> Vec<Value> {
    shown(&list.unwrap())["items"].as_array().unwrap().clone()
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
async fn logout_everywhere_ends_all_sessions_of_the_user_alone() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = login_at(&server, &at("192.0.2.1", "desk")).await;
    let stranger = register(&server, "eve").await.unwrap();
    super::sign_out_everywhere(&server.app, &second)
        .await
        .unwrap();
    assert!(caller(&server, &first["session_token"]).await.is_err());
    assert!(renew(&server, &first["refresh_token"]).await.is_err());
    caller(&server, &stranger["session_token"]).await.unwrap();
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

#[tokio::test]
async fn a_user_sees_their_sessions_and_ends_one() {
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    server.clock.advance(Duration::from_secs(60));
    let desk = login_at(&server, &at("192.0.2.1", "desk")).await;
    server.clock.advance(Duration::from_secs(60));
    let phone = login_at(&server, &at("198.51.100.1", "phone")).await;
    let page = Page::parse(Some("limit=2")).unwrap();
    let seen = items(super::list(&server.app, &desk, &page).await).await;
    assert_eq!(
        (&seen[0]["user_agent"], &seen[0]["current"]),
        (&json!("phone"), &json!(false))
    );
    assert_eq!(
        (&seen[1]["address"], &seen[1]["current"]),
        (&json!("192.0.2.1"), &json!(true))
    );

    let stranger = server.user("eve").await;
    let foreign = super::end(&server.app, &stranger, phone.session_id().unwrap()).await;
    assert!(matches!(foreign, Err(ApiError::NotFound)));
    super::end(&server.app, &desk, phone.session_id().unwrap())
        .await
        .unwrap();
    let again = super::end(&server.app, &desk, phone.session_id().unwrap()).await;
    assert!(matches!(again, Err(ApiError::NotFound)));
    assert_eq!(
        items(super::list(&server.app, &desk, &page).await)
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn what_has_ended_is_swept_and_what_lives_stays() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let ended = register(&server, "eve").await.unwrap();
    sign_out(
        &server.app,
        &caller(&server, &ended["access_token"]).await.unwrap(),
    )
    .await
    .unwrap();
    server.clock.advance(Duration::from_secs(3_600));
    caller(&server, &first["session_token"]).await.unwrap();
    assert_eq!(super::sweep::once(&server.app).await.unwrap(), 0);
    let user = caller(&server, &first["session_token"]).await.unwrap();
    let seen = items(super::list(&server.app, &user, &Page::parse(None).unwrap()).await).await;
    assert_ne!(seen[0]["last_seen_at"], seen[0]["created_at"]);

    server.clock.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(super::sweep::once(&server.app).await.unwrap(), 1);
    caller(&server, &first["session_token"]).await.unwrap();
}

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::{Origin, Permission, SignedIn, refresh, sign_in, sign_out, signed_in};
use crate::accounts;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::store::sql;
use crate::testing::{self, ORIGIN, Recipient, Server};

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
async fn a_grace_that_began_in_the_future_is_not_endless() {
    let server = testing::server().await;
    let first = register(&server, "ada").await.unwrap();
    let second = renew(&server, &first["refresh_token"]).await.unwrap();
    // As after a failover to a database whose clock is behind.
    const LATER: &str = "UPDATE refresh_tokens SET used_at = used_at + $1 WHERE used_at > 0";
    let later = async |seconds: i64| {
        sql!(server.app.store, query(LATER, seconds * 1_000_000).execute).unwrap();
    };
    later(30).await;
    let again = renew(&server, &first["refresh_token"]).await.unwrap();
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    later(1).await;
    let replayed = renew(&server, &first["refresh_token"]).await;
    assert!(matches!(replayed, Err(ApiError::InvalidRefreshToken)));
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
async fn a_device_is_a_program_in_a_place_and_can_be_forgotten() {
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    let desk = login_at(&server, &at("192.0.2.1", "desk")).await;
    login_at(&server, &at("192.0.2.99", "desk")).await;
    server.clock.advance(Duration::from_secs(1));
    let phone = login_at(&server, &at("198.51.100.1", "phone")).await;
    let page = Page::parse(None).unwrap();
    let known = items(super::list_devices(&server.app, &desk, &page).await).await;
    assert_eq!(known.len(), 2);
    assert_eq!(known[0]["network"], "198.51.100.0/24");
    const NOTICES: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'security.new_device'";
    let notices: i64 = sql!(server.app.store, query_scalar(NOTICES).fetch_one).unwrap();
    assert_eq!(notices, 1, "the phone is new, the first device is not");
    assert!(
        server.app.mailer.taken().await.is_empty(),
        "there is no address to mail to"
    );

    let id = known[0]["id"].as_str().unwrap().parse().unwrap();
    let stranger = server.user("eve").await;
    let foreign = super::forget_device(&server.app, &stranger, id).await;
    assert!(matches!(foreign, Err(ApiError::NotFound)));
    super::forget_device(&server.app, &desk, id).await.unwrap();
    let ended = super::end(&server.app, &desk, phone.session_id().unwrap()).await;
    assert!(
        matches!(ended, Err(ApiError::NotFound)),
        "its session ended with it"
    );
    assert_eq!(
        items(super::list_devices(&server.app, &desk, &page).await)
            .await
            .len(),
        1
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

#[tokio::test]
async fn the_owner_of_a_proven_address_hears_of_a_new_device() {
    const VERIFY: &str = "UPDATE users SET email_verified = $1, email = 'ada@example.org'";
    let server = testing::server().await;
    register(&server, "ada").await.unwrap();
    sql!(server.app.store, query(VERIFY, true).execute).unwrap();
    login_at(&server, &at("192.0.2.1", "desk")).await;
    login_at(&server, &at("192.0.2.2", "desk")).await;
    assert!(server.app.mailer.taken().await.is_empty());
    login_at(&server, &at("198.51.100.1", "phone")).await;
    let mails = server.app.mailer.taken().await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("ada@example.org") && mails[0].contains("198.51.100.0/24"));
    assert!(mails[0].contains("phone"));
}

#[tokio::test]
async fn a_login_with_a_public_key_gets_the_keys_that_its_user_may_read() {
    const VIEWER: &str = "UPDATE memberships SET role = 'viewer'";

    let server = testing::server().await;
    let made = register(&server, "ada").await.unwrap();
    let ada = caller(&server, &made["access_token"]).await.unwrap();
    for (name, policy) in [
        ("openai", json!({ "delivery": "raw" })),
        ("for-the-proxy", json!({ "delivery": "inject" })),
        ("for-one-vm", json!({ "delivery": "raw", "vms": [] })),
    ] {
        let key = json!({ "provider": "openai", "value": "sk-a-value", "policy": policy });
        let key = serde_json::from_value(key).unwrap();
        let name = name.parse().unwrap();
        crate::vault::put(&server.app, &ada, name, key)
            .await
            .unwrap();
    }
    let recipient = Recipient::new();
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    assert_eq!(
        login(&server, claim.clone()).await.unwrap()["encrypted_api_keys"],
        Value::Null
    );
    let mut with_key = claim.clone();
    with_key["public_key"] = json!(recipient.public_key);
    let answer = login(&server, with_key.clone()).await.unwrap();
    let keys = answer["encrypted_api_keys"].as_object().unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["openai"]);
    let opened = recipient.openai_in(ada.user_id(), &answer);
    assert_eq!(opened, b"sk-a-value");

    let mut useless = claim;
    useless["public_key"] = json!(Base64UrlUnpadded::encode_string(&[0; 32]));
    let refused = login(&server, useless).await.unwrap_err();
    assert_eq!(refused.fields()[0].field, "public_key");
    sql!(server.app.store, query(VIEWER).execute).unwrap();
    let viewer = login(&server, with_key).await.unwrap();
    assert_eq!(viewer["encrypted_api_keys"], json!({}));
}

#[tokio::test]
async fn a_login_says_when_there_are_more_keys_than_it_hands_out() {
    let server = testing::server().await;
    let ada = server.user("ada").await;
    let put = async |number: u32| {
        let key = json!({
            "provider": "custom", "value": "a value", "policy": { "delivery": "raw" },
        });
        let key = serde_json::from_value(key).unwrap();
        let name = format!("key-{number}").parse().unwrap();
        crate::vault::put(&server.app, &ada, name, key)
            .await
            .unwrap();
    };
    let claim = json!({
        "username": "ada", "password": "SecurePass123!",
        "public_key": Recipient::new().public_key,
    });
    for number in 0..100 {
        put(number).await;
    }
    let whole = login(&server, claim.clone()).await.unwrap();
    assert_eq!(whole["encrypted_api_keys_truncated"], false);
    put(100).await;
    let most = login(&server, claim).await.unwrap();
    assert_eq!(most["encrypted_api_keys"].as_object().unwrap().len(), 100);
    assert_eq!(most["encrypted_api_keys_truncated"], true);
}

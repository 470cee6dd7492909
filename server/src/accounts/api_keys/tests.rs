use std::time::Duration;

use serde_json::{Value, json};

use super::{add_api_key, list_api_keys, revoke_api_key};
use crate::error::ApiError;
use crate::page::Page;
use crate::sessions::{Permission, SignedIn, sign_out, signed_in};
use crate::testing::{ORIGIN, Server, server};

async fn add(server: &Server, caller: &SignedIn, body: Value) -> Result<Value, ApiError> {
    let request = serde_json::from_value(body).unwrap();
    let added = add_api_key(&server.app, caller, request).await?;
    Ok(serde_json::to_value(added).unwrap())
}

async fn enter(server: &Server, added: &Value) -> Result<SignedIn, ApiError> {
    signed_in(&server.app, &ORIGIN, added["key"].as_str()).await
}

async fn listed(server: &Server, caller: &SignedIn) -> Vec<Value> {
    let page = Page::parse(None).unwrap();
    let list = list_api_keys(&server.app, caller, &page).await.unwrap();
    let list = serde_json::to_value(list).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_signs_its_owner_in_until_it_is_revoked() {
    let server = server().await;
    let ada = server.user("ada").await;
    let added = add(&server, &ada, json!({ "name": "backup" }))
        .await
        .unwrap();
    let program = enter(&server, &added).await.unwrap();
    assert_eq!(program.user_id(), ada.user_id());
    assert!(program.require(Permission::VaultWrite).is_ok());
    server.app.background.finish(Duration::from_secs(10)).await;
    let [key] = listed(&server, &ada).await.try_into().unwrap();
    assert_eq!(key["name"], "backup");
    assert!(key.get("key").is_none() && key["last_used_at"].is_string());
    let text = added["key"].as_str().unwrap();
    assert!(text.ends_with(key["hint"].as_str().unwrap()));
    let id = key["id"].as_str().unwrap().parse().unwrap();
    revoke_api_key(&server.app, &ada, id).await.unwrap();
    assert!(enter(&server, &added).await.is_err());
    assert!(listed(&server, &ada).await.is_empty());
}

#[tokio::test]
async fn a_key_ends_on_its_day() {
    let server = server().await;
    let ada = server.user("ada").await;
    let body = json!({ "name": "short", "expires_in_days": 1 });
    let added = add(&server, &ada, body).await.unwrap();
    assert!(enter(&server, &added).await.is_ok());
    server.clock.advance(Duration::from_secs(86_400));
    assert!(enter(&server, &added).await.is_err());
}

#[tokio::test]
async fn a_key_permits_no_more_than_its_list_and_its_owner() {
    let server = server().await;
    let ada = server.user("ada").await;
    let body = json!({ "name": "reader", "permissions": ["vault:read"] });
    let program = enter(&server, &add(&server, &ada, body).await.unwrap()).await;
    let program = program.unwrap();
    assert!(program.require(Permission::VaultRead).is_ok());
    assert!(program.require(Permission::VaultWrite).is_err());
    let viewer = server.viewer("eve").await;
    for wanted in ["vault:write", "root"] {
        let body = json!({ "name": "more", "permissions": [wanted] });
        let refused = add(&server, &viewer, body).await.err().unwrap();
        assert_eq!(refused.code(), "invalid_input");
    }
}

#[tokio::test]
async fn a_program_makes_no_keys_and_ends_no_session() {
    let server = server().await;
    let ada = server.user("ada").await;
    let added = add(&server, &ada, json!({ "name": "one" })).await.unwrap();
    let program = enter(&server, &added).await.unwrap();
    let refused = add(&server, &program, json!({ "name": "two" })).await;
    assert!(matches!(refused, Err(ApiError::Forbidden)));
    let id = added["id"].as_str().unwrap().parse().unwrap();
    let refused = revoke_api_key(&server.app, &program, id).await;
    assert!(matches!(refused, Err(ApiError::Forbidden)));
    let refused = sign_out(&server.app, &program).await;
    assert!(matches!(refused, Err(ApiError::Forbidden)));
}

#[tokio::test]
async fn nobody_sees_or_revokes_the_key_of_another() {
    let server = server().await;
    let (ada, eve) = (server.user("ada").await, server.user("eve").await);
    let added = add(&server, &ada, json!({ "name": "mine" })).await.unwrap();
    assert!(listed(&server, &eve).await.is_empty());
    let id = added["id"].as_str().unwrap().parse().unwrap();
    let refused = revoke_api_key(&server.app, &eve, id).await;
    assert!(matches!(refused, Err(ApiError::NotFound)));
    assert!(enter(&server, &added).await.is_ok());
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_revokes_nothing() {
    let server = server().await;
    let ada = server.user("ada").await;
    let added = add(&server, &ada, json!({ "name": "one" })).await.unwrap();
    sign_out(&server.app, &ada).await.unwrap();
    let id = added["id"].as_str().unwrap().parse().unwrap();
    let refused = revoke_api_key(&server.app, &ada, id).await;
    assert!(matches!(refused, Err(ApiError::Unauthenticated)));
    assert!(enter(&server, &added).await.is_ok());
}

use base64ct::{Base64UrlUnpadded, Encoding};

use super::*;
use crate::testing::Recipient;

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
        put(&server, &ada, (name, key)).await;
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
    let put_numbered = async |number: u32| {
        let key = json!({
            "provider": "custom", "value": "a value", "policy": { "delivery": "raw" },
        });
        put(&server, &ada, (&format!("key-{number}"), key)).await;
    };
    let claim = json!({
        "username": "ada", "password": "SecurePass123!",
        "public_key": Recipient::new().public_key,
    });
    for number in 0..100 {
        put_numbered(number).await;
    }
    let whole = login(&server, claim.clone()).await.unwrap();
    assert_eq!(whole["encrypted_api_keys_truncated"], false);
    put_numbered(100).await;
    let most = login(&server, claim).await.unwrap();
    assert_eq!(most["encrypted_api_keys"].as_object().unwrap().len(), 100);
    assert_eq!(most["encrypted_api_keys_truncated"], true);
}

async fn put(server: &Server, owner: &SignedIn, (name, key): (&str, Value)) {
    let key = serde_json::from_value(key).unwrap();
    let put = crate::vault::put(&server.app, owner, name.parse().unwrap(), key);
    put.await.unwrap();
}

mod overlaps;

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::FutureExt;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::sealed;
use serde_json::{Value, json};

use super::{
    change_policy, list, put, record_context, remove, revoke, rotate, seal, show, versions,
};
use crate::bus::{Event, Heard, Topic};
use crate::error::ApiError;
use crate::page::Page;
use crate::sessions::SignedIn;
use crate::store::{RecordKind, UserId, sql};
use crate::testing::{self, Server};

const SECRET: &str = "sk-a-very-secret-value-aB3x";

/// A server and two tenants on it.
struct Vault {
    server: Server,
    ada: SignedIn,
    eve: SignedIn,
}

impl Vault {
    async fn open() -> Self {
        let server = testing::server().await;
        let (ada, eve) = (server.user("ada").await, server.user("eve").await);
        Self { server, ada, eve }
    }

    async fn put(&self, key: &str, body: Value) -> Result<Value, ApiError> {
        let body = serde_json::from_value(body).unwrap();
        put(&self.server.app, &self.ada, name(key), body)
            .await
            .map(shown)
    }

    async fn rotate(&self, key: &str, body: Value) -> Result<Value, ApiError> {
        let body = serde_json::from_value(body).unwrap();
        rotate(&self.server.app, &self.ada, name(key), body)
            .await
            .map(shown)
    }

    async fn versions(&self, key: &str) -> Vec<Value> {
        let page = Page::parse(None).unwrap();
        let versions = versions(&self.server.app, &self.ada, name(key), &page)
            .await
            .unwrap();
        shown(versions)["items"].as_array().unwrap().clone()
    }

    /// The names and versions that ada's machines may be told of, a page after the other.
    async fn deliverable(&self) -> Vec<Vec<(String, i64)>> {
        let app = &self.server.app;
        let now = app.clock.now();
        let mut versions = app.store.deliverable_versions(self.ada.tenant_id(), now);
        let mut pages = Vec::new();
        while let Some(page) = versions.page().await.unwrap() {
            let rows = page.into_iter().map(|row| (row.name, row.version));
            pages.push(rows.collect());
        }
        pages
    }

    /// A value sealed as the command does it, and the version that it claims.
    fn sealed(&self, user: UserId, key: &str, version: u32) -> Value {
        let app = &self.server.app;
        let info = sealed::put_info(user.bytes(), &name(key), version);
        let plain = app.arena.hold(SECRET.as_bytes()).unwrap();
        let to = app.server_keys.pairs().hpke.current.public();
        let sealed = sealed::seal(&app.arena, &mut app.rng(), to, &info, &plain).unwrap();
        json!(Base64UrlUnpadded::encode_string(&sealed))
    }

    /// What the database gives back for a version, if it still does.
    async fn opened(&self, key: &str, version: u32) -> Option<Vec<u8>> {
        let (app, tenant) = (&self.server.app, self.ada.tenant_id());
        let stored = app.store.key(tenant, key).await.unwrap().unwrap();
        let sealed = app
            .store
            .sealed_version((tenant, stored.id), version.into())
            .await
            .unwrap()?;
        let context = record_context(tenant, stored.id, version);
        let plain = seal::open(&app.master_key, &context, &sealed).unwrap();
        Some(plain.expose().to_vec())
    }
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn shown(answer: impl serde::Serialize) -> Value {
    serde_json::to_value(answer).unwrap()
}

#[tokio::test]
async fn a_key_is_kept_sealed_and_shown_without_its_value() {
    let vault = Vault::open().await;
    let body = json!({ "provider": "openai", "value": SECRET });
    let key = vault.put("openai", body).await.unwrap();
    assert_eq!(
        (&key["version"], &key["last4"]),
        (&json!(1), &json!("aB3x"))
    );
    assert_eq!(key["policy"]["delivery"], "inject");
    assert!(!key.to_string().contains("secret"));
    assert_eq!(vault.opened("openai", 1).await.unwrap(), SECRET.as_bytes());
}

#[tokio::test]
async fn a_sealed_value_is_taken_for_its_user_name_and_version_only() {
    let vault = Vault::open().await;
    let body =
        |sealed, version| json!({ "provider": "groq", "sealed": sealed, "version": version });
    let (ada, eve) = (vault.ada.user_id(), vault.eve.user_id());
    for wrong in [
        vault.sealed(eve, "groq", 1),
        vault.sealed(ada, "grok", 1),
        vault.sealed(ada, "groq", 2),
    ] {
        let refused = vault.put("groq", body(wrong, 1)).await;
        assert!(matches!(refused, Err(ApiError::InvalidSealed)));
    }
    let early = vault
        .put("groq", body(vault.sealed(ada, "groq", 2), 2))
        .await;
    assert!(matches!(early, Err(ApiError::VersionConflict)));
    vault
        .put("groq", body(vault.sealed(ada, "groq", 1), 1))
        .await
        .unwrap();
    assert_eq!(vault.opened("groq", 1).await.unwrap(), SECRET.as_bytes());

    let again = json!({ "sealed": vault.sealed(ada, "groq", 1), "version": 1 });
    assert!(matches!(
        vault.rotate("groq", again).await,
        Err(ApiError::VersionConflict)
    ));
    let next = json!({ "sealed": vault.sealed(ada, "groq", 2), "version": 2 });
    assert_eq!(vault.rotate("groq", next).await.unwrap()["version"], 2);
}

#[tokio::test]
async fn wrong_values_are_refused_and_nothing_is_kept() {
    let vault = Vault::open().await;
    for value in [
        String::new(),
        "a\nb".to_owned(),
        "a\0b".to_owned(),
        "a".repeat(8193),
    ] {
        let refused = vault
            .put("x", json!({ "provider": "custom", "value": value }))
            .await;
        assert!(
            matches!(refused, Err(ApiError::Invalid(_))),
            "{} bytes",
            value.len()
        );
    }
    let both = json!({ "provider": "custom", "value": "a", "sealed": "AA", "version": 1 });
    for body in [json!({ "provider": "custom" }), both] {
        assert!(matches!(
            vault.put("x", body).await,
            Err(ApiError::Invalid(_))
        ));
    }
    let shown = show(&vault.server.app, &vault.ada, name("x")).await;
    assert!(matches!(shown, Err(ApiError::NotFound)));
    let whole = json!({ "provider": "custom", "value": "a".repeat(8192) });
    vault.put("x", whole).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_is_gone_and_stays_gone() {
    let vault = Vault::open().await;
    let app = &vault.server.app;
    let tenant = vault.ada.tenant_id();
    let mut hearing = app.bus.subscribe(&[Topic::Keys(tenant)]);
    let changed = Some(Heard::Event(Event::KeysChanged { tenant }));
    let mut heard = || hearing.hear().now_or_never();
    let again = || vault.put("openai", json!({ "provider": "openai", "value": SECRET }));
    again().await.unwrap();
    assert_eq!(heard(), changed);
    for told in [changed, None] {
        let revoked = revoke(app, &vault.ada, name("openai")).await.unwrap();
        assert_eq!(shown(revoked)["status"], "revoked");
        assert_eq!(heard(), told);
    }
    assert!(vault.opened("openai", 1).await.is_none());
    let refused = vault.rotate("openai", json!({ "value": SECRET })).await;
    assert!(matches!(refused, Err(ApiError::KeyRevoked)));
    assert!(matches!(again().await, Err(ApiError::AlreadyExists)));
    remove(app, &vault.ada, name("openai")).await.unwrap();
    assert_eq!(heard(), changed);
    again().await.unwrap();
    assert_eq!(heard(), changed);
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let vault = Vault::open().await;
    let (app, eve) = (&vault.server.app, &vault.eve);
    vault
        .put("openai", json!({ "provider": "openai", "value": SECRET }))
        .await
        .unwrap();
    let page = Page::parse(None).unwrap();
    assert_eq!(
        shown(list(app, eve, &page).await.unwrap())["items"],
        json!([])
    );
    let body = serde_json::from_value(json!({ "value": "sk-of-somebody-else" })).unwrap();
    assert!(matches!(
        rotate(app, eve, name("openai"), body).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        show(app, eve, name("openai")).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        revoke(app, eve, name("openai")).await,
        Err(ApiError::NotFound)
    ));
    assert!(matches!(
        remove(app, eve, name("openai")).await,
        Err(ApiError::NotFound)
    ));
    let history = versions(app, eve, name("openai"), &page).await;
    assert!(matches!(history, Err(ApiError::NotFound)));
    assert!(vault.opened("openai", 1).await.is_some());
}

#[tokio::test]
async fn equal_values_of_two_tenants_look_different() {
    let vault = Vault::open().await;
    let body = json!({ "provider": "openai", "value": SECRET });
    let one = vault.put("one", body.clone()).await.unwrap();
    let two = vault.put("two", body.clone()).await.unwrap();
    let body = serde_json::from_value(body).unwrap();
    let other = put(&vault.server.app, &vault.eve, name("one"), body)
        .await
        .unwrap();
    assert_eq!(one["fingerprint"], two["fingerprint"]);
    assert_ne!(one["fingerprint"], shown(other)["fingerprint"]);
}

#[tokio::test]
async fn a_viewer_looks_and_touches_nothing() {
    let server = testing::server().await;
    let (app, viewer) = (&server.app, server.viewer("vic").await);
    list(app, &viewer, &Page::parse(None).unwrap())
        .await
        .unwrap();
    let body = serde_json::from_value(json!({ "provider": "openai", "value": SECRET })).unwrap();
    assert!(matches!(
        put(app, &viewer, name("x"), body).await,
        Err(ApiError::Forbidden)
    ));
    assert!(matches!(
        revoke(app, &viewer, name("x")).await,
        Err(ApiError::Forbidden)
    ));
    assert!(matches!(
        remove(app, &viewer, name("x")).await,
        Err(ApiError::Forbidden)
    ));
}

#[tokio::test]
async fn a_list_comes_in_pieces() {
    let vault = Vault::open().await;
    for key in ["b", "a", "c"] {
        vault
            .put(key, json!({ "provider": "custom", "value": "v" }))
            .await
            .unwrap();
    }
    let mut query = "limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = Page::parse(Some(&query)).unwrap();
        let piece = shown(list(&vault.server.app, &vault.ada, &page).await.unwrap());
        seen.extend(
            piece["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["name"].clone()),
        );
        let Some(cursor) = piece["next_cursor"].as_str() else {
            break;
        };
        query = format!("limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

#[tokio::test]
async fn of_two_changes_of_one_policy_at_once_neither_undoes_the_other() {
    let vault = Vault::open().await;
    let body = json!({ "provider": "openai", "value": SECRET, "policy": { "delivery": "raw" } });
    vault.put("openai", body).await.unwrap();
    let change = async |policy: Value| {
        let change = serde_json::from_value(json!({ "policy": policy })).unwrap();
        change_policy(&vault.server.app, &vault.ada, name("openai"), change)
            .await
            .map(drop)
    };
    let (tightened, other) = tokio::join!(
        change(json!({ "delivery": "inject" })),
        change(json!({ "lease_seconds": 60 }))
    );
    tightened.and(other).unwrap();
    let key = show(&vault.server.app, &vault.ada, name("openai")).await;
    let policy = &shown(key.unwrap())["policy"];
    assert_eq!(
        (&policy["delivery"], &policy["lease_seconds"]),
        (&json!("inject"), &json!(60))
    );
}

#[tokio::test]
async fn many_destroyed_versions_do_not_hide_the_records_behind_them() {
    const ROTATED: &str = "INSERT INTO key_versions (key_id, version, tenant_id, salt, \
        ciphertext, master_key_id, fingerprint, created_at) \
        SELECT v.key_id, n.value, v.tenant_id, v.salt, v.ciphertext, v.master_key_id, \
        v.fingerprint, v.created_at FROM key_versions v, \
        (WITH RECURSIVE more(value) AS (SELECT 2 UNION ALL SELECT value + 1 FROM more \
        WHERE value < 300) SELECT value FROM more) n";
    let vault = Vault::open().await;
    let app = &vault.server.app;
    let body = || json!({ "provider": "openai", "value": SECRET });
    vault.put("old", body()).await.unwrap();
    sql!(app.store, query(ROTATED).execute).unwrap();
    // Ids sort by time.
    vault.server.clock.advance(Duration::from_secs(1));
    vault.put("new", body()).await.unwrap();
    revoke(app, &vault.ada, name("old")).await.unwrap();
    let found = app
        .store
        .records_after(RecordKind::KeyVersion, uuid::Uuid::nil());
    assert_eq!(found.await.unwrap().len(), 1);
}

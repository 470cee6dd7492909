use super::*;

#[tokio::test]
async fn a_rotated_version_stays_for_its_overlap() {
    let vault = Vault::open().await;
    vault
        .put("openai", json!({ "provider": "openai", "value": SECRET }))
        .await
        .unwrap();
    let next = json!({ "value": "sk-the-second-value-0000", "overlap_seconds": 60 });
    assert_eq!(vault.rotate("openai", next).await.unwrap()["version"], 2);
    assert_eq!(vault.opened("openai", 1).await.unwrap(), SECRET.as_bytes());
    let app = &vault.server.app;
    assert_eq!(vault.deliverable().await.concat().len(), 2);
    vault.server.clock.advance(Duration::from_secs(61));
    assert_eq!(vault.deliverable().await.concat().len(), 1);
    app.store
        .destroy_overlapped_versions(app.clock.now())
        .await
        .unwrap();
    assert!(vault.opened("openai", 1).await.is_none());
    assert!(vault.opened("openai", 2).await.is_some());
}

#[tokio::test]
async fn of_many_overlaps_the_oldest_end_early() {
    let vault = Vault::open().await;
    let new = json!({ "provider": "openai", "value": SECRET });
    vault.put("openai", new).await.unwrap();
    for _ in 0..12 {
        let next = json!({ "value": "sk-another-value-0000", "overlap_seconds": 3600 });
        vault.rotate("openai", next).await.unwrap();
    }
    let left = vault.deliverable().await.concat().into_iter();
    let left: Vec<i64> = left.map(|(_, version)| version).collect();
    assert_eq!(left, (3..=13).collect::<Vec<_>>());
    assert!(vault.opened("openai", 2).await.is_none());
}

#[tokio::test]
async fn without_an_overlap_the_old_version_is_destroyed_at_once() {
    let vault = Vault::open().await;
    vault
        .put("openai", json!({ "provider": "openai", "value": SECRET }))
        .await
        .unwrap();
    vault
        .rotate("openai", json!({ "value": "sk-the-second-value-0000" }))
        .await
        .unwrap();
    assert!(vault.opened("openai", 1).await.is_none());
    let history = vault.versions("openai").await;
    assert_eq!(
        (&history[0]["version"], &history[1]["version"]),
        (&json!(2), &json!(1))
    );
    assert!(history[0]["destroyed_at"].is_null() && history[1]["destroyed_at"].is_string());
}

#[tokio::test]
async fn versions_come_in_pages_and_each_of_them_once() {
    let vault = Vault::open().await;
    // A page ends in the middle of a key's versions.
    let mut expected = Vec::new();
    for key in (0..30).map(|number| format!("key-{number:02}")) {
        let new = json!({ "provider": "openai", "value": SECRET });
        vault.put(&key, new).await.unwrap();
        for _ in 0..9 {
            let next = json!({ "value": "sk-another-value-0000", "overlap_seconds": 3600 });
            vault.rotate(&key, next).await.unwrap();
        }
        expected.extend((1..=10).map(|version| (key.clone(), version)));
    }
    let pages = vault.deliverable().await;
    assert_eq!(pages.len(), 2);
    assert_eq!(pages.concat(), expected);
}

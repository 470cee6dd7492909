use std::time::Duration;

use super::*;
use crate::audit::{keep_anchor, prune};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{Head, LinkedRecord};

/// Cuts off the last event of the tenant, and sets the head back to where it was before.
async fn cut(app: &App, before: &[Head]) {
    const BACK: &str = "UPDATE audit_heads SET seq = $1, hash = $2 WHERE chain_id = $3";
    let tenant = |head: &&Head| head.end.chain != ChainId::SERVER;
    let end = before.iter().find(tenant).unwrap().end;
    tamper(
        app,
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq = 10",
    )
    .await;
    sql!(
        app.store,
        query(BACK, end.seq, end.hash.as_slice(), end.chain).execute
    )
    .unwrap();
}

/// A server with a data folder, whose chains were kept there.
async fn anchored() -> (Server, tempfile::TempDir, Vec<Head>) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::for_tests();
    config.data_dir = folder.path().to_owned();
    let server = testing::server_with(config).await;
    let tenant = Some(TenantId::from_bytes(TENANT));
    for number in 0..9 {
        note(&server.app, tenant, &number.to_string()).await;
    }
    note(&server.app, None, "own").await;
    let before = server.app.store.audit_heads().await.unwrap();
    note(&server.app, tenant, "to be hidden").await;
    keep_anchor(&server.app).await;
    (server, folder, before)
}

async fn held(app: &App) -> Vec<Fault> {
    let data_dir = DataDir::existing(&app.config.data_dir).unwrap();
    let kept = Anchors::read(&data_dir).unwrap().unwrap();
    kinds(&verify(&app.books(), Some(&kept), &|_| {}).await.unwrap())
}

async fn told(app: &App) -> usize {
    let events = app.store.audit_after(ChainId::SERVER, 0, 100).await;
    let events = events.unwrap().into_iter();
    let regressed = |event: &LinkedRecord| event.event.action == "security.audit_regressed";
    events.filter(regressed).count()
}

#[tokio::test]
async fn a_running_server_keeps_the_proof_that_an_end_was_cut_off() {
    let (server, _folder, before) = anchored().await;
    let app = &server.app;
    assert_eq!((held(app).await, told(app).await), (vec![], 0));
    cut(app, &before).await;
    for _ in 0..3 {
        keep_anchor(app).await;
        assert_eq!(held(app).await, [(10, FaultKind::Truncated)]);
        assert_eq!(told(app).await, 1);
    }
    // Others take its place.
    note(app, Some(TenantId::from_bytes(TENANT)), "another").await;
    note(app, Some(TenantId::from_bytes(TENANT)), "more").await;
    keep_anchor(app).await;
    assert_eq!(held(app).await, [(10, FaultKind::Altered)]);
    assert_eq!(told(app).await, 1);
}

#[tokio::test]
async fn an_end_that_is_hidden_while_the_server_looks_is_missed() {
    for hidden in [
        "UPDATE audit_heads SET pruned_seq = 10 WHERE chain_id <> zeroblob(16)",
        "UPDATE audit_events SET seq = 10 WHERE chain_id <> zeroblob(16) AND seq = 9",
        "DELETE FROM audit_heads WHERE chain_id <> zeroblob(16)",
    ] {
        let (server, _folder, before) = anchored().await;
        cut(&server.app, &before).await;
        tamper(&server.app, hidden).await;
        keep_anchor(&server.app).await;
        assert_eq!(told(&server.app).await, 1, "{hidden}");
    }
}

#[tokio::test]
async fn a_chain_that_went_on_or_was_pruned_is_not_missed() {
    let (server, _folder, _) = anchored().await;
    let app = &server.app;
    note(app, Some(TenantId::from_bytes(TENANT)), "later").await;
    keep_anchor(app).await;
    server.clock.advance(Duration::from_secs(3_600));
    prune(app, app.clock.now()).await.unwrap();
    keep_anchor(app).await;
    assert_eq!((held(app).await, told(app).await), (vec![], 0));
}

#[tokio::test]
async fn a_database_that_was_brought_back_is_no_forgery_when_a_server_says_so() {
    const FORGED: &str = "INSERT INTO audit_events SELECT randomblob(16), NULL, at + 9000000000, \
        actor, 'server.restored', subject, detail, correlation_id, chain_id, seq + 7, hash \
        FROM audit_events WHERE chain_id = zeroblob(16) AND seq = 1";
    let (server, folder, before) = anchored().await;
    let app = &server.app;
    cut(app, &before).await;
    tamper(app, FORGED).await;
    keep_anchor(app).await;
    assert_eq!(told(app).await, 1, "the database alone cannot say so");
    tamper(
        app,
        "DELETE FROM audit_events WHERE seq = 8 AND chain_id = zeroblob(16)",
    )
    .await;

    server.clock.advance(Duration::from_secs(60));
    let restored = Entry {
        action: "server.restored",
        ..wipe()
    };
    append(app, &restored).await.unwrap();
    keep_anchor(app).await;
    assert_eq!((held(app).await, told(app).await), (vec![], 1));
    let put_by = folder.path().join("audit-anchor.before-restore.json");
    assert!(put_by.exists(), "who doubts it can look");
}

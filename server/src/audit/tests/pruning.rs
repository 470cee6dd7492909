use std::time::Duration;

use super::*;
use crate::audit::prune;
use crate::audit::prune::prune_by;
use crate::audit::sweep::retire;
use crate::audit::verify::{hold_against, verify_chain};
use crate::config::Config;
use crate::store::Head;

#[tokio::test]
async fn what_is_left_after_pruning_can_be_verified() {
    let server = server().await;
    let app = &server.app;
    let anchors = anchors(app).await;
    server.clock.advance(Duration::from_secs(3_600));
    note(app, Some(TenantId::from_bytes(TENANT)), "young").await;
    let cutoff = app.clock.now() - Duration::from_secs(60);
    assert_eq!(prune(app, cutoff).await.unwrap(), 12);
    assert_eq!(prune(app, cutoff).await.unwrap(), 0);
    let report = verify(&app.books(), Some(&anchors), &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), []);
    // The young one, and that each chain was pruned.
    assert_eq!(report.events, 3);
    tamper(app, "UPDATE audit_heads SET pruned_seq = pruned_seq + 1").await;
    assert!(!verify(&app.books(), None, &|_| {}).await.unwrap().intact);
}

#[tokio::test]
async fn pruning_finds_its_end_piece_by_piece() {
    for piece in [1, 2, 4, 5, 100] {
        let server = server().await;
        let app = &server.app;
        server.clock.advance(Duration::from_secs(3_600));
        let cutoff = app.clock.now();
        for _ in 0..7 {
            note(app, Some(TenantId::from_bytes(TENANT)), "young").await;
        }
        assert_eq!(prune_by(app, cutoff, piece).await.unwrap(), 12, "{piece}");
        assert_eq!(prune_by(app, cutoff, piece).await.unwrap(), 0, "{piece}");
        assert_eq!(faults(app).await, []);
    }
}

#[tokio::test]
async fn events_past_their_retention_are_pruned_and_alerts_that_nobody_takes_forgotten() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const WAITING: &str = "SELECT COUNT(*) FROM pending_alerts";
    let mut config = Config::for_tests();
    config.audit.retention = Some(2 * DAY);
    let server = testing::server_with(config).await;
    let app = &server.app;
    note(app, None, "old").await;
    append(app, &wipe()).await.unwrap();
    server.clock.advance(DAY + DAY / 2);
    note(app, None, "young").await;
    append(app, &wipe()).await.unwrap();
    let waiting = || async { sql!(app.store, query_scalar(WAITING).fetch_one).unwrap() };
    let two: i64 = waiting().await;
    retire(app).await;
    let one: i64 = waiting().await;
    assert_eq!((two, one), (2, 1));
    assert_eq!(subjects(app).await, ["old", "kali-1", "young", "kali-1"]);
    server.clock.advance(DAY);
    retire(app).await;
    // The last one is that there was a pruning.
    assert_eq!(subjects(app).await, ["young", "kali-1", ""]);
    assert_eq!(faults(app).await, []);
}

async fn subjects(app: &App) -> Vec<String> {
    let events = app
        .store
        .audit_after(ChainId::SERVER, 0, 100)
        .await
        .unwrap();
    let subjects = events.into_iter().map(|event| event.event.subject);
    subjects.map(Option::unwrap_or_default).collect()
}

#[tokio::test]
async fn what_is_pruned_while_it_is_verified_is_no_fault() {
    let server = server().await;
    let app = &server.app;
    let anchors = anchors(app).await;
    // What a verification has read when the pruning begins.
    let heads = app.store.audit_heads().await.unwrap();
    server.clock.advance(Duration::from_secs(3_600));
    let cutoff = app.clock.now();
    note(app, Some(TenantId::from_bytes(TENANT)), "young").await;
    assert_eq!(prune(app, cutoff).await.unwrap(), 12);
    let mut report = report_on(app, &heads).await;
    let ends = heads.iter().map(|head| (head.end.chain, head)).collect();
    let books = app.books();
    let held = hold_against(&books, &anchors, &ends, &mut report);
    held.await.unwrap();
    assert_eq!(report.faults, []);

    tamper(
        app,
        "UPDATE audit_heads SET pruned_mac = zeroblob(32) WHERE chain_id <> zeroblob(16)",
    )
    .await;
    let report = report_on(app, &heads).await;
    assert_eq!(report.faults.len(), 1, "nobody vouches for it");
}

async fn report_on(app: &App, heads: &[Head]) -> Report {
    let mut report = Report::default();
    for head in heads {
        verify_chain(&app.books(), head, (&mut report, &|_| {}))
            .await
            .unwrap();
    }
    report
}

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::prune::prune_by;
use super::sweep::retire;
use super::verify::{FaultKind, hold_against, verify_chain};
use super::{
    Anchors, Books, ChainKey, Entry, Report, Unlinked, append, keep_anchor, prune, verify,
};
use crate::app::App;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::{ChainId, Head, LinkedRecord, StoreError, TenantId, sql};
use crate::testing::{self, Server};
use crate::vault::server_keys::Keeper;

const TENANT: [u8; 16] = [7; 16];

async fn note(app: &App, tenant: Option<TenantId>, subject: &str) {
    let entry = Entry {
        tenant,
        actor: "operator",
        action: "test.noted",
        subject: Some(subject),
        detail: json!({}),
        correlation: Uuid::nil(),
    };
    append(app, &entry).await.unwrap();
}

/// A server with nine events of a tenant and three of its own.
async fn server() -> Server {
    let server = testing::server().await;
    for number in 0..9 {
        note(
            &server.app,
            Some(TenantId::from_bytes(TENANT)),
            &number.to_string(),
        )
        .await;
        if number < 3 {
            note(&server.app, None, "own").await;
        }
    }
    server
}

async fn anchors(app: &App) -> Anchors {
    let heads = app.store.audit_heads().await.unwrap();
    Anchors::of(&heads, app.instance, app.clock.now())
}

/// What somebody does who owns the database.
async fn tamper(app: &App, statement: &'static str) {
    for drop in [
        "DROP TRIGGER IF EXISTS audit_events_stay_as_they_are",
        "DROP TRIGGER IF EXISTS audit_events_stay",
        "DROP TRIGGER IF EXISTS audit_heads_go_forward",
        "DROP TRIGGER IF EXISTS audit_heads_stay",
    ] {
        execute(app, drop).await.unwrap();
    }
    assert!(execute(app, statement).await.unwrap() > 0, "{statement}");
}

async fn execute(app: &App, statement: &'static str) -> Result<u64, StoreError> {
    sql!(app.store, query(statement).execute)
}

fn kinds(report: &Report) -> Vec<(i64, FaultKind)> {
    assert_eq!(report.intact, report.faults.is_empty());
    let faults = report.faults.iter();
    faults.map(|fault| (fault.seq, fault.kind)).collect()
}

#[tokio::test]
async fn an_untouched_audit_is_intact() {
    let server = server().await;
    let anchors = anchors(&server.app).await;
    note(&server.app, None, "later").await;
    let report = verify(&server.app.books(), Some(&anchors), &|_| {})
        .await
        .unwrap();
    assert_eq!(kinds(&report), []);
    assert_eq!((report.events, report.chains), (13, 2));
}

#[tokio::test]
async fn whatever_is_done_to_a_chain_is_found() {
    use FaultKind::{Altered, Missing, Truncated, Unlinked};
    for (statement, found) in [
        (
            "UPDATE audit_events SET actor = 'x' WHERE chain_id <> zeroblob(16) AND seq = 4",
            vec![(4, Altered)],
        ),
        (
            "UPDATE audit_events SET at = at + 1 WHERE chain_id <> zeroblob(16) AND seq = 9",
            vec![(9, Altered)],
        ),
        (
            "UPDATE audit_events SET subject = NULL WHERE chain_id <> zeroblob(16) AND seq = 1",
            vec![(1, Altered)],
        ),
        (
            "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq = 5",
            vec![(5, Missing)],
        ),
        (
            "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq <= 2",
            vec![(1, Missing)],
        ),
        (
            "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq > 6",
            vec![(7, Truncated)],
        ),
        (
            "DELETE FROM audit_events WHERE chain_id <> zeroblob(16)",
            vec![(1, Truncated)],
        ),
        (
            "UPDATE audit_events SET hash = NULL WHERE chain_id <> zeroblob(16) AND seq = 9",
            vec![(9, Altered), (9, Altered), (1, Unlinked)],
        ),
        (
            "UPDATE audit_heads SET pruned_seq = 3, pruned_hash = x'00' WHERE chain_id <> zeroblob(16)",
            vec![(3, FaultKind::Pruned), (4, Altered)],
        ),
        (
            "UPDATE audit_events SET tenant_id = NULL WHERE chain_id <> zeroblob(16) AND seq = 3",
            vec![(3, Altered)],
        ),
        (
            "INSERT INTO audit_events SELECT randomblob(16), tenant_id, at, actor, 'forged', subject, detail, correlation_id, chain_id, 10, hash FROM audit_events WHERE seq = 9",
            vec![(10, Altered), (10, Altered)],
        ),
        (
            "INSERT INTO audit_events SELECT randomblob(16), tenant_id, at, actor, 'forged', subject, detail, correlation_id, NULL, NULL, NULL FROM audit_events WHERE seq = 9",
            vec![(1, Unlinked)],
        ),
    ] {
        let server = server().await;
        tamper(&server.app, statement).await;
        let report = verify(&server.app.books(), None, &|_| {}).await.unwrap();
        assert_eq!(kinds(&report), found, "{statement}");
    }
}

#[tokio::test]
async fn two_events_that_changed_places_are_found() {
    let server = server().await;
    tamper(
        &server.app,
        "UPDATE audit_events SET seq = 100 WHERE chain_id <> zeroblob(16) AND seq = 2",
    )
    .await;
    tamper(
        &server.app,
        "UPDATE audit_events SET seq = 2 WHERE chain_id <> zeroblob(16) AND seq = 3",
    )
    .await;
    tamper(
        &server.app,
        "UPDATE audit_events SET seq = 3 WHERE seq = 100",
    )
    .await;
    let report = verify(&server.app.books(), None, &|_| {}).await.unwrap();
    let altered = |seq| (seq, FaultKind::Altered);
    assert_eq!(kinds(&report), [altered(2), altered(3), altered(4)]);
}

#[tokio::test]
async fn an_end_cut_off_with_its_head_set_back_is_found_by_what_is_kept_outside() {
    let server = server().await;
    let app = &server.app;
    let before = app.store.audit_heads().await.unwrap();
    note(app, Some(TenantId::from_bytes(TENANT)), "to be hidden").await;
    let anchors = anchors(app).await;
    tamper(
        app,
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq = 10",
    )
    .await;
    let head = before.iter().find(|head| head.end.seq == 9).unwrap();
    const BACK: &str = "UPDATE audit_heads SET seq = 9, hash = $1 WHERE seq = 10";
    sql!(app.store, query(BACK, head.end.hash.as_slice()).execute).unwrap();
    assert_eq!(
        kinds(&verify(&app.books(), None, &|_| {}).await.unwrap()),
        [],
        "nothing inside tells"
    );
    let report = verify(&app.books(), Some(&anchors), &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), [(10, FaultKind::Truncated)]);
}

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

async fn held(app: &App) -> Vec<(i64, FaultKind)> {
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

#[tokio::test]
async fn events_that_lost_their_chain_are_not_signed_again() {
    let server = server().await;
    let app = &server.app;
    for statement in [
        "UPDATE audit_events SET actor = 'forged' WHERE seq = 4",
        "UPDATE audit_events SET chain_id = NULL, seq = NULL, hash = NULL",
        "DELETE FROM audit_heads",
    ] {
        tamper(app, statement).await;
    }
    let (arena, mut rng) = (&app.arena, app.rng());
    let keeper = Keeper {
        store: &app.store,
        master_key: &app.master_key,
        arena,
        now: app.clock.now(),
    };
    let again = ChainKey::load(&keeper, Unlinked::Adopt, &mut rng).await;
    again.unwrap();
    let report = verify(&app.books(), None, &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), [(12, FaultKind::Unlinked)]);

    // Not even when the key was taken away too, where the data folder remembers chains.
    tamper(app, "DELETE FROM audit_keys").await;
    let again = ChainKey::load(&keeper, Unlinked::Leave, &mut rng).await;
    again.unwrap();
    let report = verify(&app.books(), None, &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), [(12, FaultKind::Unlinked)]);
}

#[tokio::test]
async fn events_from_before_there_was_a_chain_begin_it() {
    let server = server().await;
    let app = &server.app;
    for statement in [
        "UPDATE audit_events SET chain_id = NULL, seq = NULL, hash = NULL",
        "DELETE FROM audit_heads",
        "DELETE FROM audit_keys",
    ] {
        tamper(app, statement).await;
    }
    let keeper = Keeper {
        store: &app.store,
        master_key: &app.master_key,
        arena: &app.arena,
        now: app.clock.now(),
    };
    let key = ChainKey::load(&keeper, Unlinked::Adopt, &mut app.rng()).await;
    let books = Books {
        store: &app.store,
        key: &key.unwrap(),
    };
    let report = verify(&books, None, &|_| {}).await.unwrap();
    assert_eq!((kinds(&report), report.events), (vec![], 12));
}

#[tokio::test]
async fn the_database_refuses_changes_of_what_was_written() {
    let server = server().await;
    for statement in [
        "UPDATE audit_events SET actor = 'x'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_heads",
        "UPDATE audit_heads SET seq = seq - 1",
    ] {
        assert!(
            execute(&server.app, statement).await.is_err(),
            "{statement}"
        );
    }
    assert_eq!(
        kinds(&verify(&server.app.books(), None, &|_| {}).await.unwrap()),
        []
    );
}

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
        assert_eq!(
            kinds(&verify(&app.books(), None, &|_| {}).await.unwrap()),
            []
        );
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
    let report = verify(&app.books(), None, &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), []);
}

/// Something that an operator hears of.
fn wipe() -> Entry<'static> {
    Entry {
        tenant: None,
        actor: "operator",
        action: "vm.wipe",
        subject: Some("kali-1"),
        detail: json!({}),
        correlation: Uuid::nil(),
    }
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
async fn without_its_audit_a_change_does_not_happen() {
    let server = testing::server().await;
    let ada = server.user("ada").await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit_events \
        BEGIN SELECT RAISE(ABORT, 'no room'); END";
    execute(&server.app, full).await.unwrap();
    let mut change = server.app.store.begin().await.unwrap();
    let entry = Entry {
        tenant: Some(ada.tenant_id()),
        actor: "operator",
        action: "test.noted",
        subject: None,
        detail: json!({}),
        correlation: Uuid::nil(),
    };
    change
        .insert_audit_event(&server.app, &entry)
        .await
        .unwrap();
    assert!(matches!(
        change.commit().await,
        Err(StoreError::Unaudited(_))
    ));
    let head = server
        .app
        .store
        .audit_head(ChainId::of(Some(ada.tenant_id())));
    let end = head.await.unwrap().unwrap().end.seq;
    assert_eq!(
        kinds(&verify(&server.app.books(), None, &|_| {}).await.unwrap()),
        [],
        "{end}"
    );
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
    let mut report = Report::default();
    for head in &heads {
        verify_chain(&app.books(), head, (&mut report, &|_| {}))
            .await
            .unwrap();
    }
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
    let mut report = Report::default();
    for head in &heads {
        verify_chain(&app.books(), head, (&mut report, &|_| {}))
            .await
            .unwrap();
    }
    assert_eq!(report.faults.len(), 1, "nobody vouches for it");
}

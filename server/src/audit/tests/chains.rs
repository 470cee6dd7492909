use super::FaultKind::{Altered, Missing, Pruned, Truncated, Unlinked};
use super::*;

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
    for (statement, found) in TAMPERED {
        let server = server().await;
        tamper(&server.app, statement).await;
        assert_eq!(faults(&server.app).await, *found, "{statement}");
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
    let altered = [(2, Altered), (3, Altered), (4, Altered)];
    assert_eq!(kinds(&report), altered);
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
    assert_eq!(faults(app).await, [], "nothing inside tells");
    let report = verify(&app.books(), Some(&anchors), &|_| {}).await.unwrap();
    assert_eq!(kinds(&report), [(10, Truncated)]);
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
    assert_eq!(faults(&server.app).await, []);
}

/// What somebody does to the chain of the tenant, and what is found of it.
const TAMPERED: &[(&str, &[Fault])] = &[
    (
        "UPDATE audit_events SET actor = 'x' WHERE chain_id <> zeroblob(16) AND seq = 4",
        &[(4, Altered)],
    ),
    (
        "UPDATE audit_events SET at = at + 1 WHERE chain_id <> zeroblob(16) AND seq = 9",
        &[(9, Altered)],
    ),
    (
        "UPDATE audit_events SET subject = NULL WHERE chain_id <> zeroblob(16) AND seq = 1",
        &[(1, Altered)],
    ),
    (
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq = 5",
        &[(5, Missing)],
    ),
    (
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq <= 2",
        &[(1, Missing)],
    ),
    (
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16) AND seq > 6",
        &[(7, Truncated)],
    ),
    (
        "DELETE FROM audit_events WHERE chain_id <> zeroblob(16)",
        &[(1, Truncated)],
    ),
    (
        "UPDATE audit_events SET hash = NULL WHERE chain_id <> zeroblob(16) AND seq = 9",
        &[(9, Altered), (9, Altered), (1, Unlinked)],
    ),
    (
        "UPDATE audit_heads SET pruned_seq = 3, pruned_hash = x'00' WHERE chain_id <> zeroblob(16)",
        &[(3, Pruned), (4, Altered)],
    ),
    (
        "UPDATE audit_events SET tenant_id = NULL WHERE chain_id <> zeroblob(16) AND seq = 3",
        &[(3, Altered)],
    ),
    (
        "INSERT INTO audit_events SELECT randomblob(16), tenant_id, at, actor, 'forged', subject, detail, correlation_id, chain_id, 10, hash FROM audit_events WHERE seq = 9",
        &[(10, Altered), (10, Altered)],
    ),
    (
        "INSERT INTO audit_events SELECT randomblob(16), tenant_id, at, actor, 'forged', subject, detail, correlation_id, NULL, NULL, NULL FROM audit_events WHERE seq = 9",
        &[(1, Unlinked)],
    ),
];

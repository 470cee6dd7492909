use super::*;
use crate::audit::{Books, ChainKey, Unlinked};
use crate::vault::server_keys::Keeper;

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
    let again = ChainKey::load(&keeper(app), Unlinked::Adopt, &mut app.rng()).await;
    again.unwrap();
    assert_eq!(faults(app).await, [(12, FaultKind::Unlinked)]);

    // Not even when the key was taken away too, where the data folder remembers chains.
    tamper(app, "DELETE FROM audit_keys").await;
    let again = ChainKey::load(&keeper(app), Unlinked::Leave, &mut app.rng()).await;
    again.unwrap();
    assert_eq!(faults(app).await, [(12, FaultKind::Unlinked)]);
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
    let key = ChainKey::load(&keeper(app), Unlinked::Adopt, &mut app.rng()).await;
    let books = Books {
        store: &app.store,
        key: &key.unwrap(),
    };
    let report = verify(&books, None, &|_| {}).await.unwrap();
    assert_eq!((kinds(&report), report.events), (vec![], 12));
}

fn keeper(app: &App) -> Keeper<'_> {
    Keeper {
        store: &app.store,
        master_key: &app.master_key,
        arena: &app.arena,
        now: app.clock.now(),
    }
}

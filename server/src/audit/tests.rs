mod anchors;
mod chains;
mod pruning;
mod unlinked;

use serde_json::json;
use uuid::Uuid;

use super::{Anchors, Entry, FaultKind, Report, append, verify};
use crate::app::App;
use crate::store::{ChainId, StoreError, TenantId, sql};
use crate::testing::{self, Server};

const TENANT: [u8; 16] = [7; 16];

/// The number of an event, and what is wrong with it.
type Fault = (i64, FaultKind);

fn noted(tenant: Option<TenantId>, subject: Option<&str>) -> Entry<'_> {
    Entry {
        tenant,
        actor: "operator",
        action: "test.noted",
        subject,
        detail: json!({}),
        correlation: Uuid::nil(),
    }
}

/// Something that an operator hears of.
fn wipe() -> Entry<'static> {
    Entry {
        action: "vm.wipe",
        ..noted(None, Some("kali-1"))
    }
}

async fn note(app: &App, tenant: Option<TenantId>, subject: &str) {
    append(app, &noted(tenant, Some(subject))).await.unwrap();
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

/// What a verification finds in the database alone.
async fn faults(app: &App) -> Vec<Fault> {
    kinds(&verify(&app.books(), None, &|_| {}).await.unwrap())
}

fn kinds(report: &Report) -> Vec<Fault> {
    assert_eq!(report.intact, report.faults.is_empty());
    let faults = report.faults.iter();
    faults.map(|fault| (fault.seq, fault.kind)).collect()
}

#[tokio::test]
async fn without_its_audit_a_change_does_not_happen() {
    let server = testing::server().await;
    let ada = server.user("ada").await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON audit_events \
        BEGIN SELECT RAISE(ABORT, 'no room'); END";
    execute(&server.app, full).await.unwrap();
    let mut change = server.app.store.begin().await.unwrap();
    let entry = noted(Some(ada.tenant_id()), None);
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
    assert_eq!(faults(&server.app).await, [], "{end}");
}

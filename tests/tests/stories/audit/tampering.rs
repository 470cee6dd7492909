//! Whoever has the database alone cannot change the audit unnoticed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::{Engine, Person, Secret, Server, Stage, on_both_engines, until};
use serde_json::Value;

use super::{command, faults, ndjson, verify};
use crate::operator::database::{execute, try_execute};

on_both_engines!(
    whoever_has_the_database_alone_cannot_change_the_audit_unnoticed,
    where_the_chains_are_is_kept_outside_again_and_again,
    an_end_cut_off_under_a_running_server_is_told_and_stays_proven,
    a_start_does_not_vouch_for_events_that_lost_their_chain,
);

async fn whoever_has_the_database_alone_cannot_change_the_audit_unnoticed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    for name in ["one", "two", "three"] {
        ada.put(name, &Secret::fresh());
    }
    assert!(server.terminate().success());
    assert_eq!(verify(&stage, &server, &[])["intact"], true);
    let anchor = stage.path("anchor.json");
    let kept = command(&stage, &server, &["anchor"]).1;
    std::fs::write(&anchor, &kept[0]).unwrap();

    own_the_database(&stage, engine).await;
    let put = "WHERE action = 'key.put' AND subject = 'two'";
    let edit = format!("UPDATE audit_events SET actor = 'operator' {put}");
    execute(&stage, &edit).await;
    assert_eq!(faults(&verify(&stage, &server, &[])), ["altered"]);
    execute(&stage, &format!("DELETE FROM audit_events {put}")).await;
    assert_eq!(faults(&verify(&stage, &server, &[])), ["missing"]);

    execute(&stage, CUT).await;
    assert_eq!(
        faults(&verify(&stage, &server, &[])),
        ["truncated"],
        "the data folder remembers"
    );
    std::fs::remove_file(stage.data_dir().join("audit-anchor.json")).unwrap();
    assert_eq!(verify(&stage, &server, &[])["intact"], true);
    let held = verify(&stage, &server, &["--anchor", anchor.to_str().unwrap()]);
    assert_eq!(faults(&held), ["truncated"]);
}

async fn where_the_chains_are_is_kept_outside_again_and_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("KEYFERRY_AUDIT_ANCHOR_SECONDS", "1")]);
    let anchor = || {
        let kept = std::fs::read(stage.data_dir().join("audit-anchor.json")).ok()?;
        serde_json::from_slice::<Value>(&kept).ok()
    };
    let first = until("it is kept", async || anchor()).await;
    Person::register(&stage, &server, "ada");
    let chains = |kept: &Value| kept["chains"].as_array().unwrap().len();
    until("it tells of the new tenant", async || {
        (chains(&anchor()?) > chains(&first)).then_some(())
    })
    .await;
}

async fn an_end_cut_off_under_a_running_server_is_told_and_stays_proven(engine: Engine) {
    let stage = Stage::new(engine).await;
    let often = &[("KEYFERRY_AUDIT_ANCHOR_SECONDS", "1")];
    let mut server = Server::start_with(&stage, often);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("one", &Secret::fresh());
    let anchor = stage.path("anchor.json");
    let now = command(&stage, &server, &["anchor"]).1;
    std::fs::write(&anchor, &now[0]).unwrap();
    until("the end is kept outside", async || {
        let kept = std::fs::read(stage.data_dir().join("audit-anchor.json")).ok()?;
        let (kept, now): (Value, Value) = (
            serde_json::from_slice(&kept).ok()?,
            serde_json::from_str(&now[0]).unwrap(),
        );
        (kept["chains"] == now["chains"]).then_some(())
    })
    .await;

    own_the_database(&stage, engine).await;
    execute(&stage, CUT).await;
    until("the server tells of it", async || {
        server.log().contains("is not what it was").then_some(())
    })
    .await;
    assert_eq!(faults(&verify(&stage, &server, &[])), ["truncated"]);
    ada.put("two", &Secret::fresh());
    // The chain has an event of this number again, but not the same.
    assert_eq!(faults(&verify(&stage, &server, &[])), ["altered"]);
    assert!(server.terminate().success());
    let again = Server::start_with(&stage, often);
    assert_eq!(faults(&verify(&stage, &again, &[])), ["altered"]);
    let held = verify(&stage, &again, &["--anchor", anchor.to_str().unwrap()]);
    assert_eq!(faults(&held), ["altered"]);
    let events = ndjson(&command(&stage, &again, &["export"]).1);
    let told = |event: &&Value| event["action"] == "security.audit_regressed";
    assert_eq!(events.iter().filter(told).count(), 1, "it is told once");
}

async fn a_start_does_not_vouch_for_events_that_lost_their_chain(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    assert!(server.terminate().success());
    own_the_database(&stage, engine).await;
    for statement in [
        "UPDATE audit_events SET actor = 'operator'",
        "UPDATE audit_events SET chain_id = NULL, seq = NULL, hash = NULL",
    ] {
        execute(&stage, statement).await;
    }
    let on = match engine {
        Engine::Postgres => " ON audit_heads",
        Engine::Sqlite => "",
    };
    let drop_it = format!("DROP TRIGGER audit_heads_stay{on}; DELETE FROM audit_heads");
    execute(&stage, &drop_it).await;
    for _start in 0..2 {
        let mut again = Server::start(&stage);
        let found = faults(&verify(&stage, &again, &[]));
        let says = |kind: &str| found.iter().any(|found| found == kind);
        assert!(says("unlinked") && says("truncated"), "{found:?}");
        assert!(again.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_refuses_to_empty_the_audit() {
    let stage = Stage::new(Engine::Postgres).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    for statement in [
        "TRUNCATE audit_events CASCADE",
        "TRUNCATE audit_heads",
        "TRUNCATE tenants, audit_events, audit_heads CASCADE",
        "DELETE FROM audit_events",
        "UPDATE audit_events SET actor = 'anyone'",
    ] {
        let refused = try_execute(&stage, statement)
            .await
            .err()
            .unwrap()
            .to_string();
        let says = ["the audit is only added to", "by pruning alone"];
        assert!(
            says.iter().any(|says| refused.contains(says)),
            "{statement}: {refused}"
        );
    }
    assert_eq!(verify(&stage, &server, &[])["intact"], true);
}

/// Cuts the end of a tenant's chain off, so that everything in the database agrees that it was never
/// there.
const CUT: &str = "BEGIN; DELETE FROM audit_events WHERE action = 'key.put'; \
    UPDATE audit_heads SET \
    seq = (SELECT MAX(seq) FROM audit_events e WHERE e.chain_id = audit_heads.chain_id), \
    hash = (SELECT hash FROM audit_events e WHERE e.chain_id = audit_heads.chain_id \
    ORDER BY seq DESC LIMIT 1) WHERE chain_id IN \
    (SELECT chain_id FROM audit_events WHERE action = 'auth.register'); COMMIT";

/// The database refuses changes of the audit, until its owner takes that away.
pub(crate) async fn own_the_database(stage: &Stage, engine: Engine) {
    for refused in [
        "UPDATE audit_events SET actor = 'operator'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_heads",
    ] {
        assert!(try_execute(stage, refused).await.is_err(), "{refused}");
    }
    for (trigger, table) in [
        ("audit_events_stay_as_they_are", "audit_events"),
        ("audit_events_stay", "audit_events"),
        ("audit_heads_go_forward", "audit_heads"),
    ] {
        let on = match engine {
            Engine::Postgres => format!(" ON {table}"),
            Engine::Sqlite => String::new(),
        };
        let drop_it = format!("DROP TRIGGER {trigger}{on}");
        execute(stage, &drop_it).await;
    }
}

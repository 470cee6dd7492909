//! Imports that come again: from another system with the same ids, and after they were killed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{
    Agent, Engine, Operator, Secret, Server, Stage, Tool, on_both_engines, until,
};
use serde_json::{Value, json};

use super::database::{execute, query};
use super::import::{Foreign, log_in, reason};

on_both_engines!(
    two_systems_with_the_same_ids_are_told_apart,
    a_system_that_an_earlier_version_imported_is_known_again,
    an_import_that_was_killed_in_the_middle_is_simply_repeated,
);

async fn two_systems_with_the_same_ids_are_told_apart(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let wanted = Secret::fresh();
    let (staging, production) = staging_and_production(&stage, &wanted).await;
    let operator = Operator::of(&stage);
    let first = operator.ask(&staging.import(&["--called", "app"]));
    tells(&first, [2, 0, 0], [2, 0, 0]);
    // Who has another address here by now is still the same there.
    let moved = "UPDATE users SET email = 'a@b', email_key = 'a@b' WHERE username = 'ada'";
    execute(&stage, moved).await;
    let again = operator.ask(&staging.import(&["--called", "app"]));
    tells(&again, [0, 2, 0], [0, 2, 0]);

    let dry = operator.ask(&production.import(&["--called", "app", "--dry-run"]));
    let alike = operator.ask(&production.import(&["--called", "app"]));
    assert_eq!(dry, alike, "a dry run says what a real one does");
    tells(&alike, [1, 1, 1], [1, 0, 2]);
    let left_out: Vec<&str> = alike["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(reason)
        .collect();
    for said in [
        "and became ada",
        "its user was not imported",
        "is another account's",
    ] {
        assert!(
            left_out.iter().any(|one| one.contains(said)),
            "{said}: {left_out:?}"
        );
    }
    let ada = log_in(&stage, &server, "ada");
    let own = ada.ask(&["keys", "list"]);
    assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");

    let apart = operator.ask(&production.import(&["--delivery", "raw"]));
    tells(&apart, [1, 0, 2], [1, 0, 2]);
    let eve = log_in(&stage, &server, "eve");
    let agent = Agent::enrol(&stage, &eve, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "provider-0").await;
    assert_eq!(tool.next_event()["sha256"], wanted.sha256());
}

async fn staging_and_production(stage: &Stage, wanted: &Secret) -> (Foreign, Foreign) {
    let staging = Foreign::make(stage, &[("ada", values(1)), ("bob", values(1))]).await;
    let users = [
        ("eve", vec![wanted.text().to_owned()]),
        ("bob", values(1)),
        ("zoe", values(1)),
    ];
    let production = Foreign::make(stage, &users).await;
    for system in [&staging, &production] {
        system.execute(NUMBERED).await;
    }
    // A key of somebody new may have the id of another's.
    let crossed = "UPDATE api_keys SET id = CASE user_id \
        WHEN 2 THEN '00000000-0000-0000-0000-000000000003'::uuid \
        ELSE '00000000-0000-0000-0000-000000000002' END WHERE user_id > 1";
    production
        .execute("ALTER TABLE api_keys DROP CONSTRAINT api_keys_pkey")
        .await;
    production.execute(crossed).await;
    (staging, production)
}

/// Earlier versions knew a system by its database's name alone, and nothing of whom they imported.
async fn a_system_that_an_earlier_version_imported_is_known_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let _server = Server::start(&stage);
    let foreign = Foreign::make(&stage, &[("ada", values(1)), ("bob", values(1))]).await;
    let operator = Operator::of(&stage);
    let first = operator.ask(&foreign.import(&[]));
    let called = first["called"].as_str().unwrap();
    let (server, short) = called.rsplit_once('/').unwrap();
    assert!(server.contains(':') && !short.is_empty(), "{called}");
    let before = format!("UPDATE imported_rows SET source = '{short}', names_hash = NULL");
    execute(&stage, &before).await;
    let again = operator.ask(&foreign.import(&[]));
    tells(&again, [0, 2, 0], [0, 2, 0]);
    foreign
        .execute("UPDATE users SET email = 'somebody@else.example' WHERE username = 'ada'")
        .await;
    let other = operator.ask(&foreign.import(&[]));
    tells(&other, [0, 1, 1], [0, 1, 1]);
    let named = operator.ask(&foreign.import(&["--called", "new"]));
    assert_eq!(named["users"], tally(0, 0, 2), "{named}");
}

async fn an_import_that_was_killed_in_the_middle_is_simply_repeated(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let foreign = Foreign::make(&stage, &[("ada", values(210)), ("bob", values(1))]).await;
    let hang = match engine {
        Engine::Sqlite => HANG_ON_SQLITE,
        Engine::Postgres => HANG_ON_POSTGRES,
    };
    execute(&stage, hang).await;
    let operator = Operator::of(&stage);
    let mut import = operator.start("import", &foreign.import(&[]));
    const KEYS: &str = "SELECT COUNT(*) FROM provider_keys";
    until("a part is there", async || {
        (query::<i64>(&stage, KEYS).await > 0).then_some(())
    })
    .await;
    import.kill();
    let stop = match engine {
        Engine::Sqlite => "DROP TRIGGER hang",
        Engine::Postgres => STOP_ON_POSTGRES,
    };
    execute(&stage, stop).await;
    assert_eq!(query::<i64>(&stage, KEYS).await, 200, "whole parts only");

    let again = operator.ask(&foreign.import(&[]));
    tells(&again, [0, 2, 0], [11, 200, 0]);
    assert_eq!(query::<i64>(&stage, KEYS).await, 211);
    log_in(&stage, &server, "ada");
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

fn values(count: usize) -> Vec<String> {
    let value = |_| Secret::fresh().text().to_owned();
    (0..count).map(value).collect()
}

/// How many users and keys were imported, known and left out.
fn tells(report: &Value, users: [u64; 3], keys: [u64; 3]) {
    for (kind, [imported, known, left_out]) in [("users", users), ("keys", keys)] {
        assert_eq!(report[kind], tally(imported, known, left_out), "{report}");
    }
}

fn tally(imported: u64, known: u64, left_out: u64) -> Value {
    json!({ "imported": imported, "known": known, "left_out": left_out })
}

/// Keys whose ids count up, as they may in any system.
const NUMBERED: &str =
    "UPDATE api_keys SET id = CAST('00000000-0000-0000-0000-00000000000' || user_id AS UUID)";

/// Whoever stores key 206 does not come back from it.
const HANG_ON_SQLITE: &str = "CREATE VIEW for_ever AS WITH RECURSIVE n(i) AS \
    (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n; \
    CREATE TRIGGER hang BEFORE INSERT ON provider_keys \
    WHEN (SELECT COUNT(*) FROM provider_keys) >= 205 BEGIN SELECT COUNT(*) FROM for_ever; END";
const HANG_ON_POSTGRES: &str = "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    IF (SELECT COUNT(*) FROM provider_keys) >= 205 THEN PERFORM pg_sleep(600); END IF; \
    RETURN NEW; END $$; \
    CREATE TRIGGER hang BEFORE INSERT ON provider_keys FOR EACH ROW EXECUTE FUNCTION hang()";
/// The database does not notice by itself that its client is gone.
const STOP_ON_POSTGRES: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event = 'PgSleep'; \
    DROP TRIGGER hang ON provider_keys";

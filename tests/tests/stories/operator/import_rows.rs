//! What an import makes of rows that are not as usual: closed there, kept elsewhere, of other types.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{
    Agent, Engine, Operator, PASSWORD, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use serde_json::Value;

use super::import::{Foreign, log_in};

on_both_engines!(
    what_is_closed_revoked_or_over_there_does_not_come_alive_here,
    other_tables_columns_and_types_are_read_as_they_are_named,
    what_cannot_be_called_here_as_it_is_there_is_told,
);

async fn what_is_closed_revoked_or_over_there_does_not_come_alive_here(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let users = [
        ("ada", values(8)),
        ("bob", values(1)),
        ("eve", Vec::new()),
        ("zoe", values(1)),
        ("max", Vec::new()),
        ("ivy", Vec::new()),
    ];
    let foreign = Foreign::make(&stage, &users).await;
    foreign.execute(CLOSED).await;
    let operator = Operator::of(&stage);
    let dry = operator.ask(&foreign.import(&["--dry-run"]));
    let shown = operator.run(&foreign.import(&["--dry-run"]), b"").success();
    for part in [
        "closed, as there: 2",
        "left out: 10",
        "its status is \"Revoked\"",
    ] {
        assert!(shown.output.contains(part), "{part}: {}", shown.output);
    }
    let report = operator.ask(&foreign.import(&[]));
    assert_eq!(dry, report, "a dry run says what a real one does");
    assert_eq!(told(&report, "closed"), ["is_active", "is_disabled"]);
    assert_eq!(
        told(&report, "left_out"),
        [
            "deleted_at",
            "expires_at",
            "is_active",
            "is_active",
            "is_revoked",
            "its user was not imported",
            "revoked_at",
            "status",
            "status",
            "valid_until",
        ]
    );
    let ada = log_in(&stage, &server, "ada");
    let keys = ada.ask(&["keys", "list"]);
    let names: Vec<&str> = keys["items"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(names, ["provider-0", "provider-6"], "{keys}");
    let ends = &keys["items"][1]["policy"]["expires_at"];
    assert_eq!(ends, "2100-01-01T00:00:00.000000Z", "{keys}");
    assert!(keys["items"][0]["policy"]["expires_at"].is_null(), "{keys}");
    for closed in ["bob", "eve", "zoe", "max", "ivy"] {
        let person = Person::new(&stage, closed);
        let refused = person.try_to_log_in(&server, closed, PASSWORD.as_bytes());
        assert_ne!(refused.code, 0, "{closed}");
    }
}

async fn other_tables_columns_and_types_are_read_as_they_are_named(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let (first, second) = (Secret::fresh(), Secret::fresh());
    let values = vec![
        first.text().to_owned(),
        second.text().to_owned(),
        "x".to_owned(),
    ];
    let users = [("ada", values), ("bob", Vec::new()), ("eve", Vec::new())];
    let foreign = Foreign::make(&stage, &users).await;
    foreign.execute(MOVED).await;
    let named = [
        "--users-table",
        "app.people",
        "--keys-table",
        "Provider Keys",
        "--column",
        "users.username=nick",
        "--column",
        "users.password_hash=pwd",
        "--column",
        "users.active=state",
        "--column",
        "keys.token=secret",
        "--column",
        "keys.user=belongs_to",
        "--delivery",
        "raw",
    ];
    let operator = Operator::of(&stage);
    let report = operator.ask(&foreign.import(&named));
    assert_eq!(report["users"]["imported"], 2, "{report}");
    assert_eq!(report["keys"]["imported"], 2, "{report}");
    assert_eq!(told(&report, "closed"), ["state"]);
    assert_eq!(told(&report, "left_out"), ["name", "secret", "state"]);
    let ada = log_in(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    // The second is under the older Fernet key.
    for (name, value) in [("provider-0", &first), ("provider-1", &second)] {
        agent.until_holding(name, 1).await;
        let mut tool = Tool::open(&stage, &agent, name).await;
        assert_eq!(tool.next_event()["sha256"], value.sha256());
    }
}

async fn what_cannot_be_called_here_as_it_is_there_is_told(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let users = [("ada", values(2)), ("bob", Vec::new()), ("eve", Vec::new())];
    let foreign = Foreign::make(&stage, &users).await;
    foreign
        .execute(
            "ALTER TABLE users ADD full_name TEXT; \
             UPDATE users SET username = 'Ada L.' WHERE username = 'ada'; \
             UPDATE users SET email = 'nowhere', full_name = E'B\\tb' WHERE username = 'bob'; \
             UPDATE users SET username = 'e', email = '' WHERE username = 'eve'; \
             UPDATE api_keys SET name = 'my key!'",
        )
        .await;
    let report = Operator::of(&stage).ask(&foreign.import(&[]));
    assert_eq!(report["users"]["imported"], 2, "{report}");
    let changed = reasons(&report, "changed");
    for said in [
        "the username \"Ada L.\" is left away",
        "the e-mail address \"nowhere\" is left away",
        "the full name \"B\\tb\" is left away",
        "it is called my-key- here, not \"my key!\"",
        "it is called my-key--2 here",
    ] {
        assert!(
            changed.iter().any(|one| one.contains(said)),
            "{said}: {changed:?}"
        );
    }
    assert_eq!(changed.len(), 5, "{changed:?}");
    let left_out = reasons(&report, "left_out");
    assert!(left_out[0].contains("the username \"e\""), "{left_out:?}");
    let ada = Person::new(&stage, "ada");
    ada.log_in(&server, "ada@example.org");
    assert_eq!(
        ada.ask(&["keys", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

fn values(count: usize) -> Vec<String> {
    let value = |_| Secret::fresh().text().to_owned();
    (0..count).map(value).collect()
}

fn name(key: &Value) -> &str {
    key["name"].as_str().unwrap()
}

fn reasons(report: &Value, list: &str) -> Vec<String> {
    let rows = report[list].as_array().unwrap().iter();
    rows.map(|row| row["reason"].as_str().unwrap().to_owned())
        .collect()
}

/// Which columns the reasons name, or the whole reason where it names none.
fn told(report: &Value, list: &str) -> Vec<String> {
    let column = |reason: String| {
        let named = reason
            .strip_prefix("its ")
            .and_then(|rest| rest.split_once(" is "));
        named.map_or(reason.clone(), |(column, _)| column.to_owned())
    };
    let mut told: Vec<String> = reasons(report, list).into_iter().map(column).collect();
    told.sort();
    told
}

const CLOSED: &str = "ALTER TABLE users ADD status TEXT DEFAULT 'Active', ADD deleted_at TIMESTAMPTZ, \
                ADD is_disabled BOOLEAN; \
             UPDATE users SET is_active = FALSE WHERE username = 'bob'; \
             UPDATE users SET is_disabled = TRUE WHERE username = 'eve'; \
             UPDATE users SET deleted_at = now() WHERE username = 'zoe'; \
             UPDATE users SET status = 'pending' WHERE username = 'max'; \
             UPDATE users SET is_active = NULL WHERE username = 'ivy'; \
             ALTER TABLE api_keys ADD revoked_at TIMESTAMP, ADD is_revoked BOOLEAN, \
                ADD status TEXT DEFAULT 'ACTIVE', ADD expires_at TIMESTAMPTZ, ADD valid_until BIGINT; \
             UPDATE api_keys SET is_active = FALSE WHERE name = 'provider-1'; \
             UPDATE api_keys SET revoked_at = now() WHERE name = 'provider-2'; \
             UPDATE api_keys SET is_revoked = TRUE WHERE name = 'provider-3'; \
             UPDATE api_keys SET status = 'Revoked' WHERE name = 'provider-4'; \
             UPDATE api_keys SET expires_at = now() - interval '1 minute' WHERE name = 'provider-5'; \
             UPDATE api_keys SET expires_at = 'infinity', valid_until = 4102444800 \
                WHERE name = 'provider-6'; \
             UPDATE api_keys SET valid_until = 1600000000000 WHERE name = 'provider-7'";
const MOVED: &str = "CREATE SCHEMA app; \
             ALTER TABLE users SET SCHEMA app; ALTER TABLE app.users RENAME TO people; \
             ALTER TABLE app.people RENAME hashed_password TO pwd; \
             ALTER TABLE app.people RENAME username TO nick; \
             ALTER TABLE app.people DROP is_active; ALTER TABLE app.people ADD state TEXT; \
             UPDATE app.people SET state = 'True'; \
             UPDATE app.people SET state = 'INACTIVE' WHERE nick = 'bob'; \
             UPDATE app.people SET state = 'maybe' WHERE nick = 'eve'; \
             ALTER TABLE api_keys RENAME TO \"Provider Keys\"; \
             ALTER TABLE \"Provider Keys\" RENAME encrypted_key TO secret; \
             ALTER TABLE \"Provider Keys\" RENAME user_id TO belongs_to; \
             ALTER TABLE \"Provider Keys\" ALTER secret TYPE BYTEA USING convert_to(secret, 'UTF8'), \
                ALTER name TYPE BYTEA USING convert_to(name, 'UTF8'); \
             UPDATE \"Provider Keys\" SET secret = '\\xff00'::bytea WHERE name = 'provider-2'; \
             INSERT INTO \"Provider Keys\" (belongs_to, name, secret) VALUES (1, '\\xff', 'x')";

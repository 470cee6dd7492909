//! What happened is written down, cannot be changed unnoticed, and nothing happens without it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Secret, Server, Stage, on_both_engines, until,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

on_both_engines!(
    every_change_delivery_and_access_is_told,
    whoever_has_the_database_alone_cannot_change_the_audit_unnoticed,
    without_audit_nothing_is_changed_and_nothing_delivered,
    what_is_left_after_pruning_is_verified,
    a_tenant_sees_its_own_events_alone,
    where_the_chains_are_is_kept_outside_again_and_again,
    an_end_cut_off_under_a_running_server_is_told_and_stays_proven,
    a_start_does_not_vouch_for_events_that_lost_their_chain,
);

async fn every_change_delivery_and_access_is_told(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;
    let socket = agent.socket().to_str().unwrap();
    ada.run(&["read", "openai", "--socket", socket], b"")
        .success();

    let bearer = sign_in(&server, "ada").await;
    let opened = until("the access is in the audit", async || {
        let found = ask(&server, "/audit?action=key.opened", &bearer).await;
        found["items"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(
        (&opened["subject"], &opened["detail"]["count"]),
        (&json!("openai"), &json!(1))
    );

    let all = ask(&server, "/audit?limit=200", &bearer).await;
    let items = all["items"].as_array().unwrap();
    for action in [
        "auth.register",
        "key.put",
        "vm.add",
        "vm.ticket",
        "agent.enrolled",
        "key.delivered",
    ] {
        assert!(
            items.iter().any(|item| item["action"] == action),
            "{action} in {all}"
        );
    }
    assert!(!all.to_string().contains(key.text()));
    let intact = ask(&server, "/audit/verify", &bearer).await;
    assert_eq!(
        (&intact["intact"], &intact["chains"]),
        (&json!(true), &json!(1))
    );
    let (events, shown) = (intact["events"].as_u64(), items.len() as u64);
    assert!(events >= Some(shown), "{intact} {shown}");
}

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
    execute(&stage, &edit).await.unwrap();
    assert_eq!(faults(&verify(&stage, &server, &[])), ["altered"]);
    execute(&stage, &format!("DELETE FROM audit_events {put}"))
        .await
        .unwrap();
    assert_eq!(faults(&verify(&stage, &server, &[])), ["missing"]);

    execute(&stage, CUT).await.unwrap();
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

async fn without_audit_nothing_is_changed_and_nothing_delivered(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let bearer = sign_in(&server, "ada").await;

    refuse_events(&stage, engine, "").await;
    let key = json!({ "value": "sk-another", "provider": "openai" });
    let refused = server
        .ask(Method::PUT, "/keys/another", Some(&bearer), Some(key))
        .await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (503, &json!("unavailable"))
    );
    let revoked = server
        .ask(Method::POST, "/keys/openai/revoke", Some(&bearer), None)
        .await;
    assert_eq!(revoked.status.as_u16(), 503);
    let logged_in = server
        .ask(Method::POST, "/auth/login", None, Some(login("ada")))
        .await;
    assert_eq!(logged_in.status.as_u16(), 503);
    allow_events(&stage, engine).await;
    let keys = ask(&server, "/keys", &bearer).await;
    let items = keys["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["status"]), (1, &json!("active")));

    // A key may be put, but that it was delivered cannot be written down.
    refuse_events(&stage, engine, "WHEN (NEW.action = 'key.delivered')").await;
    ada.put("another", &Secret::fresh());
    until("the delivery waits", async || {
        let waits = "an agent waits for the database";
        server.log().contains(waits).then_some(())
    })
    .await;
    assert!(agent.key("another").await.is_none());
    allow_events(&stage, engine).await;
    agent.until_it_has("another").await;
    assert_eq!(ask(&server, "/audit/verify", &bearer).await["intact"], true);
}

async fn what_is_left_after_pruning_is_verified(engine: Engine) {
    // The owner of the database prunes what it likes.
    let stage = Stage::empty(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let bearer = sign_in(&server, "ada").await;
    let lines = ndjson(&command(&stage, &server, &["export"]).1);
    let sequence: Vec<_> = lines
        .iter()
        .map(|line| line["seq"].as_i64().unwrap())
        .collect();
    assert!(sequence.len() > 3 && lines.iter().all(|line| line["hash"].is_string()));

    let none = command(&stage, &server, &["prune", "--older-than-days", "1"]).1;
    assert_eq!(none[0], "0 events are forgotten.");
    let all = command(
        &stage,
        &server,
        &["--json", "prune", "--older-than-days", "0"],
    )
    .1;
    let all: Value = serde_json::from_str(&all[0]).unwrap();
    assert_eq!(all["pruned"].as_u64().unwrap(), lines.len() as u64);
    assert_eq!(verify(&stage, &server, &[])["intact"], true);
    let left = ask(&server, "/audit", &bearer).await;
    assert_eq!(left["items"][0]["action"], "audit.pruned");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

async fn a_tenant_sees_its_own_events_alone(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let bob = Person::register(&stage, &server, "bob");
    ada.put("of-ada", &Secret::fresh());
    bob.put("of-bob", &Secret::fresh());
    let bearer = sign_in(&server, "ada").await;
    let own = ask(&server, "/audit?action=key.&subject=of-ada", &bearer).await;
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    assert!(own["items"][0]["correlation_id"].is_string());
    for path in ["/audit?limit=200", "/audit?subject=of-bob"] {
        let all = ask(&server, path, &bearer).await.to_string();
        assert!(!all.contains("of-bob"), "{all}");
    }
    let first = ask(&server, "/audit?limit=1", &bearer).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = ask(&server, &format!("/audit?limit=1&cursor={cursor}"), &bearer).await;
    let seq = |page: &Value| page["items"][0]["seq"].as_i64().unwrap();
    assert_eq!(seq(&second), seq(&first) - 1);
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
    execute(&stage, CUT).await.unwrap();
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
        execute(&stage, statement).await.unwrap();
    }
    let on = match engine {
        Engine::Postgres => " ON audit_heads",
        Engine::Sqlite => "",
    };
    let drop_it = format!("DROP TRIGGER audit_heads_stay{on}; DELETE FROM audit_heads");
    execute(&stage, &drop_it).await.unwrap();
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
        let refused = execute(&stage, statement).await.err().unwrap().to_string();
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
        assert!(execute(stage, refused).await.is_err(), "{refused}");
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
        execute(stage, &drop_it).await.unwrap();
    }
}

fn login(name: &str) -> Value {
    json!({ "username": name, "password": PASSWORD })
}

async fn sign_in(server: &Server, name: &str) -> SecretString {
    let answer = server
        .ask(Method::POST, "/auth/login", None, Some(login(name)))
        .await;
    answer.body["access_token"]
        .as_str()
        .unwrap()
        .to_owned()
        .into()
}

async fn ask(server: &Server, path: &str, bearer: &SecretString) -> Value {
    let answer = server.ask(Method::GET, path, Some(bearer), None).await;
    assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
    answer.body
}

/// Runs `keyferry-server audit`: whether it was content, and the lines that it printed.
fn command(stage: &Stage, server: &Server, arguments: &[&str]) -> (bool, Vec<String>) {
    let mut program = server.run_beside(stage, "audit", |command| {
        command.arg("audit").args(arguments);
    });
    let lines = program.lines_to_the_end();
    (program.wait().success(), lines)
}

fn verify(stage: &Stage, server: &Server, arguments: &[&str]) -> Value {
    let arguments = [&["--json", "verify"], arguments].concat();
    let (content, lines) = command(stage, server, &arguments);
    let report: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(report["intact"].as_bool(), Some(content));
    report
}

/// The kinds of the faults, each once.
fn faults(report: &Value) -> Vec<String> {
    let faults = report["faults"].as_array().unwrap().iter();
    let mut kinds: Vec<_> = faults
        .map(|fault| fault["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.dedup();
    kinds
}

fn ndjson(lines: &[String]) -> Vec<Value> {
    let parsed = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    parsed.collect()
}

/// Does to the database what only its owner can.
pub(crate) async fn execute(stage: &Stage, statements: &str) -> Result<(), sqlx::Error> {
    let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()));
    if let Some(database) = stage.database() {
        let mut connection = PgConnection::connect(database.url()).await?;
        return statements.execute(&mut connection).await.map(drop);
    }
    let file = format!(
        "sqlite://{}",
        stage.data_dir().join("keyferry.db").display()
    );
    let mut connection = SqliteConnection::connect(&file).await?;
    let done = statements.execute(&mut connection).await.map(drop);
    connection.close().await?;
    done
}

/// From now on the database takes no more events, or none of these.
async fn refuse_events(stage: &Stage, engine: Engine, which: &str) {
    let statements = match engine {
        Engine::Sqlite => format!(
            "CREATE TRIGGER no_room BEFORE INSERT ON audit_events {which} \
             BEGIN SELECT RAISE(ABORT, 'no room'); END"
        ),
        Engine::Postgres => format!(
            "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'no room'; END $$; \
             CREATE TRIGGER no_room BEFORE INSERT ON audit_events \
             FOR EACH ROW {which} EXECUTE FUNCTION no_room()"
        ),
    };
    execute(stage, &statements).await.unwrap();
}

async fn allow_events(stage: &Stage, engine: Engine) {
    let on = match engine {
        Engine::Sqlite => "",
        Engine::Postgres => " ON audit_events",
    };
    execute(stage, &format!("DROP TRIGGER no_room{on}"))
        .await
        .unwrap();
}

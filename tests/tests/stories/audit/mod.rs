//! What happened is written down, cannot be changed unnoticed, and nothing happens without it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod tampering;

use hyper::Method;
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Secret, Server, Stage, on_both_engines, until,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::operator::database::execute;

pub(crate) use tampering::own_the_database;

on_both_engines!(
    every_change_delivery_and_access_is_told,
    without_audit_nothing_is_changed_and_nothing_delivered,
    what_is_left_after_pruning_is_verified,
    a_tenant_sees_its_own_events_alone,
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
    let opened = until_told(&server, "key.opened", &bearer).await;
    assert_eq!(
        (&opened["subject"], &opened["detail"]["count"]),
        (&json!("openai"), &json!(1))
    );

    let all = ask(&server, "/audit?limit=200", &bearer).await;
    let items = all["items"].as_array().unwrap();
    for action in TOLD {
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

async fn until_told(server: &Server, action: &str, bearer: &SecretString) -> Value {
    until("it is in the audit", async || {
        let found = ask(server, &format!("/audit?action={action}"), bearer).await;
        found["items"].as_array()?.first().cloned()
    })
    .await
}

const TOLD: [&str; 6] = [
    "auth.register",
    "key.put",
    "vm.add",
    "vm.ticket",
    "agent.enrolled",
    "key.delivered",
];

async fn without_audit_nothing_is_changed_and_nothing_delivered(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let bearer = sign_in(&server, "ada").await;

    refuse_events(&stage, engine, "").await;
    every_change_is_refused(&server, &bearer).await;
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

async fn every_change_is_refused(server: &Server, bearer: &SecretString) {
    let key = json!({ "value": "sk-another", "provider": "openai" });
    let refused = server
        .ask(Method::PUT, "/keys/another", Some(bearer), Some(key))
        .await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (503, &json!("unavailable"))
    );
    let revoked = server
        .ask(Method::POST, "/keys/openai/revoke", Some(bearer), None)
        .await;
    assert_eq!(revoked.status.as_u16(), 503);
    let logged_in = server
        .ask(Method::POST, "/auth/login", None, Some(login("ada")))
        .await;
    assert_eq!(logged_in.status.as_u16(), 503);
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
    execute(stage, &statements).await;
}

async fn allow_events(stage: &Stage, engine: Engine) {
    let on = match engine {
        Engine::Sqlite => "",
        Engine::Postgres => " ON audit_events",
    };
    execute(stage, &format!("DROP TRIGGER no_room{on}")).await;
}

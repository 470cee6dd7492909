//! The audit on the command line, for people who may read it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Ask;
use keyferry_tests::{
    Agent, Engine, Operator, PASSWORD, Person, Secret, Server, Stage, on_both_engines,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::audit::own_the_database;
use crate::operator::database::execute;

on_both_engines!(
    an_owner_lists_filters_and_exports_the_audit,
    an_auditor_reads_the_audit_and_a_member_does_not,
    an_owner_learns_that_the_audit_was_changed,
    an_audit_of_many_pages_is_exported_whole_and_verified,
    what_one_change_tells_of_many_keys_is_one_chain,
);

async fn what_one_change_tells_of_many_keys_is_one_chain(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let names = ["one", "two", "three", "four", "five", "six"];
    for name in names {
        ada.put(name, &Secret::fresh());
    }
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    for name in names {
        agent.until_holding(name, 1).await;
    }
    let delivered = ada.ask(&["audit", "list", "--action", "key.delivered"]);
    let mut delivered = subjects(&delivered);
    delivered.sort_unstable();
    let mut names = names;
    names.sort_unstable();
    assert_eq!(delivered, names);
    ada.run(&["audit", "verify"], b"").success();
}

async fn an_owner_lists_filters_and_exports_the_audit(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = owner_of_three_keys(&stage, &server);
    let puts = ["audit", "list", "--action", "key.put"];
    let newest = ada.ask(&[&puts[..], &["--limit", "2"]].concat());
    assert_eq!(subjects(&newest), ["three", "two"]);
    let cursor = newest["next_cursor"].as_str().unwrap();
    let rest = ada.ask(&[&puts[..], &["--cursor", cursor]].concat());
    assert_eq!(
        (subjects(&rest), &rest["next_cursor"]),
        (vec!["one"], &Value::Null)
    );
    let shown = ada.run(&["audit", "list", "--subject", "two", "--since", "1h"], b"");
    let shown = shown.success().output;
    assert!(
        shown.contains("key.put") && !shown.contains("three"),
        "{shown}"
    );
    let none = ada.run(&["audit", "list", "--until", "2020-01-01"], b"");
    assert!(none.success().output.contains("no such events"));
    let wrong = ada.run(&["audit", "list", "--since", "yesterday"], b"");
    assert_eq!(wrong.code, 2, "{}", wrong.errors);

    let (path, export) = export(&stage, &ada);
    let sequence: Vec<_> = export
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(sequence, (1..=export.len() as u64).collect::<Vec<_>>());
    let again = ada.run(&["audit", "export", "--output", &path], b"");
    assert_eq!(again.code, 1, "an export is not written over");
    let after = ada
        .run(&["audit", "export", "--after", "2"], b"")
        .success()
        .output;
    let after: Vec<Value> = ndjson(&after);
    assert_eq!(after, export[2..]);
}

async fn an_auditor_reads_the_audit_and_a_member_does_not(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let bob = Person::register(&stage, &server, "bob");
    ada.run(&["tenants", "rename", "Engines"], b"").success();
    let put = ["roles", "put", "auditor", "--permission", "audit:read"];
    ada.run(&put, b"").success();
    let invite = ["invitations", "add", "bob@example.org", "--role", "auditor"];
    ada.run(&invite, b"").success();
    let token = stage.mailed_token("kfi_").await;
    let accept = ["invitations", "accept"];
    bob.run(&accept, token.as_bytes()).success();
    bob.run(&["tenants", "enter", "Engines"], b"").success();
    let seen = bob.ask(&["audit", "list", "--action", "tenant."]);
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    assert_eq!(bob.ask(&["audit", "verify"])["intact"], true);
    assert_eq!(bob.run(&["keys", "list"], b"").code, 1);

    ada.run(&["members", "set-role", "bob", "member"], b"")
        .success();
    for command in ["list", "export", "verify"] {
        let refused = bob.run(&["audit", command], b"");
        assert_eq!(
            (refused.code, refused.output.as_str()),
            (1, ""),
            "{command}"
        );
        assert!(
            refused.errors.contains("does not permit"),
            "{}",
            refused.errors
        );
    }
}

async fn an_owner_learns_that_the_audit_was_changed(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = owner_of_three_keys(&stage, &server);
    let (path, export) = export(&stage, &ada);
    let with_export = ["audit", "verify", "--export", &path];
    let intact = ada.ask(&with_export);
    assert_eq!(intact["intact"], true);
    assert_eq!(intact["export"]["same"], export.len());

    // A server that says something else than it did is given away by what she kept.
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, kept.replacen("\"two\"", "\"2\"", 1)).unwrap();
    let differs = ada.run(&[&["--json"], &with_export[..]].concat(), b"");
    assert_eq!(differs.code, 1);
    let told: Value = serde_json::from_str(&differs.output).unwrap();
    let two = export
        .iter()
        .find(|event| event["subject"] == "two")
        .unwrap();
    assert_eq!(told["export"]["differs_at"], two["seq"]);
    std::fs::write(&path, "{}\n").unwrap();
    let useless = ada.run(&with_export, b"");
    assert!(
        useless.errors.contains("no event of an export"),
        "{}",
        useless.errors
    );

    own_the_database(&stage, engine).await;
    let edit = "UPDATE audit_events SET actor = 'operator' WHERE subject = 'two'";
    execute(&stage, edit).await;
    let changed = ada.run(&["audit", "verify"], b"");
    assert_eq!(changed.code, 1);
    assert!(
        changed.output.contains("is not what was written"),
        "{}",
        changed.output
    );
    assert!(
        changed.errors.contains("tell its operator"),
        "{}",
        changed.errors
    );
}

async fn an_audit_of_many_pages_is_exported_whole_and_verified(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let login = json!({ "username": "ada", "password": PASSWORD });
    let path = "/auth/login";
    let session = server.ask(Method::POST, path, None, Some(login)).await.body;
    let session: SecretString = session["session_token"].as_str().unwrap().into();
    let writers = (0..4).map(|_| rename_often(&server, &session, 2_500 / 4));
    futures_util::future::join_all(writers).await;

    let (path, events) = export(&stage, &ada);
    assert!(events.len() > 2_500, "{}", events.len());
    let sequence = events.iter().map(|event| event["seq"].as_u64().unwrap());
    assert!(sequence.eq(1..=events.len() as u64));
    let told = ada.ask(&["audit", "verify", "--export", &path]);
    assert_eq!(
        (&told["intact"], &told["export"]["same"]),
        (&true.into(), &events.len().into())
    );
    let rest = ada.run(&["audit", "export", "--after", "2400"], b"");
    assert_eq!(ndjson(&rest.success().output), events[2_400..]);
    let host = Operator::of(&stage).run(&["audit", "verify"], b"");
    host.success();
}

/// Renames the tenant so many times over one line, each of which is an event.
async fn rename_often(server: &Server, session: &SecretString, times: usize) {
    let mut line = server.rest().open().await.unwrap();
    for time in 0..times {
        let ask = Ask::new(Method::PATCH, "/tenants/current").signed_in(session);
        let ask = ask.json(
            json!({ "name": format!("Engines {time}") })
                .to_string()
                .into(),
        );
        assert_eq!(line.exchange(ask).await.unwrap().status, 200);
    }
}

fn owner_of_three_keys<'a>(stage: &'a Stage, server: &Server) -> Person<'a> {
    let ada = Person::register(stage, server, "ada");
    for name in ["one", "two", "three"] {
        ada.put(name, &Secret::fresh());
    }
    ada
}

/// The whole audit in a file: where, and its events.
fn export(stage: &Stage, person: &Person<'_>) -> (String, Vec<Value>) {
    let path = stage.path("audit.ndjson").display().to_string();
    let told = person.ask(&["audit", "export", "--output", &path]);
    let events = ndjson(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(told["exported"], events.len());
    (path, events)
}

fn ndjson(text: &str) -> Vec<Value> {
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    events.collect()
}

fn subjects(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|event| event["subject"].as_str().unwrap())
        .collect()
}

//! What a database that was brought back must not revive.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use hyper::Method;
use keyferry_tests::{
    Agent, Engine, Operator, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use secrecy::SecretString;
use serde_json::Value;

use super::{Elsewhere, back_up, held_back};
use crate::operator::database::{execute, query, query_at};

on_both_engines!(
    a_restored_backup_revives_nothing_and_keys_wait_for_a_word,
    what_ended_after_the_backup_stays_dead_until_the_word,
    a_copied_back_database_is_noticed_at_the_next_start,
);

async fn a_restored_backup_revives_nothing_and_keys_wait_for_a_word(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("revoked-later", &Secret::fresh());
    let kept = Secret::fresh();
    ada.put("kept", &kept);
    let mut agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("kept", 1).await;
    ada.ticket_for_new_vm("kali-2");
    add_recovery_code(&stage, engine).await;
    let file = stage.path("backup");
    let operator = Operator::of(&stage);
    let told = operator.ask(&["backup", file.to_str().unwrap(), "--seal"]);
    assert!(told["rows"].as_u64().unwrap() > 10, "{told}");
    let token = token(&ada);
    assert_eq!(status(&server, "/auth/me", &token).await, 200);
    let leaked = published(&server).await;
    ada.revoke("revoked-later");
    operator.run(&["rotate", "jwt"], b"").success();
    assert!(server.terminate().success());

    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    there.restore_and_tell(&file).await;
    let server = there.serve(&stage);
    let voided = status(&server, "/auth/me", &token).await;
    assert_eq!(voided, 401, "the session is void");
    there.has_new_keys(&server, &leaked).await;
    ada.log_in(&server, "ada");
    there.has_no_way_in().await;
    agent.kill();

    assert_eq!(
        held_back(&there.operator),
        ["key kept", "key revoked-later", "vm kali-1", "vm kali-2"]
    );
    the_word_gives_back(&stage, (&there, &ada), &kept).await;
}

/// What is not revoked before it is kept by it.
async fn the_word_gives_back(
    stage: &Stage,
    (there, ada): (&Elsewhere<'_>, &Person<'_>),
    kept: &Secret,
) {
    let refused = ada.run(&["vms", "ticket", "kali-1"], b"");
    assert!(refused.errors.contains("cut off"), "{}", refused.errors);
    ada.revoke("revoked-later");
    let confirm = ["confirm", "--account", "ada"];
    there.operator.run(&confirm, b"").success();
    assert_eq!(there.events("operator.restore_confirmed").await, 1);
    let agent = Agent::start(stage, "kali-3", ada.ticket("kali-1").as_bytes());
    agent.until_holding("kept", 1).await;
    let mut tool = Tool::open(stage, &agent, "kept").await;
    assert_eq!(tool.next_event()["sha256"], kept.sha256());
    assert!(agent.key("revoked-later").await.is_none());
}

async fn what_ended_after_the_backup_stays_dead_until_the_word(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("rotated", &Secret::fresh());
    let early = api_key(&ada, "early");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("rotated", 1).await;
    let file = back_up(&stage, "backup");
    let late = api_key(&ada, "late");
    assert_eq!(lists(&server, [&early, &late]).await, [200, 200]);
    ada.rotate("rotated", &Secret::fresh());
    ada.run(&["vms", "wipe", "kali-1"], b"").success();
    assert!(server.terminate().success());

    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    there.restore(&file).success();
    let server = there.serve(&stage);
    assert_eq!(lists(&server, [&early, &late]).await, [401, 401]);
    ada.log_in(&server, "ada");
    assert_eq!(
        held_back(&there.operator),
        ["api key early", "key rotated", "vm kali-1"]
    );
    let again = Agent::enrol(&stage, &ada, "kali-2").await;
    again.until_healthy().await;
    assert!(again.key("rotated").await.is_none(), "its version waits");
    ada.rotate("rotated", &Secret::fresh());
    again.until_holding("rotated", 2).await;
    there.operator.run(&["confirm", "--all"], b"").success();
    assert_eq!(lists(&server, [&early, &late]).await, [200, 401]);
}

async fn a_copied_back_database_is_noticed_at_the_next_start(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    assert!(server.terminate().success());
    // As if the database were that of an earlier day: all that the server compares is this.
    execute(
        &stage,
        "UPDATE settings SET value = '1' WHERE name LIKE 'epoch%'",
    )
    .await;
    server.start_again(&stage);
    assert!(server.log().contains("brought back from an earlier time"));
    assert_ne!(ada.run(&["keys", "list"], b"").code, 0);
    ada.log_in(&server, "ada");
    const HELD: &str = "SELECT COUNT(*) FROM key_versions WHERE held_back_at IS NOT NULL";
    assert_eq!(query::<i64>(&stage, HELD).await, 1);
    ada.rotate("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 2).await;

    server.crash_and_restart(&stage);
    agent.until_healthy().await;
    assert_eq!(
        ada.run(&["keys", "list"], b"").code,
        0,
        "a crash is no restore"
    );
}

impl Elsewhere<'_> {
    async fn restore_and_tell(&self, file: &Path) {
        let restored = self.restore(file).success();
        assert!(restored.output.contains("passwords"), "{}", restored.output);
        for action in ["operator.backup", "operator.restored", "server.restored"] {
            assert_eq!(self.events(action).await, 1, "{action}");
        }
    }

    /// Who has a copy of the backup knows none of the server's own.
    async fn has_new_keys(&self, server: &Server, leaked: &[String]) {
        let own = published(server).await;
        assert!(own.len() == 1 && own != leaked, "{own:?} {leaked:?}");
        const PAIRS: &str = "SELECT COUNT(*) FROM server_keys WHERE status = ";
        for (status, pairs) in [("'retired' AND length(secret) = 0", 2), ("'current'", 2)] {
            let found: i64 = query_at(&self.url, &format!("{PAIRS}{status}")).await;
            assert_eq!(found, pairs, "{status}");
        }
    }

    async fn has_no_way_in(&self) {
        for table in ["tickets", "reattach_credentials", "recovery_codes"] {
            let rows = format!("SELECT COUNT(*) FROM {table}");
            let rows: i64 = query_at(&self.url, &rows).await;
            assert_eq!(rows, 0, "{table}");
        }
    }
}

fn api_key(person: &Person<'_>, name: &str) -> SecretString {
    let add = ["api-keys", "add", name, "--permission", "vault:read"];
    person.run(&add, b"").success().output.trim().into()
}

/// What the answers are to two programs that list keys.
async fn lists(server: &Server, [one, other]: [&SecretString; 2]) -> [u16; 2] {
    let one = status(server, "/keys", one).await;
    [one, status(server, "/keys", other).await]
}

async fn add_recovery_code(stage: &Stage, engine: Engine) {
    let hash = match engine {
        Engine::Sqlite => "x'00'",
        Engine::Postgres => "'\\x00'::bytea",
    };
    let code = format!(
        "INSERT INTO recovery_codes (id, user_id, code_hash, created_at) \
         SELECT id, id, {hash}, 0 FROM users"
    );
    execute(stage, &code).await;
}

/// The session token of somebody who is signed in.
fn token(person: &Person<'_>) -> SecretString {
    let session = std::fs::read(person.session_file()).unwrap();
    let session: Value = serde_json::from_slice(&session).unwrap();
    session["access_token"].as_str().unwrap().into()
}

/// The ids of the keys that sign tokens.
async fn published(server: &Server) -> Vec<String> {
    let jwks = "/.well-known/jwks.json";
    let answer = server.ask(Method::GET, jwks, None, None).await;
    let keys = answer.body["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

async fn status(server: &Server, path: &str, token: &SecretString) -> u16 {
    let answer = server.ask(Method::GET, path, Some(token), None).await;
    answer.status.as_u16()
}

//! Backups, and what a database that was brought back must not revive.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use hyper::Method;
use keyferry_tests::{
    Agent, Database, Engine, Operator, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use secrecy::SecretString;
use serde_json::Value;

use super::database::{execute, execute_at, query, query_at};

on_both_engines!(
    a_restored_backup_revives_nothing_and_keys_wait_for_a_word,
    a_backup_moves_the_installation_to_the_other_engine,
    a_copied_back_database_is_noticed_at_the_next_start,
    a_backup_that_is_damaged_or_not_ours_is_refused,
    a_restore_that_was_cut_off_is_simply_repeated,
    what_writes_one_file_at_once_or_was_killed_leaves_one_whole_file,
    tables_of_others_are_no_part_of_a_backup,
    what_ended_after_the_backup_stays_dead_until_the_word,
);

/// Another host: an empty database and a data folder with nothing but the master key.
struct Elsewhere<'a> {
    operator: Operator<'a>,
    data_dir: PathBuf,
    settings: Vec<(String, String)>,
}

impl<'a> Elsewhere<'a> {
    async fn new(stage: &'a Stage, engine: Engine, name: &str) -> Self {
        let data_dir = stage.path(name);
        std::fs::create_dir(&data_dir).unwrap();
        std::fs::copy(
            stage.data_dir().join("master.key"),
            data_dir.join("master.key"),
        )
        .unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", data_dir.join("keyferry.db").display()),
            Engine::Postgres => Database::create_empty().await.url().to_owned(),
        };
        let operator = Operator::of(stage)
            .at(data_dir.clone())
            .with("DATABASE_URL", &url);
        Self {
            operator,
            data_dir,
            settings: vec![("DATABASE_URL".to_owned(), url)],
        }
    }

    /// How many such events its audit has.
    async fn events(&self, action: &str) -> i64 {
        let told = format!("SELECT COUNT(*) FROM audit_events WHERE action = '{action}'");
        query_at(&self.settings[0].1, &told).await
    }

    fn serve(&self, stage: &Stage) -> Server {
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Server::start_elsewhere(stage, &self.data_dir, &settings)
    }

    async fn has_no_way_in(&self) {
        for table in ["tickets", "reattach_credentials", "recovery_codes"] {
            let rows = format!("SELECT COUNT(*) FROM {table}");
            let rows: i64 = query_at(&self.settings[0].1, &rows).await;
            assert_eq!(rows, 0, "{table}");
        }
    }
}

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
    assert_eq!(whoami(&server, &token).await, 200);
    let leaked = published(&server).await;
    ada.revoke("revoked-later");
    operator.run(&["rotate", "jwt"], b"").success();
    assert!(server.terminate().success());

    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    let restored = there
        .operator
        .run(&["restore", file.to_str().unwrap()], b"")
        .success();
    assert!(restored.output.contains("passwords"), "{}", restored.output);
    for action in ["operator.backup", "operator.restored", "server.restored"] {
        assert_eq!(there.events(action).await, 1, "{action}");
    }
    let server = there.serve(&stage);
    assert_eq!(whoami(&server, &token).await, 401, "the session is void");
    let own = published(&server).await;
    assert!(own.len() == 1 && own != leaked, "{own:?} {leaked:?}");
    const PAIRS: &str = "SELECT COUNT(*) FROM server_keys WHERE status = ";
    for (status, pairs) in [("'retired' AND length(secret) = 0", 2), ("'current'", 2)] {
        let found: i64 = query_at(&there.settings[0].1, &format!("{PAIRS}{status}")).await;
        assert_eq!(found, pairs, "{status}");
    }
    ada.log_in(&server, "ada");
    there.has_no_way_in().await;
    agent.kill();

    assert_eq!(
        held_back(&there.operator),
        ["key kept", "key revoked-later", "vm kali-1", "vm kali-2"]
    );
    let refused = ada.run(&["vms", "ticket", "kali-1"], b"");
    assert!(refused.errors.contains("cut off"), "{}", refused.errors);
    ada.revoke("revoked-later");
    there
        .operator
        .run(&["confirm", "--account", "ada"], b"")
        .success();
    assert_eq!(there.events("operator.restore_confirmed").await, 1);
    let agent = Agent::start(&stage, "kali-3", ada.ticket("kali-1").as_bytes());
    agent.until_holding("kept", 1).await;
    let mut tool = Tool::open(&stage, &agent, "kept").await;
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
    let file = stage.path("backup");
    let operator = Operator::of(&stage);
    operator
        .run(&["backup", file.to_str().unwrap()], b"")
        .success();
    let late = api_key(&ada, "late");
    assert_eq!(
        (lists(&server, &early).await, lists(&server, &late).await),
        (200, 200)
    );
    ada.rotate("rotated", &Secret::fresh());
    ada.run(&["vms", "wipe", "kali-1"], b"").success();
    assert!(server.terminate().success());

    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    there
        .operator
        .run(&["restore", file.to_str().unwrap()], b"")
        .success();
    let server = there.serve(&stage);
    assert_eq!(
        (lists(&server, &early).await, lists(&server, &late).await),
        (401, 401)
    );
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
    assert_eq!(
        (lists(&server, &early).await, lists(&server, &late).await),
        (200, 401)
    );
}

fn api_key(person: &Person<'_>, name: &str) -> SecretString {
    let add = ["api-keys", "add", name, "--permission", "vault:read"];
    person.run(&add, b"").success().output.trim().into()
}

/// What the answer is to a program that lists keys.
async fn lists(server: &Server, api_key: &SecretString) -> u16 {
    let answer = server.ask(Method::GET, "/keys", Some(api_key), None).await;
    answer.status.as_u16()
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

/// What waits for the operator.
fn held_back(operator: &Operator<'_>) -> Vec<String> {
    let waiting = operator.ask(&["confirm"]);
    let rows = waiting["held_back"].as_array().unwrap().iter();
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    rows.map(|row| text(row, "kind") + " " + &text(row, "name"))
        .collect()
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

async fn whoami(server: &Server, token: &SecretString) -> u16 {
    let answer = server.ask(Method::GET, "/auth/me", Some(token), None).await;
    answer.status.as_u16()
}

async fn a_backup_moves_the_installation_to_the_other_engine(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let (early, last) = (stage.path("early"), stage.path("last"));
    let operator = Operator::of(&stage);
    operator
        .run(&["backup", early.to_str().unwrap()], b"")
        .success();
    assert!(server.terminate().success());
    operator
        .run(&["backup", last.to_str().unwrap()], b"")
        .success();

    let other = match engine {
        Engine::Sqlite => Engine::Postgres,
        Engine::Postgres => Engine::Sqlite,
    };
    let there = Elsewhere::new(&stage, other, "elsewhere").await;
    let restore = |file: &Path| {
        let restore = ["restore", file.to_str().unwrap(), "--up-to-date"];
        there.operator.run(&restore, b"")
    };
    let epoch = there.data_dir.join("epoch");
    for other in [
        None,
        Some("0195a000-0000-7000-8000-000000000000 9000000000000000"),
    ] {
        other.inspect(|other| std::fs::write(&epoch, other).unwrap());
        let unknown = restore(&last);
        let said = "data folder of the server that was stopped last";
        assert!(unknown.errors.contains(said), "{}", unknown.errors);
    }
    std::fs::copy(stage.data_dir().join("epoch"), &epoch).unwrap();
    let stale = restore(&early);
    assert!(stale.errors.contains("--up-to-date"), "{}", stale.errors);
    restore(&last).success();
    assert_eq!(there.operator.ask(&["verify"])["ok"], true);
    let again = there
        .operator
        .run(&["restore", last.to_str().unwrap()], b"");
    assert!(again.errors.contains("not empty"), "{}", again.errors);

    let server = there.serve(&stage);
    let ada = Person::new(&stage, "ada-there");
    ada.log_in(&server, "ada");
    let agent = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    assert!(held_back(&there.operator).is_empty());
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

async fn a_backup_that_is_damaged_or_not_ours_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    for (name, more) in [("plain", &[][..]), ("sealed", &["--seal"])] {
        let file = stage.path(name);
        let path = file.to_str().unwrap();
        operator
            .run(&[&["backup", path][..], more].concat(), b"")
            .success();
        let again = operator.run(&["backup", path], b"");
        assert!(
            again.errors.contains("is there already"),
            "{}",
            again.errors
        );
        let whole = std::fs::read(&file).unwrap();
        // Long enough to be in no ciphertext by chance.
        let registered = b"auth.register".as_slice();
        let readable = whole.windows(13).any(|window| window == registered);
        assert_eq!(readable, name == "plain");
        let there = Elsewhere::new(&stage, engine, &format!("for-{name}")).await;
        let refused = |bytes: &[u8], said: &str| {
            std::fs::write(&file, bytes).unwrap();
            let refused = there.operator.run(&["restore", path], b"");
            assert!(refused.errors.contains(said), "{said}: {}", refused.errors);
        };
        refused(&whole[..whole.len() - 1], "damaged");
        let mut flipped = whole.clone();
        flipped[whole.len() - 40] ^= 1;
        refused(&flipped, "damaged");
        refused(&[b'x'; 100], "not a Keyferry backup");
        std::fs::write(there.data_dir.join("master.key"), "A".repeat(43)).unwrap();
        refused(&whole, "not the master key");
        std::fs::remove_dir_all(&there.data_dir).unwrap();
        refused(&whole, "not the master key");
        assert!(!there.data_dir.exists(), "nothing was made");
    }
}

async fn what_writes_one_file_at_once_or_was_killed_leaves_one_whole_file(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    let (file, events) = (stage.path("backup"), stage.path("events"));
    let (file, events) = (file.to_str().unwrap(), events.to_str().unwrap());
    for command in [
        &["backup", file][..],
        &["audit", "export", "--output", events],
    ] {
        let file = Path::new(command.last().unwrap());
        let draft = file.with_added_extension("part");
        // One that is under way holds its draft, and one that was killed leaves it.
        let other = std::fs::File::create(&draft).unwrap();
        other.set_len(1 << 20).unwrap();
        other.lock().unwrap();
        let refused = operator.run(command, b"");
        assert!(refused.errors.contains("is under way"), "{refused:?}");
        assert!(!file.exists());
        drop(other);
        operator.run(command, b"").success();
        assert!(!draft.exists());
    }
    let whole = std::fs::read_to_string(events).unwrap();
    let parsed = whole.lines().map(serde_json::from_str::<Value>);
    assert!(!parsed.collect::<Result<Vec<_>, _>>().unwrap().is_empty());
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    there.operator.run(&["restore", file], b"").success();
}

async fn tables_of_others_are_no_part_of_a_backup(engine: Engine) {
    let stage = Stage::empty(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    execute(&stage, "CREATE TABLE prices (price NUMERIC)").await;
    execute(&stage, "INSERT INTO prices VALUES (1.5)").await;
    let file = stage.path("backup");
    let file = file.to_str().unwrap();
    Operator::of(&stage).run(&["backup", file], b"").success();
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    if engine == Engine::Sqlite {
        std::fs::File::create(there.data_dir.join("keyferry.db")).unwrap();
    }
    execute_at(&there.settings[0].1, "CREATE TABLE prices (price NUMERIC)").await;
    execute_at(&there.settings[0].1, "INSERT INTO prices VALUES (2.5)").await;
    there.operator.run(&["restore", file], b"").success();
    let price = "SELECT CAST(price AS TEXT) FROM prices";
    let price: String = query_at(&there.settings[0].1, price).await;
    assert_eq!(price, "2.5");
}

async fn a_restore_that_was_cut_off_is_simply_repeated(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let file = stage.path("backup");
    let file = file.to_str().unwrap();
    Operator::of(&stage).run(&["backup", file], b"").success();
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    // What it leaves are the tables, and for those of SQLite a file.
    if engine == Engine::Sqlite {
        std::fs::File::create(there.data_dir.join("keyferry.db")).unwrap();
    }
    there.operator.run(&["migrate"], b"").success();
    execute_at(&there.settings[0].1, "DELETE FROM settings").await;
    for command in [&["stats"][..], &["rotate", "jwt"], &["backup", "other"]] {
        let refused = there.operator.run(command, b"");
        assert!(refused.errors.contains("never been used"), "{command:?}");
    }
    there.operator.run(&["restore", file], b"").success();
    assert_eq!(there.events("operator.restored").await, 1);
    let again = there.operator.run(&["restore", file], b"");
    assert!(again.errors.contains("not empty"), "{}", again.errors);
}

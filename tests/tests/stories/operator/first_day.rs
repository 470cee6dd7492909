//! The first start, the commands of every day, and a disk that fills up.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::unix::fs::PermissionsExt;

use keyferry_tests::{Engine, Operator, PASSWORD, Person, Secret, Server, Stage, on_both_engines};
use sqlx::{Connection, PgConnection};

use super::database::query;

on_both_engines!(
    init_makes_secrets_an_admin_and_tries_it_all_and_keeps_what_is_there,
    stats_and_sweep_say_what_they_see_and_do,
    secrets_that_a_file_leaves_empty_are_filled_and_nothing_else_of_it,
    accounts_are_looked_after_on_the_command_line,
);

async fn init_makes_secrets_an_admin_and_tries_it_all_and_keeps_what_is_there(engine: Engine) {
    let stage = Stage::new(engine).await;
    let operator = Operator::of(&stage);
    let file = stage.path(".env");
    let path = file.to_str().unwrap();
    let only = operator.ask(&["init", "--secrets-file", path, "--secrets-only"]);
    assert_eq!(only["secrets"], "written");
    assert!(!stage.data_dir().exists(), "nothing else is made");
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for name in [
        "ENCRYPTION_KEY=",
        "JWT_SECRET_KEY=",
        "POSTGRES_PASSWORD=",
        "REDIS_PASSWORD=",
    ] {
        assert!(written.contains(name), "{name}");
    }

    let init = ["init", "--username", "root", "--password-stdin", "--json"];
    let init = [&init[..], &["--secrets-file", path]].concat();
    let weak = operator.run(&init, b"password");
    assert!(
        weak.code == 1 && weak.errors.contains("password"),
        "{}",
        weak.errors
    );
    let first = operator.run(&init, PASSWORD.as_bytes()).success().output;
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(
        (&first["secrets"], &first["admin"], &first["verified"]),
        (&"kept".into(), &"created".into(), &true.into())
    );
    let again = operator.run(&init, PASSWORD.as_bytes()).success().output;
    assert!(again.contains(r#""admin":"kept""#), "{again}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert!(
        !stage.data_dir().join("master.key").exists(),
        "the key is in the file"
    );

    let key = written
        .lines()
        .find_map(|line| line.strip_prefix("ENCRYPTION_KEY="))
        .unwrap();
    let server = Server::start_with(&stage, &[("ENCRYPTION_KEY", key)]);
    Person::new(&stage, "root").log_in(&server, "root");
    assert!(
        operator
            .run(&["admin", "create", "--help"], b"")
            .output
            .contains("--username")
    );
}

async fn secrets_that_a_file_leaves_empty_are_filled_and_nothing_else_of_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let operator = Operator::of(&stage);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../.env.example");
    let example = std::fs::read_to_string(example).unwrap();
    let file = stage.path("filled");
    std::fs::write(&file, &example).unwrap();
    let left_by_a_killed_one = stage.path("filled.part");
    std::fs::write(&left_by_a_killed_one, "ENCRYPTION_KEY=half").unwrap();
    let init = ["init", "--secrets-file", file.to_str().unwrap()];
    let init = [&init[..], &["--secrets-only"]].concat();
    assert_eq!(operator.ask(&init)["secrets"], "filled");
    let filled = std::fs::read_to_string(&file).unwrap();
    assert!(!left_by_a_killed_one.exists());
    let mut changed = Vec::new();
    for (before, after) in example.lines().zip(filled.lines()) {
        if before != after {
            assert!(after.len() > before.len() + 40, "{before}");
            changed.push(before);
        }
    }
    let empty = ["ENCRYPTION_KEY=", "POSTGRES_PASSWORD=", "REDIS_PASSWORD="];
    assert_eq!(changed, empty);
    assert_eq!(example.lines().count(), filled.lines().count());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(operator.ask(&init)["secrets"], "kept");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), filled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_says_how_to_start_with_what_it_was_told() {
    let stage = Stage::new(Engine::Sqlite).await;
    let operator = Operator::of(&stage);
    let [folder, file] = ["data", "s.toml"].map(|name| stage.path(name).display().to_string());
    let init = ["init", "--email", "root@example.org", "--data-dir", &folder];
    let asks = operator.run(&init, b"");
    assert_eq!(asks.code, 1);
    assert!(asks.errors.contains("--password-stdin"), "{}", asks.errors);

    let more = ["--secrets-file", &file, "--password-stdin"];
    let made = operator.run(&[&init[..], &more].concat(), PASSWORD.as_bytes());
    let told = made.success().output;
    let serve = format!("`keyferry-server serve --data-dir {folder} --config {file}`");
    assert!(told.contains(&serve), "{told}");
    assert!(told.contains("root@example.org can sign in"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_setting_of_the_environment_stops_the_start() {
    let stage = Stage::new(Engine::Sqlite).await;
    let misspelt = Operator::of(&stage).with("KEYFERRY_LISTN", "127.0.0.1:1");
    let refused = misspelt.run(&["serve"], b"");
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("KEYFERRY_LISTN"),
        "{}",
        refused.errors
    );
    let refused = misspelt.run(&["stats", "--json"], b"").errors;
    let told: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(
        (&told["code"], &told["exit_code"]),
        (&"failed".into(), &1.into())
    );
    assert!(!stage.data_dir().exists());
}

async fn stats_and_sweep_say_what_they_see_and_do(engine: Engine) {
    let stage = Stage::new(engine).await;
    let operator = Operator::of(&stage);
    let nothing = operator.run(&["stats"], b"");
    assert_eq!(nothing.code, 1);
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let stats = operator.ask(&["stats"]);
    assert_eq!(
        (&stats["counts"]["users"], &stats["counts"]["keys"]),
        (&1.into(), &1.into())
    );
    let swept = operator.ask(&["sweep"]);
    assert_eq!(swept["sessions_and_tokens"], 0);
    assert_eq!(
        ada.ask(&["keys", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

async fn accounts_are_looked_after_on_the_command_line(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let operator = Operator::of(&stage);
    operator.run(&["admin", "disable", "ada"], b"").success();
    assert_ne!(ada.run(&["keys", "list"], b"").code, 0);
    operator.run(&["admin", "enable", "ada"], b"").success();
    operator.run(&["admin", "unlock", "ada"], b"").success();
    let add = [
        "admin",
        "add-user",
        "--email",
        "bob@example.org",
        "--password-stdin",
    ];
    operator.run(&add, PASSWORD.as_bytes()).success();
    let mail = stage.mailed_token("https://").await;
    assert_eq!(mail, "https://127.0.0.1:8443");
    let reset = ["admin", "reset-password", "ada", "--password-stdin"];
    operator.run(&reset, b"Another-Harbour-9-Lantern").success();
    let wrong = ada.run(
        &["login", "--username", "ada", "--password-stdin"],
        PASSWORD.as_bytes(),
    );
    assert_ne!(wrong.code, 0);
    let create = ["admin", "create", "--username", "eve", "--password-stdin"];
    operator.run(&create, PASSWORD.as_bytes()).success();
    Person::new(&stage, "eve").log_in(&server, "eve");
    let nobody = operator.run(&["admin", "unlock", "nobody"], b"");
    assert!(
        nobody.errors.contains("no such account"),
        "{}",
        nobody.errors
    );
}

/// PostgreSQL's own functions and views, for people who look after the database.
#[tokio::test]
async fn postgresql_has_functions_and_views_for_its_keepers() {
    let stage = Stage::new(Engine::Postgres).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["logout"], b"").success();
    let eve = Person::register(&stage, &server, "eve");
    eve.run(&["keys", "list"], b"").success();
    let count = async |sql: &str| query::<i64>(&stage, sql).await;
    assert_eq!(
        count("SELECT total_users FROM get_auth_statistics()").await,
        2
    );
    assert_eq!(
        count("SELECT active_sessions FROM get_auth_statistics()").await,
        1
    );
    assert_eq!(
        count("SELECT logins_24h FROM get_auth_statistics()").await,
        2
    );
    assert_eq!(
        count("SELECT COUNT(*) FROM active_auth_sessions WHERE username = 'eve'").await,
        1
    );
    assert!(count("SELECT COUNT(*) FROM recent_auth_events").await >= 3);

    assert_eq!(
        count("SELECT cleanup_expired_auth_sessions()").await,
        0,
        "known for a day more"
    );
    let mut connection = PgConnection::connect(stage.database().unwrap().url())
        .await
        .unwrap();
    for change in [
        "UPDATE sessions SET ended_at = ended_at - 90000000000 WHERE ended_at IS NOT NULL",
        "UPDATE refresh_tokens SET expires_at = 0 WHERE session_id IN \
         (SELECT id FROM active_auth_sessions)",
    ] {
        sqlx::query(change).execute(&mut connection).await.unwrap();
    }
    assert_eq!(count("SELECT cleanup_expired_auth_sessions()").await, 1);
    assert_eq!(count("SELECT cleanup_expired_auth_tokens()").await, 1);
    eve.run(&["keys", "list"], b"").success();
}

//! The schema: brought up to date by hand or by itself, and never backwards.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use keyferry_migrations::{POSTGRES, SQLITE};
use keyferry_tests::{Engine, Operator, PASSWORD, Person, Secret, Server, Stage, on_both_engines};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::database::{execute, query};

on_both_engines!(
    a_database_of_the_previous_schema_is_brought_up_to_date_with_its_data,
    a_database_of_an_early_schema_is_brought_up_to_date_with_its_data,
    a_database_of_a_newer_schema_is_refused,
    commands_beside_servers_of_the_version_before_change_no_schema,
    a_backup_of_the_previous_schema_is_brought_back_and_up_to_date,
);

async fn a_database_of_the_previous_schema_is_brought_up_to_date_with_its_data(engine: Engine) {
    let steps = SQLITE.iter().count();
    bring_up_to_date(engine, steps - 1).await;
}

async fn a_database_of_an_early_schema_is_brought_up_to_date_with_its_data(engine: Engine) {
    bring_up_to_date(engine, 2).await;
}

async fn commands_beside_servers_of_the_version_before_change_no_schema(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    assert!(server.terminate().success());
    // As far as anybody can tell, the last step was not made yet.
    let newest = SQLITE.iter().map(|step| step.version).max().unwrap();
    execute(
        &stage,
        &format!("DELETE FROM _sqlx_migrations WHERE version = {newest}"),
    )
    .await;
    let operator = Operator::of(&stage);
    let pending = operator.ask(&["migrate", "--dry-run"]);
    assert_eq!(pending["pending"].as_array().unwrap().len(), 1);
    for command in [
        &["audit", "verify"][..],
        &["audit", "anchor"],
        &["audit", "export"],
        &["audit", "prune", "--older-than-days", "9"],
        &["confirm"],
        &["confirm", "--all"],
        &["sweep"],
        &["stats"],
        &["rotate", "jwt"],
        &["admin", "unlock", "ada"],
    ] {
        let refused = operator.run(command, b"");
        let told = refused.errors.contains("keyferry-server migrate");
        assert!(told && refused.code == 1, "{command:?}: {}", refused.errors);
    }
    assert_eq!(operator.ask(&["migrate", "--dry-run"]), pending);
}

/// From a schema of so many steps.
async fn bring_up_to_date(engine: Engine, steps: usize) {
    let stage = Stage::empty(engine).await;
    let operator = Operator::of(&stage);
    let hash = bcrypt::hash(PASSWORD, 10).unwrap();
    make_earlier(&stage, &hash, steps).await;

    let pending = operator.ask(&["migrate", "--dry-run"]);
    assert!(
        !pending["pending"].as_array().unwrap().is_empty(),
        "{pending}"
    );
    assert_eq!(operator.ask(&["migrate", "--dry-run"]), pending);
    let behind = operator.run(&["verify"], b"");
    let wrong = behind.output.matches('✗').count();
    assert!(
        wrong == 1 && behind.output.contains("✗ schema") && behind.errors.contains("migrate"),
        "{}{}",
        behind.output,
        behind.errors
    );
    let done = operator.ask(&["migrate"]);
    assert_eq!(done["done"], pending["pending"]);
    assert_eq!(
        operator.ask(&["migrate"])["done"].as_array().unwrap().len(),
        0
    );

    let server = Server::start(&stage);
    let ada = Person::new(&stage, "ada");
    ada.log_in(&server, "ada");
    ada.put("openai", &Secret::fresh());
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

async fn a_database_of_a_newer_schema_is_refused(engine: Engine) {
    const SQL: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
        execution_time) VALUES (9999, 'of tomorrow', TRUE, 'x', 0)";
    let stage = Stage::new(engine).await;
    let operator = Operator::of(&stage);
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    execute(&stage, SQL).await;
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["migrate"],
        &["verify"],
    ] {
        let refused = operator.run(command, b"");
        assert_eq!(refused.code, 1, "{command:?}");
        let told = refused.output + &refused.errors;
        assert!(told.contains("schema version 9999"), "{command:?}: {told}");
    }
}

async fn a_backup_of_the_previous_schema_is_brought_back_and_up_to_date(engine: Engine) {
    let now = Stage::new(engine).await;
    let mut server = Server::start(&now);
    assert!(server.terminate().success());
    let earlier = Stage::empty(engine).await;
    let hash = bcrypt::hash(PASSWORD, 10).unwrap();
    make_earlier(&earlier, &hash, SQLITE.iter().count() - 1).await;
    // As if the same installation had not been upgraded yet.
    for name in ["instance_id", "master_key_id"] {
        let known = format!("SELECT value FROM settings WHERE name = '{name}'");
        let known: String = query(&now, &known).await;
        let insert = "INSERT INTO settings (name, value, updated_at) VALUES";
        execute(&earlier, &format!("{insert} ('{name}', '{known}', 0)")).await;
    }
    let key = now.data_dir().join("master.key");
    std::fs::copy(&key, earlier.data_dir().join("master.key")).unwrap();
    let file = earlier.path("backup");
    let file = file.to_str().unwrap();
    let operator = Operator::of(&earlier);
    let refused = operator.run(&["backup", file], b"");
    assert_ne!(refused.code, 0);
    assert!(refused.errors.contains("--unaudited"), "{}", refused.errors);
    assert_eq!(refused.output, "");
    for name in [file.to_owned(), format!("{file}.part")] {
        assert!(!std::path::Path::new(&name).exists(), "{name}");
    }
    let taken = operator
        .run(&["backup", file, "--unaudited"], b"")
        .success();
    assert!(
        taken.errors.contains("the audit will not tell"),
        "{}",
        taken.errors
    );

    let there = Stage::empty(engine).await;
    let own = DirBuilder::new().mode(0o700).create(there.data_dir());
    own.unwrap();
    std::fs::copy(&key, there.data_dir().join("master.key")).unwrap();
    let operator = Operator::of(&there);
    operator.run(&["restore", file], b"").success();
    assert_eq!(operator.ask(&["verify"])["ok"], true);
    let server = Server::start(&there);
    Person::new(&there, "ada").log_in(&server, "ada");
}

/// A database as an earlier program left it, with an account.
async fn make_earlier(stage: &Stage, hash: &str, steps: usize) {
    let earlier =
        |all: &Migrator| Migrator::with_migrations(all.iter().take(steps).cloned().collect());
    let (user, tenant) = (
        "0191f0f0-0000-7000-8000-000000000001",
        "0191f0f0-0000-7000-8000-000000000002",
    );
    let id = |text: &str| match stage.database() {
        Some(_) => format!("'{text}'"),
        None => format!("x'{}'", text.replace('-', "")),
    };
    let own = DirBuilder::new().mode(0o700).create(stage.data_dir());
    own.unwrap();
    if let Some(database) = stage.database() {
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        earlier(&POSTGRES).run(&mut connection).await.unwrap();
    } else {
        let url = format!("sqlite:{}?mode=rwc", file(stage));
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        earlier(&SQLITE).run(&mut connection).await.unwrap();
    }
    let (user, tenant) = (id(user), id(tenant));
    execute(
        stage,
        &format!("INSERT INTO tenants (id, name, created_at) VALUES ({tenant}, 'ada', 0)"),
    )
    .await;
    execute(
        stage,
        &format!(
            "INSERT INTO users (id, username, username_key, password_hash, status, email_verified, \
             server_admin, failed_login_attempts, password_changed_at, created_at) \
             VALUES ({user}, 'ada', 'ada', '{hash}', 'active', FALSE, FALSE, 0, 0, 0)"
        ),
    )
    .await;
    let member = format!(
        "INSERT INTO memberships (tenant_id, user_id, role, created_at) VALUES ({tenant}, {user}, 'owner', 0)"
    );
    execute(stage, &member).await;
}

fn file(stage: &Stage) -> String {
    stage.data_dir().join("keyferry.db").display().to_string()
}

//! Backups, and what a database that was brought back must not revive.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod files;
mod revived;

use std::path::{Path, PathBuf};

use keyferry_tests::{
    Agent, Answer, Database, Engine, Operator, Person, Secret, Server, Stage, Tool, on_both_engines,
};
use serde_json::Value;

use super::database::{execute, execute_at, query_at};

on_both_engines!(
    a_backup_moves_the_installation_to_the_other_engine,
    a_restore_that_was_cut_off_is_simply_repeated,
    tables_of_others_are_no_part_of_a_backup,
);

/// Another host: an empty database and a data folder with nothing but the master key.
struct Elsewhere<'a> {
    operator: Operator<'a>,
    data_dir: PathBuf,
    url: String,
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
            url,
        }
    }

    fn restore(&self, file: &Path) -> Answer {
        let restore = ["restore", file.to_str().unwrap()];
        self.operator.run(&restore, b"")
    }

    /// How many such events its audit has.
    async fn events(&self, action: &str) -> i64 {
        let told = format!("SELECT COUNT(*) FROM audit_events WHERE action = '{action}'");
        query_at(&self.url, &told).await
    }

    fn serve(&self, stage: &Stage) -> Server {
        Server::start_elsewhere(stage, &self.data_dir, &[("DATABASE_URL", &self.url)])
    }
}

/// The file of a backup of the stage's installation.
fn back_up(stage: &Stage, name: &str) -> PathBuf {
    let file = stage.path(name);
    let back_up = ["backup", file.to_str().unwrap()];
    Operator::of(stage).run(&back_up, b"").success();
    file
}

/// What waits for the operator.
fn held_back(operator: &Operator<'_>) -> Vec<String> {
    let waiting = operator.ask(&["confirm"]);
    let rows = waiting["held_back"].as_array().unwrap().iter();
    let text = |row: &Value, member: &str| row[member].as_str().unwrap().to_owned();
    rows.map(|row| text(row, "kind") + " " + &text(row, "name"))
        .collect()
}

async fn a_backup_moves_the_installation_to_the_other_engine(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let early = back_up(&stage, "early");
    assert!(server.terminate().success());
    let last = back_up(&stage, "last");

    let other = match engine {
        Engine::Sqlite => Engine::Postgres,
        Engine::Postgres => Engine::Sqlite,
    };
    let there = Elsewhere::new(&stage, other, "elsewhere").await;
    only_the_last_is_up_to_date(&stage, &there, (&early, &last));
    assert_eq!(there.operator.ask(&["verify"])["ok"], true);
    let again = there.restore(&last);
    assert!(again.errors.contains("not empty"), "{}", again.errors);

    let server = there.serve(&stage);
    let ada = Person::new(&stage, "ada-there");
    ada.log_in(&server, "ada");
    let agent = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    assert!(held_back(&there.operator).is_empty());
}

fn only_the_last_is_up_to_date(
    stage: &Stage,
    there: &Elsewhere<'_>,
    (early, last): (&Path, &Path),
) {
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
        let unknown = restore(last);
        let said = "data folder of the server that was stopped last";
        assert!(unknown.errors.contains(said), "{}", unknown.errors);
    }
    std::fs::copy(stage.data_dir().join("epoch"), &epoch).unwrap();
    let stale = restore(early);
    assert!(stale.errors.contains("--up-to-date"), "{}", stale.errors);
    restore(last).success();
}

async fn a_restore_that_was_cut_off_is_simply_repeated(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let file = back_up(&stage, "backup");
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    // What it leaves are the tables, and for those of SQLite a file.
    if engine == Engine::Sqlite {
        std::fs::File::create(there.data_dir.join("keyferry.db")).unwrap();
    }
    there.operator.run(&["migrate"], b"").success();
    execute_at(&there.url, "DELETE FROM settings").await;
    for command in [&["stats"][..], &["rotate", "jwt"], &["backup", "other"]] {
        let refused = there.operator.run(command, b"");
        assert!(refused.errors.contains("never been used"), "{command:?}");
    }
    there.restore(&file).success();
    assert_eq!(there.events("operator.restored").await, 1);
    let again = there.restore(&file);
    assert!(again.errors.contains("not empty"), "{}", again.errors);
}

async fn tables_of_others_are_no_part_of_a_backup(engine: Engine) {
    let stage = Stage::empty(engine).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    execute(&stage, "CREATE TABLE prices (price NUMERIC)").await;
    execute(&stage, "INSERT INTO prices VALUES (1.5)").await;
    let file = back_up(&stage, "backup");
    let there = Elsewhere::new(&stage, engine, "elsewhere").await;
    if engine == Engine::Sqlite {
        std::fs::File::create(there.data_dir.join("keyferry.db")).unwrap();
    }
    execute_at(&there.url, "CREATE TABLE prices (price NUMERIC)").await;
    execute_at(&there.url, "INSERT INTO prices VALUES (2.5)").await;
    there.restore(&file).success();
    let price = "SELECT CAST(price AS TEXT) FROM prices";
    let price: String = query_at(&there.url, price).await;
    assert_eq!(price, "2.5");
}

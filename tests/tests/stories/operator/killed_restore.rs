//! A restore that is killed at its worst moments is simply repeated.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use keyferry_tests::{
    Database, Engine, Operator, Person, Program, Secret, Server, Stage, on_both_engines, until,
};

use super::database::{execute, query_at};

on_both_engines!(
    a_restore_that_is_killed_among_its_rows_leaves_none_and_is_repeated,
    a_restore_that_is_killed_behind_its_rows_is_repeated_to_the_end,
);

async fn a_restore_that_is_killed_among_its_rows_leaves_none_and_is_repeated(engine: Engine) {
    let stage = Stage::new(engine).await;
    let scene = Scene::set(&stage, engine).await;
    let mut restoring = scene.begin();
    until("some rows are there and more to come", async || {
        let filling = scene.has_tables().await && scene.is_in_the_middle(&restoring);
        filling.then_some(())
    })
    .await;
    restoring.pause();
    assert!(scene.is_in_the_middle(&restoring), "{}", restoring.log());
    restoring.kill();
    for table in ["settings", "login_failures", "audit_events"] {
        assert_eq!(scene.rows(table).await, 0, "{table}");
    }
    scene.repeats().await;
}

async fn a_restore_that_is_killed_behind_its_rows_is_repeated_to_the_end(engine: Engine) {
    let stage = Stage::new(engine).await;
    let scene = Scene::set(&stage, engine).await;
    // It waits where it reads this.
    let epoch = scene.data_dir.join("epoch");
    assert!(
        Command::new("mkfifo")
            .arg(&epoch)
            .status()
            .unwrap()
            .success()
    );
    let mut restoring = scene.begin();
    until("every row is there", async || {
        let done = scene.has_tables().await && scene.rows("login_failures").await == MANY;
        done.then_some(())
    })
    .await;
    assert!(!restoring.has_ended(), "{}", restoring.log());
    restoring.kill();
    std::fs::remove_file(epoch).unwrap();
    assert_eq!(scene.told().await, 0);
    scene.repeats().await;
}

/// A backup of a large installation, and another host with an empty database.
struct Scene<'a> {
    stage: &'a Stage,
    there: Operator<'a>,
    url: String,
    data_dir: PathBuf,
    file: PathBuf,
}

impl<'a> Scene<'a> {
    async fn set(stage: &'a Stage, engine: Engine) -> Self {
        let mut server = Server::start(stage);
        let ada = Person::register(stage, &server, "ada");
        ada.put("openai", &Secret::fresh());
        assert!(server.terminate().success());
        execute(stage, &many_rows(engine)).await;
        let file = stage.path("backup");
        Operator::of(stage).ask(&["backup", file.to_str().unwrap()]);

        let data_dir = stage.path("there");
        std::fs::create_dir(&data_dir).unwrap();
        let master_key = |folder: &Path| folder.join("master.key");
        std::fs::copy(master_key(&stage.data_dir()), master_key(&data_dir)).unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", data_dir.join("keyferry.db").display()),
            Engine::Postgres => Database::create_empty().await.url().to_owned(),
        };
        let there = Operator::of(stage).at(data_dir.clone());
        Self {
            there: there.with("DATABASE_URL", &url),
            stage,
            url,
            data_dir,
            file,
        }
    }

    fn begin(&self) -> Program {
        let command = ["restore", self.file.to_str().unwrap()];
        self.there.start("restore", &command)
    }

    /// Whether the file was checked, and its rows come next.
    async fn has_tables(&self) -> bool {
        let (postgres, file) = (
            self.url.starts_with("postgres"),
            self.data_dir.join("keyferry.db"),
        );
        let sql = match postgres {
            true => "SELECT COUNT(*) FROM pg_tables WHERE tablename = 'login_failures'",
            false => "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'login_failures'",
        };
        (postgres || file.exists()) && query_at::<i64>(&self.url, sql).await == 1
    }

    /// Whether it has read some of the backup, and not all.
    fn is_in_the_middle(&self, restoring: &Program) -> bool {
        let process = PathBuf::from(format!("/proc/{}", restoring.pid()));
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut open = open.flatten();
        let Some(backup) =
            open.find(|one| std::fs::read_link(one.path()).is_ok_and(|at| at == self.file))
        else {
            return false;
        };
        let info = process.join("fdinfo").join(backup.file_name());
        let info = std::fs::read_to_string(info).unwrap_or_default();
        let at = info.lines().find_map(|line| line.strip_prefix("pos:"));
        let at: u64 = at.map_or(0, |at| at.trim().parse().unwrap());
        let all = self.file.metadata().unwrap().len();
        (all / 8..all - all / 8).contains(&at)
    }

    async fn rows(&self, table: &str) -> i64 {
        query_at(&self.url, &format!("SELECT COUNT(*) FROM {table}")).await
    }

    /// How often the audit tells of the restore.
    async fn told(&self) -> i64 {
        let told = "SELECT COUNT(*) FROM audit_events WHERE action = 'operator.restored'";
        query_at(&self.url, told).await
    }

    /// The same command once more brings everything back.
    async fn repeats(&self) {
        let command = ["restore", self.file.to_str().unwrap()];
        let done = self.there.run(&command, b"").success();
        assert!(done.output.contains("are back"), "{}", done.output);
        assert_eq!(self.told().await, 1);
        assert_eq!(self.rows("login_failures").await, MANY);
        assert_eq!(self.there.ask(&["verify"])["ok"], true);
        self.there.run(&["confirm", "--all"], b"").success();
        let server = Server::start_elsewhere(
            self.stage,
            &self.data_dir,
            &[("DATABASE_URL", self.url.as_str())],
        );
        let ada = Person::sign_in(self.stage, (&server, "again"), "ada");
        let key = ada.ask(&["keys", "show", "openai"]);
        assert_eq!(key["key"]["name"], "openai", "{key}");
        drop(server);
        let again = self.there.run(&command, b"");
        assert!(again.errors.contains("not empty"), "{}", again.errors);
    }
}

/// Failed logins of nobody, in years to come, so that they stay.
fn many_rows(engine: Engine) -> String {
    let account = match engine {
        Engine::Sqlite => "CAST('nobody' AS BLOB)",
        Engine::Postgres => "CAST('nobody' AS BYTEA)",
    };
    format!(
        "INSERT INTO login_failures (account, network, failures, last_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) \
         SELECT {account}, 'a network that has a name as long as this and a number ' || i, 1, \
         9000000000000000 FROM n"
    )
}

const MANY: i64 = 10_000;

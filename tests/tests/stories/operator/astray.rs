//! Commands whose settings lead astray make and change nothing, and say what is wrong.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Database, Engine, Operator, Server, Stage, on_both_engines};

use super::database::query_at;

on_both_engines!(a_command_on_a_database_that_was_never_used_makes_and_changes_nothing);

async fn a_command_on_a_database_that_was_never_used_makes_and_changes_nothing(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    let kept = ["master.key", "epoch"].map(|name| stage.data_dir().join(name));
    let before = kept.each_ref().map(|path| std::fs::read(path).unwrap());
    let (file, fresh) = (stage.path("unused.db"), Database::create_empty().await);
    let unused = match engine {
        Engine::Sqlite => format!("sqlite:{}", file.display()),
        Engine::Postgres => fresh.url().to_owned(),
    };
    let astray = Operator::of(&stage).with("DATABASE_URL", &unused);
    for command in [
        &["rotate", "master-key"][..],
        &["rotate", "jwt"],
        &["rotate", "server-key"],
        &["sweep"],
        &["stats"],
        &["verify"],
        &["confirm"],
        &["backup", "backup"],
        &["audit", "verify"],
        &["audit", "prune", "--older-than-days", "1"],
        &["admin", "unlock", "ada"],
    ] {
        let refused = astray.run(command, b"");
        assert_eq!(refused.code, 1, "{command:?}: {}", refused.output);
        let says = refused
            .errors
            .contains("--config, --data-dir or DATABASE_URL");
        assert!(says, "{command:?}: {}", refused.errors);
    }
    assert!(!file.exists() && !stage.path("backup").exists());
    const TABLES: &str =
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(query_at::<i64>(fresh.url(), TABLES).await, 0);
    assert_eq!(kept.map(|path| std::fs::read(path).unwrap()), before);
    assert_eq!(Operator::of(&stage).ask(&["verify"])["ok"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_database_cannot_be_reached_is_said() {
    let stage = Stage::new(Engine::Postgres).await;
    let mut server = Server::start(&stage);
    assert!(server.terminate().success());
    let right = stage.database().unwrap().url();
    let (_name, options) = right.split_once('?').unwrap();
    let refused = "postgres://keyferry@127.0.0.1:1/keyferry".to_owned();
    for (url, cause, place) in [
        (
            format!("postgres:///nowhere?{options}"),
            "does not exist",
            "the database nowhere at",
        ),
        (refused, "Connection refused", "keyferry at 127.0.0.1:1"),
    ] {
        let astray = Operator::of(&stage).with("DATABASE_URL", &url);
        let verified = astray.run(&["verify"], b"");
        assert_eq!(verified.code, 1);
        assert!(verified.output.contains(cause), "{}", verified.output);
        let counted = astray.run(&["stats"], b"");
        assert_eq!(counted.code, 1);
        assert_eq!(
            counted.errors.matches(cause).count(),
            1,
            "{}",
            counted.errors
        );
        assert!(counted.errors.contains(place), "{}", counted.errors);
    }
}

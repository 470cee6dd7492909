//! Between server and PostgreSQL there may be a pooler, which gives out its connections as it likes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use keyferry_tests::{Agent, Engine, Operator, Person, PgBouncer, Secret, Server, Stage};

use super::database::execute;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_sessions_serves_as_the_database_does() {
    let stage = Stage::new(Engine::Postgres).await;
    bind_the_role(&stage).await;
    let settings = format!("pool_mode = session\n{IGNORED}");
    let pooler = PgBouncer::start(&stage, &settings).await;
    let server = Server::start_with(&stage, &[("DATABASE_URL", pooler.url())]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;
    let operator = Operator::of(&stage).with("DATABASE_URL", pooler.url());
    operator.run(&["verify"], b"").success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_what_a_connection_begins_with_is_refused() {
    let stage = Stage::new(Engine::Postgres).await;
    let unasked = refused(&stage, "pool_mode = session").await;
    let says = "does not take what a connection begins with";
    assert!(unasked.contains(says), "{unasked}");
    let ignored = refused(&stage, &format!("pool_mode = session\n{IGNORED}")).await;
    let says = "does not pass on its settings";
    assert!(ignored.contains(says), "{ignored}");
    for advice in [
        "pool_mode = session",
        IGNORED,
        "SET statement_timeout = '10s'",
    ] {
        assert!(ignored.contains(advice), "{advice}: {ignored}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_is_refused() {
    let stage = Stage::new(Engine::Postgres).await;
    bind_the_role(&stage).await;
    let says = "gives out single transactions";
    for mode in ["transaction", "statement"] {
        let errors = refused(&stage, &format!("pool_mode = {mode}\n{IGNORED}")).await;
        assert!(errors.contains(says), "{mode}: {errors}");
    }
}

/// What an operator is told who would use the database by such a pooler.
async fn refused(stage: &Stage, settings: &str) -> String {
    let pooler = PgBouncer::start(stage, settings).await;
    let operator = Operator::of(stage).with("DATABASE_URL", pooler.url());
    let answer = operator.run(&["migrate", "--dry-run"], b"");
    assert_eq!(answer.code, 1, "{settings}: {}", answer.output);
    answer.errors
}

/// As OPERATIONS.md says, in this database alone.
async fn bind_the_role(stage: &Stage) {
    let url = stage.database().unwrap().url();
    let name = url.split_once('?').unwrap().0.rsplit('/').next().unwrap();
    for bound in [
        "statement_timeout = '10s'",
        "idle_in_transaction_session_timeout = '30s'",
    ] {
        let sql = format!("ALTER ROLE keyferry_server IN DATABASE {name} SET {bound}");
        execute(stage, &sql).await;
    }
}

const IGNORED: &str = "ignore_startup_parameters = extra_float_digits,options";

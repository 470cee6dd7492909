//! The private servers of the stories: a guard that keeps nobody out would prove nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use keyferry_tests::{Engine, Guard, Redis, Stage, until};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_redis_answers_nothing_and_a_killed_one_forgets() {
    let stage = Stage::new(Engine::Sqlite).await;
    let mut redis = Redis::start(&stage);
    assert_eq!(ask(&redis, "SET a 1").await, "+OK");
    redis.pause();
    let silence = timeout(Duration::from_millis(200), ask(&redis, "GET a")).await;
    assert!(silence.is_err());
    redis.resume();
    assert_eq!(ask(&redis, "GET a").await, "$1");
    redis.kill();
    redis.start_again(&stage);
    assert_eq!(ask(&redis, "GET a").await, "$-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_users_refuses_a_stranger_and_foreign_names() {
    let stage = Stage::new(Engine::Sqlite).await;
    let redis = Redis::start_guarded(&stage, Guard::Acl);
    assert!(ask(&redis, "GET keyferry:a").await.starts_with("-NOAUTH"));
    let mut known = connect(&redis).await;
    assert_eq!(known.ask("AUTH keyferry door-key").await, "+OK");
    assert_eq!(known.ask("GET keyferry:a").await, "$-1");
    assert!(known.ask("GET other").await.starts_with("-NOPERM"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_can_kill_and_pause_a_postgresql_of_its_own() {
    let stage = Stage::with_own_postgres().await;
    let database = stage.database().unwrap();
    let mut open = PgConnection::connect(database.url()).await.unwrap();
    sqlx::query("CREATE TABLE kept (x INT)")
        .execute(&mut open)
        .await
        .unwrap();
    database.pause();
    let silence = timeout(Duration::from_millis(200), open.ping()).await;
    assert!(silence.is_err());
    database.resume();
    database.kill();
    assert!(PgConnection::connect(database.url()).await.is_err());
    database.start_again();
    let mut again = until("PostgreSQL is back", async || {
        PgConnection::connect(database.url()).await.ok()
    })
    .await;
    sqlx::query("INSERT INTO kept VALUES (1)")
        .execute(&mut again)
        .await
        .unwrap();
}

struct Line(BufReader<TcpStream>);

impl Line {
    async fn ask(&mut self, command: &str) -> String {
        let command = format!("{command}\r\n");
        self.0.write_all(command.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).await.unwrap();
        if answer.starts_with('$') && answer != "$-1\r\n" {
            self.0.read_line(&mut String::new()).await.unwrap();
        }
        answer.trim_end().to_owned()
    }
}

async fn connect(redis: &Redis) -> Line {
    let address = redis.url().rsplit(['/', '@']).next().unwrap();
    Line(BufReader::new(TcpStream::connect(address).await.unwrap()))
}

async fn ask(redis: &Redis, command: &str) -> String {
    connect(redis).await.ask(command).await
}

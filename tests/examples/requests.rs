//! Measures requests of one client over one TLS connection to a real server on SQLite, and what a
//! login costs beyond its bcrypt hash.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

use std::time::{Duration, Instant};

use hyper::Method;
use keyferry_tests::fleet::Statements;
use keyferry_tests::{Caller, Engine, Operator, PASSWORD, Server, Stage};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start_with(&stage, &[Statements::SETTING]);
    let account = json!({ "username": "ada", "password": PASSWORD });
    let register = server.ask(Method::POST, "/auth/register", None, Some(account.clone()));
    register.await.success().unwrap();
    let unlimited = ["admin", "plan", "ada", "enterprise"];
    Operator::of(&stage).run(&unlimited, b"").success();
    let mut ada = Caller::sign_in(server.rest(), ("ada", PASSWORD)).await;

    let health = measure(500, async |_| {
        ada.send(Method::GET, "/health", None).await.1
    });
    report("GET /health", health.await);
    let me = measure(500, async |_| {
        ada.send(Method::GET, "/auth/me", None).await.1
    });
    report("GET /auth/me (token check)", me.await);
    let put = measure(PUTS, async |number| {
        let name = format!("key-{number}");
        let body = ada.new_key(&name);
        let path = format!("/keys/{name}");
        ada.send(Method::PUT, &path, Some(&body)).await.1
    });
    report("PUT /keys/{name}, sealed", put.await);

    let login = measure(40, async |_| {
        ada.send(Method::POST, "/auth/login", Some(&account))
            .await
            .1
    });
    let login = login.await;
    let hash = bcrypt::hash(PASSWORD, COST).unwrap();
    let verify = measure(40, async |_| {
        let begin = Instant::now();
        assert!(bcrypt::verify(PASSWORD, &hash).unwrap());
        begin.elapsed()
    })
    .await;
    report("POST /auth/login", login);
    report("bcrypt of the same cost, alone", verify);
    let beyond = login.0.saturating_sub(verify.0);
    println!("{:32} p50 {beyond:>9.1?}", "login beyond its hash");
    println!("{:32} {}", "database", Statements::of(&server));
}

/// Median and 99th percentile.
async fn measure(
    count: usize,
    mut one: impl AsyncFnMut(usize) -> Duration,
) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        times.push(one(number).await);
    }
    times.sort_unstable();
    (times[count / 2], times[(count * 99).div_ceil(100) - 1])
}

fn report(what: &str, (p50, p99): (Duration, Duration)) {
    println!("{what:32} p50 {p50:>9.1?}   p99 {p99:>9.1?}");
}

const PUTS: usize = 200;
/// What the stage's server is told.
const COST: u32 = 10;

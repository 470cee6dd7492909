//! Measures requests of one client over one TLS connection to a real server on SQLite, and what a
//! login costs beyond its bcrypt hash.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

use std::time::{Duration, Instant};

use base64ct::{Base64UrlUnpadded, Encoding};
use getrandom::SysRng;
use hyper::Method;
use keyferry_cli::rest::{Ask, Line};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::sealed::{put_info, seal};
use keyferry_tests::{Engine, PASSWORD, Secret, Server, Stage};
use rand_core::UnwrapErr;
use secrecy::SecretString;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let mut line = server.rest().open().await.unwrap();
    let account = json!({ "username": "ada", "password": PASSWORD });
    let (_, session) = send(
        &mut line,
        Method::POST,
        "/auth/register",
        None,
        Some(&account),
    )
    .await;
    let token: SecretString = session["access_token"].as_str().unwrap().into();
    let token = Some(&token);

    let health = measure(500, async |_| {
        send(&mut line, Method::GET, "/health", None, None).await.0
    });
    report("GET /health", health.await);
    let me = measure(500, async |_| {
        send(&mut line, Method::GET, "/auth/me", token, None)
            .await
            .0
    });
    report("GET /auth/me (token check)", me.await);
    let bodies = sealed_bodies(&mut line, &session, PUTS).await;
    let put = measure(PUTS, async |number| {
        let path = format!("/keys/key-{number}");
        send(&mut line, Method::PUT, &path, token, Some(&bodies[number]))
            .await
            .0
    });
    report("PUT /keys/{name}, sealed", put.await);

    let login = measure(40, async |_| {
        send(&mut line, Method::POST, "/auth/login", None, Some(&account))
            .await
            .0
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
}

/// Sends one request that must succeed, and tells how long its answer took. The server closes the
/// connection after a password or a key, so connecting again is not counted.
async fn send(
    line: &mut Line,
    method: Method,
    path: &str,
    token: Option<&SecretString>,
    body: Option<&Value>,
) -> (Duration, Value) {
    let mut ask = Ask::new(method, path);
    if let Some(token) = token {
        ask = ask.signed_in(token);
    }
    if let Some(body) = body {
        ask = ask.json(body.to_string().into());
    }
    line.ready().await.unwrap();
    let begin = Instant::now();
    let answer = line.exchange(ask).await.unwrap().success().unwrap();
    (begin.elapsed(), answer)
}

async fn sealed_bodies(line: &mut Line, session: &Value, count: usize) -> Vec<Value> {
    let (_, published) = send(line, Method::GET, "/.well-known/keyferry", None, None).await;
    let mut key = [0; 32];
    Base64UrlUnpadded::decode(published["hpke_key"].as_str().unwrap(), &mut key).unwrap();
    let digits = session["id"].as_str().unwrap().replace('-', "");
    let user = u128::from_str_radix(&digits, 16).unwrap().to_be_bytes();
    let arena = Arena::new(self_test().unwrap()).unwrap();
    let body = |number| {
        let info = put_info(user, &format!("key-{number}").parse().unwrap(), 1);
        let value = arena.hold(Secret::fresh().text().as_bytes()).unwrap();
        let sealed = seal(
            &arena,
            &mut UnwrapErr(SysRng),
            PublicKey(key),
            &info,
            &value,
        )
        .unwrap();
        let sealed = Base64UrlUnpadded::encode_string(&sealed);
        json!({ "provider": "openai", "sealed": sealed, "version": 1 })
    };
    (0..count).map(body).collect()
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

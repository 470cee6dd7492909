//! Budgets are counted on Redis's clock. One that was ahead and is right again has left points in
//! time that no budget can reach.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use hyper::{Method, StatusCode};
use keyferry_tests::{Engine, PASSWORD, Redis, Server, Stage, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_a_day_ahead_shuts_nobody_out_for_a_day() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let limited = [("AUTH_ENABLE_RATE_LIMITING", "true")];
    let server = Server::start_with(&stage, &[&redis.settings()[..], &limited].concat());
    until("the server has its Redis", async || {
        let health = server.ask(Method::GET, "/health", None, None).await;
        (health.body["cache"] == "connected").then_some(())
    })
    .await;
    let ada = json!({ "username": "ada", "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(ada));
    let ada = made.await.body["access_token"].as_str().unwrap().into();
    let ask = async || {
        let me = server.ask(Method::GET, "/auth/me", Some(&ada), None);
        me.await
    };
    // What one request takes is there again in less than a second.
    until("a budget is in Redis", async || {
        assert_eq!(ask().await.status, StatusCode::OK);
        (longest(&redis, A_DAY_LATER) > 86_000).then_some(())
    })
    .await;

    let refused = ask().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    // The budget of a minute is full again after two at the latest, by itself.
    assert!(refused.retry_after.unwrap() <= 61);
    assert!(longest(&redis, "return 0") <= 120);
}

/// Does something with each budget of requests; how many seconds it is until the last is full.
fn longest(redis: &Redis, each: &str) -> u64 {
    let script = format!(
        "local now = tonumber(redis.call('TIME')[1]) local last = 0 \
         local function each(key) {each} end \
         for _, key in ipairs(redis.call('KEYS', '*requests:*')) do each(key) \
         last = math.max(last, tonumber(redis.call('GET', key)) / 1000000 - now) end \
         return math.floor(last)"
    );
    let asked = Command::new("/usr/bin/redis-cli")
        .args(["-u", redis.url(), "EVAL", &script, "0"])
        .output()
        .unwrap();
    let told = String::from_utf8(asked.stdout).unwrap();
    told.trim().parse().unwrap()
}

/// As if it had been counted while the clock was ahead.
const A_DAY_LATER: &str = "local full = tonumber(redis.call('GET', key)) + 86400000000 \
    redis.call('SET', key, string.format('%.0f', full))";

//! What a request costs at the real server: a process on this machine, over TLS, on SQLite. It has
//! to be built first: `cargo build --release --bins`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hyper::Method;
use keyferry_tests::{Caller, Engine, Operator, PASSWORD, Server, Stage};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// Each key goes before the next comes: a tenant has only so many.
fn put(criterion: &mut Criterion) {
    let mut world = World::new();
    let mut group = criterion.benchmark_group("server");
    group.sample_size(20);
    group.bench_function("put a sealed key", |bench| {
        bench.iter_custom(|rounds| {
            let one = |_| {
                let body = world.ada.new_key("openai");
                let took = world.time(Method::PUT, KEY, Some(&body));
                world.time(Method::DELETE, KEY, None);
                took
            };
            (0..rounds).map(one).sum()
        });
    });
    group.finish();
}

/// The hash alone is measured in turn with the login, and taken away.
fn login(criterion: &mut Criterion) {
    let mut world = World::new();
    let account = World::account();
    let hash = bcrypt::hash(PASSWORD, COST).unwrap();
    let mut group = criterion.benchmark_group("server");
    group.sample_size(20);
    group.bench_function("login beyond its hash", |bench| {
        bench.iter_custom(|rounds| {
            let (mut logins, mut hashes) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..rounds {
                logins += world.time(Method::POST, "/auth/login", Some(&account));
                let begin = Instant::now();
                assert!(bcrypt::verify(PASSWORD, &hash).unwrap());
                hashes += begin.elapsed();
            }
            logins.saturating_sub(hashes).max(Duration::from_nanos(1))
        });
    });
    group.finish();
}

/// The server ends before its stage.
struct World {
    ada: Caller,
    runtime: Runtime,
    _server: Server,
    _stage: Stage,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (ada, server, stage) = runtime.block_on(async {
            let stage = Stage::new(Engine::Sqlite).await;
            let server = Server::start(&stage);
            let account = Some(Self::account());
            let register = server.ask(Method::POST, "/auth/register", None, account);
            register.await.success().unwrap();
            let unlimited = ["admin", "plan", "ada", "enterprise"];
            Operator::of(&stage).run(&unlimited, b"").success();
            let ada = Caller::sign_in(server.rest(), ("ada", PASSWORD)).await;
            (ada, server, stage)
        });
        Self {
            ada,
            runtime,
            _server: server,
            _stage: stage,
        }
    }

    fn account() -> Value {
        json!({ "username": "ada", "password": PASSWORD })
    }

    fn time(&mut self, method: Method, path: &str, body: Option<&Value>) -> Duration {
        let sent = self.ada.send(method, path, body);
        self.runtime.block_on(sent).1
    }
}

const KEY: &str = "/keys/openai";
/// What the harness tells its servers.
const COST: u32 = 10;

criterion_group!(benches, put, login);
criterion_main!(benches);

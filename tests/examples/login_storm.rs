//! What a storm of logins does to everything else: token checks and delivery, in a quiet server
//! and while many clients sign in without pause. Run it in release.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Ask, Line};
use keyferry_sdk::{Client, KeyHandle};
use keyferry_tests::{Agent, Engine, PASSWORD, Person, Secret, Server, Stage};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Median and 99th percentile.
type Figures = (Duration, Duration);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let stage = Stage::new(Engine::Sqlite).await;
    let settings = [
        ("AUTH_PASSWORD_HASH_ROUNDS", "12"),
        ("KEYFERRY_MAX_CONNECTIONS_PER_ADDRESS", "1000"),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;
    let client = Client::connect_to(agent.socket()).await.unwrap();
    let key = client.key("openai").await.unwrap();
    let account = json!({ "username": "ada", "password": PASSWORD });
    let signed_in = server.ask(Method::POST, "/auth/login", None, Some(account));
    let token: SecretString = signed_in.await.body["access_token"]
        .as_str()
        .unwrap()
        .into();

    let mut line = server.rest().open().await.unwrap();
    measure(&mut line, &token, &key).await;
    let quiet = measure(&mut line, &token, &key).await;
    let storm = Storm::begin(&server);
    // The storm is at its height when every client has sent its first login.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stormy = measure(&mut line, &token, &key).await;
    let (done, refused) = storm.end().await;
    println!("{CLIENTS} clients: {done} logins, {refused} refused with 503");
    for (what, quiet, stormy) in [
        ("token check (GET /auth/me)", quiet.0, stormy.0),
        ("rotation to the tool's page", quiet.1, stormy.1),
    ] {
        println!(
            "{what:28} quiet p50 {:>8.1?} p99 {:>8.1?}   storm p50 {:>8.1?} p99 {:>8.1?}   \
             p99 x {:.1}",
            quiet.0,
            quiet.1,
            stormy.0,
            stormy.1,
            stormy.1.as_secs_f64() / quiet.1.as_secs_f64()
        );
    }
}

/// Token checks and rotations in turn.
async fn measure(line: &mut Line, token: &SecretString, key: &KeyHandle) -> (Figures, Figures) {
    let (mut checks, mut rotations) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..5 {
            line.ready().await.unwrap();
            let begin = Instant::now();
            let ask = Ask::new(Method::GET, "/auth/me").signed_in(token);
            line.exchange(ask).await.unwrap().success().unwrap();
            checks.push(begin.elapsed());
        }
        let before = key.now().unwrap().version;
        let body = json!({ "value": Secret::fresh().text() }).to_string();
        line.ready().await.unwrap();
        let begin = Instant::now();
        let ask = Ask::new(Method::POST, "/keys/openai/rotate").signed_in(token);
        let answer = line.exchange(ask.json(body.into())).await.unwrap();
        answer.success().unwrap();
        while key.now().unwrap().version == before {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        rotations.push(begin.elapsed());
    }
    (figures(checks), figures(rotations))
}

fn figures(mut times: Vec<Duration>) -> Figures {
    times.sort_unstable();
    (
        times[times.len() / 2],
        times[(times.len() * 99).div_ceil(100) - 1],
    )
}

/// Clients that sign in again and again.
struct Storm {
    over: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Storm {
    fn begin(server: &Server) -> Self {
        let (over, refused) = (Arc::default(), Arc::default());
        let clients = (0..CLIENTS).map(|_| {
            let rest = server.rest();
            let (over, refused) = (Arc::clone(&over), Arc::clone(&refused));
            tokio::spawn(sign_in_without_pause(rest, over, refused))
        });
        let clients = clients.collect();
        Self {
            over,
            refused,
            clients,
        }
    }

    /// How many logins were done, and how many were refused.
    async fn end(self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        let mut done = 0;
        for client in self.clients {
            done += client.await.unwrap();
        }
        (done, self.refused.load(Ordering::Relaxed))
    }
}

async fn sign_in_without_pause(
    rest: keyferry_cli::rest::Rest,
    over: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
) -> usize {
    let account: Value = json!({ "username": "ada", "password": PASSWORD });
    let mut done = 0;
    while !over.load(Ordering::Relaxed) {
        let ask = Ask::new(Method::POST, "/auth/login").json(account.to_string().into());
        match rest.exchange(ask).await {
            Ok(answer) if answer.status == StatusCode::OK => done += 1,
            Ok(answer) => {
                assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
                refused.fetch_add(1, Ordering::Relaxed);
                // As `Retry-After` asks, in short.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // The client's own patience is over: the queue is long.
            Err(_) => {}
        }
    }
    done
}

const CLIENTS: usize = 150;
const ROUNDS: usize = 100;

//! Faults while people work: what was acknowledged stays, what was revoked stays dead, and nobody
//! has to lend a hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Ask, Rest};
use keyferry_sdk::status::Health;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{Agent, PASSWORD, Person, Relay, Server, Stage, until};

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server is killed without a warning, and started again as a supervisor would.
    ServerKilled,
    /// The server stands still.
    ServerPaused,
    /// PostgreSQL is killed without a warning, in the middle of transactions, and started again.
    DatabaseKilled,
    /// PostgreSQL stands still.
    DatabasePaused,
    /// The agent stands still.
    AgentPaused,
    /// Nothing gets through between agent and server, and nobody is told.
    NetworkCut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ServerKilled,
        Self::ServerPaused,
        Self::DatabaseKilled,
        Self::DatabasePaused,
        Self::AgentPaused,
        Self::NetworkCut,
    ];
}

/// What came of a fault.
#[derive(Debug)]
pub struct Outcome {
    /// Changes that the server said it had made, before, during and after the fault.
    pub acknowledged: usize,
    /// Requests that failed or were refused meanwhile.
    pub refused: usize,
    /// Acknowledged changes that are not there afterwards.
    pub lost: usize,
    /// Keys that were revoked and are not dead in the agent after [`BOUND`].
    pub alive: usize,
    /// From the end of the fault until changes are made and the agent holds what it should.
    pub recovered: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "acknowledged {}, refused {}, lost {}, revoked and alive {}, recovered in {} ms",
            self.acknowledged,
            self.refused,
            self.lost,
            self.alive,
            self.recovered.as_millis()
        )
    }
}

/// Once everything works again, what was revoked is dead within this.
pub const BOUND: Duration = Duration::from_secs(30);

/// Has people work while something breaks for so long.
pub async fn suffer(fault: Fault, span: Duration) -> Outcome {
    let stage = Stage::with_own_postgres().await;
    let relay = Relay::new();
    let url = format!("https://127.0.0.1:{}", relay.port());
    let settings = [("KEYFERRY_PUBLIC_URL", url.as_str())];
    let mut server = Server::start_with(&stage, &settings);
    relay.lead_to(&server);
    let ada = Person::register(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let work = Work::begin(&server).await;
    sleep(span / 4).await;
    strike(fault, span, (&stage, &mut server, &agent, &relay)).await;
    let healed = Instant::now();
    sleep(span / 4).await;
    let (told, refused) = work.end().await;

    let rest = server.rest();
    let bearer = sign_in(&rest).await;
    until("changes are made again", async || {
        let made = put(&rest, &bearer, "the-last").await?;
        (made == StatusCode::CREATED).then_some(())
    })
    .await;
    let lost = count_lost(&rest, &bearer, &told).await;
    let alive = count_alive(&agent, &told).await;
    Outcome {
        acknowledged: told.len(),
        refused,
        lost,
        alive,
        recovered: healed.elapsed().saturating_sub(span / 4),
    }
}

async fn strike(
    fault: Fault,
    span: Duration,
    (stage, server, agent, relay): (&Stage, &mut Server, &Agent, &Relay),
) {
    let database = stage.database().expect("the stage has a PostgreSQL");
    match fault {
        Fault::ServerKilled => server.kill(),
        Fault::ServerPaused => server.pause(),
        Fault::DatabaseKilled => database.kill(),
        Fault::DatabasePaused => database.pause(),
        Fault::AgentPaused => agent.pause(),
        Fault::NetworkCut => relay.cut(),
    }
    sleep(span).await;
    match fault {
        Fault::ServerKilled => server.start_again(stage),
        Fault::ServerPaused => server.resume(),
        Fault::DatabaseKilled => database.start_again(),
        Fault::DatabasePaused => database.resume(),
        Fault::AgentPaused => agent.resume(),
        Fault::NetworkCut => relay.mend(),
    }
}

/// What the server has said last about each key.
type Told = BTreeMap<String, &'static str>;

/// Somebody who stores keys and revokes every third of them, one after the other.
struct Work {
    over: Arc<AtomicBool>,
    working: JoinHandle<(Told, usize)>,
}

impl Work {
    async fn begin(server: &Server) -> Self {
        let rest = server.rest();
        let bearer = sign_in(&rest).await;
        let over = Arc::new(AtomicBool::new(false));
        let working = tokio::spawn(work(rest, bearer, Arc::clone(&over)));
        Self { over, working }
    }

    async fn end(self) -> (Told, usize) {
        self.over.store(true, Ordering::Relaxed);
        self.working.await.unwrap()
    }
}

async fn work(rest: Rest, bearer: SecretString, over: Arc<AtomicBool>) -> (Told, usize) {
    let (mut told, mut refused) = (Told::new(), 0);
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("key-{number}");
        match put(&rest, &bearer, &name).await {
            Some(StatusCode::CREATED) => {
                told.insert(name.clone(), "active");
            }
            _ => refused += 1,
        }
        if number % 3 == 0 && told.contains_key(&name) {
            let path = format!("/keys/{name}/revoke");
            match ask(&rest, Ask::new(Method::POST, &path).signed_in(&bearer)).await {
                Some((StatusCode::OK, _)) => {
                    told.insert(name, "revoked");
                }
                // It may have been revoked, and nobody was told so.
                _ => {
                    told.remove(&name);
                    refused += 1;
                }
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    (told, refused)
}

async fn sign_in(rest: &Rest) -> SecretString {
    let login = json!({ "username": "ada", "password": PASSWORD }).to_string();
    until("somebody can sign in", async || {
        let login = Ask::new(Method::POST, "/auth/login").json(login.clone().into());
        let (_, body) = ask(rest, login).await?;
        Some(body["access_token"].as_str()?.to_owned().into())
    })
    .await
}

async fn put(rest: &Rest, bearer: &SecretString, name: &str) -> Option<StatusCode> {
    let key = json!({ "provider": "custom", "value": format!("value of {name}") }).to_string();
    let path = format!("/keys/{name}");
    let put = Ask::new(Method::PUT, &path)
        .signed_in(bearer)
        .json(key.into());
    Some(ask(rest, put).await?.0)
}

/// What was answered, if anything was.
async fn ask(rest: &Rest, ask: Ask<'_>) -> Option<(StatusCode, Value)> {
    let answer = timeout(Duration::from_secs(60), rest.exchange(ask)).await;
    let answer = answer.ok()?.ok()?;
    Some((answer.status, answer.body))
}

async fn count_lost(rest: &Rest, bearer: &SecretString, told: &Told) -> usize {
    let mut lost = 0;
    for (name, status) in told {
        let path = format!("/keys/{name}");
        let shown = ask(rest, Ask::new(Method::GET, &path).signed_in(bearer)).await;
        let kept = shown.is_some_and(|(_, key)| key["status"] == *status);
        lost += usize::from(!kept);
    }
    lost
}

/// Waits until the agent is healthy and holds what it should; what it holds beyond that is alive.
async fn count_alive(agent: &Agent, told: &Told) -> usize {
    let begin = Instant::now();
    loop {
        let status = agent.status().await;
        let keys = status.keys.iter().filter(|key| key.state == "live");
        let live: Vec<&str> = keys.map(|key| key.name.as_str()).collect();
        let holds = |name: &String| live.contains(&name.as_str());
        let of = |wanted| told.iter().filter(move |(_, status)| **status == wanted);
        let missing = of("active").filter(|(name, _)| !holds(name)).count();
        let alive = of("revoked").filter(|(name, _)| holds(name)).count();
        if status.health == Health::Healthy && missing + alive == 0 {
            return 0;
        }
        if begin.elapsed() > BOUND {
            assert_eq!(
                missing, 0,
                "the agent lacks keys; it is {:?}",
                status.health
            );
            return alive;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

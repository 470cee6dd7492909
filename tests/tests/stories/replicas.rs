//! Three servers on one PostgreSQL and one Redis: what one does, all know.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Answer;
use keyferry_sdk::status::Health;
use keyferry_tests::{
    Agent, Engine, Guard, PASSWORD, Person, Redis, Replicas, Secret, Server, Stage, Tool, promptly,
    until,
};
use secrecy::SecretString;
use serde_json::{Value, json};

/// What the servers promise for changes that Redis did not carry.
const BOUND: Duration = Duration::from_secs(1);
/// What they promise for the agents of a server that is gone.
const FAILOVER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_counts_everywhere_at_once_with_and_without_redis() {
    let (stage, mut redis) = with_redis(Guard::Open).await;
    let servers = Replicas::start(&stage, 3, &redis.settings());
    ask(
        &servers[0],
        Method::POST,
        "/auth/register",
        None,
        Some(ada()),
    )
    .await;
    for crippled in [false, true] {
        if crippled {
            redis.kill();
        }
        let session = ask(&servers[1], Method::POST, "/auth/login", None, Some(ada()))
            .await
            .body;
        let tokens = [
            token(&session, "access_token"),
            token(&session, "session_token"),
        ];
        for (server, token) in servers
            .iter()
            .flat_map(|one| tokens.iter().map(move |t| (one, t)))
        {
            assert_eq!(me(server, token).await.status, StatusCode::OK);
        }
        let out = ask(
            &servers[2],
            Method::POST,
            "/auth/logout",
            Some(&tokens[0]),
            None,
        )
        .await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        for (server, token) in servers
            .iter()
            .flat_map(|one| tokens.iter().map(move |t| (one, t)))
        {
            assert_eq!(me(server, token).await.status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_changes_at_the_agents_of_every_server_with_and_without_redis() {
    let (stage, mut redis) = with_redis(Guard::Acl).await;
    let servers = Replicas::start(&stage, 3, &redis.settings());
    let ada = Person::register(&stage, &servers[0], "ada");
    for name in ["rotated", "revoked"] {
        ada.put(name, &Secret::fresh());
    }
    let mut agents = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let (there, vm) = (format!("ada-{number}"), format!("kali-{number}"));
        let there = Person::sign_in(&stage, (server, &there), "ada");
        agents.push(Agent::enrol(&stage, &there, &vm).await);
    }
    for agent in &agents {
        agent.until_it_has("revoked").await;
    }
    everywhere_connected(&servers).await;

    ada.rotate("rotated", &Secret::fresh());
    ada.revoke("revoked");
    for agent in &agents {
        agent.until_holding("rotated", 2).await;
        until_gone(agent, "revoked").await;
    }

    redis.kill();
    promptly(BOUND, async |attempt| {
        let key = format!("revoked-{attempt}");
        ada.put(&key, &Secret::fresh());
        revoked_everywhere(&stage, &agents, (&ada, &key)).await
    })
    .await;

    ada.run(&["vms", "wipe", "kali-2"], b"").success();
    until_gone(&agents[2], "rotated").await;
    agents[1].until_holding("rotated", 2).await;
}

/// How long after the owner's word the last page is wiped.
async fn revoked_everywhere(
    stage: &Stage,
    agents: &[Agent],
    (ada, key): (&Person<'_>, &str),
) -> Duration {
    let mut pages = Vec::new();
    for agent in agents {
        pages.push(Tool::open_watching_the_page(stage, agent, key).await);
    }
    for page in &mut pages {
        assert_eq!(page.next_event()["event"], "live");
    }
    ada.revoke(key);
    let revoked = Instant::now();
    for page in &mut pages {
        assert_eq!(page.next_event()["event"], "revoked");
    }
    revoked.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_and_lockouts_are_counted_together() {
    let (stage, mut redis) = with_redis(Guard::Tls).await;
    let limits = [
        ("AUTH_REGISTRATIONS_PER_HOUR", "4"),
        ("AUTH_MAX_FAILED_ATTEMPTS", "5"),
    ];
    let settings = [&redis.settings()[..], &limits].concat();
    let servers = Replicas::start(&stage, 3, &settings);
    everywhere_connected(&servers).await;
    let register = async |server: &Server, name: &str| {
        let account = json!({ "username": name, "password": PASSWORD });
        ask(server, Method::POST, "/auth/register", None, Some(account)).await
    };
    for (number, name) in ["ada", "bob", "eve", "joe"].into_iter().enumerate() {
        assert_eq!(
            register(&servers[number % 3], name).await.status,
            StatusCode::CREATED
        );
    }
    let refused = register(&servers[2], "kim").await;
    assert_eq!(refused.body["code"], "rate_limited");
    redis.kill();
    let refused = register(&servers[0], "kim").await;
    assert_eq!(
        refused.status,
        StatusCode::TOO_MANY_REQUESTS,
        "what was counted is remembered"
    );

    let wrong = json!({ "username": "ada", "password": "Wrong-Harbour-7-Lantern" });
    for number in 0..5 {
        let server = &servers[number % 3];
        ask(
            server,
            Method::POST,
            "/auth/login",
            None,
            Some(wrong.clone()),
        )
        .await;
    }
    for server in servers.iter() {
        let locked = ask(server, Method::POST, "/auth/login", None, Some(ada())).await;
        assert_eq!(
            locked.body["code"], "rate_limited",
            "the database counts them without Redis"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_signing_key_and_an_invitation_count_everywhere() {
    let (stage, redis) = with_redis(Guard::Open).await;
    let servers = Replicas::start(&stage, 3, &redis.settings());
    let session = ask(
        &servers[0],
        Method::POST,
        "/auth/register",
        None,
        Some(ada()),
    )
    .await
    .body;
    let old = token(&session, "access_token");
    let rotated = servers[1].run_beside(&stage, "rotate", |command| {
        command.args(["rotate", "jwt"]);
    });
    ended_well(rotated);
    let fresh = ask(&servers[2], Method::POST, "/auth/login", None, Some(ada()))
        .await
        .body;
    let fresh = token(&fresh, "access_token");
    for server in servers.iter() {
        assert_eq!(me(server, &old).await.status, StatusCode::OK);
        assert_eq!(me(server, &fresh).await.status, StatusCode::OK);
    }

    let bob = json!({ "username": "bob", "email": "bob@example.org", "password": PASSWORD });
    let bob = ask(&servers[0], Method::POST, "/auth/register", None, Some(bob))
        .await
        .body;
    let guest = json!({ "email": "bob@example.org", "role": "viewer" });
    let invited = ask(
        &servers[1],
        Method::POST,
        "/invitations",
        Some(&old),
        Some(guest),
    )
    .await;
    assert_eq!(invited.status, StatusCode::CREATED, "{}", invited.body);
    for server in servers.iter() {
        let open = ask(server, Method::GET, "/invitations", Some(&old), None).await;
        assert_eq!(open.body["items"][0]["id"], invited.body["id"]);
    }
    assert!(bob["access_token"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_of_a_killed_server_go_to_another() {
    let (stage, redis) = with_redis(Guard::Open).await;
    let mut servers = Replicas::start(&stage, 3, &redis.settings());
    let ada = Person::register(&stage, &servers[1], "ada");
    ada.put("openai", &Secret::fresh());
    let there = Person::sign_in(&stage, (&servers[0], "ada-0"), "ada");
    let agent = Agent::enrol(&stage, &there, "kali-1").await;
    agent.until_holding("openai", 1).await;
    assert_eq!(serving(&agent, &servers).await, 0);
    let mut dead = 0;
    promptly(FAILOVER, async |attempt| {
        if attempt > 0 {
            servers[dead].start_again(&stage);
            dead = serving(&agent, &servers).await;
        }
        servers[dead].kill();
        let killed = Instant::now();
        until("another server serves it", async || {
            let status = agent.status().await;
            let another = status.connection.server.as_deref() != Some(servers[dead].url());
            (another && status.health == Health::Healthy).then_some(())
        })
        .await;
        killed.elapsed()
    })
    .await;
    assert_eq!(agent.key("openai").await.unwrap().state, "live");
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
    servers[dead].start_again(&stage);
    assert_eq!(me_at(&servers[dead]).await, StatusCode::UNAUTHORIZED);
}

/// Which of the servers the agent is at.
async fn serving(agent: &Agent, servers: &Replicas) -> usize {
    let at = agent.status().await.connection.server;
    let mut urls = servers.iter().map(|server| Some(server.url()));
    urls.position(|url| url == at.as_deref()).unwrap()
}

async fn me_at(server: &Server) -> StatusCode {
    ask(server, Method::GET, "/auth/me", None, None)
        .await
        .status
}

async fn with_redis(guard: Guard) -> (Stage, Redis) {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start_guarded(&stage, guard);
    (stage, redis)
}

async fn everywhere_connected(servers: &Replicas) {
    for server in servers.iter() {
        until("the server has its Redis", async || {
            let health = ask(server, Method::GET, "/health", None, None).await;
            (health.body["cache"] == "connected").then_some(())
        })
        .await;
    }
}

async fn until_gone(agent: &Agent, key: &str) {
    until("the agent has wiped the key", async || {
        agent
            .key(key)
            .await
            .is_none_or(|key| key.state != "live")
            .then_some(())
    })
    .await;
}

fn ended_well(mut program: keyferry_tests::Program) {
    assert!(program.wait().success(), "{}", program.log());
}

fn ada() -> Value {
    json!({ "username": "ada", "password": PASSWORD })
}

fn token(body: &Value, name: &str) -> SecretString {
    body[name].as_str().unwrap().into()
}

async fn me(server: &Server, token: &SecretString) -> Answer {
    ask(server, Method::GET, "/auth/me", Some(token), None).await
}

async fn ask(
    server: &Server,
    method: Method,
    path: &str,
    bearer: Option<&SecretString>,
    body: Option<Value>,
) -> Answer {
    server.ask(method, path, bearer, body).await
}

//! A machine is wiped at one server while its agent comes back to another, or is about to be told
//! of a key: in whichever order PostgreSQL lets them, no key is alive afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::Ask;
use keyferry_tests::{
    Agent, Engine, PASSWORD, Person, Replicas, Secret, Server, Stage, promptly, until,
};
use secrecy::SecretString;
use serde_json::json;
use tokio::task::JoinHandle;

/// What is promised for an agent that is connected.
const CONNECTED: Duration = Duration::from_secs(1);
/// What is promised for one that is not.
const LEASE: Duration = Duration::from_secs(4);
/// How often an agent looks at the clocks.
const LOOK: Duration = Duration::from_secs(1);

/// What waits for the machine's row: its wipe, and its return.
const WIPE: &str = "UPDATE vms SET status = 'cut_off'";
const RETURN: &str = "UPDATE vms SET status = status";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_comes_back_after_its_wipe_stays_out() {
    promptly(LEASE + LOOK + CONNECTED, async |_attempt| {
        let mut scene = Scene::set().await;
        let held = scene.stage.hold("SELECT 1 FROM vms FOR UPDATE").await;
        let wiping = scene.begin_wipe();
        scene.stage.until_waiting_in(WIPE).await;
        scene.servers[0].kill();
        scene.stage.until_waiting_in(RETURN).await;
        held.let_go().await;
        assert_eq!(wiping.await.unwrap(), StatusCode::ACCEPTED);
        let took = scene.until_no_key_lives().await;
        until("a server has told it so", async || {
            let told = |server: &Server| server.log().contains("the VM is cut off");
            scene.servers.iter().any(told).then_some(())
        })
        .await;
        scene.nobody_may_come_back().await;
        took
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_came_back_just_before_its_wipe_is_wiped() {
    promptly(CONNECTED, async |_attempt| {
        let mut scene = Scene::set().await;
        let held = scene.stage.hold("SELECT 1 FROM vms FOR UPDATE").await;
        scene.servers[0].kill();
        scene.stage.until_waiting_in(RETURN).await;
        let wiping = scene.begin_wipe();
        scene.stage.until_waiting_in(WIPE).await;
        held.let_go().await;
        assert_eq!(wiping.await.unwrap(), StatusCode::ACCEPTED);
        let took = scene.until_no_key_lives().await;
        scene.nobody_may_come_back().await;
        took
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_on_its_way_while_the_machine_is_wiped_does_not_stay() {
    promptly(CONNECTED, async |_attempt| {
        let scene = Scene::set().await;
        let held = scene.stage.hold("LOCK TABLE held_versions").await;
        let bearer = &scene.bearer;
        let key = json!({ "provider": "openai", "value": Secret::fresh().text() });
        let put = scene.servers[2].ask(Method::PUT, "/keys/late", Some(bearer), Some(key));
        assert_eq!(put.await.status, StatusCode::CREATED);
        let delivery = "INSERT INTO held_versions";
        scene.stage.until_waiting_in(delivery).await;
        assert_eq!(scene.begin_wipe().await.unwrap(), StatusCode::ACCEPTED);
        held.let_go().await;
        let took = scene.until_no_key_lives().await;
        scene.nobody_may_come_back().await;
        took
    })
    .await;
}

/// Three servers on one PostgreSQL, and an agent at the first with two keys.
struct Scene {
    agent: Agent,
    servers: Replicas,
    stage: Stage,
    bearer: SecretString,
    wipe: String,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::new(Engine::Postgres).await;
        let servers = Replicas::start(&stage, 3, &[]);
        let ada = Person::register(&stage, &servers[0], "ada");
        for name in ["first", "second"] {
            ada.put(name, &Secret::fresh());
        }
        let shortened = stage
            .change(
                "UPDATE provider_keys SET policy = \
                 REPLACE(policy, '\"lease_seconds\":900', '\"lease_seconds\":4')",
            )
            .await;
        assert_eq!(shortened, 2);
        let settings = "[reconnect]\nlongest_ms = 200\n";
        let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
        for name in ["first", "second"] {
            agent.until_holding(name, 1).await;
        }
        let bearer = sign_in(&servers[2]).await;
        let vms = servers[2].ask(Method::GET, "/vms", Some(&bearer), None);
        let vms = vms.await.body;
        let wipe = format!("/vms/{}/wipe", vms["items"][0]["id"].as_str().unwrap());
        Self {
            agent,
            servers,
            stage,
            bearer,
            wipe,
        }
    }

    /// Has the machine wiped at the last server.
    fn begin_wipe(&self) -> JoinHandle<StatusCode> {
        let (rest, path, bearer) = (
            self.servers[2].rest(),
            self.wipe.clone(),
            self.bearer.clone(),
        );
        tokio::spawn(async move {
            let wipe = Ask::new(Method::POST, &path).signed_in(&bearer);
            rest.exchange(wipe).await.unwrap().status
        })
    }

    /// Tells how long that took.
    async fn until_no_key_lives(&self) -> Duration {
        let released = Instant::now();
        for name in ["first", "second", "late"] {
            until("the agent has no live key", async || {
                let key = self.agent.key(name).await;
                key.is_none_or(|key| key.state != "live").then_some(())
            })
            .await;
        }
        released.elapsed()
    }

    /// Nothing that the agent could prove is left, and no session of it.
    async fn nobody_may_come_back(&self) {
        for sql in [
            "SELECT COUNT(*) FROM reattach_credentials",
            "SELECT COUNT(*) FROM vms WHERE status = 'active'",
        ] {
            assert_eq!(self.stage.count(sql).await, 0, "{sql}");
        }
        for name in ["first", "second", "late"] {
            let key = self.agent.key(name).await;
            assert!(
                key.is_none_or(|key| key.state != "live"),
                "{name} lives again"
            );
        }
    }
}

async fn sign_in(server: &Server) -> SecretString {
    let account = json!({ "username": "ada", "password": PASSWORD });
    let session = server.ask(Method::POST, "/auth/login", None, Some(account));
    let session = session.await.body;
    session["access_token"].as_str().unwrap().into()
}

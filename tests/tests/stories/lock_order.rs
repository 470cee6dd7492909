//! On PostgreSQL rows are locked in one order: nobody waits for somebody who waits for them.
//!
//! A transaction of the story does what the other party does, in the other party's order. If a
//! request held what comes second while it waits for what comes first, PostgreSQL would end one of
//! the two.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Ask;
use keyferry_tests::{Agent, Engine, Operator, PASSWORD, Person, Secret, Server, Stage, until};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What one party does after the other.
type InOrder = [&'static str; 2];

/// When two sessions were last seen, written down by their ids.
const NOTING: InOrder = [
    "UPDATE sessions SET last_seen_at = 1 \
     WHERE created_at = (SELECT MIN(created_at) FROM sessions)",
    "UPDATE sessions SET last_seen_at = 1 \
     WHERE created_at = (SELECT MAX(created_at) FROM sessions)",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_login_and_one_that_goes_well_do_not_block_each_other() {
    let scene = Scene::set().await;
    assert_eq!(scene.log_in("a wrong one").await.unwrap(), 401);
    // The order in which rows lie is not the one in which they are to be locked.
    let moved = "UPDATE login_failures SET failures = failures WHERE network = ''";
    scene.stage.change(moved).await;
    let failing: InOrder = [
        "UPDATE login_failures SET failures = failures WHERE network = ''",
        "UPDATE login_failures SET failures = failures WHERE network <> ''",
    ];
    let logging_in = || scene.log_in(PASSWORD);
    assert_eq!(scene.meanwhile(failing, logging_in).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unlocking_admin_and_a_failing_login_do_not_block_each_other() {
    let scene = Scene::set().await;
    assert_eq!(scene.log_in("a wrong one").await.unwrap(), 401);
    let unlocking: InOrder = [
        "DELETE FROM login_failures",
        "UPDATE users SET failed_login_attempts = 0",
    ];
    let failing = || scene.log_in("another wrong one");
    assert_eq!(scene.meanwhile(unlocking, failing).await, 401);

    scene
        .stage
        .change("UPDATE users SET server_admin = TRUE")
        .await;
    let failing: InOrder = [
        "UPDATE login_failures SET failures = failures",
        "UPDATE users SET failed_login_attempts = failed_login_attempts + 1",
    ];
    let unlocking = || scene.ask(Method::POST, "/admin/users/ada/unlock", None);
    assert_eq!(scene.meanwhile(failing, unlocking).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_and_a_changed_password_do_not_block_each_other() {
    let scene = Scene::set().await;
    scene.stage.forget_mails();
    let forgot = json!({ "email": "ada@example.org" });
    let asked = scene.ask(Method::POST, "/auth/password/forgot", Some(forgot));
    assert_eq!(asked.await.unwrap(), 202);
    let token = scene.stage.mailed_token("kfe_").await;
    let changing: InOrder = [
        "UPDATE users SET status = status",
        "UPDATE email_tokens SET expires_at = expires_at",
    ];
    let new = json!({ "token": token, "new_password": "Copper-Meadow-4-Whistle" });
    let resetting = || scene.ask(Method::POST, "/auth/password/reset", Some(new));
    assert_eq!(scene.meanwhile(changing, resetting).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noting_sessions_and_ending_them_do_not_block_each_other() {
    let scene = Scene::set().await;
    assert_eq!(scene.log_in(PASSWORD).await.unwrap(), 200);
    scene.stage.change(OLDER_BEHIND).await;
    let ending = || scene.ask(Method::POST, "/auth/logout-all", None);
    assert_eq!(scene.meanwhile(NOTING, ending).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noting_sessions_and_the_end_of_the_account_do_not_block_each_other() {
    for older in ["that lives", "that has ended"] {
        let mut scene = Scene::set().await;
        if older == "that has ended" {
            let left = scene.ask(Method::POST, "/auth/logout", None);
            assert_eq!(left.await.unwrap(), 204);
        }
        scene.go_on_in_a_newer_session().await;
        let password = Some(json!({ "current_password": PASSWORD }));
        let closing = || scene.ask(Method::DELETE, "/auth/me", password);
        let closed = scene.meanwhile(NOTING, closing).await;
        assert_eq!(closed, 204, "there is an older session {older}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noting_sessions_and_a_session_in_another_tenant_do_not_block_each_other() {
    let mut scene = Scene::set().await;
    scene.go_on_in_a_newer_session().await;
    let tenants = scene
        .server
        .ask(Method::GET, "/tenants", Some(&scene.ada), None);
    let tenants = tenants.await.body;
    let enter = format!(
        "/tenants/{}/enter",
        tenants["items"][0]["id"].as_str().unwrap()
    );
    let entering = || scene.ask(Method::POST, &enter, None);
    assert_eq!(scene.meanwhile(NOTING, entering).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noting_sessions_and_forgetting_their_device_do_not_block_each_other() {
    let mut scene = Scene::set().await;
    scene.go_on_in_a_newer_session().await;
    scene.stage.change(OLDER_BEHIND).await;
    let devices = scene
        .server
        .ask(Method::GET, "/auth/devices", Some(&scene.ada), None);
    let devices = devices.await.body;
    let device = format!(
        "/auth/devices/{}",
        devices["items"][0]["id"].as_str().unwrap()
    );
    let forgetting = || scene.ask(Method::DELETE, &device, None);
    assert_eq!(scene.meanwhile(NOTING, forgetting).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_leaves_sessions_that_somebody_holds_to_the_next_one() {
    let mut scene = Scene::set().await;
    scene.go_on_in_a_newer_session().await;
    for ended in [
        OLDER_BEHIND,
        "UPDATE sessions SET ended_at = 1",
        "UPDATE refresh_tokens SET expires_at = 1",
    ] {
        scene.stage.change(ended).await;
    }
    let sweep = async || {
        let swept = Operator::of(&scene.stage).ask(&["sweep"]);
        let left = "SELECT COUNT(*) FROM sessions";
        (
            swept["sessions_and_tokens"].clone(),
            scene.stage.count(left).await,
        )
    };
    let held = scene.stage.hold(
        "SELECT 1 FROM sessions WHERE created_at = (SELECT MIN(created_at) FROM sessions) \
         FOR UPDATE",
    );
    let held = held.await;
    assert_eq!(
        sweep().await,
        (json!(2), 1),
        "the newer, and the older's token"
    );
    held.let_go().await;
    assert_eq!(sweep().await, (json!(1), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wipe_and_a_new_master_key_do_not_block_each_other() {
    let scene = Scene::set().await;
    let vm = Some(json!({ "name": "kali" }));
    let vm = scene
        .server
        .ask(Method::POST, "/vms", Some(&scene.ada), vm)
        .await;
    let wipe = format!("/vms/{}/wipe", vm.body["id"].as_str().unwrap());
    let rotating: InOrder = [
        "LOCK TABLE tickets IN SHARE ROW EXCLUSIVE MODE",
        "LOCK TABLE reattach_credentials IN SHARE ROW EXCLUSIVE MODE",
    ];
    let wiping = || scene.ask(Method::POST, &wipe, None);
    assert_eq!(scene.meanwhile(rotating, wiping).await, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_and_the_end_of_the_account_do_not_block_each_other() {
    let scene = Scene::set().await;
    let logging_in: InOrder = [
        "UPDATE users SET last_login_at = 1",
        "SELECT 1 FROM tenants FOR KEY SHARE",
    ];
    let password = Some(json!({ "current_password": PASSWORD }));
    let closing = || scene.ask(Method::DELETE, "/auth/me", password);
    assert_eq!(scene.meanwhile(logging_in, closing).await, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_and_the_removal_of_its_machine_do_not_block_each_other() {
    let stage = Stage::new(Engine::Postgres).await;
    // It is the story that would be given up.
    const SERVERS: &str = "DO $$ BEGIN EXECUTE format( \
        'ALTER DATABASE %I SET deadlock_timeout = ''1h''', current_database()); END $$";
    stage.change(SERVERS).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    until("the agent is noted, and what it holds", async || {
        const NOTED: &str = "SELECT COUNT(*) FROM vms m JOIN held_versions h ON h.vm_id = m.id \
            WHERE m.session_id IS NOT NULL AND h.outcome = 'held'";
        (stage.count(NOTED).await == 1).then_some(())
    })
    .await;

    let mut removing = stage.hold("SELECT 1 FROM vms FOR UPDATE").await;
    removing.change("SET deadlock_timeout = '1s'").await;
    // One key goes and another comes with the same look.
    stage
        .change("UPDATE key_versions SET held_back_at = 1")
        .await;
    ada.put("groq", &Secret::fresh());
    stage.until_waiting().await;
    removing
        .change("UPDATE held_versions SET told = told")
        .await;
    removing.commit().await;
    agent.until_holding("groq", 1).await;
}

/// From here on the older session lies behind the newer one.
const OLDER_BEHIND: &str = "UPDATE sessions SET expires_at = expires_at + 1 \
    WHERE created_at = (SELECT MIN(created_at) FROM sessions)";

/// Ada, alone on a server.
struct Scene {
    server: Server,
    stage: Stage,
    ada: SecretString,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::new(Engine::Postgres).await;
        let server = Server::start_with(&stage, &[("AUTH_ENABLE_RATE_LIMITING", "true")]);
        let ada = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
        let made = server.ask(Method::POST, "/auth/register", None, Some(ada));
        let ada = made.await.body["access_token"].as_str().unwrap().into();
        stage.mailed_token("kfe_").await;
        Self { server, stage, ada }
    }

    async fn go_on_in_a_newer_session(&mut self) {
        let account = json!({ "username": "ada", "password": PASSWORD });
        let path = "/auth/login";
        let newer = self.server.ask(Method::POST, path, None, Some(account));
        let newer = newer.await.body;
        self.ada = newer["access_token"].as_str().unwrap().into();
    }

    /// The status of a request that begins between the two steps of somebody else.
    async fn meanwhile(
        &self,
        [first, then]: InOrder,
        begin: impl FnOnce() -> JoinHandle<u16>,
    ) -> u16 {
        let mut other = self.stage.hold(first).await;
        let asking = begin();
        self.stage.until_waiting().await;
        other.change(then).await;
        other.commit().await;
        asking.await.unwrap()
    }

    fn ask(&self, method: Method, path: &str, body: Option<Value>) -> JoinHandle<u16> {
        let (rest, path, ada) = (self.server.rest(), path.to_owned(), self.ada.clone());
        tokio::spawn(async move {
            let mut ask = Ask::new(method, &path).signed_in(&ada);
            if let Some(body) = body {
                ask = ask.json(body.to_string().into());
            }
            rest.exchange(ask).await.unwrap().status.as_u16()
        })
    }

    fn log_in(&self, password: &str) -> JoinHandle<u16> {
        let claim = json!({ "username": "ada", "password": password });
        self.ask(Method::POST, "/auth/login", Some(claim))
    }
}

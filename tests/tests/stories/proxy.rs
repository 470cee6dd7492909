//! Programs that know nothing of Keyferry use keys that they never have: through `keyferry exec`
//! and the agent's proxy, against a provider with a private authority.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Stdio;

use keyferry_tests::{
    Agent, Engine, Person, Provider, Raw, RawAnswer, Secret, Server, Speaks, Stage,
    node_with_openai, python_with_sdks, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A key of a provider, and a machine that may use it.
pub(crate) struct World {
    pub(crate) provider: Provider,
    pub(crate) key: Secret,
    pub(crate) agent: Agent,
    _server: Server,
}

impl World {
    async fn with<'a>(stage: &'a Stage, key_name: &str) -> (Self, Person<'a>) {
        Self::with_provider(stage, key_name, Speaks::Http1, "").await
    }

    pub(crate) async fn with_provider<'a>(
        stage: &'a Stage,
        key_name: &str,
        speaks: Speaks,
        more: &str,
    ) -> (Self, Person<'a>) {
        let server = Server::start(stage);
        let ada = Person::register(stage, &server, "ada");
        let key = Secret::fresh();
        let provider = Provider::start_speaking(speaks, stage, &key).await;
        let known = ["openai", "anthropic", "groq", "google"].contains(&key_name);
        let preset = if known { key_name } else { "custom" };
        ada.put_for_host((key_name, preset), &provider.host(), &key);
        let settings = provider.agent_settings() + more;
        let agent = Agent::enrol_with(stage, &ada, "kali-1", &settings).await;
        agent.until_holding(key_name, 1).await;
        let world = Self {
            provider,
            key,
            agent,
            _server: server,
        };
        (world, ada)
    }

    /// Runs a program of a vendor under `keyferry exec`.
    pub(crate) fn exec(&self, ada: &Person<'_>, command: &[&str]) {
        let socket = self.agent.socket().to_str().unwrap();
        let exec = [&["exec", "--socket", socket, "--"], command].concat();
        let answer = ada.run(&exec, b"");
        assert_eq!(
            answer.output.trim(),
            "done",
            "{answer:?}\n{}",
            self.agent.log()
        );
        assert_eq!(answer.code, 0);
    }

    pub(crate) fn seen_only_the_key(&self) {
        let seen = self.provider.seen();
        assert!(!seen.is_empty());
        for request in seen {
            let fields = request.fields.join("\n");
            assert!(fields.contains(self.key.text()), "{request:?}");
            assert!(!fields.contains("kfp_"), "{request:?}");
            assert!(fields.contains(&format!("host: {}", self.provider.host())));
        }
    }
}

async fn the_python_package_works_unmodified(key: &str) {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, key).await;
    let python = python_with_sdks();
    let script = script(&format!("use_{key}.py"));
    // Without -B it would leave compiled files beside the scripts.
    world.exec(&ada, &[python.to_str().unwrap(), "-B", &script]);
    world.seen_only_the_key();
}

pub(crate) fn script(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks");
    folder.join(name).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_of_openai_works_unmodified() {
    the_python_package_works_unmodified("openai").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_of_anthropic_works_unmodified() {
    the_python_package_works_unmodified("anthropic").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_of_groq_works_unmodified() {
    the_python_package_works_unmodified("groq").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_of_google_works_unmodified() {
    the_python_package_works_unmodified("google").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_of_openai_works_unmodified() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, "openai").await;
    let folder = node_with_openai();
    // Modules are looked for beside the script.
    let copy = folder.join("use_openai.mjs");
    std::fs::copy(script("use_openai.mjs"), &copy).unwrap();
    world.exec(&ada, &["node", copy.to_str().unwrap()]);
    world.seen_only_the_key();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_worth_nothing_to_another_user() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, _ada) = World::with(&stage, "openai").await;
    let raw = Raw::of(&world.agent, "openai").await;
    assert_eq!(raw.ask("/v1/chat/completions").await.status, 200);

    let config = format!("header = \"Authorization: Bearer {}\"", raw.token);
    let mut thief = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .args(["curl", "--silent", "--include", "--config", "-"])
        .arg(format!("{}/v1/chat/completions", raw.base))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut thief.stdin.take().unwrap(), config.as_bytes()).unwrap();
    let answer = thief.wait_with_output().unwrap();
    let said = RawAnswer::split(&String::from_utf8(answer.stdout).unwrap());
    assert_eq!(said.refused(), (403, "other_user"));
    assert_eq!(world.provider.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_dies_with_its_process_and_serves_its_children_before() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, "openai").await;
    let kept = stage.path("kept");
    // The child of a child asks; then everything ends, and the token has been kept.
    let command = format!(
        "sh -c 'curl --silent --fail -H \"Authorization: Bearer '$OPENAI_API_KEY'\" \
         '$OPENAI_BASE_URL'/chat/completions >&2' && \
         echo \"$OPENAI_API_KEY $KEYFERRY_OPENAI_BASE_URL\" > {} && echo done",
        kept.display()
    );
    world.exec(&ada, &["sh", "-c", &command]);
    assert_eq!(world.provider.seen().len(), 1);

    let kept = std::fs::read_to_string(kept).unwrap();
    let (token, base) = kept.trim().split_once(' ').unwrap();
    assert!(token.starts_with("kfp_"), "{token}");
    let address = base.strip_prefix("http://").unwrap();
    let request = format!("GET / HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n");
    let stream = TcpStream::connect(address).await.unwrap();
    let said = RawAnswer::after(stream, &request).await;
    assert_eq!(said.refused(), (401, "process_ended"));
    assert_eq!(world.provider.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_that_the_agent_made_nothing_goes_out() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, _ada) = World::with(&stage, "openai").await;
    let raw = Raw::of(&world.agent, "openai").await;
    let made_up = "kfp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (fields, code) in [
        (String::new(), "no_token"),
        (format!("x-api-key: {}\r\n", world.key.text()), "no_token"),
        (format!("x-api-key: {made_up}\r\n"), "unknown_token"),
    ] {
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let said = raw.say(&request).await;
        assert_eq!(said.refused(), (401, code));
    }
    assert_eq!(world.provider.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_to_its_own_hosts_only() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, _ada) = World::with(&stage, "openai").await;
    let raw = Raw::of(&world.agent, "openai").await;
    let own = world.provider.host();
    assert_eq!(raw.ask(&format!("/@{own}/v1/models")).await.status, 200);
    let other = Provider::start(&stage, &world.key).await;
    for host in [&other.host(), "localhost", "api.openai.com", "127.0.0.1"] {
        let said = raw.ask(&format!("/@{host}/v1/models")).await;
        assert_eq!(said.refused(), (403, "host_not_allowed"), "{host}");
    }
    assert!(other.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_on_a_private_network_needs_the_machines_consent() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("inside", "custom"), &provider.host(), &key);
    ada.put_for_host(("cloud", "custom"), "169.254.169.254", &key);
    let settings = provider.agent_settings();
    let settings = settings.replace("\"localhost\"", "\"169.254.169.254\"");
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &settings).await;
    for key in ["inside", "cloud"] {
        agent.until_it_has(key).await;
        let said = Raw::of(&agent, key).await.ask("/v1/models").await;
        assert_eq!(said.refused(), (403, "address_not_allowed"), "{key}");
    }
    assert!(provider.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let stage = Stage::new(Engine::Sqlite).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let settings = "[proxy]\nallow_private = [\"localhost\"]\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    agent.until_holding("openai", 1).await;
    let said = Raw::of(&agent, "openai").await.ask("/v1/models").await;
    assert_eq!(said.refused(), (502, "untrusted"));
    assert!(provider.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_passed_on_and_not_followed() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, _ada) = World::with(&stage, "openai").await;
    let other = Provider::start(&stage, &world.key).await;
    let raw = Raw::of(&world.agent, "openai").await;
    let said = raw
        .ask(&format!("/v1/redirect?https://{}/v1/models", other.host()))
        .await;
    assert_eq!(said.refused(), (307, ""));
    assert!(other.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_used_at_once_and_a_revoked_one_never_again() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, "openai").await;
    let raw = Raw::of(&world.agent, "openai").await;
    assert_eq!(raw.ask("/v1/models").await.status, 200);
    let second = Secret::fresh();
    world.provider.rotate(&second);
    assert_eq!(raw.ask("/v1/models").await.status, 401);
    ada.rotate("openai", &second);
    world.agent.until_holding("openai", 2).await;
    assert_eq!(raw.ask("/v1/models").await.status, 200);

    ada.revoke("openai");
    until("the agent has wiped the key", async || {
        (world.agent.key("openai").await?.state == "revoked").then_some(())
    })
    .await;
    assert_eq!(raw.ask("/v1/models").await.refused(), (403, "revoked"));
    assert_eq!(world.provider.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_on_one_connection_share_one_to_the_provider_and_are_counted() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, _ada) = World::with(&stage, "openai").await;
    let raw = Raw::of(&world.agent, "openai").await;
    let (token, upload) = (&raw.token, "x".repeat(3 << 20));
    let mut requests = format!(
        "POST /v1/upload HTTP/1.1\r\nX-Api-Key: {token}\r\nContent-Length: {}\r\n\r\n{upload}",
        upload.len()
    );
    requests += &format!(
        "POST /v1/upload HTTP/1.1\r\nX-Api-Key: {token}\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    );
    let mut stream = raw.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains(&format!("\"length\":{}", upload.len())),
        "{answer}"
    );
    assert!(answer.contains("HTTP/1.1 100 Continue"), "{answer}");
    assert!(answer.contains("\"length\":5,"), "{answer}");
    let seen = world.provider.seen();
    assert_eq!((seen[0].connection, seen[1].connection), (1, 1));

    let tools = world.agent.status().await.proxy.unwrap().tools;
    assert_eq!(tools.len(), 1);
    assert_eq!((tools[0].key.as_str(), tools[0].requests), ("openai", 2));
    assert_eq!(tools[0].pid, i32::try_from(std::process::id()).unwrap());
    assert!(
        tools[0].sent > 3 << 20 && tools[0].received > 100,
        "{tools:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_says_what_is_missing() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, "openai").await;
    let socket = world.agent.socket().to_str().unwrap();
    let exec = |rest: &[&str]| ada.run(&[&["exec", "--socket", socket], rest].concat(), b"");
    assert_eq!(exec(&["--", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(exec(&["--", "no-such-program"]).code, 127);
    assert_eq!(exec(&["--", "/etc/passwd"]).code, 126);
    let unknown = exec(&["--key", "groq", "--", "true"]);
    assert_eq!(unknown.code, 6, "{unknown:?}");
    assert!(unknown.errors.contains("not_found"), "{unknown:?}");
    assert_eq!(exec(&[]).code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_has_to_be_sent_twice_is_one_request() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (world, ada) = World::with(&stage, "openai").await;
    let budget = ["keys", "policy", "openai", "--requests-per-minute", "2"];
    ada.run(&budget, b"").success();
    until("the budget is in force", async || {
        (world.agent.log().matches("key delivered").count() == 2).then_some(())
    })
    .await;
    let raw = Raw::of(&world.agent, "openai").await;
    let mut stream = raw.connect().await;
    let request = format!(
        "GET /v1/fresh-only HTTP/1.1\r\nX-Api-Key: {}\r\n",
        raw.token
    );
    // The host hangs up on the second one, which is sent again on another connection.
    let two = format!("{request}\r\n{request}Connection: close\r\n\r\n");
    stream.write_all(two.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    let connections: Vec<_> = world
        .provider
        .seen()
        .iter()
        .map(|seen| seen.connection)
        .collect();
    assert_eq!(connections, [1, 1, 2]);
    let tools = world.agent.status().await.proxy.unwrap().tools;
    assert_eq!(tools[0].requests, 2);
    let said = raw.ask("/v1/models").await;
    assert_eq!(said.refused(), (429, "budget_requests_per_minute"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_take_nobodys_place() {
    let stage = Stage::new(Engine::Sqlite).await;
    let few = "[limits]\nproxy_connections = 4\n";
    let (world, _ada) = World::with_provider(&stage, "openai", Speaks::Http1, few).await;
    let port = world.agent.status().await.proxy.unwrap().port;
    // Nobody has a token yet.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let raw = Raw::of(&world.agent, "openai").await;
    assert_eq!(raw.ask("/v1/models").await.status, 200);
    // And who has one leaves half of the places to others.
    drop(silent);
    let _silent = [raw.connect().await, raw.connect().await];
    let token = &raw.token;
    let request =
        format!("GET /v1/models HTTP/1.1\r\nX-Api-Key: {token}\r\nConnection: close\r\n\r\n");
    // Those who only hear that there is no place are few at once as well.
    until("it is told that there are too many", async || {
        let mut stream = raw.connect().await;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.contains("too_many_connections").then_some(())
    })
    .await;
}

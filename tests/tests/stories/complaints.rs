//! What users of comparable products complain about most: one story each, named after it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use keyferry_sdk::status::Health;
use keyferry_tests::{
    Agent, Channel, Engine, Person, Provider, Raw, RawAnswer, Relay, Secret, Server, Stage, Tool,
    binary, copy_of, on_both_engines, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

on_both_engines!(
    a_machine_that_reboots_is_not_bricked_by_its_spent_ticket,
    an_agent_comes_back_after_an_outage_longer_than_ticket_and_lease,
    a_rotated_key_reaches_a_running_machine,
    a_banned_agent_does_not_go_on_serving_its_cache,
    health_is_not_green_while_everything_has_expired,
    a_lost_answer_does_not_burn_the_ticket,
    a_hung_server_leaves_a_valid_cache_usable,
    a_process_of_the_same_user_cannot_drain_the_socket,
    the_proxy_breaks_no_stream_no_websocket_and_no_odd_client,
    locked_memory_that_is_none_is_never_silent,
);

const IMPATIENT: &str = "[reconnect]\nlongest_ms = 200\n";

/// The shortest lease that an owner can set is longer than a story should take.
async fn shorten_leases(stage: &Stage) {
    const SQL: &str = "UPDATE provider_keys SET policy = \
        REPLACE(policy, '\"lease_seconds\":900', '\"lease_seconds\":6')";
    assert!(stage.change(SQL).await > 0);
}

async fn until_lease_is_over(agent: &Agent, key: &str) {
    until("the lease is over", async || {
        (agent.key(key).await?.state == "lease_over").then_some(())
    })
    .await;
}

async fn a_machine_that_reboots_is_not_bricked_by_its_spent_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let channel = Channel::open(&stage, &server, "kali-1");
    let wire = channel.wire();
    for version in 1..=3 {
        let mut agent = wire.boot(&stage, &format!("boot-{version}"));
        agent.until_holding("openai", version).await;
        agent.kill();
        ada.rotate("openai", &Secret::fresh());
    }
}

async fn an_agent_comes_back_after_an_outage_longer_than_ticket_and_lease(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start_with(&stage, &[("KEYFERRY_SWEEP_SECONDS", "1")]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    shorten_leases(&stage).await;
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", IMPATIENT).await;
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");

    server.kill();
    until_lease_is_over(&agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "lease_over");
    stage.change("UPDATE tickets SET expires_at = 1").await;
    server.start_again(&stage);
    until("the ticket is swept", async || {
        let left = stage.count("SELECT COUNT(*) FROM tickets").await;
        (left == 0).then_some(())
    })
    .await;
    agent.until_healthy().await;
    agent.until_holding("openai", 1).await;
}

async fn a_rotated_key_reaches_a_running_machine(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    ada.run(&["keys", "policy", "openai", "--raw"], b"")
        .success();
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    let program = Raw::of(&agent, "openai").await;

    let rotated = Secret::fresh();
    provider.rotate(&rotated);
    ada.rotate("openai", &rotated);
    // The same handle, the same token: nobody has to be started again.
    assert_eq!(tool.next_event()["sha256"], rotated.sha256());
    assert_eq!(program.ask("/v1/models").await.status, 200);
}

async fn a_banned_agent_does_not_go_on_serving_its_cache(engine: Engine) {
    let stage = Stage::new(engine).await;
    let relay = Relay::new();
    let url = format!("https://127.0.0.1:{}", relay.port());
    let server = Server::start_with(&stage, &[("KEYFERRY_PUBLIC_URL", url.as_str())]);
    relay.lead_to(&server);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    shorten_leases(&stage).await;
    let told = Agent::enrol_with(&stage, &ada, "told", IMPATIENT).await;
    let unreachable = Agent::enrol_with(&stage, &ada, "unreachable", IMPATIENT).await;
    let mut tools = [
        Tool::open_watching_the_page(&stage, &told, "openai").await,
        Tool::open_watching_the_page(&stage, &unreachable, "openai").await,
    ];
    for tool in &mut tools {
        assert_eq!(tool.next_event()["event"], "live");
    }

    // One hears of it; the other is behind a network that carries nothing: its lease ends.
    ada.run(&["vms", "cut-off", "told"], b"").success();
    assert_eq!(tools[0].next_event()["event"], "revoked");
    relay.cut();
    ada.run(&["vms", "cut-off", "unreachable"], b"").success();
    assert_eq!(tools[1].next_event()["event"], "lease_over");
    for agent in [&told, &unreachable] {
        let read = [
            "read",
            "openai",
            "--socket",
            agent.socket().to_str().unwrap(),
        ];
        let answer = ada.run(&read, b"");
        assert_eq!((answer.code, answer.output.as_str()), (6, ""));
    }
    relay.mend();
    until("it is told as well, and asks for a ticket", async || {
        let status = unreachable.status().await;
        status
            .advice
            .iter()
            .any(|line| line.contains("ticket"))
            .then_some(())
    })
    .await;
    assert!(
        unreachable
            .status()
            .await
            .keys
            .iter()
            .all(|key| key.state != "live")
    );
}

async fn health_is_not_green_while_everything_has_expired(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", IMPATIENT).await;
    agent.until_holding("openai", 1).await;
    assert_eq!(
        (exit_code_of_status(&agent), health(&agent).await),
        (0, 200)
    );

    server.kill();
    until("the agent says that it is stale", async || {
        (agent.status().await.health == Health::Stale).then_some(())
    })
    .await;
    assert_eq!(exit_code_of_status(&agent), 1);
    shorten_leases(&stage).await;
    server.start_again(&stage);
    agent.until_healthy().await;
    server.kill();
    until_lease_is_over(&agent, "openai").await;
    let status = agent.status().await;
    assert_eq!(
        (status.health, status.connected),
        (Health::Disconnected, false)
    );
    assert!(
        status.lease.is_none() && status.last_error.is_some(),
        "{status:?}"
    );
    assert_eq!(
        (exit_code_of_status(&agent), health(&agent).await),
        (1, 503)
    );
    server.start_again(&stage);
    agent.until_healthy().await;
    assert_eq!(
        (exit_code_of_status(&agent), health(&agent).await),
        (0, 200)
    );
}

/// What a service manager or a monitor looks at.
fn exit_code_of_status(agent: &Agent) -> i32 {
    let mut status = Command::new(binary("keyferry-agent"));
    status
        .args(["status", "--json", "--socket"])
        .arg(agent.socket());
    status.output().unwrap().status.code().unwrap()
}

/// What a monitor is answered at the proxy's port, without a token.
async fn health(agent: &Agent) -> u16 {
    let port = agent.status().await.proxy.unwrap().port;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    RawAnswer::after(stream, request).await.status
}

async fn a_lost_answer_does_not_burn_the_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let relay = Relay::new();
    let url = format!("https://127.0.0.1:{}", relay.port());
    let server = Server::start_with(&stage, &[("KEYFERRY_PUBLIC_URL", url.as_str())]);
    relay.lead_to(&server);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    // Every answer of the handshake is lost, one after the other: the server's last word first
    // after its database has taken the ticket for spent.
    relay.lose_answers(128);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", "[reconnect]\nlongest_ms = 10\n").await;
    agent.until_holding("openai", 1).await;
    const ENROLLED: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'agent.enrolled'";
    let enrolled = stage.count(ENROLLED).await;
    assert!(
        enrolled >= 2,
        "no answer was lost after the ticket was spent"
    );
    assert_eq!(
        ada.ask(&["vms", "list"])["items"][0]["suspected_clone"],
        false
    );
}

async fn a_hung_server_leaves_a_valid_cache_usable(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    ada.run(&["keys", "policy", "openai", "--raw"], b"")
        .success();
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let program = Raw::of(&agent, "openai").await;

    server.pause();
    let read = [
        "read",
        "openai",
        "--socket",
        agent.socket().to_str().unwrap(),
    ];
    assert_eq!(ada.run(&read, b"").success().output, key.text());
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    assert_eq!(program.ask("/v1/models").await.status, 200);
    assert_eq!(
        Raw::of(&agent, "openai")
            .await
            .ask("/v1/models")
            .await
            .status,
        200
    );
    assert_eq!(agent.status().await.health, Health::Healthy);
    server.resume();
    ada.revoke("openai");
    assert_eq!(tool.next_event()["event"], "revoked");
}

async fn a_process_of_the_same_user_cannot_drain_the_socket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let usual = ["keys", "put", "usual"];
    ada.run(&usual, Secret::fresh().text().as_bytes()).success();
    ada.put("bound", &Secret::fresh());
    let tool = stage.path("my-tool");
    copy_of("keyferry", &tool);
    let rule = format!("exe={}", tool.display());
    ada.run(&["keys", "policy", "bound", "--tool", &rule], b"")
        .success();
    let settings = "[policy]\nidentify_programs = true\n[limits]\nconnections = 8\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    agent.until_holding("bound", 1).await;

    let keyferry = binary("keyferry");
    let read = |program: &Path, key| {
        let mut command = Command::new(program);
        command.args(["read", key, "--socket"]).arg(agent.socket());
        let output = command
            .env_clear()
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    // Without a word from its owner nobody reads a key, and with one only whom it names.
    for program in [&tool, &keyferry] {
        let (given, why) = read(program, "usual");
        assert!(!given && why.contains("inject_only"), "{why}");
    }
    let (given, why) = read(&keyferry, "bound");
    assert!(!given && why.contains("not_permitted"), "{why}");
    assert!(read(&tool, "bound").0);
}

async fn the_proxy_breaks_no_stream_no_websocket_and_no_odd_client(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    let provider = Provider::start(&stage, &key).await;
    ada.put_for_host(("openai", "openai"), &provider.host(), &key);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", &provider.agent_settings()).await;
    agent.until_holding("openai", 1).await;
    let raw = Raw::of(&agent, "openai").await;
    streams_pass_piece_by_piece(&raw, &provider).await;
    websockets_pass(&raw).await;
    odd_clients_are_understood(&raw).await;
    a_proxy_in_the_environment_is_no_obstacle(&ada, &agent);
}

/// The provider sends the second piece only when the first has arrived.
async fn streams_pass_piece_by_piece(raw: &Raw, provider: &Provider) {
    let mut stream = raw.connect().await;
    let body = r#"{"stream": true}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        raw.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (String::new(), [0; 4096]);
    while !answer.contains("fer") {
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(!answer.contains("ried"));
    provider.go_on();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("ried") && answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
}

async fn websockets_pass(raw: &Raw) {
    let url = raw.base.replace("http://", "ws://") + "/v1/websocket";
    let request = ClientRequestBuilder::new(url.parse().unwrap())
        .with_header("Authorization", format!("Bearer {}", raw.token));
    let (mut socket, _) = client_async(request, raw.connect().await).await.unwrap();
    for text in ["one", &"three".repeat(20_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
}

/// Letters of any size, heads byte by byte, several requests at once, chunks with extensions and
/// trailers, and what has to be refused is refused with a reason.
async fn odd_clients_are_understood(raw: &Raw) {
    let token = &raw.token;
    let odd = format!("get: x\r\nAUTHORIZATION: Bearer {token}\r\n");
    let mut stream = raw.connect().await;
    let request = format!("GET /v1/models?a=%20&b=c#d HTTP/1.1\r\n{odd}connection: CLOSE\r\n\r\n");
    for byte in request.replace("#d", "").bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(RawAnswer::after(stream, "").await.status, 200);

    let chunks = "5;x=y\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n";
    let several = format!(
        "HEAD /v1/models HTTP/1.1\r\n{odd}\r\n\
         POST /v1/upload HTTP/1.1\r\n{odd}Transfer-Encoding: chunked\r\n\r\n{chunks}\
         OPTIONS /v1/models HTTP/1.1\r\n{odd}Connection: close\r\n\r\n"
    );
    let said = raw.say(&several).await;
    assert_eq!(
        (said.status, said.body.matches("HTTP/1.1 200").count()),
        (200, 2),
        "{said:?}"
    );
    assert!(said.body.contains("\"length\":5,"), "{said:?}");

    for (request, told) in [
        (format!("GET /v1/models HTTP/1.0\r\n{odd}\r\n"), "HTTP/1.1"),
        (
            format!("CONNECT api.openai.com:443 HTTP/1.1\r\n{odd}\r\n"),
            "HTTP/1.1",
        ),
        (
            "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer sk-1\r\n\r\n".into(),
            "keyferry exec",
        ),
    ] {
        let said = raw.say(&request).await;
        assert!(
            !said.code.is_empty() && said.body.contains(told),
            "{said:?}"
        );
    }
}

fn a_proxy_in_the_environment_is_no_obstacle(ada: &Person<'_>, agent: &Agent) {
    let call = "http_proxy=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9 exec \"$0\" exec --socket \
        \"$1\" -- sh -c 'curl --silent --fail -H \"Authorization: Bearer $OPENAI_API_KEY\" \
        \"$OPENAI_BASE_URL/models\" && echo done'";
    let socket = agent.socket().to_str().unwrap();
    let keyferry = binary("keyferry");
    let shell = [
        "exec",
        "--socket",
        socket,
        "--",
        "sh",
        "-c",
        call,
        keyferry.to_str().unwrap(),
        socket,
    ];
    let answer = ada.run(&shell, b"");
    assert!(answer.output.ends_with("done\n"), "{answer:?}");
}

async fn locked_memory_that_is_none_is_never_silent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let ticket = ada.ticket_for_new_vm("refusing");
    let none = ("unlocked", &[][..]);
    let mut refusing = Agent::launch_confined(&stage, "refusing", none, ticket.as_bytes());
    assert!(!refusing.wait().success());
    for told in ["allow_degraded", "RLIMIT_MEMLOCK"] {
        assert!(refusing.log().contains(told), "{}", refusing.log());
    }

    let ticket = ada.ticket_for_new_vm("poor");
    let accepted = ("unlocked", &["--allow-degraded"][..]);
    let mut poor = Agent::launch_confined(&stage, "poor", accepted, ticket.as_bytes());
    poor.until_served();
    poor.until_healthy().await;
    let status = poor.status().await;
    let memory = status
        .hardening
        .iter()
        .find(|step| step.step == "locked_memory");
    assert!(memory.is_some_and(|step| step.degraded && step.level == "unlocked"));
    assert!(status.advice.iter().any(|line| line.contains("MEMLOCK")));
    let vms = ada.ask(&["vms", "list"]);
    let vms = vms["items"].as_array().unwrap();
    let vm = vms.iter().find(|vm| vm["name"] == "poor").unwrap();
    assert_eq!(vm["protection"], "unlocked");
}

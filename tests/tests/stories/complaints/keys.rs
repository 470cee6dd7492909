//! Keys that change, end or stay while the server is away, and what is said of them.

use std::process::Command;

use keyferry_sdk::status::Health;
use keyferry_tests::{
    Agent, Engine, Person, Provider, Raw, RawAnswer, Relay, Secret, Server, Stage, Tool, binary,
    on_both_engines, until,
};

use super::{IMPATIENT, shorten_leases, until_lease_is_over};

on_both_engines!(
    a_rotated_key_reaches_a_running_machine,
    a_banned_agent_does_not_go_on_serving_its_cache,
    health_is_not_green_while_everything_has_expired,
    a_hung_server_leaves_a_valid_cache_usable,
);

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

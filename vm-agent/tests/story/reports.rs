//! What the agent tells of itself: to the server, and in its status.

use keyferry_protocol::wire::{Access, AccessKind, ToServer};
use keyferry_sdk::Proxied;
use keyferry_sdk::status::Health;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{AgentProcess, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_tells_the_server_what_it_holds_and_who_asked() {
    let mut world = World::new().await;
    world.server.put("openai", 7, b"sk-first").await;
    let agent = world.agent().await;
    let held = world
        .server
        .hears(|said| matches!(said, ToServer::Held(_)))
        .await;
    let ToServer::Held(held) = held else {
        unreachable!("just matched")
    };
    assert_eq!(held.keys, [("openai".parse().unwrap(), 7)]);
    let tool = agent.tool().await;
    tool.key("openai").await.unwrap();
    let audit = world
        .server
        .hears(|said| matches!(said, ToServer::Audit(_)))
        .await;
    let ToServer::Audit(accesses) = audit else {
        unreachable!("just matched")
    };
    assert_eq!(
        (accesses[0].version, accesses[0].count, accesses[0].kind),
        (7, 1, AccessKind::Opened)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_names_hides_no_access() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    for number in 0..600 {
        let unknown = tool.key(&format!("made-up-{number}")).await;
        assert_eq!(unknown.unwrap_err().code(), "not_found");
    }
    tool.key("openai").await.unwrap();
    let told = accesses_until_the_end(&mut world, &agent).await;
    assert_eq!(
        (
            count(&told, "openai", AccessKind::Opened),
            count(&told, "-", AccessKind::Refused)
        ),
        (1, 600),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_access_is_told_at_the_socket_and_at_the_proxy() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    let proxied = tool.proxied("openai").await.unwrap();
    let answer = ask(&proxied, "/@elsewhere.example/v1/models").await;
    assert!(
        answer.contains("Keyferry-Error: host_not_allowed"),
        "{answer}"
    );
    world.server.revoke("openai").await;
    eventually(async || agent.status().await.keys[0].state == "revoked").await;
    for _ in 0..2 {
        let answer = ask(&proxied, "/v1/models").await;
        assert!(answer.contains("Keyferry-Error: revoked"), "{answer}");
    }
    assert_eq!(tool.key("openai").await.err().unwrap().code(), "revoked");
    assert_eq!(
        tool.proxied("openai").await.err().unwrap().code(),
        "revoked"
    );
    let told = accesses_until_the_end(&mut world, &agent).await;
    // Allowed was the token, while the key lived.
    assert_eq!(
        (
            count(&told, "openai", AccessKind::Opened),
            count(&told, "openai", AccessKind::Refused)
        ),
        (1, 5),
        "{told:?}"
    );
    assert!(told.iter().all(|access| access.count > 0), "{told:?}");
}

/// One request through the proxy, and its whole answer.
async fn ask(proxied: &Proxied, path: &str) -> String {
    let address = proxied.base_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let token = &proxied.token;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What was not told yet is told before the goodbye.
async fn accesses_until_the_end(world: &mut World, agent: &AgentProcess) -> Vec<Access> {
    agent.signal(Signal::TERM);
    let mut told = Vec::new();
    loop {
        match world.server.hears(|_| true).await {
            ToServer::Audit(accesses) => told.extend(accesses),
            ToServer::Bye => return told,
            _ => {}
        }
    }
}

fn count(told: &[Access], name: &str, kind: AccessKind) -> u32 {
    let of = told
        .iter()
        .filter(|told| told.key.as_str() == name && told.kind == kind);
    of.map(|told| told.count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_everything_but_the_key() {
    let mut world = World::new().await;
    world.server.put("openai", 3, b"sk-very-secret").await;
    let agent = world.agent().await;
    let _key = agent.tool().await.key("openai").await.unwrap();
    let status = agent.status().await;
    assert_eq!((status.health, status.connected), (Health::Healthy, true));
    let [key] = status.keys.as_slice() else {
        panic!("one key: {status:?}")
    };
    assert_eq!((key.version, key.state.as_str(), key.pages), (3, "live", 1));
    assert_eq!(status.hardening.len(), 8);
    assert!(status.lease.unwrap().left_seconds > 800);
    assert!(!serde_json::to_string(&status).unwrap().contains("sk-very"));
    assert_eq!(agent.status_command(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_very_many_keys_and_programs_can_be_told() {
    let mut world = World::new().await;
    let long = "x".repeat(58);
    for number in 0..250 {
        world
            .server
            .put(&format!("{long}-{number:05}"), 1, b"sk")
            .await;
    }
    let agent = world.agent().await;
    let tool = agent.tool().await;
    for number in 0..250 {
        tool.proxied(&format!("{long}-{number:05}")).await.unwrap();
    }
    let status = agent.status().await;
    let programs = status.proxy.unwrap().tools.len();
    assert_eq!(status.keys.len() + programs + status.left_out, 500);
    assert!(programs > 0 && status.left_out > 0, "{programs} programs");
}

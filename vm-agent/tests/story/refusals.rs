//! Who is refused, and is told why.

use std::time::Duration;

use keyferry_sdk::Client;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_the_socket_is_answered_and_harms_nobody() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0, 0, 0, 1, 200],
        &[0, 0, 0, 1, 3],
    ] {
        let mut stream = tokio::net::UnixStream::connect(&agent.socket)
            .await
            .unwrap();
        stream.write_all(nonsense).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        // A frame of type 131, "refused", with the code 8, "bad request".
        assert_eq!(answer.get(4..6), Some(&[131, 8][..]), "{nonsense:?}");
    }
    let key = agent.tool().await.key("openai").await.unwrap();
    assert_eq!(key.expose(<[u8]>::len).unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused_with_a_reason() {
    let mut world = World::new().await;
    world.server.put_inject_only("groq", 1, b"gsk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    let refused = async |name| tool.key(name).await.expect_err("refused");
    assert_eq!(refused("openai").await.code(), "not_found");
    assert_eq!(refused("groq").await.code(), "inject_only");
    assert_eq!(refused("no such/name").await.code(), "bad_key_name");
    let nobody = Client::connect_to("/run/keyferry-nobody.sock").await;
    assert_eq!(nobody.err().unwrap().code(), "agent_not_running");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_of_a_key_keeps_others_out() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    world.server.put("groq", 1, b"gsk-first").await;
    let agent = world
        .agent_with("[policy.keys.openai]\nuids = [4711]\n")
        .await;
    let tool = agent.tool().await;
    let error = tool.key("openai").await.expect_err("not ours");
    assert_eq!(error.code(), "not_permitted");
    assert!(
        error.to_string().contains("[policy.keys.openai]"),
        "{error}"
    );
    tool.key("groq").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_whom_a_rule_names_need_not_be_in_the_sockets_group() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let mut world = World::new().await;
    let agent = world.agent_with("[policy]\nuids = [65534]\n").await;
    assert_eq!(agent.status_command_of(65534), (Some(0), String::new()));
    let (code, error) = agent.status_command_of(65533);
    assert_eq!(code, Some(2));
    assert!(error.contains("not_permitted"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stuck_hangs_nobody_who_asks() {
    let mut world = World::new().await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    agent.signal(Signal::STOP);
    let mut late = 0;
    let (new, old) = loop {
        let asking = async { tokio::join!(Client::connect_to(&agent.socket), tool.status()) };
        if let Ok(heard) = tokio::time::timeout(Duration::from_secs(15), asking).await {
            break heard;
        }
        late += 1;
        assert!(
            late < 3,
            "they hear in time, unless the machine stood still"
        );
    };
    assert_eq!(new.err().unwrap().code(), "agent_silent");
    assert_eq!(old.unwrap_err().code(), "agent_silent");
    agent.signal(Signal::CONT);
    tool.status().await.unwrap();
}

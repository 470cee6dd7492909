//! What stops an agent from running, and what is left of one that ends.

use keyferry_protocol::wire::ToServer;
use keyferry_sdk::Error;
use rustix::process::Signal;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_wipes_says_goodbye_and_exits_well() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let mut agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    agent.signal(Signal::TERM);
    world.server.hears(|said| *said == ToServer::Bye).await;
    assert_eq!(agent.exit_code().await, Some(0));
    eventually(async || matches!(key.expose(|_| ()), Err(Error::AgentGone))).await;
    assert_eq!(agent.status_command(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agent_leaves_no_key_behind_and_a_clear_error() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    let mut changes = key.watch();
    agent.signal(Signal::KILL);
    assert!(matches!(changes.changed().await, Err(Error::AgentGone)));
    assert!(matches!(key.expose(|_| ()), Err(Error::AgentGone)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ticket_is_refused_before_anything_is_made() {
    let world = World::new().await;
    for ticket in ["", "kft1_", "not a ticket", &world.server.ticket()[..40]] {
        let (code, log) = world.agent_that_fails(ticket).await;
        assert_eq!(code, Some(1));
        assert!(log.contains("ticket"), "{log}");
        assert!(!world.socket().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_locked_memory_the_agent_does_not_run() {
    let world = World::new().await;
    let (code, log) = world.agent_without_locked_memory().await;
    assert_eq!(code, Some(1));
    assert!(log.contains("RLIMIT_MEMLOCK"), "{log}");
    assert!(!world.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ticket_and_the_keys_are_in_no_log() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-very-secret-value").await;
    let mut agent = world.agent().await;
    agent.tool().await.key("openai").await.unwrap();
    agent.signal(Signal::TERM);
    agent.exit_code().await;
    let log = agent.log();
    assert!(log.contains("key delivered"), "{log}");
    assert!(!log.contains("sk-very-secret") && !log.contains(&world.server.ticket()[5..45]));
    assert!(!log.contains("127.0.0.1"), "no address: {log}");
}

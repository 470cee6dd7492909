//! How long keys stay without a word from the server.

use std::time::{Duration, Instant};

use keyferry_sdk::status::Health;
use keyferry_sdk::{Error, PageState};
use rustix::process::Signal;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::world::{PATIENCE, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_from_the_server_the_lease_ends_every_key() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    let key = tool.key("openai").await.unwrap();
    world.server.close_everyone_with(CloseCode::Away);
    world.server.drop_connection().await;
    eventually(async || agent.status().await.health == Health::Stale).await;
    world.server.refuse_nobody();
    eventually(async || agent.status().await.health == Health::Healthy).await;
    world.server.lease(2).await;
    world.server.stop();
    eventually(async || key.now().unwrap().state == PageState::LeaseOver).await;
    assert!(matches!(key.expose(|_| ()), Err(Error::LeaseOver)));
    assert!(matches!(tool.key("openai").await, Err(Error::LeaseOver)));
    let status = agent.status().await;
    assert_eq!(
        (status.health, status.connected),
        (Health::Disconnected, false)
    );
    assert!(status.last_error.is_some());
    assert_eq!(agent.status_command(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lease_that_ended_in_an_open_session_the_keys_come_back() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    // Else the next session would be there before anybody has looked.
    world.server.close_everyone_with(CloseCode::Away);
    // The connection stays, and answers pings; nobody renews the lease.
    world.server.lease(1).await;
    eventually(async || key.now().unwrap().state == PageState::LeaseOver).await;
    world.server.refuse_nobody();
    eventually(async || key.now().unwrap().state == PageState::Live).await;
    assert_eq!(world.server.sessions(), 2);
    eventually(async || agent.status().await.health == Health::Healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_confirms_no_key_prolongs_no_lease_however_often_it_welcomes() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    world.server.fall_silent();
    world.server.lease(5).await;
    let begin = Instant::now();
    while key.now().unwrap().state == PageState::Live {
        let sessions = world.server.sessions();
        world.server.drop_connection().await;
        eventually(async || world.server.sessions() > sessions).await;
        assert!(begin.elapsed() < PATIENCE, "{sessions} sessions");
    }
    assert_eq!(key.now().unwrap().state, PageState::LeaseOver);
    assert!(world.server.sessions() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_stopped_for_longer_than_its_lease_serves_nothing_old() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    world.server.close_everyone_with(CloseCode::Away);
    world.server.lease(2).await;
    let seconds = async || agent.status().await.lease.map(|lease| lease.seconds);
    eventually(async || seconds().await != Some(900)).await;
    world.server.stop();
    agent.signal(Signal::STOP);
    // Nothing but time ends a lease.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let asked = tokio::spawn(async move { tool.key("openai").await.map(|_key| ()) });
    agent.signal(Signal::CONT);
    assert!(matches!(asked.await.unwrap(), Err(Error::LeaseOver)));
}

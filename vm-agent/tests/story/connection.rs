//! The way to the server: lost, refused, and cut off.

use keyferry_sdk::PageState;
use keyferry_sdk::status::ConnectionState;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::world::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_with_the_credential_and_keys_stay_meanwhile() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    for session in 2..5 {
        world.server.drop_connection().await;
        assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
        eventually(async || world.server.sessions() >= session).await;
    }
    world.server.put("openai", 2, b"sk-second").await;
    eventually(async || key.now().unwrap().version == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_closes_without_refusing_is_only_tried_again() {
    let mut world = World::new().await;
    world.server.close_everyone_with(CloseCode::Away);
    let agent = world.agent_without_session().await;
    eventually(async || agent.status().await.connection.attempts > 2).await;
    let status = agent.status().await;
    assert_eq!(
        status.connection.state,
        ConnectionState::Connecting,
        "{status:?}"
    );
    assert!(!status.advice.iter().any(|line| line.contains("ticket")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_is_cut_off_wipes_and_asks_for_a_ticket() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    world.server.wipe().await;
    eventually(async || key.now().unwrap().state == PageState::Revoked).await;
    let needs_ticket = ConnectionState::NeedsTicket;
    eventually(async || agent.status().await.connection.state == needs_ticket).await;
    assert!(
        agent
            .status()
            .await
            .advice
            .iter()
            .any(|line| line.contains("ticket"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_the_server_refuses_is_reported_and_the_agent_goes_on_asking() {
    let mut world = World::new().await;
    world.server.refuse_everyone();
    let agent = world.agent_without_session().await;
    let needs_ticket = ConnectionState::NeedsTicket;
    eventually(async || agent.status().await.connection.state == needs_ticket).await;
    let error = agent
        .tool()
        .await
        .key("openai")
        .await
        .expect_err("there is no key");
    assert_eq!(error.code(), "not_connected");
}

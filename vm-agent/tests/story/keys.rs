//! Keys travel to tools, change in their pages, and end there.

use keyferry_protocol::wire::{Outcome, ToServer};
use keyferry_sdk::{Change, Error, PageState};

use crate::world::{PATIENCE, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_travels_changes_and_ends_in_place() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");

    let mut changes = key.watch();
    world.server.put("openai", 2, b"sk-second-and-longer").await;
    let change = changes.changed().await.unwrap();
    assert_eq!(
        change,
        Change {
            version: 2,
            state: PageState::Live
        }
    );
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-second-and-longer");

    world.server.revoke("openai").await;
    assert_eq!(changes.changed().await.unwrap().state, PageState::Revoked);
    assert!(matches!(key.expose(|_| ()), Err(Error::Revoked)));
    world
        .server
        .hears(|said| {
            matches!(
                said,
                ToServer::Ack {
                    version: 0,
                    outcome: Outcome::Wiped,
                    ..
                }
            )
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_travels_inside_tls_to_a_pinned_server_with_a_name() {
    let mut world = World::with_tls().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
    world.server.drop_connection().await;
    eventually(async || world.server.sessions() >= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_the_page_needs_no_call_to_the_agent() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    let live = Change {
        version: 1,
        state: PageState::Live,
    };
    assert_eq!(key.now().unwrap(), live);
    world.server.revoke("openai").await;
    eventually(async || key.now().unwrap().state == PageState::Revoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_revoked_while_the_agent_was_away_is_zeroed_when_it_is_back() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    world.server.forget("openai");
    world.server.drop_connection().await;
    eventually(async || key.now().unwrap().state == PageState::Revoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_deleted_and_stored_anew_while_the_agent_was_away_is_held() {
    let mut world = World::new().await;
    world.server.put("openai", 2, b"sk-second").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    // In this session it is an old message; in the next one it is what there is.
    world.server.put("openai", 1, b"sk-anew").await;
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-second");
    world.server.drop_connection().await;
    eventually(async || key.now().unwrap().version == 1).await;
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blocking_client_does_the_same() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let socket = agent.socket.clone();
    let (listens, listening) = std::sync::mpsc::channel();
    let tool = std::thread::spawn(move || {
        let client = keyferry_sdk::blocking::Client::connect_to(socket).unwrap();
        let key = client.key("openai").unwrap();
        assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
        let changes = key.changes();
        listens.send(()).unwrap();
        let states: Vec<_> = changes.take(1).map(|change| change.state).collect();
        assert_eq!(states, [PageState::Revoked]);
    });
    tokio::task::spawn_blocking(move || listening.recv().unwrap())
        .await
        .unwrap();
    world.server.revoke("openai").await;
    tokio::task::spawn_blocking(|| tool.join().unwrap())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_go_leave_no_pages() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    for _ in 0..300 {
        let key = agent.tool().await.key("openai").await.unwrap();
        assert_eq!(key.expose(<[u8]>::len).unwrap(), 8);
    }
    eventually(async || agent.status().await.keys[0].pages == 0).await;
    assert!(tokio::time::timeout(PATIENCE, agent.tool()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_can_run_the_agent() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent_of_an_ordinary_user().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
    world.server.revoke("openai").await;
    eventually(async || key.now().unwrap().state == PageState::Revoked).await;
}

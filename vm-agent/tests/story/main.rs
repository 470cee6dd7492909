//! The real agent, against a small server made of the protocol crate, and the real SDK.

#[cfg(test)]
mod moved_clock;
#[cfg(test)]
mod server;
#[cfg(test)]
mod world;

use std::time::{Duration, Instant};

use keyferry_protocol::wire::{Outcome, ToServer};
use keyferry_sdk::status::{ConnectionState, Health};
use keyferry_sdk::{Change, Client, Error, PageState};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use world::{World, eventually};

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
    eventually(async || world.server.sessions() == 2).await;
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
        (accesses[0].version, accesses[0].count, accesses[0].allowed),
        (7, 1, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_with_the_credential_and_keys_stay_meanwhile() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let key = agent.tool().await.key("openai").await.unwrap();
    for session in 2..5 {
        world.server.drop_connection().await;
        assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
        eventually(async || world.server.sessions() == session).await;
    }
    world.server.put("openai", 2, b"sk-second").await;
    eventually(async || key.now().unwrap().version == 2).await;
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
async fn without_a_word_from_the_server_the_lease_ends_every_key() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    let key = tool.key("openai").await.unwrap();
    world.server.lease(2).await;
    world.server.stop();
    eventually(async || agent.status().await.health == Health::Stale).await;
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
    // The connection stays, and answers pings; nobody renews the lease.
    world.server.lease(1).await;
    eventually(async || key.now().unwrap().state == PageState::LeaseOver).await;
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
    world.server.lease(2).await;
    world.server.fall_silent();
    let begin = Instant::now();
    while key.now().unwrap().state == PageState::Live {
        let sessions = world.server.sessions();
        world.server.drop_connection().await;
        eventually(async || world.server.sessions() > sessions).await;
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{sessions} sessions"
        );
    }
    assert_eq!(key.now().unwrap().state, PageState::LeaseOver);
    assert!(world.server.sessions() > 2);
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
    // What was not told yet is told before the goodbye.
    agent.signal(Signal::TERM);
    let mut told = Vec::new();
    loop {
        match world.server.hears(|_| true).await {
            ToServer::Audit(accesses) => told.extend(accesses),
            ToServer::Bye => break,
            _ => {}
        }
    }
    let count = |name: &str, allowed| {
        let of = told.iter().filter(|told| told.key.as_str() == name);
        of.filter(|told| told.allowed == allowed)
            .map(|told| told.count)
            .sum::<u32>()
    };
    assert_eq!(
        (count("openai", true), count("-", false)),
        (1, 600),
        "{told:?}"
    );
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
async fn an_agent_that_was_stopped_for_longer_than_its_lease_serves_nothing_old() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    world.server.lease(2).await;
    let seconds = async || agent.status().await.lease.map(|lease| lease.seconds);
    eventually(async || seconds().await == Some(2)).await;
    world.server.stop();
    agent.signal(Signal::STOP);
    // Nothing but time ends a lease.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let asked = tokio::spawn(async move { tool.key("openai").await.map(|_key| ()) });
    agent.signal(Signal::CONT);
    assert!(matches!(asked.await.unwrap(), Err(Error::LeaseOver)));
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
async fn the_blocking_client_does_the_same() {
    let mut world = World::new().await;
    world.server.put("openai", 1, b"sk-first").await;
    let agent = world.agent().await;
    let socket = agent.socket.clone();
    let tool = std::thread::spawn(move || {
        let client = keyferry_sdk::blocking::Client::connect_to(socket).unwrap();
        let key = client.key("openai").unwrap();
        assert_eq!(key.expose(<[u8]>::to_vec).unwrap(), b"sk-first");
        let states: Vec<_> = key.changes().take(1).map(|change| change.state).collect();
        assert_eq!(states, [PageState::Revoked]);
    });
    eventually(async || agent.status().await.keys[0].pages == 1).await;
    world.server.revoke("openai").await;
    tokio::task::spawn_blocking(|| tool.join().unwrap())
        .await
        .unwrap();
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
    assert!(
        tokio::time::timeout(Duration::from_secs(5), agent.tool())
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stuck_hangs_nobody_who_asks() {
    let mut world = World::new().await;
    let agent = world.agent().await;
    let tool = agent.tool().await;
    agent.signal(Signal::STOP);
    let asking = async { tokio::join!(Client::connect_to(&agent.socket), tool.status()) };
    let (new, old) = tokio::time::timeout(Duration::from_secs(15), asking)
        .await
        .expect("they hear in time");
    assert_eq!(new.err().unwrap().code(), "agent_silent");
    assert_eq!(old.unwrap_err().code(), "agent_silent");
    agent.signal(Signal::CONT);
    tool.status().await.unwrap();
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

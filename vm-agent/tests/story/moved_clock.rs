//! An agent within the test's own process, so that its clocks can be moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyferry_agent::agent::{Agent, Parts};
use keyferry_agent::config::{Limits, PolicyConfig};
use keyferry_agent::keyring::{Keyring, PageLimit};
use keyferry_agent::socket::Policy;
use keyferry_agent::upstream::{self, Source, Upstream};
use keyferry_protocol::handshake::Claims;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::ticket::Ticket;
use keyferry_protocol::wire::{Delivery, KeyPolicy, Outcome, Put, ToServer};
use keyferry_sdk::lease::{self, Clock, Moment, Verdict};
use keyferry_sdk::link::{Backoff, Credentials, Identity};
use rustix::process::{getgid, getuid};
use tokio::sync::Notify;

use super::server::Server;
use super::world::eventually;

/// So many seconds of suspension since the start.
#[derive(Clone, Default)]
pub(crate) struct Suspended(Arc<AtomicU64>);

impl Suspended {
    /// The machine sleeps for so long.
    pub(crate) fn pass(&self, span: Duration) {
        self.0.fetch_add(span.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Suspended {
    fn now(&self) -> Moment {
        let mut now = lease::now();
        now.boot += Duration::from_secs(self.0.load(Ordering::SeqCst));
        now
    }

    fn look(&self) -> Moment {
        self.now()
    }
}

pub(crate) fn agent(arena: &Arena, suspended: &Suspended) -> Agent {
    let parts = Parts {
        policy: Policy::new(
            PolicyConfig::default(),
            getuid().as_raw(),
            getgid().as_raw(),
        ),
        limits: Limits::default(),
        steps: Vec::new(),
        proxy_port: 0,
        programs: None,
        clock: Box::new(suspended.clone()),
    };
    Agent::new(Keyring::new(arena.clone(), PageLimit(1)), parts)
}

fn upstream(arena: &Arena, server: &Server) -> Upstream {
    let claims = Claims {
        boot_id: [0; 16],
        agent_version: "test".to_owned(),
        protection: arena.level(),
        capabilities: 0,
    };
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let mut upstream = Upstream {
        arena: arena.clone(),
        targets: Vec::new(),
        shown: None,
        identity: Identity::fresh(arena, claims, &mut rng).unwrap(),
        credentials: Credentials::none(),
        source: Source::Nobody,
        refusals: 0,
        backoff: Backoff::default(),
        session_life: Duration::from_secs(60),
    };
    let ticket = Ticket::parse(arena, server.ticket().as_bytes()).unwrap();
    upstream.enrol_with(ticket).unwrap();
    upstream
}

/// Keeps a session until the machine is another one and is to stop, and then asks what it said.
async fn nothing_is_said_once_the_machine_is_another(meanwhile: impl FnOnce(&Agent)) {
    let mut server = Server::start().await;
    let (arena, suspended) = (
        Arena::new(self_test().unwrap()).unwrap(),
        Suspended::default(),
    );
    let (agent, upstream) = (agent(&arena, &suspended), upstream(&arena, &server));
    let (stop, mut rng) = (Notify::new(), rand_core::UnwrapErr(getrandom::SysRng));
    let keeping = upstream::keep(&agent, upstream, &stop, &mut rng);
    let becoming_another = async {
        server.hears(|said| matches!(said, ToServer::Held(_))).await;
        suspended.pass(Duration::from_secs(30));
        meanwhile(&agent);
        stop.notify_one();
    };
    tokio::join!(keeping, becoming_another);
    eventually(async || server.ended() >= 1).await;
    assert_eq!(server.heard_since(), []);
}

#[tokio::test]
async fn a_machine_that_is_another_by_now_says_no_goodbye_in_its_old_session() {
    nothing_is_said_once_the_machine_is_another(|_agent| ()).await;
}

/// Who notices is told once; the session need not be the one.
#[tokio::test]
async fn nothing_is_said_in_an_old_session_whoever_noticed_that_the_machine_is_another() {
    let notices = |agent: &Agent| assert_eq!(agent.enforce_lease(), Verdict::Jumped);
    nothing_is_said_once_the_machine_is_another(notices).await;
}

#[test]
fn without_a_lease_no_key_is_held() {
    let (arena, suspended) = (
        Arena::new(self_test().unwrap()).unwrap(),
        Suspended::default(),
    );
    let agent = agent(&arena, &suspended);
    let put = Put {
        key: "openai".parse().unwrap(),
        version: 1,
        not_after: 0,
        provider: "custom",
        delivery: Delivery::Raw,
        allowed_hosts: Vec::new(),
        policy: KeyPolicy::default(),
        value: b"sk-late",
    };
    assert!(agent.hold(&put).is_none());
    agent.begin_lease(Duration::from_secs(60));
    assert_eq!(agent.hold(&put), Some(Outcome::Held));
    suspended.pass(Duration::from_secs(30));
    assert_eq!(agent.enforce_lease(), Verdict::Jumped);
    assert!(agent.hold(&put).is_none());
    assert!(agent.look(Keyring::held).keys.is_empty());
}

//! Days of an agent: its real session loop, keyring, lease and pages, on clocks that jump from one
//! event to the next, against a server and a network that fail in every way.
//!
//! ```text
//!  schedule ──▶ host ◀── handshake, sessions, in memory ──▶ agent ──▶ pages
//!     └──▶ clocks          watcher: what is in the pages may be there, and what may be there is
//! ```

mod clock;
mod dice;
mod host;
mod schedule;
mod session;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clock::Machine;
use dice::Dice;
use host::Host;
use keyferry_agent::agent::{Agent, Parts};
use keyferry_agent::config::{Limits, PolicyConfig};
use keyferry_agent::keyring::{Keyring, PageLimit};
use keyferry_agent::socket::Policy;
use keyferry_agent::upstream::{Source, Upstream, keep, keep_lease};
use keyferry_protocol::handshake::Claims;
use keyferry_protocol::memory::{Arena, self_test};
use keyferry_sdk::link::{Backoff, Credentials, Identity};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, LocalSet};
use watcher::Watcher;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Lived {
    /// How often what happened.
    pub(crate) events: BTreeMap<String, u32>,
    /// Sessions that were opened.
    pub(crate) sessions: u64,
    /// How often the watcher looked, and the live keys that it saw.
    pub(crate) looks: (u64, u64),
    /// Descriptors and resident KiB, after an hour and at the end.
    pub(crate) growth: [Usage; 2],
}

/// What this process uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Resident memory in KiB.
    pub(crate) resident: u64,
}

struct World {
    dice: Dice,
    machine: Machine,
    host: Arc<Host>,
    agent: Arc<Agent>,
    watcher: Watcher,
    stop: Arc<Notify>,
    keeping: JoinHandle<()>,
}

/// Lives so long, by these dice. Panics where a key is served that should not be, or the agent is
/// stuck.
pub(crate) fn live(seed: u64, span: Duration) -> Lived {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime can be made");
    LocalSet::new().block_on(&runtime, async {
        let mut world = World::begin(seed);
        world.live(span).await
    })
}

impl World {
    fn begin(seed: u64) -> Self {
        let level = self_test().expect("this machine has locked memory");
        let arena = Arena::new(level).expect("this machine has locked memory");
        let machine = Machine::started_now();
        let host = Host::new(arena.clone(), machine.clone());
        let keys = Keyring::new(arena, PageLimit(32));
        let parts = Parts {
            policy: Policy::new(PolicyConfig::default(), 0, 0),
            limits: Limits::default(),
            steps: Vec::new(),
            proxy_port: 0,
            programs: None,
            clock: Box::new(machine.clone()),
        };
        let agent = Arc::new(Agent::new(keys, parts));
        tokio::task::spawn_local(keep_lease(Arc::clone(&agent), None));
        let stop = Arc::new(Notify::new());
        let mut dice = Dice::new(seed);
        Self {
            keeping: enrol(&agent, &host, (&stop, dice.below(u64::MAX))),
            watcher: Watcher::new(&agent, &host),
            dice,
            machine,
            host,
            agent,
            stop,
        }
    }

    async fn live(&mut self, span: Duration) -> Lived {
        let mut events = BTreeMap::new();
        let end = self.host.now() + span;
        let mut after_an_hour = None;
        while self.host.now() < end {
            let wait = self.dice.span(5.0, 900.0);
            self.pass(wait).await;
            *events
                .entry(format!("{:?}", self.happen().await))
                .or_default() += 1;
            if self.host.now() > Duration::from_secs(3600) {
                after_an_hour.get_or_insert_with(Usage::now);
            }
        }
        let sessions = self.host.records().sessions;
        let looks = (self.watcher.looks, self.watcher.live);
        let now = Usage::now();
        let growth = [after_an_hour.unwrap_or(now), now];
        Lived {
            events,
            sessions,
            looks,
            growth,
        }
    }

    /// Time goes by, and the watcher looks.
    async fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(5));
            tokio::time::sleep(step).await;
            left -= step;
            self.watcher.look();
        }
    }

    /// As after a restart with a new ticket.
    async fn enrol_anew(&mut self) {
        self.stop.notify_one();
        let keeping = std::mem::replace(&mut self.keeping, tokio::task::spawn_local(async {}));
        keeping.await.expect("the session loop does not panic");
        let seed = self.dice.below(u64::MAX);
        self.keeping = enrol(&self.agent, &self.host, (&self.stop, seed));
    }
}

fn enrol(
    agent: &Arc<Agent>,
    host: &Arc<Host>,
    (stop, seed): (&Arc<Notify>, u64),
) -> JoinHandle<()> {
    let (ticket, targets) = host.invite();
    let claims = Claims {
        boot_id: [0; 16],
        agent_version: "simulated".to_owned(),
        protection: host.arena.level(),
        capabilities: 0,
    };
    let mut dice = Dice::new(seed);
    let identity = Identity::fresh(&host.arena, claims, &mut dice);
    let mut upstream = Upstream {
        arena: host.arena.clone(),
        targets: Vec::new(),
        identity: identity.expect("an arena has room for a key pair"),
        credentials: Credentials::none(),
        source: Source::Nobody,
        refusals: 0,
        backoff: Backoff::default(),
        session_life: Duration::from_secs(3300),
        shown: None,
    };
    upstream.enrol_with(ticket).expect("a ticket of this host");
    upstream.targets = targets;
    let (agent, stop) = (Arc::clone(agent), Arc::clone(stop));
    tokio::task::spawn_local(async move { keep(&agent, upstream, &stop, &mut dice).await })
}

impl Usage {
    fn now() -> Self {
        let open = std::fs::read_dir("/proc/self/fd")
            .expect("/proc is there")
            .count();
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Self {
            descriptors: open,
            resident: resident
                .and_then(|kib| kib.parse().ok())
                .expect("a number of KiB"),
        }
    }
}

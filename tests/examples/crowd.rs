//! As many agents on one server as a machine can hold: how much memory they take, how soon a change
//! reaches the one agent that it concerns while all are connected, and what a change costs that
//! concerns them all. Agents, database and server share the machine.
//!
//! `cargo run --release -p keyferry-tests --example crowd -- [AGENTS] [sqlite]`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyferry_tests::fleet::{Fleet, Owner, Seen, Spread, Statements, processor_time, resident};
use keyferry_tests::{Engine, Server, Stage};
use tokio::sync::mpsc;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let wanted = std::env::args().nth(1);
    let count = room_for(wanted.map_or(10_000, |text| text.parse().unwrap()));
    let engine = match std::env::args().nth(2).as_deref() {
        Some("sqlite") => Engine::Sqlite,
        _ => Engine::Postgres,
    };
    let stage = Stage::new(engine).await;
    let settings = [
        ("KEYFERRY_MAX_CONNECTIONS", "20000"),
        ("KEYFERRY_MAX_CONNECTIONS_PER_ADDRESS", "20000"),
        ("KEYFERRY_LOG", "warn"),
        Statements::SETTING,
    ];
    let server = Server::start_with(&stage, &settings);
    println!(
        "{engine:?}; memory of the server idle: {}",
        resident(server.pid())
    );
    let mut crowd = Tenant::register(&stage, &server, "crowd").await;
    let mut loner = Tenant::register(&stage, &server, "loner").await;
    loner.enrol(1).await;
    loner.rotate(&server, 2..=50).await;

    let (begin, busy) = (Instant::now(), processor_time(server.pid()));
    crowd.enrol(count).await;
    println!(
        "{count} agents enrolled and served in {:.0?}, {:.0?} of them the server's work; \
         memory: {}",
        begin.elapsed(),
        processor_time(server.pid()) - busy,
        resident(server.pid())
    );
    until_all_is_acknowledged(&stage).await;
    loner.rotate(&server, 51..=100).await;
    crowd.rotate_while_somebody_else_asks(&stage, &server).await;
    loner.rotate(&server, 101..=150).await;
    let sessions = crowd.fleet.sessions() - u32::try_from(count).unwrap();
    let memory = resident(server.pid());
    println!("memory of the server at the end: {memory}; {sessions} sessions were begun anew");
    println!(
        "database, as the server waited for it: {}",
        Statements::of(&server)
    );
    assert!(memory.most < MOST_MEMORY, "the server takes too much");
}

/// With 10,000 agents.
const MOST_MEMORY: u64 = 512_000_000;

/// An owner, the agents, and one key.
struct Tenant {
    name: &'static str,
    owner: Arc<Owner>,
    fleet: Fleet,
}

impl Tenant {
    async fn register(stage: &Stage, server: &Server, name: &'static str) -> Self {
        let owner = Owner::register(stage, server, name).await;
        owner.put(KEY).await;
        Self {
            name,
            owner: Arc::new(owner),
            fleet: Fleet::new(vec![server.url().to_owned()]),
        }
    }

    /// Several fetch tickets at a time, for each of which an agent is started.
    async fn enrol(&mut self, count: usize) {
        let (tickets, mut fetched) = mpsc::channel(64);
        for clerk in 0..CLERKS {
            let (owner, tickets) = (Arc::clone(&self.owner), tickets.clone());
            tokio::spawn(async move {
                for number in (clerk..count).step_by(CLERKS) {
                    let ticket = owner.ticket(&format!("vm-{number}")).await;
                    tickets.send(ticket).await.unwrap();
                }
            });
        }
        drop(tickets);
        while let Some(ticket) = fetched.recv().await {
            self.fleet.start(&ticket);
        }
        self.fleet.until_all("served", |seen| seen.served()).await;
    }

    /// Rotates the key again and again: how soon every agent has it, and what that costs.
    async fn rotate(&self, server: &Server, versions: std::ops::RangeInclusive<u32>) {
        let busy = processor_time(server.pid());
        let times = versions.clone().count();
        let mut took = Vec::new();
        for version in versions {
            let sent = Instant::now();
            self.owner.rotate(KEY, version).await;
            let told = |seen: &Seen| seen.has(KEY, version);
            self.fleet.until_all("told of the new version", told).await;
            let agents = self.fleet.agents().iter();
            took.extend(agents.map(|seen| seen.when(KEY).unwrap() - sent));
        }
        let cost = (processor_time(server.pid()) - busy) / u32::try_from(times).unwrap();
        println!(
            "{}: {times} rotations for {} agents, from the request to each agent: {}; \
             the server's work for one: {cost:.1?}",
            self.name,
            self.fleet.agents().len(),
            Spread::of(took)
        );
    }

    /// Once for all, until every agent has acknowledged it; and how long requests take meanwhile.
    async fn rotate_while_somebody_else_asks(&self, stage: &Stage, server: &Server) {
        let over = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(ask_until(Arc::clone(&over), Arc::clone(&self.owner)));
        let (begin, busy) = (Instant::now(), processor_time(server.pid()));
        self.rotate(server, 2..=2).await;
        until_all_is_acknowledged(stage).await;
        println!(
            "acknowledged by all after {:.1?}, {:.1?} of them the server's work",
            begin.elapsed(),
            processor_time(server.pid()) - busy
        );
        over.store(true, Ordering::Relaxed);
        println!(
            "requests of others meanwhile: {}",
            Spread::of(asking.await.unwrap())
        );
    }
}

async fn ask_until(over: Arc<AtomicBool>, owner: Arc<Owner>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        owner.look_at_self().await;
        took.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took
}

async fn until_all_is_acknowledged(stage: &Stage) {
    const OPEN: &str = "SELECT COUNT(*) FROM held_versions WHERE outcome IS NULL";
    let begin = Instant::now();
    while stage.count(OPEN).await > 0 {
        assert!(begin.elapsed() < PATIENCE, "not all is acknowledged");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// As many as this process may open connections for, and the server its own.
fn room_for(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let room = limit.map_or(wanted, |limit| usize::try_from(limit).unwrap() - SPARE);
    if room < wanted {
        println!("no room for more than {room} agents: see ulimit -n");
    }
    wanted.min(room)
}

const KEY: &str = "openai";
const CLERKS: usize = 8;
const SPARE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(120);

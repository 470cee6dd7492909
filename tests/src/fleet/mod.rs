//! Many agents at once, for measurements. Each is a task of this process with a session as the real
//! one has it, and holds versions instead of values.

mod agent;
mod figures;
mod owner;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyferry_protocol::memory::{Arena, self_test};
use keyferry_protocol::ticket::Ticket;
use keyferry_sdk::link::Target;
use tokio::task::JoinSet;

use agent::{LightAgent, targets};

pub use agent::Seen;
pub use figures::{Resident, Spread, Statements, processor_time, resident};
pub use owner::Owner;

/// Agents of some servers.
pub struct Fleet {
    urls: Vec<String>,
    arena: Arena,
    /// The servers, once a ticket has told how to know them.
    targets: Vec<Target>,
    seen: Vec<Arc<Seen>>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// None yet.
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            arena: Arena::new(self_test().unwrap()).unwrap(),
            targets: Vec::new(),
            seen: Vec::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts one more; they begin at one server after the other.
    pub fn start(&mut self, ticket: &str) {
        let ticket = Ticket::parse(&self.arena, ticket.as_bytes()).unwrap();
        if self.targets.is_empty() {
            self.targets = targets(&ticket, &self.urls);
        }
        let first = self.seen.len() % self.targets.len();
        let seen = Arc::new(Seen::default());
        let agent = LightAgent::new(&self.arena, &self.targets, ticket, Arc::clone(&seen));
        self.seen.push(seen);
        self.tasks.spawn(agent.run(first));
    }

    /// All of them.
    pub fn agents(&self) -> &[Arc<Seen>] {
        &self.seen
    }

    /// Those whose session is with this server.
    pub fn at_server(&self, number: usize) -> Vec<Arc<Seen>> {
        let there = self.seen.iter().filter(|seen| seen.server() == number);
        there.cloned().collect()
    }

    /// Waits until something is true of every agent.
    pub async fn until_all(&self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let begin = Instant::now();
        while let Some(missing) = self.missing(&is_so) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{missing} of {} agents are not {what}",
                self.seen.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn missing(&self, is_so: &impl Fn(&Seen) -> bool) -> Option<usize> {
        let missing = self.seen.iter().filter(|seen| !is_so(seen)).count();
        (missing > 0).then_some(missing)
    }

    /// How many sessions there have been.
    pub fn sessions(&self) -> u32 {
        self.seen.iter().map(|seen| seen.sessions()).sum()
    }
}

const PATIENCE: Duration = Duration::from_secs(120);

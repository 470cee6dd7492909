//! Faults while people work: what was acknowledged stays, what was revoked stays dead, and nobody
//! has to lend a hand.

mod scene;
mod work;

use std::fmt;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Ask, Rest};
use keyferry_sdk::status::Health;
use secrecy::SecretString;
use tokio::time::sleep;

use crate::Agent;

use scene::Scene;
use work::{Refused, Told, Work, ask, sign_in};

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server is killed without a warning, and started again as a supervisor would.
    ServerKilled,
    /// The server stands still.
    ServerPaused,
    /// The server's wall clock is set an hour ahead, and back again.
    ClockAhead,
    /// The server's wall clock is set an hour behind, and back again.
    ClockBehind,
    /// PostgreSQL is killed without a warning, in the middle of transactions, and started again.
    DatabaseKilled,
    /// PostgreSQL stands still.
    DatabasePaused,
    /// No room is left on PostgreSQL's disk; what the full disk has ended is started again.
    DatabaseFull,
    /// No room is left on the disk of the embedded database. For a program that was started by
    /// `unshare --mount`.
    FileFull,
    /// No room is left on the disk of the audit.
    AuditFull,
    /// Redis is killed, and started again, empty.
    RedisKilled,
    /// Redis stands still.
    RedisPaused,
    /// The primary Redis is killed, a Sentinel makes a replica the primary, and the old one comes
    /// back.
    RedisFailedOver,
    /// The agent is killed, and started again as at a boot, with what its host gives it.
    AgentKilled,
    /// The agent stands still.
    AgentPaused,
    /// Nothing gets through between agent and server, and nobody is told: a relay holds it back.
    NetworkCut,
    /// The same between network namespaces: what is sent is lost. For a program that was started
    /// by `unshare --net`.
    WireCut,
}

/// What people who work may be told meanwhile, beside that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Nothing: nobody notices.
    Never,
    /// Perhaps this.
    Perhaps(&'static str),
    /// This, or the fault was none.
    Surely(&'static str),
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ServerKilled,
        Self::ServerPaused,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::DatabaseKilled,
        Self::DatabasePaused,
        Self::DatabaseFull,
        Self::FileFull,
        Self::AuditFull,
        Self::RedisKilled,
        Self::RedisPaused,
        Self::RedisFailedOver,
        Self::AgentKilled,
        Self::AgentPaused,
        Self::NetworkCut,
        Self::WireCut,
    ];

    /// The namespace that it takes, as `unshare` calls it.
    pub const fn namespace(self) -> Option<&'static str> {
        match self {
            Self::WireCut => Some("--net"),
            Self::FileFull => Some("--mount"),
            _ => None,
        }
    }

    const fn refusal(self) -> Refusal {
        match self {
            Self::ServerKilled => Refusal::Surely("no answer"),
            Self::ClockAhead | Self::ClockBehind => Refusal::Surely("401"),
            Self::DatabaseKilled | Self::DatabaseFull | Self::FileFull | Self::AuditFull => {
                Refusal::Surely("503")
            }
            Self::DatabasePaused => Refusal::Perhaps("503"),
            Self::ServerPaused
            | Self::RedisKilled
            | Self::RedisPaused
            | Self::RedisFailedOver
            | Self::AgentKilled
            | Self::AgentPaused
            | Self::NetworkCut
            | Self::WireCut => Refusal::Never,
        }
    }
}

/// What came of a fault.
#[derive(Debug)]
pub struct Outcome {
    fault: Fault,
    /// Changes that the server said it had made, before, during and after the fault.
    acknowledged: usize,
    /// Requests that failed or were refused meanwhile.
    refused: Refused,
    /// Acknowledged changes that are not there afterwards, and sessions and API keys that nobody ended.
    lost: usize,
    /// Sessions and API keys that the server said it had ended.
    ended: usize,
    /// Keys that were revoked and are not dead in the agent after [`BOUND`], and sessions and API keys
    /// that were ended and let somebody in.
    alive: usize,
    /// From the end of the fault until changes are made and the agent holds what it should.
    recovered: Duration,
}

impl Outcome {
    /// Fails unless everything is as it has to be.
    pub fn holds(&self) {
        assert!(self.acknowledged >= FEW && self.ended > 0, "{self}");
        assert_eq!((self.lost, self.alive), (0, 0), "{self}");
        let mut told = self.refused.keys().map(String::as_str);
        match self.fault.refusal() {
            Refusal::Never => assert_eq!(told.next(), None, "{self}"),
            Refusal::Perhaps(this) => assert!(told.all(|told| told == this), "{self}"),
            Refusal::Surely(this) => assert_eq!(told.collect::<Vec<_>>(), [this], "{self}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = self.refused.iter();
        let refused: Vec<_> = refused
            .map(|(what, count)| format!("{count} x {what}"))
            .collect();
        write!(
            f,
            "acknowledged {}, refused {}, lost {}, revoked and alive {}, recovered in {} ms",
            self.acknowledged,
            if refused.is_empty() {
                "none".to_owned()
            } else {
                refused.join(", ")
            },
            self.lost,
            self.alive,
            self.recovered.as_millis()
        )
    }
}

/// So many changes are made before anything breaks.
const FEW: usize = 6;

/// Once everything works again, what was revoked is dead within this.
pub const BOUND: Duration = Duration::from_secs(30);

/// Has people work while something breaks for so long.
pub async fn suffer(fault: Fault, span: Duration) -> Outcome {
    let mut scene = Scene::set(fault).await;
    // Not more keys than an agent holds.
    let pause = (span / 60).max(Duration::from_millis(50));
    let work = Work::begin(&scene.server, pause).await;
    work.until_acknowledged(FEW).await;
    scene.strike().await;
    sleep(span).await;
    scene.heal().await;
    let healed = Instant::now();
    work.until_acknowledged(1).await;
    let (told, refused, ways) = work.end().await;
    let alive = count_alive(&scene.agent, &told).await;
    let recovered = healed.elapsed();

    let rest = scene.server.rest();
    let bearer = sign_in(&rest).await;
    let lost = count_lost(&rest, &bearer, &told).await;
    let shut = ways.open.iter().map(|way| &way.bearer);
    let shut = shut.len() - count_let_in(&rest, shut).await;
    let let_in = count_let_in(&rest, ways.over.iter()).await;
    scene.verify();
    Outcome {
        fault,
        acknowledged: told.len(),
        refused,
        lost: lost + shut,
        alive: alive + let_in,
        ended: ways.over.len(),
        recovered,
    }
}

/// How many of these are let in.
async fn count_let_in(rest: &Rest, bearers: impl Iterator<Item = &SecretString>) -> usize {
    let mut let_in = 0;
    for bearer in bearers {
        let me = Ask::new(Method::GET, "/auth/me").signed_in(bearer);
        let (status, told) = ask(rest, me).await.expect("the server answers");
        match status {
            StatusCode::OK => let_in += 1,
            other => assert_eq!(other, StatusCode::UNAUTHORIZED, "{told}"),
        }
    }
    let_in
}

async fn count_lost(rest: &Rest, bearer: &SecretString, told: &Told) -> usize {
    let mut lost = 0;
    for (name, status) in told {
        let path = format!("/keys/{name}");
        let shown = ask(rest, Ask::new(Method::GET, &path).signed_in(bearer)).await;
        let kept = shown.is_some_and(|(_, key)| key["status"] == *status);
        lost += usize::from(!kept);
    }
    lost
}

/// Waits until the agent is healthy and holds what it should; what it holds beyond that is alive.
async fn count_alive(agent: &Agent, told: &Told) -> usize {
    let begin = Instant::now();
    loop {
        let status = agent.status().await;
        let keys = status.keys.iter().filter(|key| key.state == "live");
        let live: Vec<&str> = keys.map(|key| key.name.as_str()).collect();
        let holds = |name: &String| live.contains(&name.as_str());
        let of = |wanted| told.iter().filter(move |(_, status)| **status == wanted);
        let missing = of("active").filter(|(name, _)| !holds(name)).count();
        let alive = of("revoked").filter(|(name, _)| holds(name)).count();
        if status.health == Health::Healthy && missing + alive == 0 {
            return 0;
        }
        if begin.elapsed() > BOUND {
            assert_eq!(
                missing, 0,
                "the agent lacks keys; it is {:?}",
                status.health
            );
            return alive;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

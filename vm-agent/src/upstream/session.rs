//! One open session: what the server says is carried out at once, and acknowledged.

use std::time::Duration;

use keyferry_protocol::channel::MESSAGES;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::{LockedBox, PageState, scrub};
use keyferry_protocol::wire::{Access, AccessKind, Put, ToAgent, ToServer};
use keyferry_sdk::link::{Link, LinkError, Received, Target};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::{Interrupts, Upstream};
use crate::agent::Agent;
use crate::keyring::Keyring;

/// How a session, or an attempt at one, ended.
pub(super) enum Ended {
    /// The connection, or the trust in it, is gone.
    Lost(LinkError),
    /// The server is stopping.
    Drained,
    /// The owner has cut this VM off.
    CutOff,
    /// This machine was suspended.
    Jumped,
    /// The keys are gone, and the server believes that they are here.
    LeaseOver,
    /// The agent is to stop.
    Stopped,
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

/// An open session.
pub(super) struct Session {
    link: Link,
    target: Target,
    batch: Batch,
    /// Whether the server tells requests from other accesses.
    requests_are_told: bool,
    heard: Instant,
    life: Duration,
    renew_at: Instant,
    machine: Machine,
}

/// The machine that a handshake was made by. A copy of it has the same session keys, and its next
/// nonce is the same too: what this one sends must not be under it.
#[derive(Clone, Copy)]
pub(super) struct Machine(u64);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// The server has not spoken yet.
    Awaited,
    /// The server is telling all keys.
    Open,
    /// It has; from now on it tells changes.
    Told,
}

impl Session {
    pub(super) fn new((link, machine): (Link, Machine), target: Target, life: Duration) -> Self {
        let now = Instant::now();
        Self {
            link,
            machine,
            target,
            batch: Batch::Awaited,
            requests_are_told: false,
            heard: now,
            life,
            renew_at: now + life,
        }
    }

    pub(super) async fn run(
        mut self,
        agent: &Agent,
        upstream: &mut Upstream,
        interrupts: &mut Interrupts<'_>,
    ) -> Ended {
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                interrupt = interrupts.next() => Err(interrupt),
                received = self.link.next() => self.receive(agent, upstream, received).await,
                _ = pulse.tick() => self.beat(agent).await,
                () = sleep_until(self.renew_at) => self.renew(agent, upstream).await,
            };
            match step {
                Ok(()) => {}
                Err(Ended::Stopped) => {
                    self.say_goodbye(agent).await;
                    return Ended::Stopped;
                }
                Err(ended) => return ended,
            }
        }
    }

    async fn receive(
        &mut self,
        agent: &Agent,
        upstream: &mut Upstream,
        received: Result<Received, LinkError>,
    ) -> Result<(), Ended> {
        self.heard = Instant::now();
        let Received::Message(message) = received? else {
            return Ok(());
        };
        if self.batch == Batch::Awaited {
            // Whatever it says first, the server says it after `Ready`.
            upstream.credentials.confirm();
            self.batch = Batch::Open;
        }
        let step = self.carry_out(agent, upstream, &message);
        drop(message);
        scrub();
        let (reply, ended) = step?;
        if let Some(reply) = reply {
            self.say(agent, &reply).await?;
        }
        ended.map_or(Ok(()), Err)
    }

    /// Changes first, words later: a revoked key is zeroed before anything is sent.
    fn carry_out(
        &mut self,
        agent: &Agent,
        upstream: &mut Upstream,
        message: &LockedBox,
    ) -> Result<(Option<ToServer>, Option<Ended>), LinkError> {
        let said = ToAgent::decode(message.expose())
            .map_err(|_malformed| LinkError::Protocol("a malformed message"))?;
        let reply = match said {
            ToAgent::Accept(_) => return Err(LinkError::Protocol("a second welcome")),
            ToAgent::Put(put) => match hold(agent, &put) {
                Some(ack) => ack,
                None => return Ok((None, Some(Ended::LeaseOver))),
            },
            ToAgent::Retire { key, version } => retire(agent, key, version),
            ToAgent::Revoke { key } => revoke(agent, key),
            ToAgent::Lease { seconds } => return Ok((self.lease(agent, upstream, seconds), None)),
            ToAgent::Wipe => {
                agent.wipe(PageState::Revoked);
                upstream.credentials.forget();
                warn!("the owner cut this VM off: all keys are wiped");
                return Ok((Some(held(agent)), Some(Ended::CutOff)));
            }
            ToAgent::Drain => return Ok((None, Some(Ended::Drained))),
            ToAgent::ServerKey { key } => {
                info!("the server has a new static key");
                self.target.server_key = key;
                for target in &mut upstream.targets {
                    target.server_key = key;
                }
                return Ok((None, None));
            }
            ToAgent::Used(used) => {
                agent.take_usage(&used);
                self.requests_are_told = true;
                return Ok((None, None));
            }
        };
        Ok((Some(reply), None))
    }

    /// The first one ends the batch of all keys.
    fn lease(&mut self, agent: &Agent, upstream: &mut Upstream, seconds: u32) -> Option<ToServer> {
        agent.renew_lease(Duration::from_secs(seconds.into()));
        if self.batch == Batch::Told {
            return None;
        }
        self.batch = Batch::Told;
        upstream.backoff.reset();
        agent.change(Keyring::end_batch);
        agent.uplink(|uplink| uplink.told_all = true);
        Some(held(agent))
    }

    /// Proof of life, accesses for the owner's log, and the end of this session's keys.
    async fn beat(&mut self, agent: &Agent) -> Result<(), Ended> {
        if self.heard.elapsed() > SILENCE {
            return Err(Ended::Lost(LinkError::TimedOut));
        }
        self.machine.is_the_same(agent)?;
        self.link.ping().await?;
        if self.batch == Batch::Told {
            self.tell_accesses(agent).await?;
        }
        if self.link.sent() > MESSAGES / 2 {
            self.renew_at = Instant::now();
        }
        Ok(())
    }

    async fn tell_accesses(&mut self, agent: &Agent) -> Result<(), Ended> {
        let mut accesses = agent.take_accesses();
        if accesses.is_empty() {
            return Ok(());
        }
        if !self.requests_are_told {
            accesses.iter_mut().for_each(as_older_servers_know_it);
        }
        let told = ToServer::Audit(accesses);
        let sent = self.say(agent, &told).await;
        if let (Err(_), ToServer::Audit(untold)) = (&sent, told) {
            agent.put_back_accesses(untold);
        }
        sent
    }

    /// A fresh handshake on a new connection, which takes over: this one stays until it stands.
    async fn renew(&mut self, agent: &Agent, upstream: &mut Upstream) -> Result<(), Ended> {
        let attempt = timeout(TO_RENEW, upstream.attach(agent, &self.target));
        match attempt.await.unwrap_or(Err(LinkError::TimedOut.into())) {
            Ok(entered) => {
                let fresh = Self::new(entered, self.target.clone(), self.life);
                let old = std::mem::replace(self, fresh);
                old.link.close().await;
            }
            Err(Ended::Lost(error)) => {
                debug!(%error, "the session could not be renewed yet");
                self.renew_at = Instant::now() + RETRY.min(self.life);
            }
            Err(ended) => return Err(ended),
        }
        Ok(())
    }

    async fn say(&mut self, agent: &Agent, message: &ToServer) -> Result<(), Ended> {
        say((&mut self.link, self.machine), agent, message).await
    }

    async fn say_goodbye(&mut self, agent: &Agent) {
        agent.wipe(PageState::LeaseOver);
        let goodbye = async {
            self.tell_accesses(agent).await?;
            self.say(agent, &ToServer::Bye).await
        };
        let _as_well_as_can_be = timeout(TO_SAY_GOODBYE, goodbye).await;
    }
}

impl Machine {
    pub(super) fn now(agent: &Agent) -> Self {
        Self(agent.jumps())
    }

    /// Looks, however long ago anybody did.
    fn is_the_same(self, agent: &Agent) -> Result<(), Ended> {
        agent.enforce_lease();
        match agent.jumps() == self.0 {
            true => Ok(()),
            false => Err(Ended::Jumped),
        }
    }
}

pub(super) async fn say(
    (link, machine): (&mut Link, Machine),
    agent: &Agent,
    message: &ToServer,
) -> Result<(), Ended> {
    machine.is_the_same(agent)?;
    Ok(link.send(message).await?)
}

/// Nothing, when there is no lease to hold it on.
fn hold(agent: &Agent, put: &Put<'_>) -> Option<ToServer> {
    let outcome = agent.hold(put)?;
    info!(key = %put.key, version = put.version, ?outcome, "key delivered");
    Some(ToServer::Ack {
        key: put.key.clone(),
        version: put.version,
        outcome,
    })
}

fn retire(agent: &Agent, key: KeyName, version: u32) -> ToServer {
    let outcome = agent.change(|keys| keys.retire(&key, version));
    info!(%key, version, "key version retired");
    ToServer::Ack {
        key,
        version,
        outcome,
    }
}

fn revoke(agent: &Agent, key: KeyName) -> ToServer {
    let outcome = agent.change(|keys| keys.revoke(&key));
    info!(%key, "key revoked");
    ToServer::Ack {
        key,
        version: EVERY,
        outcome,
    }
}

fn as_older_servers_know_it(access: &mut Access) {
    if access.kind == AccessKind::Requested {
        access.kind = AccessKind::Opened;
    }
}

fn held(agent: &Agent) -> ToServer {
    ToServer::Held(agent.look(Keyring::held))
}

/// In an acknowledgement, all versions of a key.
const EVERY: u32 = 0;
/// Nothing that the old session says is heard meanwhile.
const TO_RENEW: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(60);
const PULSE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(35);
const TO_SAY_GOODBYE: Duration = Duration::from_secs(2);

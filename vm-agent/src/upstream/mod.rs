//! The session with the server: kept open for the agent's whole life, over all its servers.

mod approval;
mod enrol;
mod host_channel;
mod keep_lease;
mod session;

use std::time::Duration;

use keyferry_protocol::memory::{Arena, LockedBox};
use keyferry_protocol::wire::{ToAgent, ToServer};
use keyferry_sdk::ClientCertificate;
use keyferry_sdk::link::{Backoff, Credentials, Identity, Link, LinkError, Target, attach};
use keyferry_sdk::status::ConnectionState;
use rand_core::CryptoRng;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

pub use approval::{Approval, ApprovalError};
pub use enrol::{EnrolError, Source};
pub use host_channel::{HostChannel, HostChannelError, USUAL};
pub use keep_lease::keep_lease;
use session::{Ended, Machine, Session};

use crate::agent::Agent;
use crate::causes::with_causes;
use keyferry_sdk::lease::Verdict;

/// What the agent needs to get to its servers.
pub struct Upstream {
    /// Session keys and messages live here.
    pub arena: Arena,
    /// The servers, tried in turn.
    pub targets: Vec<Target>,
    /// What they are shown if they ask for a certificate.
    pub shown: Option<ClientCertificate>,
    /// Who we are.
    pub identity: Identity,
    /// What we offer.
    pub credentials: Credentials,
    /// Where tickets come from when nobody brings one.
    pub source: Source,
    /// How often in a row the server has refused what was offered.
    pub refusals: u32,
    /// How fast to try again.
    pub backoff: Backoff,
    /// After how long a fresh handshake takes over.
    pub session_life: Duration,
}

/// What ends or interrupts a session from this side.
struct Interrupts<'a> {
    stop: &'a Notify,
    endings: watch::Receiver<Verdict>,
}

impl Interrupts<'_> {
    /// The agent is to stop, this machine is no longer what it was, or there are no keys any more,
    /// which the server does not know.
    async fn next(&mut self) -> Ended {
        tokio::select! {
            () = self.stop.notified() => Ended::Stopped,
            _ = self.endings.changed() => match *self.endings.borrow() {
                Verdict::Over => Ended::LeaseOver,
                _ => Ended::Jumped,
            },
        }
    }

    /// The first of them, unless the wait is over before.
    async fn during(&mut self, wait: Duration) -> Option<Ended> {
        tokio::select! {
            () = tokio::time::sleep(wait) => None,
            ended = self.next() => Some(ended),
        }
    }
}

/// Keeps a session until the agent is to stop (a permit of `stop` is kept, so that it is not
/// missed), then wipes and says goodbye.
pub async fn keep(agent: &Agent, mut upstream: Upstream, stop: &Notify, rng: &mut impl CryptoRng) {
    let endings = agent.endings();
    let mut interrupts = Interrupts { stop, endings };
    let mut server = 0;
    loop {
        if upstream.needs_a_ticket() {
            if ask_for_a_ticket(agent, &mut upstream, stop, rng).await == Asked::Stopped {
                break;
            }
            continue;
        }
        let ended = match upstream.enter(agent, server, &mut interrupts).await {
            Entered::Session(session) => session.run(agent, &mut upstream, &mut interrupts).await,
            Entered::Not(ended) => ended,
        };
        note_end(agent, &ended);
        match ended {
            Ended::Stopped => break,
            Ended::CutOff if !upstream.source.is_there() => {
                stop.notified().await;
                break;
            }
            Ended::Jumped => {
                interrupts.endings.mark_unchanged();
                upstream.begin_anew(rng);
                continue;
            }
            Ended::CutOff => {}
            Ended::Lost(_) | Ended::Drained | Ended::LeaseOver => server += 1,
        }
        let wait = upstream.wait_after(&ended, rng);
        match interrupts.during(wait).await {
            Some(Ended::Stopped) => break,
            Some(Ended::Jumped) => upstream.begin_anew(rng),
            _ => {}
        }
    }
    agent.wipe(keyferry_protocol::memory::PageState::LeaseOver);
}

#[derive(PartialEq, Eq)]
enum Asked {
    Answered,
    Stopped,
}

/// Gets a ticket, or waits before it is asked for again.
async fn ask_for_a_ticket(
    agent: &Agent,
    upstream: &mut Upstream,
    stop: &Notify,
    rng: &mut impl CryptoRng,
) -> Asked {
    let asked = tokio::select! {
        asked = upstream.ask_for_a_ticket(agent) => asked,
        () = stop.notified() => return Asked::Stopped,
    };
    let Err(error) = asked else {
        info!("a ticket was given");
        return Asked::Answered;
    };
    note(
        agent,
        ConnectionState::NeedsTicket,
        Some(with_causes(&error)),
    );
    let wait = match error {
        EnrolError::Approval(ApprovalError::Denied) => AFTER_DENIAL,
        EnrolError::Approval(ApprovalError::Expired) => Duration::ZERO,
        _ => upstream.backoff.next(rng),
    };
    tokio::select! {
        () = tokio::time::sleep(wait) => Asked::Answered,
        () = stop.notified() => Asked::Stopped,
    }
}

enum Entered {
    Session(Box<Session>),
    Not(Ended),
}

impl Upstream {
    /// How long until the next attempt.
    fn wait_after(&mut self, ended: &Ended, rng: &mut impl CryptoRng) -> Duration {
        match ended {
            Ended::CutOff => self.backoff.slow(rng),
            Ended::Lost(LinkError::Refused) => self.refused(rng),
            _ => self.backoff.next(rng),
        }
    }

    /// With somebody to ask, a refused credential is given up for a fresh ticket: at once where
    /// that costs nobody anything, and when it was refused several times where a person has to.
    fn refused(&mut self, rng: &mut impl CryptoRng) -> Duration {
        self.refusals += 1;
        let hopeless = match self.source {
            Source::Nobody => false,
            Source::Host(_) => true,
            Source::Person(_) => self.refusals >= REFUSALS_BEFORE_A_PERSON_IS_ASKED,
        };
        if hopeless {
            self.refusals = 0;
            self.credentials.forget();
            self.backoff.next(rng)
        } else {
            self.credentials.refused();
            self.backoff.slow(rng)
        }
    }

    /// Two machines may now be what this one was: with a host to ask, nothing of it is used again.
    /// Without one, only the server can tell the copies apart, by the credential that they share.
    fn begin_anew(&mut self, rng: &mut impl CryptoRng) {
        if !matches!(self.source, Source::Host(_)) {
            return;
        }
        self.credentials.forget();
        match Identity::fresh(&self.arena, self.identity.claims.clone(), rng) {
            Ok(identity) => self.identity = identity,
            Err(error) => warn!(%error, "the agent keeps its key pair"),
        }
    }

    async fn enter(
        &mut self,
        agent: &Agent,
        server: usize,
        interrupts: &mut Interrupts<'_>,
    ) -> Entered {
        let Some(target) = self
            .targets
            .get(server % self.targets.len().max(1))
            .cloned()
        else {
            return Entered::Not(Ended::CutOff);
        };
        agent.uplink(|uplink| {
            uplink.attempts = uplink.attempts.saturating_add(1);
            uplink.server = Some(target.server.url.to_string());
        });
        let attempt = tokio::select! {
            attempt = self.attach(agent, &target) => attempt,
            interrupt = interrupts.next() => return Entered::Not(interrupt),
        };
        match attempt {
            Ok(entered) => {
                Entered::Session(Box::new(Session::new(entered, target, self.session_life)))
            }
            Err(ended) => Entered::Not(ended),
        }
    }

    /// Connects, and takes the credential that the server hands over into locked memory before
    /// telling it so: whichever of the two messages is lost, one credential is good on both sides.
    async fn attach(&mut self, agent: &Agent, target: &Target) -> Result<(Link, Machine), Ended> {
        let machine = Machine::now(agent);
        let credential = self.credentials.offered().ok_or(LinkError::Refused)?;
        let (mut link, accept) = attach(&self.arena, target, &self.identity, credential).await?;
        let ready = self.accept(agent, &accept)?;
        drop(accept);
        session::say((&mut link, machine), agent, &ready).await?;
        Ok((link, machine))
    }

    fn accept(&mut self, agent: &Agent, message: &LockedBox) -> Result<ToServer, LinkError> {
        let Ok(ToAgent::Accept(accept)) = ToAgent::decode(message.expose()) else {
            return Err(LinkError::Protocol("the first message is no welcome"));
        };
        self.credentials
            .take(&self.arena, accept.next_id, accept.next_secret)?;
        self.refusals = 0;
        agent.change(crate::keyring::Keyring::begin_batch);
        let lease = Duration::from_secs(accept.lease_seconds.into());
        agent.begin_lease(lease.min(TO_TELL_ALL));
        agent.uplink(|uplink| {
            uplink.state = ConnectionState::Connected;
            uplink.vm = Some(accept.vm.to_string());
            uplink.attempts = 0;
            uplink.approval = None;
            uplink.last_error = None;
            uplink.ever_connected = true;
        });
        info!(session = %accept.session, vm = %accept.vm, "session opened");
        Ok(ToServer::Ready {
            credential: accept.next_id,
        })
    }
}

/// Told once per cause, not once per attempt.
fn note_end(agent: &Agent, ended: &Ended) {
    let (state, reason) = match ended {
        Ended::Stopped => (ConnectionState::Connecting, None),
        Ended::CutOff => (
            ConnectionState::NeedsTicket,
            Some("the owner cut this VM off".to_owned()),
        ),
        Ended::Jumped => (
            ConnectionState::Connecting,
            Some("this machine was suspended, restored or cloned".to_owned()),
        ),
        Ended::LeaseOver => (
            ConnectionState::Connecting,
            Some("the lease ended without a word from the server".to_owned()),
        ),
        Ended::Drained => (
            ConnectionState::Connecting,
            Some("the server is stopping".to_owned()),
        ),
        Ended::Lost(error @ LinkError::Refused) => {
            (ConnectionState::NeedsTicket, Some(with_causes(error)))
        }
        Ended::Lost(error) => (ConnectionState::Connecting, Some(with_causes(error))),
    };
    note(agent, state, reason);
}

fn note(agent: &Agent, state: ConnectionState, reason: Option<String>) {
    let news = agent.uplink(|uplink| {
        uplink.state = state;
        uplink.approval = None;
        uplink.told_all = false;
        let news = uplink.last_error != reason;
        uplink.last_error.clone_from(&reason);
        news
    });
    if let (true, Some(reason)) = (news, reason) {
        warn!(reason, "no session with the server");
    }
}

/// A server that has not told all keys by then does not renew a lease either.
const TO_TELL_ALL: Duration = Duration::from_secs(30);
/// A server in trouble refuses too; a person is not bothered for that.
const REFUSALS_BEFORE_A_PERSON_IS_ASKED: u32 = 4;
/// A denied machine asks again after this long.
const AFTER_DENIAL: Duration = Duration::from_secs(600);

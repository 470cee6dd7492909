//! The task in the agent's place: hears the server, answers the handles, keeps the lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::local::{Delivery, Refusal, RefusalCode, Reply, Request};
use keyferry_protocol::memory::{LockedBox, PageState, ProtectionLevel, scrub};
use keyferry_protocol::wire::{Outcome, ToAgent, ToServer};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::line::{Attached, Line, Step, Uplink};
use super::pages::{Changes, Pages};
use crate::Error;
use crate::agent_socket::Arrival;
use crate::client::{Asked, Opened};
use crate::lease::{Clock as _, Lease, Machine, SystemClock, Verdict};
use crate::link::{LinkError, Received};

/// Everything of a program that has no agent.
pub(super) struct Task {
    line: Line,
    pages: Pages,
    lease: Lease,
    clock: SystemClock,
    /// Since the handshake that is under way began, this machine has become another one.
    jumped: bool,
    cut_off: bool,
    heard_at: Duration,
    opened_at: Duration,
    batch: Batch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// The server has not spoken since `Ready`.
    Awaited,
    Open,
    Told,
}

impl Task {
    /// Opens the first session; its failure is the caller's to hear.
    pub(super) async fn new(mut uplink: Uplink, level: ProtectionLevel) -> Result<Self, LinkError> {
        let Attached { link, lease } = uplink.attach().await?;
        let clock = SystemClock::new(Machine::open());
        let mut running = Lease::new(clock.look());
        running.begin(lease.min(TO_TELL_ALL), clock.look());
        let now = boot_time();
        Ok(Self {
            line: Line::Open(Box::new(link), Box::new(uplink)),
            pages: Pages::new(level),
            lease: running,
            clock,
            jumped: false,
            cut_off: false,
            heard_at: now,
            opened_at: now,
            batch: Batch::Awaited,
        })
    }

    /// Hears the server until its first lease, which ends the batch of all keys.
    pub(super) async fn until_all_is_told(&mut self) -> Result<(), LinkError> {
        while self.batch != Batch::Told {
            match self.line.next().await {
                Step::Received(received) => self.hear(received?, None).await?,
                Step::Attached(..) | Step::Failed(_) => return Err(LinkError::Closed),
            }
        }
        Ok(())
    }

    /// Until the last handle is gone; then everything is zeroed and the server told.
    pub(super) async fn run(
        mut self,
        mut asked: mpsc::Receiver<Asked>,
        opened: Arc<Mutex<Opened>>,
    ) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                step = self.line.next() => self.step(step, &opened).await,
                next = asked.recv() => match next {
                    Some(next) => self.answer(next),
                    None => break,
                },
                _ = second.tick() => self.beat(&opened).await,
            }
        }
        // A goodbye goes into a session that is still this machine's.
        self.enforce(&opened);
        tell(&opened, self.pages.wipe(PageState::LeaseOver));
        opened.lock().unwrap_or_else(PoisonError::into_inner).end();
        let _as_well_as_can_be = timeout(TO_SAY_GOODBYE, self.line.say(&ToServer::Bye)).await;
    }

    async fn step(&mut self, step: Step, opened: &Mutex<Opened>) {
        let ended = self.enforce(opened);
        match step {
            // The session is not to be used any more, nor what came in it.
            Step::Received(_) if ended => {}
            Step::Received(Ok(received)) => {
                if let Err(error) = self.hear(received, Some(opened)).await {
                    self.line.reopen(&error);
                }
            }
            Step::Received(Err(error)) => self.line.reopen(&error),
            Step::Failed(attempt) => {
                self.jumped = false;
                self.line = Line::Trying(attempt);
            }
            Step::Attached(_, uplink) if self.jumped => {
                self.jumped = false;
                self.line = Line::Trying(uplink.try_again(&LinkError::TimedOut));
            }
            Step::Attached(attached, uplink) => {
                let now = boot_time();
                // What is held is not confirmed yet: it stays on its own lease.
                self.lease
                    .begin(attached.lease.min(TO_TELL_ALL), self.clock.look());
                (self.heard_at, self.opened_at) = (now, now);
                self.batch = Batch::Awaited;
                self.pages.begin_batch();
                self.line = Line::Open(Box::new(attached.link), uplink);
            }
        }
    }

    /// Changes first, words later: a revoked key is zeroed before anything is sent.
    async fn hear(
        &mut self,
        received: Received,
        opened: Option<&Mutex<Opened>>,
    ) -> Result<(), LinkError> {
        self.heard_at = boot_time();
        let Received::Message(message) = received else {
            return Ok(());
        };
        if self.batch == Batch::Awaited {
            if let Line::Open(_, uplink) = &mut self.line {
                uplink.confirm();
            }
            self.batch = Batch::Open;
        }
        let (reply, changes) = self.carry_out(&message)?;
        drop(message);
        scrub();
        if let Some(opened) = opened {
            tell(opened, changes);
        }
        if let Some(reply) = reply {
            self.line.say(&reply).await?;
            if self.cut_off {
                self.line = Line::Over;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, message: &LockedBox) -> Result<(Option<ToServer>, Changes), LinkError> {
        let said = ToAgent::decode(message.expose())
            .map_err(|_malformed| LinkError::Protocol("a malformed message"))?;
        let (key, version, outcome, changes) = match said {
            ToAgent::Put(put) => {
                let (outcome, changes) = self.pages.put(&put);
                (put.key, put.version, outcome, changes)
            }
            ToAgent::Retire { key, version } => {
                let changes = self.pages.retire(&key, version);
                (key, version, Outcome::Wiped, changes)
            }
            ToAgent::Revoke { key } => {
                let changes = self.pages.revoke(&key);
                (key, EVERY, Outcome::Wiped, changes)
            }
            ToAgent::Lease { seconds } => return Ok(self.renew(seconds)),
            ToAgent::Wipe => {
                let changes = self.pages.wipe(PageState::Revoked);
                self.cut_off = true;
                return Ok((Some(ToServer::Held(self.pages.held())), changes));
            }
            ToAgent::ServerKey { key } => {
                if let Line::Open(_, uplink) = &mut self.line {
                    uplink.pin(key);
                }
                return Ok((None, Vec::new()));
            }
            ToAgent::Drain => return Err(LinkError::Closed),
            // A program has no proxy, and its pages count for no budget.
            ToAgent::Used(_) => return Ok((None, Vec::new())),
            ToAgent::Accept(_) => return Err(LinkError::Protocol("a second welcome")),
        };
        let ack = ToServer::Ack {
            key,
            version,
            outcome,
        };
        Ok((Some(ack), changes))
    }

    fn renew(&mut self, seconds: u32) -> (Option<ToServer>, Changes) {
        let length = Duration::from_secs(seconds.into());
        self.lease.renew(length, self.clock.look());
        if self.batch == Batch::Told {
            return (None, Vec::new());
        }
        self.batch = Batch::Told;
        if let Line::Open(_, uplink) = &mut self.line {
            uplink.settle();
        }
        let changes = self.pages.end_batch();
        (Some(ToServer::Held(self.pages.held())), changes)
    }

    /// Every second: ends what is over, and asks the server for a sign of life now and then.
    async fn beat(&mut self, opened: &Mutex<Opened>) {
        self.enforce(opened);
        let now = boot_time();
        tell(opened, self.pages.expire(self.clock.now().wall));
        let silent = now.saturating_sub(self.heard_at);
        if silent > SILENCE || now.saturating_sub(self.opened_at) > LONGEST_SESSION {
            self.line.reopen(&LinkError::TimedOut);
        } else if silent.as_secs() % PULSE == PULSE - 1
            && let Err(error) = self.line.ping().await
        {
            self.line.reopen(&error);
        }
    }

    /// Wipes what the clocks have ended, and whether they have. In a copy of this machine the
    /// session's next nonce is the same, so that one is not used any more; and after a lease the
    /// server believes that all keys are here, until a new session tells otherwise.
    fn enforce(&mut self, opened: &Mutex<Opened>) -> bool {
        match self.lease.judge(self.clock.look()) {
            Verdict::None | Verdict::Left(_) => return false,
            Verdict::Over => {}
            Verdict::Jumped => self.jumped = matches!(self.line, Line::Trying(_)),
        }
        tell(opened, self.pages.wipe(PageState::LeaseOver));
        self.lease.end();
        self.line.reopen(&LinkError::TimedOut);
        true
    }

    fn answer(&self, asked: Asked) {
        let reply = match asked.request {
            Request::Open {
                name,
                delivery: Delivery::Page,
            } => self.open(name),
            Request::Open { .. } => refused(RefusalCode::BadRequest, NO_PROXY),
            Request::Status => refused(RefusalCode::BadRequest, NO_STATUS),
            Request::Hello { .. } => refused(RefusalCode::BadRequest, ""),
        };
        let _nobody_waits = asked.answer.send(Ok::<_, Error>(reply));
    }

    fn open(&self, name: KeyName) -> Arrival {
        match self.pages.open(&name) {
            Ok((descriptor, version)) => Arrival {
                reply: Reply::Page { name, version },
                descriptor: Some(descriptor),
            },
            Err(code) => refused(code, advice(code)),
        }
    }
}

fn refused(code: RefusalCode, advice: &str) -> Arrival {
    let refusal = Refusal {
        code,
        rule: String::new(),
        advice: advice.to_owned(),
    };
    Arrival {
        reply: Reply::Refused(refusal),
        descriptor: None,
    }
}

fn advice(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotFound => {
            "no key of this name is delivered to this program; its owner adds it with `keyferry keys \
             put`, or lets this machine have it"
        }
        RefusalCode::InjectOnly => {
            "this key may only be used through an agent; its owner can allow reading with `keyferry \
             keys policy NAME --raw`"
        }
        RefusalCode::NotPermitted => {
            "the owner of this key gives it to other tools (user, group or program); they can name this \
             one with `keyferry keys policy NAME --tool`"
        }
        _ => "there is no room for another page: raise RLIMIT_MEMLOCK (`ulimit -l`)",
    }
}

fn tell(opened: &Mutex<Opened>, changes: Changes) {
    let opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, change) in changes {
        opened.tell(&name, change);
    }
}

fn boot_time() -> Duration {
    crate::lease::now().boot
}

/// In an acknowledgement, all versions of a key.
const EVERY: u32 = 0;
/// In seconds.
const PULSE: u64 = 10;
const SILENCE: Duration = Duration::from_secs(35);
/// Then a fresh handshake replaces the session's keys (PROTOCOL.md §5).
const LONGEST_SESSION: Duration = Duration::from_secs(55 * 60);
/// A server that has not told all keys by then does not renew a lease either.
const TO_TELL_ALL: Duration = Duration::from_secs(30);
const TO_SAY_GOODBYE: Duration = Duration::from_secs(2);
const NO_PROXY: &str = "a program without an agent has no proxy; run `keyferry-agent`";
const NO_STATUS: &str = "a program without an agent has no status";

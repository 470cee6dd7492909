//! An open session: what wakes it, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_protocol::handshake::Claims;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::{ToAgent, ToServer};
use rand_core::Rng;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::accesses::{self, LeftOut};
use super::hear::Unwritten;
use super::line::{self, Line, LineError};
use super::told::Told;
use super::{Ended, Entered};
use crate::app::App;
use crate::bus::{self, Event, Topic};
use crate::store::{Held, ProviderKeyId, Seen, StoreError};

pub(super) struct Session<'a> {
    pub(super) app: &'a App,
    pub(super) line: &'a mut Line,
    pub(super) entered: Entered,
    pub(super) told: Told,
    /// Names of keys told of, also of those taken back since: acknowledgements name them.
    pub(super) names: BTreeMap<KeyName, ProviderKeyId>,
    pub(super) unwritten: Unwritten,
    pub(super) left_out: LeftOut,
    pub(super) lease: u32,
    pub(super) wanted: Wanted,
    /// When to look again although nothing was heard.
    pub(super) look_at: Instant,
    pub(super) heard_at: Instant,
    /// Whether every server has been told that the agent is here.
    announced: bool,
    pub(super) usage_told: bool,
}

/// What a session wants of the database; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    #[default]
    Nothing,
    /// To write down what the agent has said.
    Writing,
    /// To compare what the agent may have with what it was told.
    Look,
    /// To renew its lease.
    Renewal,
}

/// Serves an agent to the end of its session.
pub(super) async fn serve(app: &App, line: &mut Line, entered: Entered) -> Ended {
    let mut session = Session::begin(app, line, entered);
    let mut ended = match session.run().await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    // An agent that stops is gone before its last words are written down.
    match session.write_what_was_said().await {
        Ok(()) => {}
        Err(Ended::Bye) => ended = Ended::Bye,
        Err(cause) => {
            warn!(vm = %session.entered.vm, %cause, "an agent's last words are missing");
        }
    }
    if let Err(cause) = session.summarise().await {
        warn!(vm = %session.entered.vm, %cause, "accesses are missing in the audit");
    }
    ended
}

impl<'a> Session<'a> {
    pub(super) fn begin(app: &'a App, line: &'a mut Line, entered: Entered) -> Self {
        let now = Instant::now();
        Self {
            app,
            line,
            entered,
            told: Told::default(),
            names: BTreeMap::new(),
            unwritten: Unwritten::default(),
            left_out: LeftOut::default(),
            lease: 0,
            wanted: Wanted::Nothing,
            look_at: now,
            heard_at: now,
            announced: false,
            usage_told: false,
        }
    }
}

impl Session<'_> {
    pub(super) async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        // Before the first look, so that nothing falls between the two.
        let concerned = [Topic::Keys(self.entered.tenant), Topic::Vm(self.entered.vm)];
        let (app, mut events) = (self.app, self.app.bus.subscribe(&concerned));
        let mut keys = app.server_keys.changes();
        let mut turn = Box::pin(app.attached.turn());
        self.announce_server_key().await?;
        let mut end = Instant::now() + LONGEST;
        let mut leaving = false;
        loop {
            tokio::select! {
                heard = self.line.hear() => self.take(heard?)?,
                _whatever = events.hear() => self.want(Wanted::Look),
                () = sleep_until(self.look_at), if self.wanted < Wanted::Renewal => {
                    self.want(Wanted::Renewal);
                }
                // Until it is their turn, agents are heard all the same.
                turned = &mut turn, if self.wanted > Wanted::Nothing => {
                    turn = Box::pin(app.attached.turn());
                    let attended = turned.spend(Box::pin(self.attend())).await;
                    self.bear(attended)?;
                }
                _ = keys.changed() => self.announce_server_key().await?,
                () = sleep_until(self.heard_at + SILENCE) => return Err(Ended::Silent),
                () = app.stop.draining(), if !leaving => {
                    leaving = true;
                    // Not all at once, for others have to take them in.
                    let within = app.config.connections.drain / 2;
                    end = Instant::now() + within.mul_f64(self.chance());
                }
                () = sleep_until(end) => return Err(self.drain().await),
                () = app.stop.requested() => return Err(self.drain().await),
            }
        }
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted = self.wanted.max(wanted);
    }

    /// Does what is wanted of the database.
    async fn attend(&mut self) -> Result<(), Ended> {
        let wanted = std::mem::take(&mut self.wanted);
        self.write_what_was_said().await?;
        match wanted {
            Wanted::Nothing | Wanted::Writing => Ok(()),
            Wanted::Look => self.deliver().await,
            Wanted::Renewal => self.renew().await,
        }
    }

    /// The database may be away for a while: the agent keeps what it has, and its lease runs.
    pub(super) fn bear(&mut self, looked: Result<(), Ended>) -> Result<(), Ended> {
        let Err(Ended::Store(cause)) = looked else {
            return looked;
        };
        self.app.metrics.delivery_failed();
        if !cause.may_pass() {
            return Err(Ended::Store(cause));
        }
        debug!(vm = %self.entered.vm, %cause, "an agent waits for the database");
        self.look_at = Instant::now() + LOOK_AGAIN.mul_f64(1.0 + self.chance());
        Ok(())
    }

    /// A part of one, by the dice.
    fn chance(&self) -> f64 {
        f64::from(self.app.rng().next_u32()) / f64::from(u32::MAX)
    }

    /// Looks again and renews the lease.
    async fn renew(&mut self) -> Result<(), Ended> {
        self.summarise().await?;
        self.deliver().await?;
        self.tell_usage().await?;
        self.say(&ToAgent::Lease {
            seconds: self.lease,
        })
        .await?;
        Ok(self.note_presence().await?)
    }

    /// Notes for every server that the agent is here, until this should have been noted again.
    async fn note_presence(&mut self) -> Result<(), StoreError> {
        let (now, claims) = (self.app.clock.now(), &self.entered.claims);
        let next = self.look_at.saturating_duration_since(Instant::now());
        let seen = Seen {
            session: self.entered.session,
            at: now,
            until: now + next + GRACE,
            protection: &claims.protection.to_string(),
            agent_version: &claims.agent_version,
        };
        let (tenant, vm) = self.entered.place();
        let mut change = self.app.store.begin().await?;
        change.touch_vm((tenant, vm), &seen).await?;
        let news = [Event::VmSeen { tenant, vm }];
        let news = if self.announced { &news[..0] } else { &news };
        bus::commit(self.app, change, news).await?;
        self.announced = true;
        Ok(())
    }

    async fn summarise(&mut self) -> Result<(), StoreError> {
        accesses::summarise(self.app, &self.entered, &mut self.left_out).await
    }

    /// Tells the agent of a static key that has taken over.
    async fn announce_server_key(&mut self) -> Result<(), Ended> {
        let key = self.app.server_keys.pairs().noise.current.public();
        let knows_how = self.entered.claims.capabilities & Claims::TAKES_SERVER_KEYS != 0;
        if knows_how && self.entered.server_key != key {
            self.say(&ToAgent::ServerKey { key }).await?;
            self.entered.server_key = key;
        }
        Ok(())
    }

    /// Has the agent wipe everything, and waits a little for its word that it has.
    pub(super) async fn wipe(&mut self) -> Ended {
        match self.order_wipe().await {
            Ok(()) => Ended::CutOff,
            Err(ended) => ended,
        }
    }

    async fn order_wipe(&mut self) -> Result<(), Ended> {
        self.say(&ToAgent::Wipe).await?;
        let (place, agent) = (self.entered.place(), self.entered.agent_key.0);
        let now = self.app.clock.now();
        self.app.store.told_wipe(place, &agent, now).await?;
        let word = timeout(TO_WIPE, async {
            loop {
                let line::Heard::Message(message) = self.line.hear().await? else {
                    continue;
                };
                match ToServer::decode(message.expose())? {
                    ToServer::Held(held) if held.keys.is_empty() => return Ok::<_, LineError>(()),
                    ToServer::Bye => return Ok(()),
                    _ => {}
                }
            }
        });
        if matches!(word.await, Ok(Ok(()))) {
            self.note_wiped().await?;
        }
        self.nudge();
        Ok(())
    }

    /// Notes that the agent has wiped everything.
    pub(super) async fn note_wiped(&mut self) -> Result<(), StoreError> {
        let (place, agent) = (self.entered.place(), self.entered.agent_key.0);
        let now = self.app.clock.now();
        self.app.store.all_wiped(place, &agent, now).await
    }

    async fn drain(&mut self) -> Ended {
        match self.say(&ToAgent::Drain).await {
            Ok(()) => Ended::Drained,
            Err(ended) => ended,
        }
    }

    pub(super) async fn say(&mut self, message: &ToAgent<'_>) -> Result<(), Ended> {
        let message = message.encode(&self.app.arena).map_err(LineError::from)?;
        Ok(self.line.say(message).await?)
    }

    /// Whoever watches looks again.
    pub(super) fn nudge(&self) {
        let tenant = self.entered.tenant;
        self.app.bus.hint(Event::HeldChanged { tenant });
    }

    pub(super) fn held(&self, key: ProviderKeyId) -> Held {
        Held {
            tenant: self.entered.tenant,
            vm: self.entered.vm,
            key,
        }
    }
}

/// A fresh handshake is the agent's affair after 55 minutes; this ends one that does not care.
const LONGEST: Duration = Duration::from_secs(70 * 60);
/// When the database did not answer; up to twice as long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// An agent pings every 10 s.
const SILENCE: Duration = Duration::from_secs(90);
/// Between what is planned and when it is done, on servers whose clocks differ.
const GRACE: Duration = Duration::from_secs(15);
const TO_WIPE: Duration = Duration::from_secs(5);

#[cfg(test)]
pub(super) mod tests;

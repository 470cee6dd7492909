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
use crate::bus::{self, Event};
use crate::delivery::Nudge;
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
    /// When to look again although nothing was heard.
    pub(super) look_at: Instant,
    pub(super) heard_at: Instant,
}

/// Serves an agent to the end of its session.
pub(super) async fn serve(app: &App, line: &mut Line, entered: Entered) -> Ended {
    let now = Instant::now();
    let mut session = Session {
        app,
        line,
        entered,
        told: Told::default(),
        names: BTreeMap::new(),
        unwritten: Unwritten::default(),
        left_out: LeftOut::default(),
        lease: 0,
        look_at: now,
        heard_at: now,
    };
    let ended = match session.run().await {
        Ok(never) => match never {},
        Err(ended) => ended,
    };
    if let Err(cause) = session.summarise().await {
        warn!(vm = %session.entered.vm, %cause, "accesses are missing in the audit");
    }
    ended
}

impl Session<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        // Before the first look, so that nothing falls between the two.
        let mut events = self.app.bus.subscribe();
        let mut keys = self.app.server_keys.changes();
        self.announce_server_key().await?;
        let mut end = Instant::now() + LONGEST;
        let mut leaving = false;
        loop {
            if Instant::now() >= self.look_at {
                let looked = self.renew().await;
                self.bear(looked)?;
            }
            tokio::select! {
                heard = self.line.hear() => self.heard(heard?).await?,
                heard = events.hear() => {
                    if self.concerns(&heard) {
                        let looked = self.deliver().await;
                        self.bear(looked)?;
                    }
                }
                _ = keys.changed() => self.announce_server_key().await?,
                () = sleep_until(self.look_at) => {}
                () = self.app.stop.draining(), if !leaving => {
                    leaving = true;
                    // Not all at once, for others have to take them in.
                    let within = self.app.config.connections.drain / 2;
                    end = Instant::now() + within.mul_f64(self.chance());
                }
                () = sleep_until(end) => return Err(self.drain().await),
                () = self.app.stop.requested() => return Err(self.drain().await),
            }
        }
    }

    /// The database may be away for a while: the agent keeps what it has, and its lease runs.
    pub(super) fn bear(&mut self, looked: Result<(), Ended>) -> Result<(), Ended> {
        let Err(Ended::Store(cause @ StoreError::Unreachable(_))) = looked else {
            return looked;
        };
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
        if self.heard_at.elapsed() > SILENCE {
            return Err(Ended::Silent);
        }
        self.write_what_was_said().await?;
        self.summarise().await?;
        self.deliver().await?;
        self.say(&ToAgent::Lease {
            seconds: self.lease,
        })
        .await?;
        let claims = &self.entered.claims;
        let seen = Seen {
            at: self.app.clock.now(),
            protection: &claims.protection.to_string(),
            agent_version: &claims.agent_version,
        };
        self.app
            .store
            .touch_vm((self.entered.tenant, self.entered.vm), &seen)
            .await?;
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

    fn concerns(&self, heard: &bus::Heard) -> bool {
        match heard {
            bus::Heard::Event(Event::KeysChanged { tenant }) => *tenant == self.entered.tenant,
            bus::Heard::Event(Event::VmChanged { vm, .. }) => *vm == self.entered.vm,
            bus::Heard::Event(Event::SessionEnded { .. }) | bus::Heard::Closed => false,
            bus::Heard::Gap => true,
        }
    }

    /// Has the agent wipe everything, and waits a little for its word that it has.
    pub(super) async fn wipe(&mut self) -> Ended {
        match self.order_wipe().await {
            Ok(()) => Ended::CutOff,
            Err(ended) => ended,
        }
    }

    async fn order_wipe(&mut self) -> Result<(), Ended> {
        let place = (self.entered.tenant, self.entered.vm);
        self.say(&ToAgent::Wipe).await?;
        self.app
            .store
            .told_wipe(place, self.app.clock.now())
            .await?;
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
            self.app
                .store
                .all_wiped(place, self.app.clock.now())
                .await?;
        }
        self.nudge();
        Ok(())
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
        self.app.watchers.nudge(Nudge::Held(self.entered.tenant));
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
const TO_WIPE: Duration = Duration::from_secs(5);

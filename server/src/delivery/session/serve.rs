//! An open session: says what has changed, hears what was carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::LockedBox;
use keyferry_protocol::wire::{Access, Outcome, Put, ToAgent, ToServer};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::line::{self, Line, LineError};
use super::told::{Allowed, Change, Told, Wanted};
use super::{Ended, Entered};
use crate::app::App;
use crate::audit::{self, Entry};
use crate::bus::{self, Event};
use crate::store::{Held, ProviderKeyId, Seen, StoreError};
use crate::vault::{record_context, seal};

struct Session<'a> {
    app: &'a App,
    line: &'a mut Line,
    entered: Entered,
    told: Told,
    /// Names of keys told of, also of those taken back since: acknowledgements name them.
    names: BTreeMap<KeyName, ProviderKeyId>,
    lease: u32,
    /// When to look again although nothing was heard.
    look_at: Instant,
    heard_at: Instant,
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
        lease: 0,
        look_at: now,
        heard_at: now,
    };
    match session.run().await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

impl Session<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        // Before the first look, so that nothing falls between the two.
        let mut events = self.app.bus.subscribe();
        let end = Instant::now() + LONGEST;
        loop {
            if Instant::now() >= self.look_at {
                self.renew().await?;
            }
            tokio::select! {
                heard = self.line.hear() => self.heard(heard?).await?,
                heard = events.hear() => {
                    if self.concerns(&heard) {
                        self.deliver().await?;
                    }
                }
                () = sleep_until(self.look_at) => {}
                () = sleep_until(end) => return Err(self.drain().await),
                () = self.app.stop.requested() => return Err(self.drain().await),
            }
        }
    }

    /// Looks again and renews the lease.
    async fn renew(&mut self) -> Result<(), Ended> {
        if self.heard_at.elapsed() > SILENCE {
            return Err(Ended::Silent);
        }
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

    fn concerns(&self, heard: &bus::Heard) -> bool {
        match heard {
            bus::Heard::Event(Event::KeysChanged { tenant }) => *tenant == self.entered.tenant,
            bus::Heard::Event(Event::VmChanged { vm, .. }) => *vm == self.entered.vm,
            bus::Heard::Event(Event::SessionEnded { .. }) | bus::Heard::Closed => false,
            bus::Heard::Gap => true,
        }
    }

    /// Tells the agent the difference between what it may have and what it was told.
    async fn deliver(&mut self) -> Result<(), Ended> {
        let (place, key) = (
            (self.entered.tenant, self.entered.vm),
            self.entered.agent_key.0,
        );
        if !self.app.store.agent_is_welcome(place, &key).await? {
            return Err(self.wipe().await);
        }
        let now = self.app.clock.now();
        let rows = self
            .app
            .store
            .deliverable_versions(self.entered.tenant, now)
            .await?;
        let allowed = Allowed::of(rows, self.entered.vm, now)
            .map_err(|cause| Ended::Unreadable(cause.into()))?;
        let changes = self.told.changes(&allowed);
        // What goes is said before anything is written: it is a fact of the database already.
        for change in changes
            .iter()
            .filter(|change| !matches!(change, Change::Put { .. }))
        {
            if let Change::Revoke { name, .. } = change {
                self.say(&ToAgent::Revoke { key: name.clone() }).await?;
            }
        }
        self.write_down(&changes, &allowed).await?;
        for change in &changes {
            match change {
                Change::Revoke { .. } => {}
                Change::Put { key, version } => self.put(*key, *version, &allowed).await?,
                Change::Retire { name, version, .. } => {
                    let retire = ToAgent::Retire {
                        key: name.clone(),
                        version: *version,
                    };
                    self.say(&retire).await?;
                }
            }
            self.told.note(change, &allowed);
        }
        self.plan_next_look(&allowed);
        Ok(())
    }

    /// Nothing is delivered that is not written down first.
    async fn write_down(&mut self, changes: &[Change], allowed: &Allowed) -> Result<(), Ended> {
        if changes.is_empty() {
            return Ok(());
        }
        let now = self.app.clock.now();
        let mut transaction = self.app.store.begin().await?;
        for change in changes {
            let (action, name, version) = match change {
                Change::Revoke { key, name } => {
                    transaction
                        .told_away(self.held(*key), None, ("revoke", now))
                        .await?;
                    ("key.withdrawn", name.clone(), None)
                }
                Change::Retire { key, name, version } => {
                    let held = self.held(*key);
                    transaction
                        .told_away(held, Some((*version).into()), ("retire", now))
                        .await?;
                    ("key.retired", name.clone(), Some(*version))
                }
                Change::Put { key, version } => {
                    let Some(wanted) = allowed.keys.get(key) else {
                        continue;
                    };
                    transaction
                        .told_put(self.held(*key), (*version).into(), now)
                        .await?;
                    self.names.insert(wanted.name.clone(), *key);
                    ("key.delivered", wanted.name.clone(), Some(*version))
                }
            };
            let actor = self.actor();
            let detail = json!({ "version": version });
            let entry = self.entry(&actor, action, (Some(name.as_str()), detail));
            transaction.insert_audit_event(self.app, &entry).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn put(
        &mut self,
        key: ProviderKeyId,
        version: u32,
        allowed: &Allowed,
    ) -> Result<(), Ended> {
        let Some(wanted) = allowed.keys.get(&key) else {
            return Ok(());
        };
        let place = (self.entered.tenant, key);
        let Some(sealed) = self.app.store.sealed_version(place, version.into()).await? else {
            debug!(key = %wanted.name, version, "a version was destroyed before it was delivered");
            return Ok(());
        };
        let message = self.unsealed(wanted, (key, version), &sealed)?;
        self.line.say(message).await?;
        Ok(())
    }

    /// Locked memory to locked memory: from the record into the message.
    fn unsealed(
        &self,
        wanted: &Wanted,
        (key, version): (ProviderKeyId, u32),
        sealed: &seal::Sealed,
    ) -> Result<LockedBox, Ended> {
        let context = record_context(self.entered.tenant, key, version);
        let value = seal::open(&self.app.master_key, &context, sealed)
            .map_err(|cause| Ended::Unreadable(cause.into()))?;
        let end = wanted.policy.expires_at.map_or(0, |end| end.microseconds());
        let put = ToAgent::Put(Put {
            key: wanted.name.clone(),
            version,
            not_after: u64::try_from(end).unwrap_or(0),
            provider: &wanted.provider,
            delivery: wanted.policy.delivery.into(),
            allowed_hosts: wanted
                .policy
                .allowed_hosts
                .iter()
                .map(String::as_str)
                .collect(),
            value: value.expose(),
        });
        Ok(put.encode(&self.app.arena).map_err(LineError::from)?)
    }

    fn plan_next_look(&mut self, allowed: &Allowed) {
        self.lease = allowed.lease();
        let now = self.app.clock.now();
        let renewal = Duration::from_secs(u64::from(self.lease) / 3).min(MOST_BETWEEN_LOOKS);
        let change = allowed
            .changes_at
            .map(|at| at.since(now).max(LEAST_BETWEEN_LOOKS));
        self.look_at = Instant::now() + change.map_or(renewal, |change| change.min(renewal));
    }

    async fn heard(&mut self, heard: line::Heard) -> Result<(), Ended> {
        self.heard_at = Instant::now();
        let line::Heard::Message(message) = heard else {
            return Ok(());
        };
        let said = ToServer::decode(message.expose()).map_err(LineError::from)?;
        match said {
            ToServer::Ready { .. } => Err(LineError::OutOfTurn.into()),
            ToServer::Ack {
                key,
                version,
                outcome,
            } => Ok(self.acknowledged(&key, version, outcome).await?),
            ToServer::Held(held) => {
                self.entered.claims.protection = held.protection;
                Ok(())
            }
            ToServer::Audit(accesses) => Ok(self.accessed(&accesses).await?),
            ToServer::Bye => {
                let place = (self.entered.tenant, self.entered.vm);
                self.app
                    .store
                    .all_wiped(place, self.app.clock.now())
                    .await?;
                Err(Ended::Bye)
            }
        }
    }

    async fn acknowledged(
        &mut self,
        key: &KeyName,
        version: u32,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        // A name that was never told is nothing to note.
        let Some(id) = self.names.get(key) else {
            return Ok(());
        };
        let outcome = match outcome {
            Outcome::Held => "held",
            Outcome::Wiped => "wiped",
            Outcome::Refused => "refused",
        };
        let version = (version != 0).then(|| version.into());
        let now = self.app.clock.now();
        self.app
            .store
            .acknowledge(self.held(*id), version, (outcome, now))
            .await
    }

    async fn accessed(&mut self, accesses: &[Access]) -> Result<(), StoreError> {
        let actor = self.actor();
        for access in accesses {
            let action = if access.allowed {
                "key.opened"
            } else {
                "key.refused"
            };
            let detail = json!({
                "version": access.version,
                "uid": access.uid,
                "count": access.count,
                "last_at": access.at,
            });
            let entry = self.entry(&actor, action, (Some(access.key.as_str()), detail));
            audit::append(self.app, &entry).await?;
        }
        Ok(())
    }

    /// Has the agent wipe everything, and waits a little for its word that it has.
    async fn wipe(&mut self) -> Ended {
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
        Ok(())
    }

    async fn drain(&mut self) -> Ended {
        match self.say(&ToAgent::Drain).await {
            Ok(()) => Ended::Drained,
            Err(ended) => ended,
        }
    }

    async fn say(&mut self, message: &ToAgent<'_>) -> Result<(), Ended> {
        let message = message.encode(&self.app.arena).map_err(LineError::from)?;
        Ok(self.line.say(message).await?)
    }

    fn held(&self, key: ProviderKeyId) -> Held {
        Held {
            tenant: self.entered.tenant,
            vm: self.entered.vm,
            key,
        }
    }

    fn actor(&self) -> String {
        format!("vm:{}", self.entered.vm)
    }

    fn entry<'e>(
        &self,
        actor: &'e str,
        action: &'static str,
        (subject, detail): (Option<&'e str>, Value),
    ) -> Entry<'e> {
        Entry {
            tenant: Some(self.entered.tenant),
            actor,
            action,
            subject,
            detail,
            correlation: self.entered.session,
        }
    }
}

/// A fresh handshake is the agent's affair after 55 minutes; this ends one that does not care.
const LONGEST: Duration = Duration::from_secs(70 * 60);
/// However long the lease is, a lost event is noticed by then.
const MOST_BETWEEN_LOOKS: Duration = Duration::from_secs(60);
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// An agent pings every 10 s.
const SILENCE: Duration = Duration::from_secs(90);
const TO_WIPE: Duration = Duration::from_secs(5);

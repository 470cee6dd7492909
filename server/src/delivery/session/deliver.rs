//! Says what has changed: the difference between what the agent may have and what it was told.

use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::LockedBox;
use keyferry_protocol::wire::{Put, ToAgent};
use serde_json::json;
use tokio::time::Instant;
use tracing::{Instrument, debug};

use super::line::LineError;
use super::serve::{self, Session};
use super::told::{Allowed, Change, Wanted};
use super::{Ended, Entered};
use crate::app::App;
use crate::store::{ProviderKeyId, StoreError, Transaction};
use crate::traces;
use crate::vault::{self, master_key, record_context};

/// An action, the key that it is about, and which version.
type Noted = (&'static str, KeyName, Option<u32>);

impl Session<'_> {
    /// Tells the agent the difference between what it may have and what it was told.
    pub(super) async fn deliver(&mut self) -> Result<(), Ended> {
        let (place, agent) = (self.entered.place(), self.entered.agent_key.0);
        if !self.app.store.agent_is_welcome(place, &agent).await? {
            return Err(self.wipe().await);
        }
        let allowed = allowed(self.app, &self.entered).await?;
        let changes = self.told.changes(&allowed);
        if !changes.is_empty() {
            let span = traces::delivery(self.entered.session, changes.len());
            self.tell(&changes, &allowed).instrument(span).await?;
        }
        self.plan_next_look(&allowed);
        Ok(())
    }

    async fn tell(&mut self, changes: &[Change], allowed: &Allowed) -> Result<(), Ended> {
        // What goes is said before anything is written: it is a fact of the database already.
        for change in changes {
            if let Change::Revoke { name, .. } = change {
                debug!(vm = %self.entered.vm, key = %name, "revocation pushed");
                self.say(&ToAgent::Revoke { key: name.clone() }).await?;
            }
        }
        match self.write_down(changes, allowed).await {
            Ok(true) => {}
            // The machine or one of the keys is gone since it was looked.
            Ok(false) | Err(StoreError::Dangling(_)) => {
                self.want(serve::Wanted::Look);
                return Ok(());
            }
            Err(cause) => return Err(cause.into()),
        }
        for change in changes {
            self.app.metrics.told(change.into());
            match change {
                Change::Revoke { .. } => {}
                Change::Put { key, version } => self.put(*key, *version, allowed).await?,
                Change::Retire { name, version, .. } => {
                    let (key, version) = (name.clone(), *version);
                    self.say(&ToAgent::Retire { key, version }).await?;
                }
            }
            self.told.note(change, allowed);
        }
        Ok(())
    }

    /// Nothing is delivered that is not written down first. False when the machine is not to have
    /// anything any more.
    async fn write_down(
        &mut self,
        changes: &[Change],
        allowed: &Allowed,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.app.store.begin().await?;
        // The machine comes before what it holds, as when its owner removes it.
        if !transaction.hold_active_vm(self.entered.place()).await? {
            return Ok(false);
        }
        for change in changes {
            let Some(told) = self.note(change, allowed, &mut transaction).await? else {
                continue;
            };
            let (action, name, version) = told;
            let actor = self.entered.actor();
            let detail = json!({ "version": version });
            let entry = self
                .entered
                .entry(&actor, action, (Some(name.as_str()), detail));
            transaction.insert_audit_event(self.app, &entry).await?;
        }
        transaction.commit().await?;
        self.nudge();
        Ok(true)
    }

    /// Notes what the machine is told, and how the audit calls it.
    async fn note(
        &mut self,
        change: &Change,
        allowed: &Allowed,
        transaction: &mut Transaction,
    ) -> Result<Option<Noted>, StoreError> {
        let now = self.app.clock.now();
        let noted = match change {
            Change::Revoke { key, name } => {
                let held = self.held(*key);
                transaction.told_away(held, None, ("revoke", now)).await?;
                ("key.withdrawn", name.clone(), None)
            }
            Change::Retire { key, name, version } => {
                let (held, old) = (self.held(*key), Some((*version).into()));
                transaction.told_away(held, old, ("retire", now)).await?;
                ("key.retired", name.clone(), Some(*version))
            }
            Change::Put { key, version } => {
                let Some(wanted) = allowed.keys.get(key) else {
                    return Ok(None);
                };
                let (held, new) = (self.held(*key), (*version).into());
                transaction.told_put(held, new, now).await?;
                self.names.insert(wanted.name.clone(), *key);
                ("key.delivered", wanted.name.clone(), Some(*version))
            }
        };
        Ok(Some(noted))
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
        let context = record_context(self.entered.tenant, key, version);
        let value = master_key::open(self.app, &context, &sealed).await;
        let value = value.map_err(|cause| Ended::Unreadable(cause.into()))?;
        let message = self.message(wanted, version, &value)?;
        debug!(vm = %self.entered.vm, key = %wanted.name, version, "key pushed");
        self.line.say(message).await?;
        Ok(())
    }

    /// Locked memory to locked memory: the value in its message.
    fn message(
        &self,
        wanted: &Wanted,
        version: u32,
        value: &LockedBox,
    ) -> Result<LockedBox, Ended> {
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
            policy: vault::told(&wanted.policy.tools, wanted.policy.budget),
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
}

/// What the agent may have now.
async fn allowed(app: &App, entered: &Entered) -> Result<Allowed, Ended> {
    let now = app.clock.now();
    let mut allowed = Allowed::default();
    let mut versions = app.store.deliverable_versions(entered.tenant, now);
    while let Some(page) = versions.page().await? {
        let added = allowed.extend(page, entered.vm, now);
        added.map_err(|cause| Ended::Unreadable(cause.into()))?;
    }
    Ok(allowed)
}

/// However long the lease is, a lost event is noticed by then.
const MOST_BETWEEN_LOOKS: Duration = Duration::from_secs(60);
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;

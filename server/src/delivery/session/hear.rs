//! Hears what the agent has carried out, and writes it down.

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::{Access, Outcome, ToServer};
use serde_json::json;
use tokio::time::Instant;

use super::Ended;
use super::line::{self, LineError};
use super::serve::Session;
use crate::store::StoreError;

impl Session<'_> {
    pub(super) async fn heard(&mut self, heard: line::Heard) -> Result<(), Ended> {
        self.heard_at = Instant::now();
        let line::Heard::Message(message) = heard else {
            return Ok(());
        };
        let said = ToServer::decode(message.expose()).map_err(LineError::from)?;
        self.unwritten.push_back(said);
        let written = self.write_what_was_said().await;
        if self.unwritten.len() > MOST_UNWRITTEN {
            return written;
        }
        self.bear(written)
    }

    /// What the database did not take stays, to be written when it is back.
    pub(super) async fn write_what_was_said(&mut self) -> Result<(), Ended> {
        while let Some(said) = self.unwritten.front().cloned() {
            self.write(said).await?;
            self.unwritten.pop_front();
        }
        Ok(())
    }

    async fn write(&mut self, said: ToServer) -> Result<(), Ended> {
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
                self.nudge();
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
            .await?;
        self.nudge();
        Ok(())
    }

    async fn accessed(&mut self, accesses: &[Access]) -> Result<(), StoreError> {
        let actor = self.actor();
        let mut change = self.app.store.begin().await?;
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
                "sent": access.sent,
                "received": access.received,
                "last_at": access.at,
            });
            let entry = self.entry(&actor, action, (Some(access.key.as_str()), detail));
            change.insert_audit_event(self.app, &entry).await?;
        }
        change.commit().await
    }
}

/// An agent that says more than this while the database is away is sent to another server.
const MOST_UNWRITTEN: usize = 1_000;

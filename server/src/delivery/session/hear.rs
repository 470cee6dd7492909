//! Hears what the agent has carried out, and writes it down.

use std::collections::VecDeque;

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::wire::{Outcome, ToServer};
use tokio::time::Instant;

use super::line::{self, LineError};
use super::serve::{Session, Wanted};
use super::{Ended, accesses};
use crate::store::StoreError;

impl Session<'_> {
    /// Takes what the agent says, to be written down.
    pub(super) fn take(&mut self, heard: line::Heard) -> Result<(), Ended> {
        self.heard_at = Instant::now();
        let line::Heard::Message(message) = heard else {
            return Ok(());
        };
        let said = match ToServer::decode(message.expose()).map_err(LineError::from)? {
            ToServer::Audit(batch) => ToServer::Audit(accesses::within_budget(
                self.app,
                &self.entered,
                batch,
                &mut self.left_out,
            )),
            said => said,
        };
        self.unwritten.push(said, message.expose().len());
        self.want(Wanted::Writing);
        if self.unwritten.bytes > MOST_UNWRITTEN {
            return Err(Ended::Behind);
        }
        Ok(())
    }

    /// What the database did not take stays, to be written when it is back.
    pub(super) async fn write_what_was_said(&mut self) -> Result<(), Ended> {
        while let Some((said, _)) = self.unwritten.said.front().cloned() {
            self.write(said).await?;
            self.unwritten.pop();
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
            ToServer::Audit(batch) => {
                let batch = (batch.as_slice(), &self.names);
                let written = accesses::write(self.app, &self.entered, batch, &mut self.left_out);
                Ok(written.await?)
            }
            ToServer::Bye => {
                self.note_wiped().await?;
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
}

/// What the agent has said and the database has not taken yet.
#[derive(Default)]
pub(super) struct Unwritten {
    said: VecDeque<(ToServer, usize)>,
    /// What they take, about.
    bytes: usize,
}

impl Unwritten {
    fn push(&mut self, said: ToServer, bytes: usize) {
        let bytes = bytes + size_of::<ToServer>();
        self.bytes += bytes;
        self.said.push_back((said, bytes));
    }

    fn pop(&mut self) {
        if let Some((_, bytes)) = self.said.pop_front() {
            self.bytes -= bytes;
        }
    }
}

/// An agent that says more than this while the database is away is sent to another server.
const MOST_UNWRITTEN: usize = 64 * 1024;

//! Which agents are connected to this process, which are about to be, and how much it does for
//! them at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::handshakes::{Handshakes, Place};
use crate::store::VmId;

/// The agent sessions of this process.
pub(crate) struct Attached {
    sessions: Arc<Mutex<HashMap<VmId, usize>>>,
    handshakes: Handshakes,
    turns: Arc<Semaphore>,
}

/// One session; gone when dropped.
pub(crate) struct Seat {
    vm: VmId,
    sessions: Arc<Mutex<HashMap<VmId, usize>>>,
}

impl Attached {
    pub(crate) fn new() -> Self {
        Self {
            sessions: Arc::default(),
            handshakes: Handshakes::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// Whether an agent of this VM is connected here.
    pub(crate) fn has(&self, vm: VmId) -> bool {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&vm)
    }

    /// Of how many VMs an agent is connected here.
    pub(crate) fn count(&self) -> usize {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// How many handshakes are under way.
    pub(crate) fn shaking_hands(&self) -> usize {
        self.handshakes.count()
    }

    /// Notes a session for as long as the seat is kept.
    pub(super) fn seat(&self, vm: VmId) -> Seat {
        *self
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(vm)
            .or_default() += 1;
        Seat {
            vm,
            sessions: Arc::clone(&self.sessions),
        }
    }

    /// Waits for a turn, in the order of asking.
    pub(super) async fn turn(&self) -> Turn {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        Turn(turn.expect("the turns are never closed"))
    }

    /// Room for one more handshake with an agent at this address; `None` when too many are under
    /// way.
    pub(crate) fn handshake(&self, address: IpAddr) -> Option<Place> {
        self.handshakes.place(address)
    }
}

/// The right of a session to keep the database busy. Thousands that look at once would let
/// everybody else wait, and take the memory for all of their looks.
pub(super) struct Turn(OwnedSemaphorePermit);

impl Turn {
    /// Does this, and gives the turn back when it is done, or takes long: then it waits for its
    /// agent, who must not hold up the others.
    pub(super) async fn spend<T>(self, mut work: Pin<Box<impl Future<Output = T>>>) -> T {
        match timeout(LONGEST_TURN, work.as_mut()).await {
            Ok(done) => done,
            Err(_long) => {
                drop(self.0);
                work.await
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sessions.get_mut(&self.vm) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&self.vm);
            }
        }
    }
}

/// Some of the database's connections are left for people.
const TURNS: usize = 12;
const LONGEST_TURN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_connected_while_one_of_its_sessions_lives() {
        let attached = Attached::new();
        let vm = VmId::from_bytes([1; 16]);
        let first = attached.seat(vm);
        let second = attached.seat(vm);
        drop(first);
        assert!(attached.has(vm));
        drop(second);
        assert!(!attached.has(vm));
    }

    #[tokio::test]
    async fn who_waits_for_an_agent_holds_up_nobody() {
        let attached = Attached::new();
        let (agents, mut waiting) = (Semaphore::new(0), Vec::new());
        for _ in 0..TURNS {
            let turn = attached.turn().await;
            waiting.push(turn.spend(Box::pin(agents.acquire())));
        }
        let stalled = futures_util::future::join_all(waiting);
        let other = async {
            let turn = attached.turn().await;
            let done = turn.spend(Box::pin(async { "done" })).await;
            agents.add_permits(TURNS);
            done
        };
        let (stalled, other) = tokio::join!(stalled, other);
        assert_eq!((stalled.len(), other), (TURNS, "done"));
    }
}

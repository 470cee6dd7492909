//! Which agents are connected to this process, and how many handshakes it does at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::VmId;

/// The agent sessions of this process.
pub(crate) struct Attached {
    sessions: Arc<Mutex<HashMap<VmId, usize>>>,
    handshakes: Arc<Semaphore>,
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
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
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
        HANDSHAKES - self.handshakes.available_permits()
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

    /// Room for one more handshake; `None` when too many are under way.
    pub(crate) fn handshake(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).try_acquire_owned().ok()
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

/// Handshakes under way at once; one takes about a millisecond of a core.
const HANDSHAKES: usize = 256;

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

    #[test]
    fn handshakes_are_bounded() {
        let attached = Attached::new();
        let permits: Vec<_> = (0..HANDSHAKES)
            .map(|_| attached.handshake().unwrap())
            .collect();
        assert!(attached.handshake().is_none());
        drop(permits);
        assert!(attached.handshake().is_some());
    }
}

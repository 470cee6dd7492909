//! Which agents are connected to this process, and which are about to be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::handshakes::{Handshakes, Place};
use crate::store::VmId;

/// The agent sessions of this process.
#[derive(Default)]
pub(crate) struct Attached {
    sessions: Arc<Mutex<HashMap<VmId, usize>>>,
    handshakes: Handshakes,
}

/// One session; gone when dropped.
pub(crate) struct Seat {
    vm: VmId,
    sessions: Arc<Mutex<HashMap<VmId, usize>>>,
}

impl Attached {
    pub(crate) fn new() -> Self {
        Self::default()
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

    /// Room for one more handshake with an agent at this address; `None` when too many are under
    /// way.
    pub(crate) fn handshake(&self, address: IpAddr) -> Option<Place> {
        self.handshakes.place(address)
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
}

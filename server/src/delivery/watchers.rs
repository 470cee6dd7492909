//! Who watches what the machines hold: a bound on how many do, and a nudge when there is news.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::store::{TenantId, UserId, VmId};

/// Everybody who watches on this server.
pub(crate) struct Watchers {
    seats: Arc<Mutex<HashMap<UserId, usize>>>,
    nudges: broadcast::Sender<Nudge>,
}

/// Something may be new; the database tells what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    /// What a VM of this tenant was told or has acknowledged.
    Held(TenantId),
    /// Whether this VM is connected.
    Vm(TenantId, VmId),
}

/// The right to watch; given back when dropped.
pub(crate) struct WatcherSeat {
    user: UserId,
    seats: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self {
            seats: Arc::default(),
            nudges: broadcast::Sender::new(CAPACITY),
        }
    }

    /// Room for one more; `None` when this user, or everybody, watches enough.
    pub(crate) fn seat(&self, user: UserId) -> Option<WatcherSeat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.values().sum::<usize>() >= MOST {
            return None;
        }
        let own = seats.entry(user).or_default();
        if *own >= MOST_OF_ONE_USER {
            return None;
        }
        *own += 1;
        let seats = Arc::clone(&self.seats);
        Some(WatcherSeat { user, seats })
    }

    /// Costs nothing while nobody watches.
    pub(crate) fn nudge(&self, nudge: Nudge) {
        let _nobody_watches = self.nudges.send(nudge);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Nudge> {
        self.nudges.subscribe()
    }
}

impl Drop for WatcherSeat {
    fn drop(&mut self) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = seats.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                seats.remove(&self.user);
            }
        }
    }
}

const CAPACITY: usize = 256;
const MOST: usize = 256;
const MOST_OF_ONE_USER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_bounded_and_make_room_when_they_go() {
        let watchers = Watchers::new();
        let ada = UserId::from_bytes([1; 16]);
        let seats: Vec<_> = (0..MOST_OF_ONE_USER)
            .map(|_| watchers.seat(ada).unwrap())
            .collect();
        assert!(watchers.seat(ada).is_none());
        assert!(watchers.seat(UserId::from_bytes([2; 16])).is_some());
        drop(seats);
        assert!(watchers.seat(ada).is_some());
        assert_eq!(watchers.seats.lock().unwrap().len(), 0);
    }
}

//! Who watches what the machines hold: a bound on how many do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::UserId;

/// Everybody who watches on this server.
#[derive(Default)]
pub(crate) struct Watchers {
    seats: Arc<Mutex<HashMap<UserId, usize>>>,
}

/// The right to watch; given back when dropped.
pub(crate) struct WatcherSeat {
    user: UserId,
    seats: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Watchers {
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

const MOST: usize = 256;
const MOST_OF_ONE_USER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_bounded_and_make_room_when_they_go() {
        let watchers = Watchers::default();
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

//! How many are served at once: so many in all, and no user more than its share, so that one cannot
//! shut out the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places at one door.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    taken: Arc<Mutex<BTreeMap<u32, usize>>>,
    all: usize,
    share: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Mutex<BTreeMap<u32, usize>>>,
    user: u32,
}

impl Places {
    /// So many, of which one user may have half.
    pub(crate) fn new(all: usize) -> Self {
        Self {
            taken: Arc::default(),
            all,
            share: all.div_ceil(2),
        }
    }

    /// For those whom there is nothing to give, until they have heard so: they never take the place
    /// of anybody else.
    pub(crate) fn of_strangers() -> Self {
        Self {
            share: STRANGERS / 4,
            ..Self::new(STRANGERS)
        }
    }

    /// A place for this user; `None` where there is none left.
    pub(crate) fn take(&self, user: u32) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let own = taken.get(&user).copied().unwrap_or_default();
        if own >= self.share || taken.values().sum::<usize>() >= self.all {
            return None;
        }
        taken.insert(user, own + 1);
        let taken = Arc::clone(&self.taken);
        Some(Place { taken, user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.user);
            }
        }
    }
}

fn lock(taken: &Mutex<BTreeMap<u32, usize>>) -> MutexGuard<'_, BTreeMap<u32, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

const STRANGERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_half_of_the_places_and_gets_them_back() {
        let places = Places::new(5);
        let mut own: Vec<_> = (0..3).map(|_| places.take(1000).unwrap()).collect();
        assert!(places.take(1000).is_none());
        let _of_another = places.take(1001).unwrap();
        own.pop();
        assert!(places.take(1000).is_some());
    }

    #[test]
    fn all_users_together_have_no_more_than_all() {
        let places = Places::new(4);
        let taken: Vec<_> = (0..4).filter_map(|user| places.take(user)).collect();
        assert!(places.take(4).is_none());
        drop(taken);
        assert!(places.take(4).is_some());
    }

    #[test]
    fn a_single_place_can_be_taken() {
        assert!(Places::new(1).take(0).is_some());
    }
}

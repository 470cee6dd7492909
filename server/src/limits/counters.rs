//! Where budgets are counted. What is here may be lost: a restart forgives.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::gcra::{Quota, Standing};
use crate::store::UnixTime;

/// Counts budgets by name. A store that several servers share takes the place of the memory
/// without anyone noticing: hence the functions wait, and a name is a text.
pub(crate) struct Counters(Mutex<Memory>);

struct Memory {
    /// When each budget is full again.
    full: HashMap<String, UnixTime>,
    /// At how many names those that are full again are forgotten.
    crowded: usize,
}

impl Counters {
    pub(crate) fn in_process() -> Self {
        Self(Mutex::new(Memory {
            full: HashMap::new(),
            crowded: FEW,
        }))
    }

    /// Where `name` stands, without taking anything.
    pub(super) async fn look(&self, name: &str, quota: Quota, now: UnixTime) -> Standing {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = memory.full.get(name).copied().unwrap_or(now);
        quota.standing(full, now)
    }

    /// Takes one from the budget if there is one, and tells where it stood before.
    pub(super) async fn take(&self, name: String, quota: Quota, now: UnixTime) -> Standing {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = memory.full.get(&name).copied().unwrap_or(now);
        let standing = quota.standing(full, now);
        if standing.is_open() {
            memory.keep(name, quota.after_one(full, now), now);
        }
        standing
    }

    /// Takes one from the budget even if nothing is left, and tells where it stood before.
    pub(super) async fn charge(&self, name: String, quota: Quota, now: UnixTime) -> Standing {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = memory.full.get(&name).copied().unwrap_or(now);
        memory.keep(name, quota.after_one(full, now), now);
        quota.standing(full, now)
    }
}

impl Memory {
    fn keep(&mut self, name: String, full: UnixTime, now: UnixTime) {
        self.full.insert(name, full);
        if self.full.len() > self.crowded {
            self.full.retain(|_, full| *full > now);
            self.crowd_out();
            self.crowded = (2 * self.full.len()).clamp(FEW, MOST);
        }
    }

    /// Forgets the half that would be forgotten soonest, when there is no room for all.
    fn crowd_out(&mut self) {
        if self.full.len() < MOST {
            return;
        }
        let mut times: Vec<UnixTime> = self.full.values().copied().collect();
        let half = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(half);
        let middle = *middle;
        self.full.retain(|_, full| *full > middle);
    }
}

const FEW: usize = 1_024;
/// About 100 MB of names.
const MOST: usize = 500_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Counters, FEW, MOST};
    use crate::limits::gcra::Quota;
    use crate::store::UnixTime;

    const QUOTA: Quota = Quota::new(2, Duration::from_secs(60));

    #[tokio::test]
    async fn each_name_has_a_budget_of_its_own() {
        let (counters, now) = (Counters::in_process(), UnixTime::from_seconds(0));
        for _ in 0..2 {
            assert!(counters.take("a".into(), QUOTA, now).await.is_open());
        }
        assert!(!counters.take("a".into(), QUOTA, now).await.is_open());
        assert!(!counters.look("a", QUOTA, now).await.is_open());
        assert!(counters.look("b", QUOTA, now).await.is_open());
    }

    #[tokio::test]
    async fn a_refused_one_costs_nothing_unless_it_is_charged() {
        let (counters, now) = (Counters::in_process(), UnixTime::from_seconds(0));
        for _ in 0..9 {
            counters.take("a".into(), QUOTA, now).await;
        }
        let waits = counters.look("a", QUOTA, now).await.wait;
        assert_eq!(waits, Duration::from_secs(30));
        counters.charge("a".into(), QUOTA, now).await;
        let waits = counters.look("a", QUOTA, now).await.wait;
        assert_eq!(waits, Duration::from_secs(60));
    }

    #[tokio::test]
    async fn full_budgets_are_forgotten() {
        let counters = Counters::in_process();
        for second in 0..10 * i64::try_from(FEW).unwrap() {
            let now = UnixTime::from_seconds(second);
            counters.take(second.to_string(), QUOTA, now).await;
        }
        assert!(counters.0.lock().unwrap().full.len() <= FEW + 1);
    }

    #[tokio::test]
    async fn a_crowd_of_strangers_has_a_bound() {
        let (counters, now) = (Counters::in_process(), UnixTime::from_seconds(0));
        counters
            .charge("busy".into(), Quota::new(1, Duration::from_secs(999)), now)
            .await;
        for number in 0..=MOST + 1 {
            counters.take(number.to_string(), QUOTA, now).await;
        }
        assert!(counters.0.lock().unwrap().full.len() <= MOST);
        let busy = counters.look("busy", Quota::new(1, Duration::from_secs(999)), now);
        assert!(
            !busy.await.is_open(),
            "who was refused longest is not forgotten"
        );
    }
}

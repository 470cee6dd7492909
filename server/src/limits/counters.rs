//! Where budgets are counted: in Redis, when several servers share one, else in this process. What
//! is here may be lost: a restart forgives.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::gcra::{Quota, Standing};
use crate::cache::{Cache, script};
use crate::store::UnixTime;

/// Counts budgets by name.
pub(crate) struct Counters {
    memory: Mutex<Memory>,
    /// Counts for all servers. What it counted is remembered here, for when it does not answer.
    shared: Option<Cache>,
}

struct Memory {
    /// When each budget is full again.
    full: HashMap<String, UnixTime>,
    /// At how many names those that are full again are forgotten.
    crowded: usize,
}

/// What is done with a budget.
#[derive(Clone, Copy)]
enum Wish {
    Look,
    Take,
    Charge,
}

impl Counters {
    /// Counts together with every server of this Redis, and alone while it does not answer.
    pub(crate) fn new(shared: Option<Cache>) -> Self {
        let memory = Mutex::new(Memory {
            full: HashMap::new(),
            crowded: FEW,
        });
        Self { memory, shared }
    }

    /// Where `name` stands, without taking anything.
    pub(super) async fn look(&self, name: &str, quota: Quota, now: UnixTime) -> Standing {
        self.count(Wish::Look, name.to_owned(), (quota, now)).await
    }

    /// Takes one from the budget if there is one, and tells where it stood before.
    pub(super) async fn take(&self, name: String, quota: Quota, now: UnixTime) -> Standing {
        self.count(Wish::Take, name, (quota, now)).await
    }

    /// Takes one from a budget that only this process counts, if there is one left.
    pub(super) fn take_here(&self, name: String, quota: Quota, now: UnixTime) -> Standing {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.count(Wish::Take, name, (quota, now))
    }

    /// Takes one from the budget even if nothing is left, and tells where it stood before.
    pub(super) async fn charge(&self, name: String, quota: Quota, now: UnixTime) -> Standing {
        self.count(Wish::Charge, name, (quota, now)).await
    }

    async fn count(&self, wish: Wish, name: String, (quota, now): (Quota, UnixTime)) -> Standing {
        let elsewhere = match &self.shared {
            Some(cache) => count_in(cache, wish, (&name, quota)).await,
            None => None,
        };
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((before, after)) = elsewhere else {
            return memory.count(wish, name, (quota, now));
        };
        if !after.is_zero() {
            memory.keep(name, now + after, now);
        }
        quota.standing(now + before, now)
    }
}

/// In how long the budget was full again before, and is now.
async fn count_in(
    cache: &Cache,
    wish: Wish,
    (name, quota): (&str, Quota),
) -> Option<(Duration, Duration)> {
    let mut call = script(include_str!("gcra.lua"));
    call.arg(cache.named(name)).arg(wish.word());
    call.arg(microseconds(quota.per));
    call.arg(microseconds(quota.interval()));
    let (before, after) = cache.ask(&call).await?;
    Some((Duration::from_micros(before), Duration::from_micros(after)))
}

impl Wish {
    const fn word(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Take => "take",
            Self::Charge => "charge",
        }
    }
}

fn microseconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Memory {
    fn count(&mut self, wish: Wish, name: String, (quota, now): (Quota, UnixTime)) -> Standing {
        let full = match self.full.get_mut(&name) {
            // A clock that is set back keeps nobody out for longer than that.
            Some(full) => {
                *full = quota.latest(now).min(*full);
                *full
            }
            None => now,
        };
        let standing = quota.standing(full, now);
        let takes = match wish {
            Wish::Look => false,
            Wish::Take => standing.is_open(),
            Wish::Charge => true,
        };
        if takes {
            self.keep(name, quota.after_one(full, now), now);
        }
        standing
    }

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
        let (counters, now) = (Counters::new(None), UnixTime::from_seconds(0));
        for _ in 0..2 {
            assert!(counters.take("a".into(), QUOTA, now).await.is_open());
        }
        assert!(!counters.take("a".into(), QUOTA, now).await.is_open());
        assert!(!counters.look("a", QUOTA, now).await.is_open());
        assert!(counters.look("b", QUOTA, now).await.is_open());
    }

    #[tokio::test]
    async fn a_refused_one_costs_nothing_unless_it_is_charged() {
        let (counters, now) = (Counters::new(None), UnixTime::from_seconds(0));
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
    async fn a_clock_that_is_set_back_keeps_nobody_out_for_longer() {
        let (counters, right) = (Counters::new(None), UnixTime::from_seconds(0));
        let wrong = UnixTime::from_seconds(86_400);
        for now in [wrong, wrong, right] {
            counters.take("a".into(), QUOTA, now).await;
        }
        let waits = counters.look("a", QUOTA, right).await.wait;
        assert_eq!(waits, QUOTA.per + QUOTA.interval());
        let later = right + waits;
        assert!(counters.look("a", QUOTA, later).await.is_open());
    }

    #[tokio::test]
    async fn full_budgets_are_forgotten() {
        let counters = Counters::new(None);
        for second in 0..10 * i64::try_from(FEW).unwrap() {
            let now = UnixTime::from_seconds(second);
            counters.take(second.to_string(), QUOTA, now).await;
        }
        assert!(counters.memory.lock().unwrap().full.len() <= FEW + 1);
    }

    #[tokio::test]
    async fn a_crowd_of_strangers_has_a_bound() {
        let (counters, now) = (Counters::new(None), UnixTime::from_seconds(0));
        counters
            .charge("busy".into(), Quota::new(1, Duration::from_secs(999)), now)
            .await;
        for number in 0..=MOST + 1 {
            counters.take(number.to_string(), QUOTA, now).await;
        }
        assert!(counters.memory.lock().unwrap().full.len() <= MOST);
        let busy = counters.look("busy", Quota::new(1, Duration::from_secs(999)), now);
        assert!(
            !busy.await.is_open(),
            "who was refused longest is not forgotten"
        );
    }
}

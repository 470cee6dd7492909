//! The generic cell rate algorithm: a budget that refills evenly, kept as one point in time.

use std::time::Duration;

use crate::store::UnixTime;

/// So many in so long; none at all when there is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How many may come at once.
    pub(crate) most: u32,
    /// How long it takes until all of them may come again.
    pub(crate) per: Duration,
}

/// Where a client stands with a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) quota: Quota,
    /// How many more may come now.
    pub(crate) remaining: u32,
    /// Until the next one may come; zero when it may come now.
    pub(crate) wait: Duration,
    /// Until everything is as if nobody had come.
    pub(crate) reset: Duration,
}

impl Quota {
    pub(crate) const fn new(most: u32, per: Duration) -> Self {
        Self { most, per }
    }

    /// How long it takes until one more may come.
    pub(super) fn interval(self) -> Duration {
        self.per / self.most.max(1)
    }

    /// Where a client stands whose budget is full again at `full`.
    pub(super) fn standing(self, full: UnixTime, now: UnixTime) -> Standing {
        let reset = full.since(now);
        let interval = self.interval();
        let free = self.per.saturating_sub(reset);
        let remaining = free.as_nanos() / interval.as_nanos().max(1);
        Standing {
            quota: self,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX).min(self.most),
            wait: (reset + interval).saturating_sub(self.per),
            reset,
        }
    }

    /// When the budget is full again after one more has come. Who comes although nothing is left
    /// waits longer, but never more than twice the whole period.
    pub(super) fn after_one(self, full: UnixTime, now: UnixTime) -> UnixTime {
        let from = full.max(now);
        (from + self.interval()).min(self.latest(now))
    }

    /// The latest that a budget is full again, whatever has come.
    pub(super) fn latest(self, now: UnixTime) -> UnixTime {
        now + 2 * self.per
    }
}

impl Standing {
    /// Whether one more may come.
    pub(crate) const fn is_open(&self) -> bool {
        self.remaining > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Quota;
    use crate::store::UnixTime;

    const QUOTA: Quota = Quota::new(5, Duration::from_secs(900));

    fn at(seconds: i64) -> UnixTime {
        UnixTime::from_seconds(seconds)
    }

    #[test]
    fn five_come_at_once_and_then_one_each_three_minutes() {
        let mut full = at(0);
        for left in (0..5).rev() {
            assert!(QUOTA.standing(full, at(1_000)).is_open());
            full = QUOTA.after_one(full, at(1_000));
            assert_eq!(QUOTA.standing(full, at(1_000)).remaining, left);
        }
        let closed = QUOTA.standing(full, at(1_000));
        assert_eq!(closed.wait, Duration::from_secs(180));
        assert_eq!(closed.reset, Duration::from_secs(900));
        assert!(!QUOTA.standing(full, at(1_179)).is_open());
        assert_eq!(QUOTA.standing(full, at(1_180)).remaining, 1);
        assert_eq!(QUOTA.standing(full, at(1_900)).remaining, 5);
    }

    #[test]
    fn who_keeps_on_coming_waits_longer_but_not_for_ever() {
        let mut full = at(0);
        for _ in 0..1_000 {
            full = QUOTA.after_one(full, at(0));
        }
        assert_eq!(
            QUOTA.standing(full, at(0)).reset,
            Duration::from_secs(1_800)
        );
        assert_eq!(QUOTA.standing(full, at(0)).wait, Duration::from_secs(1_080));
    }

    proptest! {
        #[test]
        fn no_window_lets_in_more_than_twice_the_quota(
            most in 1_u32..50, steps in prop::collection::vec(0_i64..40, 1..400)
        ) {
            let quota = Quota::new(most, Duration::from_secs(60));
            let (mut full, mut now, mut let_in) = (at(0), 0, Vec::new());
            for step in steps {
                now += step;
                if quota.standing(full, at(now)).is_open() {
                    full = quota.after_one(full, at(now));
                    let_in.push(now);
                }
            }
            for (place, first) in let_in.iter().enumerate() {
                let window = let_in[place..].iter().take_while(|time| **time < first + 60);
                prop_assert!(window.count() <= 2 * most as usize);
            }
        }
    }
}
